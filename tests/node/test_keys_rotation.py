"""A new identity in the place of an old one: which keys answer when, and what a kill leaves."""

import os
import shutil
from pathlib import Path

import pytest

from hefed.node import files, keys, passphrase, wrapping
from hefed.node.errors import NodeError
from hefed.node.federation import write_new_roster
from hefed.node.home import Home
from hefed.node.identity import Identity, take_over
from hefed.node.operate import standing
from hefed.node.rotation import Rotation, rotate, verify
from hefed.protocol import codec
from hefed.protocol.errors import RosterError
from hefed.protocol.roster import Roster, SignedRoster
from tests.node.homes import FEDERATION, make_roster, sign
from tests.node.runs import REGIONS, hefed
from tests.node.witness import search

NEXT = "identity.key.next"


def opened(homes: dict[str, Path]) -> dict[str, Home]:
    return {name: Home(home) for name, home in homes.items()}


def with_next(homes: dict[str, Path], who: str) -> Roster:
    """The roster after the one in force, with the card of the next identity of one member."""
    there = opened(homes)
    old = there[who].in_force()
    following, card = there[who].next, there[who].next_card()
    assert old is not None
    assert following is not None
    assert card is not None
    now = old.member(who)
    members = [card.member(now.roles) if member == now else member for member in old.members]
    return Roster.of(FEDERATION, old.version + 1, members, addresses=old.addresses)


def secrets_in(path: Path) -> dict[str, bytes]:
    return dict(codec.decode(path.read_bytes()))


@pytest.fixture(params=[False, True], ids=["plain", "protected"])
def halland(
    request: pytest.FixtureRequest, homes: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A home, with and without a passphrase."""
    if request.param:
        files.write_private(tmp_path / "passphrase", b"correct horse battery staple")
        monkeypatch.setenv("HEFED_PASSPHRASE_FILE", str(tmp_path / "passphrase"))
        keys.protect(homes["halland"])
    return homes["halland"]


def test_the_old_keys_answer_until_the_roster_with_the_new_ones_is_in_force(
    halland: Path, homes: dict[str, Path]
) -> None:
    before = standing(halland)
    word, card, _ = rotate(halland)
    assert standing(halland).me == before.me
    assert Home(halland).card() == before.home.card()
    following = with_next(homes, "halland")
    signed = SignedRoster(following, {})
    for home in opened(homes).values():
        signed = home.sign(signed)
    assert standing(halland).me == before.me  # all have signed, and it is not in force here
    assert Identity.load(halland).signer.public == before.me.identity
    for home in opened(homes).values():
        home.install(signed)
    wrapping._opened.clear()
    passphrase._derived.clear()
    after = standing(halland)
    assert (after.me.identity, after.me.transport) == (word.identity, word.transport)
    assert Identity.load(halland).signer.public == word.identity
    assert after.home.card().fingerprint == word.fingerprint
    assert after.home.next is None
    assert not card.exists()
    assert not list(halland.glob("identity.key.*"))
    assert wrapping.is_protected(halland) == ("HEFED_PASSPHRASE_FILE" in os.environ)


def test_the_old_keys_are_destroyed_and_nowhere_on_disk(homes: dict[str, Path]) -> None:
    halland = homes["halland"]
    old = secrets_in(halland / "identity.key")
    rotate(halland)
    new = secrets_in(halland / NEXT)
    sign(opened(homes), with_next(homes, "halland"))
    assert search(halland, old) == {}
    assert set(search(halland, new)) == {"signing", "transport"}
    assert search(halland, new)["signing"] == {"identity.key"}


def test_the_next_identity_is_under_the_passphrase_too(
    homes: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    halland = homes["halland"]
    rotate(halland)
    new = secrets_in(halland / NEXT)
    assert set(search(halland, new)) == {"signing", "transport"}  # the control
    files.write_private(tmp_path / "passphrase", b"correct horse battery staple")
    monkeypatch.setenv("HEFED_PASSPHRASE_FILE", str(tmp_path / "passphrase"))
    keys.protect(halland)
    assert search(halland, new) == {}
    sign(opened(homes), with_next(homes, "halland"))
    assert search(halland, new) == {}
    keys.unprotect(halland)
    assert secrets_in(halland / "identity.key") == new


@pytest.mark.parametrize("reached", ["roster", "card", "identity"])
def test_a_kill_while_the_new_one_takes_its_place_is_made_good_at_the_next_look(
    reached: str, halland: Path, homes: dict[str, Path]
) -> None:
    word, card, _ = rotate(halland)
    following = with_next(homes, "halland")
    following_file = halland / "roster.cbor"
    following_file.write_bytes(following.to_bytes())
    if reached != "roster":
        card.replace(halland / "halland.card")
    if reached == "identity":
        kept = (halland / NEXT).read_bytes()
        take_over(halland)
        files._write_new(halland / NEXT, kept)  # killed before it was destroyed
    after = standing(halland)
    assert after.me.identity == word.identity == Identity.load(halland).signer.public
    assert after.home.card().identity == word.identity
    assert not (halland / NEXT).exists()


def test_rotating_again_before_the_roster_changes_nothing(halland: Path) -> None:
    assert rotate(halland)[0] == rotate(halland)[0]


def test_a_roster_with_keys_of_neither_is_refused(homes: dict[str, Path]) -> None:
    rotate(homes["halland"])
    home = Home(homes["halland"])
    stranger = Identity.passing().member("halland", ("contributor", "keyholder", "reader"))
    force = home.in_force()
    assert force is not None
    members = [stranger if member.name == "halland" else member for member in force.members]
    with pytest.raises(RosterError, match="lists other keys for halland"):
        home.sign(SignedRoster(Roster.of(FEDERATION, 2, members, addresses=force.addresses), {}))


# --- The word of the old identity ------------------------------------------------------------------


def test_the_old_identity_vouches_for_the_new_one(homes: dict[str, Path], tmp_path: Path) -> None:
    made, _, word = rotate(homes["halland"])
    roster = Home(homes["orebro"]).in_force()
    assert roster is not None
    write_new_roster(tmp_path / "old.roster", SignedRoster(roster, {}))
    assert verify(word, tmp_path / "old.roster") == made
    ended = hefed("keys", "rotated", word, "--from", tmp_path / "old.roster")
    assert (ended.code, made.fingerprint in ended.out) == (0, True)
    text = word.read_text()
    for line in text.splitlines()[1:]:
        at = text.index(line) + len(line) - 10
        word.write_text(text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :])
        with pytest.raises(RosterError):
            verify(word, tmp_path / "old.roster")
    for other in (text + "\n", text.replace("1\n", "2\n", 1), "", text.replace("=", "", 1)):
        word.write_text(other)
        with pytest.raises(RosterError, match="is no rotation of hefed"):
            verify(word, tmp_path / "old.roster")


def test_another_member_or_a_stranger_cannot_vouch(homes: dict[str, Path], tmp_path: Path) -> None:
    rotate(homes["halland"])
    roster = Home(homes["orebro"]).in_force()
    assert roster is not None
    write_new_roster(tmp_path / "old.roster", SignedRoster(roster, {}))
    for other in (Home(homes["orebro"]).identity, Identity.passing()):
        forged = "halland", other.signer.public, bytes(32), bytes(32)
        made = Rotation(*forged, other.sign_statement("rotation", *forged))
        (tmp_path / "forged.rotation").write_text(made.text())
        with pytest.raises(RosterError, match="is not signed with the key that halland has in version 1"):
            verify(tmp_path / "forged.rotation", tmp_path / "old.roster")


def test_a_rotation_by_the_commands_alone(homes: dict[str, Path], tmp_path: Path) -> None:
    halland = homes["halland"]
    ended = hefed("keys", "rotate", "--home", halland)
    assert (ended.code, ended.err) == (0, "")
    fingerprint = Home(halland).card().fingerprint
    roster = Home(halland).in_force()
    assert roster is not None
    write_new_roster(tmp_path / "old.roster", SignedRoster(roster, {}))
    shutil.copy(halland / "halland.next.card", tmp_path / "halland.next.card")
    new = tmp_path / "new.roster"
    made = hefed(
        *("federation", "create", FEDERATION, "--from", tmp_path / "old.roster"),
        *("--member", tmp_path / "halland.next.card", "-o", new),
    )
    assert (made.code, made.err) == (0, "")
    assert "halland has other keys than before" in " ".join(made.out.split())
    for name in ("aggregator", "analyst", *REGIONS):
        assert hefed("federation", "join", new, "--home", homes[name], "--yes").code == 0
    joined = hefed("federation", "join", new, "--home", halland)
    assert joined.code == 0
    shown = hefed("keys", "show", "--home", halland).out
    assert fingerprint not in shown
    assert shown.splitlines()[1].removeprefix("fingerprint   ") in ended.out


def test_a_roster_without_the_new_keys_leaves_both(homes: dict[str, Path]) -> None:
    """Somebody else's change comes in between."""
    halland = homes["halland"]
    rotate(halland)
    there = opened(homes)
    old = there["halland"].in_force()
    assert old is not None
    sign(there, make_roster(there, ["10.0.0.1:7200"], old=old))
    home = Home(halland)
    assert home.next is not None
    assert home.me(standing(halland).roster).identity == home.identity.signer.public
    sign(opened(homes), with_next(homes, "halland"))
    assert Home(halland).next is None


def test_a_next_identity_that_was_altered_is_said_to_be_none(homes: dict[str, Path]) -> None:
    rotate(homes["halland"])
    (homes["halland"] / NEXT).write_bytes(b"nonsense")
    with pytest.raises(NodeError, match="is not an identity of hefed; remove it, and rotate again"):
        Home(homes["halland"])
