"""A federation is made from files, as its people do it: real homes, real cards, real commands.

Whoever carries the files may change them; what a home takes and signs is only what its own keys and its own past allow.
"""

import os
import pty
import select
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from hefed.node import home as home_module
from hefed.node.errors import NodeError
from hefed.node.federation import changes, draft, load_card, load_roster, unite, write_new_roster
from hefed.node.files import lock_folder
from hefed.node.home import Home
from hefed.protocol.errors import RosterError
from hefed.protocol.roster import Roster, SignedRoster
from hefed.protocol.text import roster_text

ROOT = Path(__file__).parents[2]
NAMES = ("aggregator", "analyst", "halland", "kronoberg", "orebro")
REGIONS = ("halland", "kronoberg", "orebro")
ADDRESS = "agg.example.org:7100"


@dataclass(frozen=True)
class Federation:
    """The homes of all members in one folder, and what they agree on by turns."""

    folder: Path

    def home(self, name: str) -> Home:
        return Home(self.folder / name)

    def card(self, name: str) -> str:
        return str(self.folder / name / f"{name}.card")

    def first(self, **more: Any) -> Roster:
        return draft("Nordic heart", [self.card(name) for name in NAMES], addresses=[ADDRESS], **more)

    def all_sign(self, roster: Roster) -> SignedRoster:
        signed = SignedRoster(roster, {})
        for member in roster.members:
            signed = self.home(member.name).sign(signed)
        return signed

    def in_force_everywhere(self, roster: Roster) -> SignedRoster:
        signed = self.all_sign(roster)
        for member in roster.members:
            self.home(member.name).install(signed)
        return signed


@pytest.fixture
def federation(tmp_path: Path) -> Federation:
    for name in NAMES:
        Home.init(tmp_path / name, name)
    return Federation(tmp_path)


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def hefed(*arguments: object, folder: Path, answer: str | None = None) -> Ended:
    done = subprocess.run(
        [sys.executable, "-m", "hefed", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80"},
        input=answer or "",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


# --- The commands -----------------------------------------------------------------------------------


def test_a_federation_is_made_and_changed_with_the_commands_alone(tmp_path: Path) -> None:
    def run(*arguments: object, answer: str | None = None) -> str:
        ended = hefed(*arguments, folder=tmp_path, answer=answer)
        assert (ended.code, ended.err) == (0, ""), arguments
        assert "\x1b" not in ended.out
        return ended.out

    for name in NAMES:
        out = run("init", name, "--home", name)
        assert load_card(tmp_path / name / f"{name}.card").fingerprint in out
    members = [part for name in NAMES for part in ("--member", f"{name}/{name}.card")]
    out = run("federation", "create", "Nordic heart", *members, "--address", ADDRESS, "-o", "one.roster")
    assert "missing: aggregator, analyst, halland, kronoberg, orebro" in out

    # Each signs a copy of its own; the copies are united.
    for name in NAMES:
        (tmp_path / f"{name}.roster").write_bytes((tmp_path / "one.roster").read_bytes())
        out = run("federation", "join", f"{name}.roster", "--home", name, answer="y\n")
        assert f"Sign as {name}? [y/N]" in out
        assert out.endswith(f": hefed federation merge {name}.roster OTHER.roster -o ALL.roster\n")
        assert not (tmp_path / name / "roster.cbor").exists()
    out = run("federation", "merge", *(f"{name}.roster" for name in NAMES), "-o", "all.roster")
    assert out == (
        "all.roster: every member has signed; each puts it in force with: hefed federation join all.roster --home "
        "HOME\n"
    )
    out = run("federation", "show", "all.roster")
    assert "Every member has signed." in out
    halland = load_roster(tmp_path / "all.roster").roster.member("halland")
    row = f"halland     contributor, keyholder, reader  {halland.ends}  yes     {halland.fingerprint}"
    assert row in out.splitlines()  # one line each in a pipe
    for name in NAMES:
        out = run("federation", "join", "all.roster", "--home", name)  # it signed that before: no question
        assert f"version 1 of Nordic heart is in force in {name}" in out
        assert "restarted" not in out  # nothing can run without a roster
    rosters = {(tmp_path / name / "roster.cbor").read_bytes() for name in NAMES}
    assert rosters == {load_roster(tmp_path / "all.roster").roster.to_bytes()}

    # A change: orebro does not read any more, and the aggregator has another address.
    out = run(
        "federation", "create", "Nordic heart", "--from", "all.roster", "--member", "orebro:contributor,keyholder",
        "--address", "[2001:db8::1]:7100", "-o", "two.roster",
    )  # fmt: skip
    for name in NAMES:
        out = run("federation", "join", "two.roster", "--home", name, "--yes")
        assert "What changes since version 1, which is in force here:" in out
        assert "- orebro was contributor, keyholder, reader and is contributor, keyholder" in out
        assert f"- the aggregator's address was {ADDRESS} and is [2001:db8::1]:7100" in out
    assert "version 2 of Nordic heart is in force in orebro" in out
    restart = (
        "\nProcesses that run keep version 1 until they are restarted: hefed aggregator first, then hefed node. {}\n"
    )
    assert out.endswith(restart.format("None runs in orebro."))
    running = lock_folder(tmp_path / "halland")  # as its process does
    out = run("federation", "join", "two.roster", "--home", "halland")
    assert out.endswith(restart.format("One runs in halland; restart it."))
    os.close(running)
    assert "restarted" not in run("federation", "join", "two.roster", "--home", "halland")  # in force already
    ended = hefed("federation", "join", "all.roster", "--home", "orebro", "--yes", folder=tmp_path)
    assert ended.code == 2
    assert "version 2 is in force here, and a home never goes back" in ended.err


def test_nothing_is_signed_without_a_yes(federation: Federation) -> None:
    file = federation.folder / "f.roster"
    write_new_roster(file, SignedRoster(federation.first(), {}))
    before = file.read_bytes()
    for answer in ("", "n\n", "maybe\n"):
        ended = hefed("federation", "join", file, "--home", federation.folder / "orebro", folder=ROOT, answer=answer)
        assert ended.code == 2
        assert ended.err == "hefed: not confirmed, so nothing was signed; answer y, or add --yes in a script\n"
    assert file.read_bytes() == before
    assert not federation.home("orebro").signed()


def terminal(*arguments: object) -> tuple[int, bytes]:
    """Runs hefed on a terminal. Returns its exit code and all that it wrote there."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "hefed", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        written = b""
        while select.select([ours], [], [], 30)[0]:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other end is closed
                break
            written += part
        os.close(ours)
        return process.wait(30), written


@pytest.mark.parametrize("line", ["federation: Nordic heart", f"address: {ADDRESS}", "member: orebro", "version: 1"])
def test_no_escape_sequence_in_a_file_reaches_the_terminal(line: str, federation: Federation) -> None:
    text = roster_text(SignedRoster(federation.first(), {}))
    assert line in text
    file = federation.folder / "evil\x1b]0;owned\x07.roster"
    file.write_text(text.replace(line, line + "\x1b]0;owned\x07\x1b[2J"))
    code, written = terminal("federation", "show", file)
    assert code == 2
    assert b"\x1b" not in written
    assert b"\x07" not in written
    assert written.startswith(b"hefed: ")


def test_on_a_terminal_the_table_has_colours(federation: Federation) -> None:
    """The control for the test above: escape sequences would be seen."""
    file = federation.folder / "f.roster"
    write_new_roster(file, SignedRoster(federation.first(), {}))
    code, written = terminal("federation", "show", file)
    assert code == 0
    assert b"\x1b[" in written


def test_what_a_person_can_mend_is_one_sentence(federation: Federation) -> None:
    mistakes = [
        (("init", "Halland", "--home", "new"), "must be small letters, digits and inner hyphens"),
        (("init", "halland", "--home", "halland"), "an identity is never overwritten"),
        (("federation", "join", "no.roster", "--home", "halland"), "no.roster: cannot be read: no such file"),
        (
            ("federation", "join", "no.roster", "--home", "nowhere"),
            "there is no folder nowhere; check the name, or make a home there: hefed init",
        ),
        (("federation", "create", "x", "--member", "halland/halland.card:contributer", "-o", "f"), "did you mean"),
        (("federation", "create", "x", "--member", "halland/identity.key", "-o", "f"), "is it the right file?"),
    ]
    for arguments, words in mistakes:
        ended = hefed(*arguments, folder=federation.folder)
        assert ended.code == 2, arguments
        assert words in ended.err
        assert ended.err.startswith("hefed: ")
        assert ended.err.count("\n") == 1
    assert not (federation.folder / "new").exists()


# --- Identity and card ------------------------------------------------------------------------------


def test_a_home_is_for_its_owner_only_and_holds_no_secret_but_the_identity(tmp_path: Path) -> None:
    home = Home.init(tmp_path / "home", "halland")
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "home/identity.key").stat().st_mode & 0o777 == 0o600
    secret = home.identity.transport_secret
    assert secret not in (tmp_path / "home/halland.card").read_bytes()
    assert home.card() == load_card(tmp_path / "home/halland.card")
    assert home.card().identity == home.identity.signer.public


def test_an_identity_whose_card_was_not_written_gets_it_and_stays_the_same(tmp_path: Path) -> None:
    first = Home.init(tmp_path, "halland")
    (tmp_path / "halland.card").unlink()
    with pytest.raises(NodeError, match="no card of its own"):
        Home(tmp_path).card()
    again = Home.init(tmp_path, "halland")
    assert again.identity.signer.public == first.identity.signer.public
    with pytest.raises(NodeError, match="never overwritten"):
        Home.init(tmp_path, "orebro")


def test_cards_of_others_may_lie_in_a_home(federation: Federation) -> None:
    other = Path(federation.card("orebro"))
    (federation.folder / "halland" / other.name).write_bytes(other.read_bytes())
    assert federation.home("halland").card().name == "halland"


# --- Drafts -----------------------------------------------------------------------------------------


def test_roles_are_the_usual_ones_unless_said_otherwise(federation: Federation) -> None:
    cards = [federation.card(name) for name in NAMES[:-1]]
    roster = draft("x", [*cards, f"{federation.card('orebro')}:keyholder,contributor"], addresses=[ADDRESS])
    assert {member.name: member.roles for member in roster.members} == {
        "aggregator": ("aggregator",),
        "analyst": ("analyst",),
        "halland": ("contributor", "keyholder", "reader"),
        "kronoberg": ("contributor", "keyholder", "reader"),
        "orebro": ("contributor", "keyholder"),
    }
    assert (roster.version, roster.least_threshold, roster.least_min_contributors) == (1, 2, 3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda cards: cards[1:], "exactly one aggregator"),
        (lambda cards: [*cards, cards[-1]], "orebro is given twice"),
        (lambda cards: [cards[0], *cards[2:]], "nobody is an analyst"),
        (lambda cards: cards[:-1], "2 contributors, but the least min_contributors is 3"),
        (lambda cards: [*cards[:-1], cards[-1] + ":"], "'' in .* is no role"),
        (lambda cards: [*cards[:-1], cards[-1] + ":aggregator"], "exactly one aggregator"),
        (lambda cards: [*cards[:-1], "orebro"], "cannot be read"),
    ],
)
def test_a_federation_in_which_no_study_is_possible_is_refused(
    change: Callable[[list[str]], list[str]], words: str, federation: Federation
) -> None:
    with pytest.raises((RosterError, NodeError), match=words):
        draft("x", change([federation.card(name) for name in NAMES]), addresses=[ADDRESS])


def test_a_change_keeps_what_is_not_said_and_raises_the_version(federation: Federation) -> None:
    old = federation.first()
    Home.init(federation.folder / "lund", "lund")
    members = [federation.card("lund"), "halland:reader,contributor"]
    new = draft("Nordic heart", members, old=old, remove=["kronoberg"])
    assert (new.version, new.addresses) == (2, old.addresses)
    assert new.member("halland").roles == ("contributor", "reader")
    assert changes(old, new) == [
        "lund is new: contributor, keyholder, reader",
        "kronoberg is no longer a member",
        "halland was contributor, keyholder, reader and is contributor, reader",
    ]


def test_a_change_of_nothing_of_a_stranger_or_of_another_federation_is_refused(federation: Federation) -> None:
    old = federation.first()
    with pytest.raises(RosterError, match="nothing differs"):
        draft("Nordic heart", [federation.card("orebro")], old=old)
    with pytest.raises(RosterError, match="'lund' cannot be removed"):
        draft("Nordic heart", [], old=old, remove=["lund"])
    with pytest.raises(RosterError, match="not the federation"):
        draft("Nordic hearts", [], old=old, remove=["orebro"])


def test_new_keys_under_an_old_name_come_first_of_all_changes(federation: Federation) -> None:
    old = federation.first()
    Home.init(federation.folder / "other", "orebro")
    new = draft("Nordic heart", [str(federation.folder / "other/orebro.card")], old=old, least_min_contributors=3)
    (sentence,) = changes(old, new)
    assert sentence.startswith("orebro has other keys than before")


def test_limits_that_follow_from_each_other(federation: Federation) -> None:
    old = federation.first()
    with pytest.raises(RosterError, match="3 contributors, but the least min_contributors is 4"):
        draft("Nordic heart", [], old=old, least_threshold=3)
    with pytest.raises(RosterError, match="least min_contributors is a number from 3"):
        draft("Nordic heart", [], old=old, least_min_contributors=2)


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
