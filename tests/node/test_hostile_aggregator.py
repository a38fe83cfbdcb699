"""What an aggregator, or an error of its own, can make a region keep, say and log; and what a greeting asks for."""

import logging
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hefed.node import connections
from hefed.node.aggregator import AggregatorNode
from hefed.node.analyst import Submission
from hefed.node.consent import Verdict
from hefed.node.errors import NodeError
from hefed.node.frames import headers_of, parts_of
from hefed.node.handshake import LINK_VERSION, MAX_ASKED, PROTOCOLS, welcome
from hefed.node.identity import Identity
from hefed.node.limits import USUAL, Limits
from hefed.node.link import Received
from hefed.node.logs import LINES_PER_HOUR
from hefed.node.region import RegionNode
from hefed.node.store import Store
from hefed.protocol import codec
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.ports import Vault, Vector, Work
from hefed.protocol.roster import Roster
from hefed.study import Study
from tests.node.runs import secret_files, study_file


class FakeLink:
    """Keeps what is sent, in the place of a connection."""

    def __init__(self) -> None:
        self.sent: list[tuple[dict[str, Any], tuple[bytes, ...]]] = []

    def send(self, *given: Any) -> bool:
        header, *frames = given[1:] if isinstance(given[0], bytes) else given
        codec.encode(header)
        self.sent.append((header, tuple(frames)))
        return True

    def send_all(self, *given: Any) -> Any:
        """To the connections that come first, if this is an aggregator's link."""
        if not isinstance(given[0], list):
            return all(self.send(header, *frames) for header, frames in given)
        connections, *messages = given
        return [self.send_all(*messages) for _ in connections]

    welcome = None
    is_busy = False

    def greet(self, studies: dict[str, int]) -> None:
        self.send({"type": "hello", "studies": studies})

    def differing_roster(self) -> None:
        return None

    def take(self, kind: str) -> list[tuple[dict[str, Any], tuple[bytes, ...]]]:
        """What was sent of a kind since the last look; everything else is forgotten."""
        found = [one for one in self.sent if one[0]["type"] == kind]
        self.sent.clear()
        return found


class ErringWork:
    """A model that divides by zero as soon as it is asked for anything."""

    rows = None

    def commitment(self, salt: bytes) -> bytes:
        age = "forty" + "three"
        raise ZeroDivisionError(f"a patient of {age} years")

    def vector(self) -> Vector | None:
        raise AssertionError

    contribution = step = finding = decisions = vector  # type: ignore[assignment]


class Consenting:
    """People who say the same to every study, and a region's work."""

    def __init__(self, prepare: Callable[[Board], Work | None], says: str) -> None:
        self._prepare, self._says = prepare, says

    def verdict(self, board: Board) -> Verdict:
        return Verdict(self._says, "in this test")  # type: ignore[arg-type]

    def withdrawn(self, study: bytes) -> str | None:
        return None

    def prepare(self, board: Board, vault: Vault) -> Work | None:
        return self._prepare(board)


class Setting:
    """A roster with a second analyst, studies of theirs, and parties without a network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.study = Study.load(study_file(folder))
        members = self.study.members
        self.identities = {name: Identity.passing() for name in ("aggregator", "analyst", *members)}
        roles = {"aggregator": ("aggregator",), "analyst": ("analyst",)}
        parts = ("contributor", "keyholder", "reader")
        self.members = [one.member(name, roles.get(name, parts)) for name, one in self.identities.items()]  # type: ignore[arg-type]
        self.roster = Roster.of("test", 1, self.members)
        self.link = FakeLink()

    def node(
        self, prepare: Callable[[Board], Work | None], says: str = "approve", limits: Limits = USUAL
    ) -> RegionNode:
        """The region halland, greeted."""
        self.store = Store(self.folder / "halland")
        node = RegionNode(
            name="halland",
            roster=self.roster,
            identity=self.identities["halland"],
            store=self.store,
            link=self.link,  # type: ignore[arg-type]
            consent=Consenting(prepare, says),  # type: ignore[arg-type]
            limits=limits,
        )
        node._handle(Received({"type": "welcome", "accepted": {}}, ()))
        return node

    def submission(self, roster: Roster | None = None, analyst: str = "analyst") -> Submission:
        return Submission(self.study, roster or self.roster, analyst, int(time.time()) + 600)

    def signed(self, content: m.Content, study: bytes, sender: str = "analyst") -> bytes:
        signer = self.identities[sender].signer
        return signer.sign(content, federation="test", study=study, sender=sender, previous=m.ZERO_HASH).envelope

    def invite(self, node: RegionNode, submission: Submission | None = None) -> Submission:
        """Passes on the invitation of a study."""
        made = submission or self.submission()
        pass_on(node, made.study, 0, self.signed(made.invitation, made.study))
        return made


def pass_on(node: RegionNode, study: bytes, number: int, envelope: bytes) -> None:
    """What the aggregator sends, and the region's next turn."""
    node._handle(Received({"type": "entry", "study": study, "number": number}, (envelope,)))
    node._settle_all()


def reads(board: Board) -> Work:
    """Approves everything, without a table."""
    return Approving()


class Approving(ErringWork):
    """A model that commits to nothing in particular."""

    def commitment(self, salt: bytes) -> bytes:
        return bytes(32)


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(tmp_path)


def _words(setting: Setting) -> list[str]:
    contents = [m.read_message(frames[0], setting.roster).content for _, frames in setting.link.take("message")]
    return [content.words for content in contents if isinstance(content, m.Refusal)]


def test_one_invitation_under_invented_names_makes_a_region_keep_nothing(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    node = setting.node(reads)
    true = setting.submission()
    envelope = setting.signed(true.invitation, true.study)
    for _ in range(3 * LINES_PER_HOUR):
        pass_on(node, secrets.token_bytes(32), 0, envelope)
    assert setting.store.studies() == []
    assert secret_files(setting.folder / "halland") == []
    assert len(caplog.records) == LINES_PER_HOUR
    setting.invite(node, true)
    assert setting.store.studies() == [true.study]


def test_only_an_analyst_begins_a_study(setting: Setting) -> None:
    node = setting.node(reads)
    by_region = setting.submission(analyst="orebro")
    signed_for_another = setting.submission()
    pass_on(node, by_region.study, 0, setting.signed(by_region.invitation, by_region.study, "orebro"))
    pass_on(node, signed_for_another.study, 0, setting.signed(signed_for_another.invitation, bytes(32)))
    assert setting.store.studies() == []
    assert setting.link.take("message") == []


def test_studies_beyond_a_regions_room_wait_until_one_has_ended(setting: Setting) -> None:
    node = setting.node(reads, limits=Limits(region_studies=2))
    first, second, third = setting.invite(node), setting.invite(node), setting.invite(node)
    assert set(setting.store.studies()) == {first.study, second.study}
    setting.link.sent.clear()
    refusal = setting.signed(m.Refusal(words="no"), first.study, "orebro")
    setting.link.is_busy = True
    pass_on(node, first.study, 1, refusal)
    assert setting.link.take("hello") == []  # a greeting would end what is on its way in pieces
    setting.link.is_busy = False
    node._settle_all()
    ((header, _),) = setting.link.take("hello")  # so that the aggregator begins the third again
    assert header["studies"] == {second.study.hex(): 1}
    node._handle(Received({"type": "welcome", "accepted": {}}, ()))
    setting.invite(node, third)
    assert third.study in setting.store.studies()


def test_a_greeting_lists_running_studies_only(setting: Setting) -> None:
    node = setting.node(reads)
    ended, running = setting.invite(node), setting.invite(node)
    pass_on(node, ended.study, 1, b"no message")
    assert setting.store.has_ended(ended.study)
    node._greet()
    ((header, _),) = setting.link.take("hello")
    assert header["studies"] == {running.study.hex(): 1}


def test_an_error_of_one_study_ends_that_study_only(setting: Setting, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    erring = setting.submission()
    node = setting.node(lambda board: ErringWork() if board.study_digest == erring.study else Approving())
    running = setting.invite(node)
    setting.link.sent.clear()
    setting.invite(node, erring)
    assert _words(setting) == ["halland met an error of its own; see its log"]
    assert setting.store.running() == [running.study]
    assert [path.stem for path in secret_files(setting.folder / "halland")] == [running.study.hex()]
    assert "ZeroDivisionError" in caplog.text
    assert "commitment" in caplog.text  # the place of the error,
    assert "fortythree" not in caplog.text  # and nothing of a patient
    assert list(node._studies) == [running.study]


def test_an_error_that_comes_at_a_restart_ends_the_study_and_its_keys(setting: Setting) -> None:
    def err(board: Board) -> Work | None:
        raise ZeroDivisionError

    study = setting.invite(setting.node(reads)).study
    setting.store.close()
    node = setting.node(err)
    node._settle(study)
    assert _words(setting) == ["halland met an error of its own; see its log"]
    assert setting.store.has_ended(study)
    assert secret_files(setting.folder / "halland") == []


def test_a_disk_that_refuses_still_stops_the_region(setting: Setting) -> None:
    def full(board: Board) -> Work | None:
        raise NodeError("the disk is full")

    node = setting.node(full)
    with pytest.raises(NodeError, match="the disk is full"):
        setting.invite(node)


def test_an_invitation_with_a_key_of_a_newer_roster_says_whose_roster_is_older(
    setting: Setting, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, words = setting.node(reads), "halland has version 1 of the roster in force and aggregator version 2"
    monkeypatch.setattr(setting.link, "differing_roster", lambda: words)
    setting.identities["analyst"] = Identity.passing()  # since version 2
    setting.invite(node)
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "does not carry analyst's signature" in line
    assert words in line


EVIL = "\x1b]0;taken\x07\x1b[2J\n2026-01-01 00:00:00,000 INFO all is well\u202e"


def test_no_control_characters_of_the_aggregator_reach_a_regions_log(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    node = setting.node(reads)
    for kind in ("refused", "turned away"):
        node._handle(Received({"type": kind, "words": EVIL}, ()))
    study = setting.invite(node).study
    body = {
        "version": 2,
        "federation": EVIL,
        "study": study,
        "sender": EVIL,
        "previous": bytes(32),
        "kind": EVIL,
        "content": {EVIL: 1},
        "attachments": [],
    }
    for number, where in ((0, secrets.token_bytes(32)), (1, study)):
        for name in ("federation", "sender"):
            some = {**body, name: "test" if name == "federation" else "halland"}
            pass_on(node, where, number, codec.encode([codec.encode(some), bytes(64)]))
    assert len(caplog.records) >= 5
    assert all(record.getMessage().isprintable() for record in caplog.records)
    assert all(words.isprintable() for words in _words(setting))


# --- At the aggregator ---------------------------------------------------------------------------------------


def _aggregator(setting: Setting, limits: Limits = USUAL) -> AggregatorNode:
    store = Store(setting.folder / "aggregator")
    return AggregatorNode(
        roster=setting.roster,
        identity=setting.identities["aggregator"],
        store=store,
        link=setting.link,  # type: ignore[arg-type]
        limits=limits,
    )


def _greet(node: AggregatorNode, name: str, studies: dict[str, int], connection: str = "") -> None:
    header = {"type": "hello", "version": LINK_VERSION, "protocols": list(PROTOCOLS), "studies": studies}
    node._handle(Received(header, (), name, (connection or name).encode()))
    node._deliver()


def _say(node: AggregatorNode, study: bytes, name: str, envelope: bytes, connection: str = "") -> None:
    header = {"type": "message", "study": study, "number": 0}
    node._handle(Received(header, (envelope,), name, (connection or name).encode()))
    node._deliver()


def test_an_ended_study_is_sent_again_only_to_who_asks_for_it(setting: Setting) -> None:
    node = _aggregator(setting)
    made = setting.submission()
    study = made.study
    _greet(node, "analyst", {})
    _greet(node, "halland", {})
    _say(node, study, "analyst", setting.signed(made.invitation, study))
    assert len(setting.link.take("entry")) == 2  # the analyst and halland
    _greet(node, "orebro", {})
    assert len(setting.link.take("entry")) == 1  # it runs, and orebro has not heard of it
    _say(node, study, "halland", setting.signed(m.Refusal(words="no"), study, "halland"))
    setting.link.sent.clear()
    _greet(node, "orebro", {}, "orebro once more")
    ((welcome, _),) = [one for one in setting.link.sent if one[0]["type"] == "welcome"]
    assert welcome["accepted"] == {}
    assert setting.link.take("entry") == []
    _greet(node, "orebro", {study.hex(): 1}, "orebro again")
    assert [header["number"] for header, _ in setting.link.take("entry")] == [1]


def test_a_message_is_verified_once_and_only_from_its_own_sender(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = _aggregator(setting)
    made = setting.submission()
    calls: list[bytes] = []

    class Counting:
        @classmethod
        def from_public_bytes(cls, data: bytes) -> Ed25519PublicKey:
            calls.append(data)
            return Ed25519PublicKey.from_public_bytes(data)

    monkeypatch.setattr(m, "Ed25519PublicKey", Counting)
    envelope = setting.signed(made.invitation, made.study)
    _greet(node, "halland", {})
    _say(node, made.study, "halland", envelope)  # somebody else's
    ((refused, _),) = setting.link.take("refused")
    assert refused["words"] == "refused a message of halland: halland sent a message of analyst"
    assert calls == []
    _greet(node, "analyst", {})
    setting.link.sent.clear()
    _say(node, made.study, "analyst", envelope[:-1] + bytes([envelope[-1] ^ 1]))
    ((refused, _),) = setting.link.take("refused")
    assert "does not carry analyst's signature" in refused["words"]
    calls.clear()
    _say(node, made.study, "analyst", envelope)
    assert calls == [setting.roster.member("analyst").identity]


def test_no_control_characters_of_a_member_reach_the_aggregators_log(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    node = _aggregator(setting)
    _greet(node, "halland", {})
    for name in ("sender", "federation", "kind"):
        body = {"federation": "test", "sender": "halland", "kind": "sum", name: EVIL}
        _say(node, bytes(32), "halland", codec.encode([codec.encode(body), bytes(64)]))
    words = [header["words"] for header, _ in setting.link.take("refused")]
    assert len(words) == 3
    assert all(one.isprintable() for one in (*words, *(record.getMessage() for record in caplog.records)))


def test_nothing_leaves_for_a_connection_whose_greeting_is_not_answered_yet(setting: Setting) -> None:
    node = _aggregator(setting)
    made = setting.submission()
    for name in ("analyst", "halland"):
        _greet(node, name, {})
    _greet(node, "halland", {})  # waits: it came within a second
    setting.link.sent.clear()
    _say(node, made.study, "analyst", setting.signed(made.invitation, made.study))
    assert len(setting.link.take("entry")) == 1  # the analyst's
    node._greetings._answered.clear()
    node._answer_greetings()
    node._deliver()
    assert len(setting.link.take("entry")) == 1


def test_greetings_without_end_are_answered_once_a_second_and_the_last_one_always(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = _aggregator(setting)
    made = setting.submission()
    _greet(node, "analyst", {})
    _say(node, made.study, "analyst", setting.signed(made.invitation, made.study))
    setting.link.sent.clear()
    for number in (*[0] * 50, 1):
        _greet(node, "halland", {made.study.hex(): number})
    _greet(node, "orebro", {made.study.hex(): 1})
    assert len(setting.link.take("welcome")) == 2  # halland's first and orebro's
    assert len(setting.link.take("entry")) == 0
    node._answer_greetings()
    assert setting.link.take("welcome") == []
    monkeypatch.setattr(connections, "GREETING", 0.0)
    node._answer_greetings()
    assert len(setting.link.take("welcome")) == 1
    assert {one.name: one.next for one in node._connections if one.name == "halland"} == {"halland": {made.study: 1}}


def test_a_greeting_that_asks_for_very_many_studies_is_heard_in_part(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = _aggregator(setting)
    asked: list[bytes] = []

    def has_ended(study: bytes) -> bool:
        asked.append(study)
        return False

    monkeypatch.setattr(node._store, "has_ended", has_ended)
    many = {secrets.token_bytes(32).hex(): 0 for _ in range(2000)}
    assert len(headers_of(*parts_of(({"type": "hello", "studies": many}, ())))) == 1
    _greet(node, "halland", many)
    assert len(setting.link.take("welcome")) == 1
    assert len(asked) == MAX_ASKED
    more = {secrets.token_bytes(32).hex(): 0 for _ in range(4000)}
    assert headers_of(*parts_of(({"type": "hello", "studies": more}, ()))) == []  # not even decoded
    longest = {secrets.token_bytes(32).hex(): 2**32 for _ in range(USUAL.aggregator_studies + MAX_ASKED)}
    assert len(headers_of(*parts_of((welcome(2, longest, setting.roster, time.time()), ())))) == 1


def test_a_member_cannot_fill_the_aggregators_log_nor_keep_others_out_of_it(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    node = _aggregator(setting)
    for number in range(LINES_PER_HOUR):
        _greet(node, "halland", {}, f"halland {number}")
        _say(node, secrets.token_bytes(32), "halland", b"no message", f"halland {number}")
        node._handle(Received({"type": "hello", "version": -1}, (), "halland", b"older %d" % number))
    assert len(caplog.messages) == LINES_PER_HOUR
    assert caplog.messages[-1] == (
        f"halland has brought about {LINES_PER_HOUR} lines in an hour; further ones are left out"
    )
    caplog.clear()
    _greet(node, "orebro", {})
    assert caplog.messages == ["orebro is connected"]
