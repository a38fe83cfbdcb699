"""What a home takes and signs: only what its own keys and its own past allow, and every copy's signatures."""

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from hefed.node import home as home_module
from hefed.node.errors import NodeError
from hefed.node.federation import draft, load_roster, unite, write_new_roster
from hefed.node.home import Home
from hefed.protocol.errors import RosterError
from hefed.protocol.roster import Roster, SignedRoster
from tests.node.test_federation import ADDRESS, NAMES, ROOT, Federation, federation, hefed

__all__ = ["federation"]


# --- What a home takes ------------------------------------------------------------------------------


def test_a_roster_is_in_force_only_with_every_signature(federation: Federation) -> None:
    signed = federation.all_sign(federation.first())
    home = federation.home("halland")
    for name in NAMES:
        without = SignedRoster(signed.roster, {n: s for n, s in signed.signatures.items() if n != name})
        with pytest.raises(RosterError, match=f"^{name} did not sign version 1"):
            home.install(without)
        assert home.in_force() is None
    home.install(signed)
    assert home.in_force() == signed.roster
    assert home.signed()[1] == signed  # the evidence


def test_a_home_never_goes_back(federation: Federation) -> None:
    first = federation.in_force_everywhere(federation.first())
    second = federation.in_force_everywhere(draft("Nordic heart", [], old=first.roster, addresses=["a:1"]))
    home = federation.home("halland")
    for attempt in (home.sign, home.install):
        with pytest.raises(RosterError, match="never goes back"):
            attempt(first)
    assert home.in_force() == second.roster


def test_a_home_signs_and_takes_one_roster_of_a_version(federation: Federation) -> None:
    one = federation.first()
    other = replace(one, addresses=("evil.example.org:7100",))
    federation.home("halland").sign(SignedRoster(one, {}))
    with pytest.raises(RosterError, match="another version 1 of Nordic heart"):
        federation.home("halland").sign(SignedRoster(other, {}))
    # Not even when everybody signed it, this member with another copy of its home.
    full = SignedRoster(other, {n: federation.home(n).identity.sign_roster(other) for n in NAMES})
    with pytest.raises(RosterError, match="another version 1 of Nordic heart"):
        federation.home("halland").install(full)


def test_after_a_newer_one_nothing_older_is_signed_but_what_was_signed_may_come_into_force(
    federation: Federation,
) -> None:
    first = federation.in_force_everywhere(federation.first()).roster
    second = draft("Nordic heart", [], old=first, addresses=["a:1"])
    third = draft("Nordic heart", [], old=second, addresses=["b:1"])
    federation.home("orebro").sign(SignedRoster(third, {}))
    with pytest.raises(RosterError, match="signed version 3 of Nordic heart already"):
        federation.home("orebro").sign(SignedRoster(second, {}))
    federation.home("halland").sign(SignedRoster(second, {}))
    federation.home("halland").sign(SignedRoster(third, {}))
    complete = SignedRoster(second, {n: federation.home(n).identity.sign_roster(second) for n in NAMES})
    federation.home("halland").install(complete)
    assert federation.home("halland").in_force() == second


def test_a_home_belongs_to_one_federation(federation: Federation) -> None:
    federation.in_force_everywhere(federation.first())
    other = draft("Another", [federation.card(name) for name in NAMES], addresses=[ADDRESS])
    for roster in (other, replace(other, version=2)):
        with pytest.raises(RosterError, match="belongs to the federation Nordic heart"):
            federation.home("halland").sign(SignedRoster(roster, {}))


def test_a_home_signs_no_roster_that_lists_other_keys_or_another_name_for_it(federation: Federation) -> None:
    roster, home = federation.first(), federation.home("halland")
    mine = roster.member("halland")
    for key in ("identity", "transport"):
        forged = [replace(one, **{key: bytes(32)}) if one is mine else one for one in roster.members]
        with pytest.raises(RosterError, match="other keys for halland"):
            home.sign(SignedRoster(replace(roster, members=tuple(forged)), {}))
    orebro = roster.member("orebro")
    exchanged = {
        "halland": replace(orebro, name="halland"),
        "orebro": replace(mine, name="orebro"),
    }
    swapped = tuple(exchanged.get(one.name, one) for one in roster.members)
    with pytest.raises(RosterError, match="other keys for halland"):
        home.sign(SignedRoster(replace(roster, members=swapped), {}))
    without = tuple(one for one in roster.members if one is not mine)
    with pytest.raises(RosterError, match="'halland' is not on the roster"):
        home.sign(SignedRoster(replace(roster, members=without), {}))
    assert home.signed() == {}


def test_a_home_takes_no_roster_with_other_keys_for_it_though_all_of_these_signed(federation: Federation) -> None:
    roster, home = federation.first(), federation.home("halland")
    stranger = Home.init(federation.folder / "stranger", "halland")
    members = [one for one in roster.members if one.name != "halland"]
    forged = Roster.of(roster.federation, 1, [*members, stranger.card().member(roster.member("halland").roles)])
    identities = {name: federation.home(name).identity for name in NAMES} | {"halland": stranger.identity}
    full = SignedRoster(forged, {name: one.sign_roster(forged) for name, one in identities.items()})
    assert full.missing == ()
    with pytest.raises(RosterError, match="other keys for halland"):
        home.install(full)
    assert home.in_force() is None


def test_a_signature_is_on_disk_before_it_is_in_the_file(
    federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, roster = federation.home("halland"), federation.first()
    written: list[Path] = []

    def full(path: Path, data: bytes) -> None:
        written.append(path)
        raise NodeError("no space left on device")

    monkeypatch.setattr(home_module, "replace_durably", full)
    with pytest.raises(NodeError, match="no space"):
        home.sign(SignedRoster(roster, {}))
    assert written == [federation.folder / "halland/rosters/1.roster"]


def test_a_file_that_cannot_be_written_leaves_the_signature_in_the_home(federation: Federation) -> None:
    file = federation.folder / "f.roster"
    write_new_roster(file, SignedRoster(federation.first(), {}))
    (federation.folder / "f.roster.partial").mkdir()
    ended = hefed("federation", "join", file, "--home", federation.folder / "halland", "--yes", folder=ROOT)
    assert ended.code == 2
    assert "f.roster: cannot be written" in ended.err
    assert set(federation.home("halland").signed()[1].signatures) == {"halland"}
    (federation.folder / "f.roster.partial").rmdir()
    ended = hefed("federation", "join", file, "--home", federation.folder / "halland", folder=ROOT)  # no question
    assert ended.code == 0
    assert set(load_roster(file).signatures) == {"halland"}


def test_of_two_rosters_of_one_version_at_once_one_is_signed(federation: Federation) -> None:
    one = federation.first()
    rosters = [replace(one, addresses=(f"a:{port}",)) for port in range(1, 9)]
    signed, refused = [], []
    gate = threading.Barrier(len(rosters))

    def sign(roster: Roster) -> None:
        gate.wait()
        try:
            signed.append(federation.home("halland").sign(SignedRoster(roster, {})).roster)
        except RosterError:
            refused.append(roster)

    threads = [threading.Thread(target=sign, args=(roster,)) for roster in rosters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(signed) == 1
    assert len(refused) == len(rosters) - 1
    assert federation.home("halland").signed()[1].roster == signed[0]


def test_a_home_knows_signatures_that_a_copy_does_not_have(federation: Federation) -> None:
    roster = federation.first()
    both = federation.home("orebro").sign(federation.home("halland").sign(SignedRoster(roster, {})))
    assert federation.home("orebro").sign(SignedRoster(roster, {})) == both


# --- Uniting copies ---------------------------------------------------------------------------------


def test_copies_are_united_whatever_their_order_and_other_rosters_are_refused(federation: Federation) -> None:
    roster = federation.first()
    paths = []
    for name in NAMES:
        paths.append(federation.folder / f"copy-{name}.roster")
        write_new_roster(paths[-1], federation.home(name).sign(SignedRoster(roster, {})))
    assert unite(paths) == unite(paths[::-1])
    assert unite(paths).missing == ()
    other = federation.folder / "other.roster"
    write_new_roster(other, SignedRoster(replace(roster, version=2), {}))
    with pytest.raises(RosterError, match=r"copy-aggregator\.roster and .*other\.roster: these are different rosters"):
        unite([paths[0], other])
    with pytest.raises(NodeError, match="is there already"):
        write_new_roster(other, unite(paths))


def test_a_roster_in_force_that_was_damaged_is_an_error_and_not_a_fresh_start(federation: Federation) -> None:
    first = federation.in_force_everywhere(federation.first())
    (federation.folder / "halland/roster.cbor").write_bytes(b"\xa1")
    with pytest.raises(NodeError, match=r"roster\.cbor cannot be used"):
        federation.home("halland").install(first)
