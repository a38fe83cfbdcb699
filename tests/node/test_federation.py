"""A federation is made from files, as its people do it: real homes, real cards, real commands.

Whoever carries the files may change them; what a home takes and signs is only what its own keys and its own past allow.
"""

import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hefed.node.errors import NodeError
from hefed.node.federation import changes, draft, load_card, load_roster, write_new_roster
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
