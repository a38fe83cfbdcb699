"""A region alone with an aggregator that does as it likes: what it keeps, what it says, and when it ends by itself."""

import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import zmq

from hefed.data.policy import Policy
from hefed.node.aggregator_link import AggregatorLink
from hefed.node.analyst import Submission
from hefed.node.consent import Consent
from hefed.node.decision import Answer, Decision, Decisions
from hefed.node.handshake import welcome
from hefed.node.history import History, log_sections
from hefed.node.identity import Identity
from hefed.node.link import Received
from hefed.node.member_link import MemberLink
from hefed.node.region import PATIENCE, RegionNode
from hefed.node.store import Store
from hefed.protocol import messages as m
from hefed.protocol.roster import Roster
from hefed.report.log import LogLine
from hefed.study import Study
from tests.node.runs import secret_files, sent, study_file, wait_for
from tests.node.test_hostile_aggregator import FakeLink, Setting, setting

__all__ = ["setting"]

TAKEN_BACK = "the patients were told otherwise"


class Switch:
    """Stands for a lifeline: a test's thread gets no signals."""

    descriptors: tuple[int, ...] = ()

    def __init__(self) -> None:
        self.cut = False

    def look(self) -> bool:
        return self.cut


class Alone:
    """The region halland in a thread, and the aggregator's end of its link in the hands of the test."""

    def __init__(self, folder: Path, study: Study, seconds: int) -> None:
        self.folder, self.study = folder / "halland", study
        identities = {name: Identity.passing() for name in ("aggregator", "analyst", *study.members)}
        roles = {"aggregator": ("aggregator",), "analyst": ("analyst",)}
        everything = ("contributor", "keyholder", "reader")
        self.roster = Roster.of(
            "test",
            1,
            [one.member(name, roles.get(name, everything)) for name, one in identities.items()],  # type: ignore[arg-type]
        )
        self.identities = identities
        self.submission = Submission(study, self.roster, "analyst", int(time.time()) + seconds)
        self.decisions, self.policy = Decisions(self.folder, identities["halland"]), Policy()
        self.folder.mkdir()
        self.decide("approved")
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.link = AggregatorLink(self._context, identities["aggregator"], self.roster, "127.0.0.1:0")
        self._switch = Switch()
        self._heard: list[Received] = []
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        link = MemberLink(self._context, self.identities["halland"], self.roster, [self.link.address])
        store, identity = Store(self.folder), self.identities["halland"]
        consent = Consent("halland", self.study.tables["halland"], self.policy, self.decisions)
        node = RegionNode(
            name="halland", roster=self.roster, identity=identity, store=store, link=link, consent=consent
        )
        node.run(self._switch)  # type: ignore[arg-type]
        link.close()

    def killed_before_it_noted_what_left(self) -> None:
        """Ends the region's node, and takes from its state what it had noted of messages that left, and also that they
        were about to leave, which an older version did not note.
        """
        self._switch.cut = True
        self._thread.join(10)
        with closing(sqlite3.connect(self.folder / "state.sqlite")) as db, db:
            assert db.execute("UPDATE sent SET left_at = NULL, left_to = NULL").rowcount == 1

    def start_again(self, accepted: int) -> None:
        """Starts it again, and greets it as an aggregator with so many of its messages."""
        self._switch = Switch()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        self.connection = self.hear("hello").connection
        time.sleep(1)  # in which it looks for what its people decided
        known = {self.submission.study.hex(): accepted}
        self.link.send(self.connection, welcome(m.PROTOCOL_VERSION, known, self.roster, time.time()))

    def decide(self, answer: Answer, words: str = "", study: bytes | None = None) -> None:
        """What the people of halland say, by default to the study of this test."""
        decision = Decision(study=study or self.submission.study, answer=answer, words=words, at=time.time())
        self.decisions.write(decision)

    def __enter__(self) -> "Alone":
        self._thread.start()
        hello = self.hear("hello")
        self.connection = hello.connection
        self.link.send(self.connection, welcome(m.PROTOCOL_VERSION, {}, self.roster, time.time()))
        return self

    def __exit__(self, *exception: object) -> None:
        self._switch.cut = True
        self._thread.join(10)
        self.link.close()
        self._context.destroy(linger=0)
        assert not self._thread.is_alive()

    def hear(self, kind: str, seconds: float = 10) -> Received:
        """The next message of a kind from the region."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.link.socket.poll(50)
            self._heard += self.link.receive()
            for index, received in enumerate(self._heard):
                if received.header["type"] == kind:
                    return self._heard.pop(index)
        raise AssertionError(f"the region does not say '{kind}'")

    def hold(self) -> None:
        """Asks the region to greet again, and does not answer: until `release` it sends nothing."""
        self.link.send(self.connection, {"type": "unknown"})
        self.hear("hello")

    def release(self) -> None:
        """Answers the greeting."""
        self.link.send(self.connection, welcome(m.PROTOCOL_VERSION, {}, self.roster, time.time()))

    def pass_on(self, study: bytes, number: int, *frames: bytes) -> None:
        """An entry of a study's record, as the aggregator would."""
        self.link.send(self.connection, {"type": "entry", "study": study, "number": number}, *frames)

    def invite(self) -> m.Message:
        """The study's invitation, passed on; returns the region's approval."""
        self.pass_on(self.submission.study, 0, self.signed("analyst", self.submission.invitation))
        return self.said()

    def said(self, seconds: float = 10) -> m.Message:
        """The next signed message of the region."""
        return m.read_message(self.hear("message", seconds).frames[0], self.roster)

    def signed(self, name: str, content: m.Content, study: bytes | None = None) -> bytes:
        """A first message of a member."""
        return (
            self.identities[name]
            .signer.sign(
                content,
                federation=self.roster.federation,
                study=study or self.submission.study,
                sender=name,
                previous=m.ZERO_HASH,
            )
            .envelope
        )


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Alone]:
    with Alone(tmp_path, Study.load(study_file(tmp_path)), 600) as made:
        yield made


def test_the_aggregator_alone_cannot_make_a_region_keep_anything(alone: Alone) -> None:
    for _ in range(200):
        alone.pass_on(secrets.token_bytes(32), 0, secrets.token_bytes(100))
    refusal = m.Refusal(words="no")
    for name in ("aggregator", "orebro"):
        study = secrets.token_bytes(32)
        alone.pass_on(study, 0, alone.signed(name, refusal, study))
    alone.pass_on(secrets.token_bytes(31), 0, b"x")
    alone.pass_on(alone.submission.study, 1, alone.signed("analyst", alone.submission.invitation))  # not the first
    assert alone.invite().body.kind == "approval"  # it is still there, and this one it keeps
    assert [path.stem for path in secret_files(alone.folder)] == [alone.submission.study.hex()]


def test_a_study_waits_for_the_people_of_the_region_and_nothing_of_it_is_done_before(tmp_path: Path) -> None:
    study = Study.load(study_file(tmp_path))
    with Alone(tmp_path, study, 600) as alone:
        other = Submission(study, alone.roster, "analyst", int(time.time()) + 600)
        alone.pass_on(other.study, 0, alone.signed("analyst", other.invitation, other.study))
        time.sleep(2)
        assert secret_files(alone.folder) == []
        assert sent(alone.folder) == {}
        alone.decide("approved", study=other.study)
        assert alone.said().body.kind == "approval"
        assert [path.stem for path in secret_files(alone.folder)] == [other.study.hex()]


def test_a_refusal_reaches_the_analyst_in_the_words_of_the_region(tmp_path: Path) -> None:
    study = Study.load(study_file(tmp_path))
    with Alone(tmp_path, study, 600) as alone:
        other = Submission(study, alone.roster, "analyst", int(time.time()) + 600)
        alone.pass_on(other.study, 0, alone.signed("analyst", other.invitation, other.study))
        alone.decide("refused", "the ethics board has not seen this", other.study)
        content = alone.said().content
        assert content == m.Refusal(words="halland refuses: the ethics board has not seen this")
        wait_for(lambda: secret_files(alone.folder) == [])


def test_an_approval_can_be_taken_back(alone: Alone) -> None:
    assert alone.invite().body.kind == "approval"
    alone.decide("refused", TAKEN_BACK)
    assert alone.said().content == m.Refusal(words=f"halland refuses: {TAKEN_BACK}")
    wait_for(lambda: secret_files(alone.folder) == [])


def test_a_decision_that_somebody_else_wrote_counts_for_nothing(tmp_path: Path) -> None:
    study = Study.load(study_file(tmp_path))
    with Alone(tmp_path, study, 600) as alone:
        other = Submission(study, alone.roster, "analyst", int(time.time()) + 600)
        stranger = Decisions(alone.folder, Identity.passing())
        stranger.write(Decision(study=other.study, answer="approved", at=time.time()))
        alone.pass_on(other.study, 0, alone.signed("analyst", other.invitation, other.study))
        with pytest.raises(AssertionError, match="does not say"):
            alone.said(2)
        alone.decisions.path(alone.submission.study, "approved").rename(
            alone.decisions.path(other.study, "approved").with_suffix(".approved")
        )  # nor does one for another study
        with pytest.raises(AssertionError, match="does not say"):
            alone.said(2)


def test_an_invitation_under_another_roster_is_refused_in_words(tmp_path: Path) -> None:
    with Alone(tmp_path, Study.load(study_file(tmp_path)), 600) as alone:
        newer = Roster.of("test", 2, alone.roster.members)
        other = Submission(alone.study, newer, "analyst", int(time.time()) + 600)
        alone.pass_on(other.study, 0, alone.signed("analyst", other.invitation, other.study))
        content = alone.said().content
        assert isinstance(content, m.Refusal)
        assert content.words == (
            "halland has version 1 of the roster of test in force, and analyst invites under another one; "
            "put the newest in force wherever an older one is (hefed federation join), restart what runs there, "
            "hefed aggregator before hefed node, and then submit again"
        )
        wait_for(lambda: secret_files(alone.folder) == [])


def test_an_entry_that_comes_several_times_counts_once(alone: Alone) -> None:
    envelope = alone.signed("analyst", alone.submission.invitation)
    for _ in range(5):
        alone.pass_on(alone.submission.study, 0, envelope)
    assert alone.said().body.kind == "approval"
    with pytest.raises(AssertionError, match="does not say"):
        alone.said(1.5)


def test_what_cannot_be_read_ends_a_study_and_its_keys(alone: Alone) -> None:
    alone.invite()
    assert len(secret_files(alone.folder)) == 1
    alone.pass_on(alone.submission.study, 1, b"no message")
    content = alone.said().content
    assert isinstance(content, m.Refusal)
    assert content.words.startswith("what the aggregator passed on cannot be used: ")
    wait_for(lambda: secret_files(alone.folder) == [])
    alone.pass_on(alone.submission.study, 0, alone.signed("analyst", alone.submission.invitation))
    time.sleep(0.5)
    assert secret_files(alone.folder) == []  # an ended study is never taken up again


def test_a_region_that_hears_nothing_more_ends_the_study_after_its_deadline(tmp_path: Path) -> None:
    with Alone(tmp_path, Study.load(study_file(tmp_path)), 2) as alone:
        alone.invite()
        assert len(secret_files(alone.folder)) == 1
        content = alone.said(PATIENCE + 6).content
        assert time.time() > alone.submission.invitation.expires + PATIENCE
        assert isinstance(content, m.Refusal)
        assert content.words == "halland has waited until the study's deadline; it ends here"
        wait_for(lambda: secret_files(alone.folder) == [])


def test_keys_are_destroyed_after_the_deadline_also_when_nobody_can_be_told(tmp_path: Path) -> None:
    with Alone(tmp_path, Study.load(study_file(tmp_path)), 2) as alone:
        alone.invite()
        assert len(secret_files(alone.folder)) == 1
        alone.link.close()
        wait_for(lambda: secret_files(alone.folder) == [], PATIENCE + 8)
        assert time.time() > alone.submission.invitation.expires + PATIENCE


def test_nothing_is_kept_beside_a_message_that_is_not_its_own(tmp_path: Path) -> None:
    study = Study.load(study_file(tmp_path))
    with Alone(tmp_path, study, 600) as alone:
        other = Submission(study, alone.roster, "analyst", int(time.time()) + 600)  # that waits for people
        invitation = alone.signed("analyst", other.invitation, other.study)
        alone.pass_on(other.study, 0, invitation, bytes(10**6))
        content = alone.said().content
        assert isinstance(content, m.Refusal)
        assert content.words == "the aggregator sent beside a 'invitation' of analyst what is not its own"
    assert (alone.folder / "state.sqlite").stat().st_size < 10**6


def test_a_study_without_a_part_for_the_region_takes_no_place(alone: Alone, tmp_path: Path) -> None:
    definition = alone.study.public()
    for names in (definition["contributors"], definition["security"]["keyholders"], definition["security"]["readers"]):
        names.remove("halland")
    invitation = alone.submission.invitation.model_copy(update={"definition": definition, "nonce": bytes(32)})
    study = m.study_hash(invitation, "analyst")
    alone.pass_on(study, 0, alone.signed("analyst", invitation, study))
    assert alone.invite().body.kind == "approval"
    with closing(sqlite3.connect(f"file:{alone.folder / 'state.sqlite'}?mode=ro", uri=True)) as db:
        assert db.execute("SELECT study FROM study").fetchall() == [(alone.submission.study,)]


def test_what_left_right_before_a_kill_is_not_forgotten_when_an_approval_is_taken_back(tmp_path: Path) -> None:
    with Alone(tmp_path, Study.load(study_file(tmp_path)), 600) as alone:
        approval = alone.invite()
        alone.killed_before_it_noted_what_left()
        alone.decide("refused", TAKEN_BACK)
        alone.start_again(accepted=1)
        refusal = alone.said()
        assert refusal.content == m.Refusal(words=f"halland refuses: {TAKEN_BACK}")
        assert refusal.body.previous == approval.digest
        assert list(sent(alone.folder)) == ["approval", "refusal"]


def test_what_has_not_left_does_not_leave_after_a_withdrawal(tmp_path: Path) -> None:
    with Alone(tmp_path, Study.load(study_file(tmp_path)), 600) as alone:
        alone.hold()  # the connection breaks, and the region does not get through
        alone.pass_on(alone.submission.study, 0, alone.signed("analyst", alone.submission.invitation))
        wait_for(lambda: "approval" in sent(alone.folder))
        alone.decide("refused", TAKEN_BACK)
        wait_for(lambda: list(sent(alone.folder)) == ["refusal"])
        alone.release()
        assert alone.said().content == m.Refusal(words=f"halland refuses: {TAKEN_BACK}")


class Line(FakeLink):
    """The region's link. Whenever something leaves, it copies the region's state as a kill at that moment leaves it."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.full = folder, False
        self.copies: list[Path] = []

    def send_all(self, *given: Any) -> bool:
        if self.full:
            return False
        self.copies.append(self.folder.with_name(f"{self.folder.name}-{len(self.copies)}"))
        shutil.copytree(self.folder, self.copies[-1], ignore=shutil.ignore_patterns("*-shm"))
        return bool(super().send_all(*given))


def on_a_line(setting: Setting, folder: Path, accepted: dict[str, int] | None) -> RegionNode:
    """halland with its state in that folder, greeted with what an aggregator says that it has of it, or not at all."""
    identity, setting.link = setting.identities["halland"], Line(folder)
    setting.store = Store(folder)
    consent = Consent("halland", setting.study.tables["halland"], Policy(), Decisions(setting.folder, identity))
    node = RegionNode(
        name="halland", roster=setting.roster, identity=identity, store=setting.store,
        link=setting.link,  # type: ignore[arg-type]
        consent=consent,
    )  # fmt: skip
    if accepted is not None:
        node._handle(Received({"type": "welcome", "accepted": accepted}, ()))
    return node


def say(setting: Setting, study: bytes, answer: Answer, words: str = "") -> None:
    decisions = Decisions(setting.folder, setting.identities["halland"])
    decisions.write(Decision(study=study, answer=answer, words=words, at=time.time()))


def lines_of(folder: Path) -> list[LogLine]:
    """What the log of that home shows of its one study."""
    with History(folder) as history:
        (section,) = log_sections(history, aggregator="aggregator")
    return [line for line in section.lines if line.event == "sent"]


def turn(node: RegionNode) -> None:
    """What a region does between two looks at its link."""
    node._decide()
    node._settle_all()


def said(setting: Setting) -> list[m.Message]:
    return [m.read_message(frames[0], setting.roster) for _, frames in setting.link.take("message")]


@pytest.mark.parametrize("accepted", [0, 1])
def test_a_lying_welcome_after_a_kill_gets_no_second_message_for_one_place(setting: Setting, accepted: int) -> None:
    node = on_a_line(setting, setting.folder / "halland", {})
    made = setting.submission()
    say(setting, made.study, "approved")
    setting.invite(node, made)
    (approval,) = said(setting)
    (killed,) = setting.link.copies  # type: ignore[attr-defined]
    setting.store.close()
    assert [(one.certainty, one.at) for one in lines_of(killed)] == [("not yet", None)]
    say(setting, made.study, "refused", TAKEN_BACK)
    node = on_a_line(setting, killed, {made.study.hex(): accepted})
    turn(node)
    heard = said(setting)
    assert [one.envelope for one in heard[:-1]] == [approval.envelope] * (1 - accepted)
    assert heard[-1].content == m.Refusal(words=f"halland refuses: {TAKEN_BACK}")
    assert heard[-1].body.previous == approval.digest
    setting.store.close()
    assert "left" in {one.certainty for one in lines_of(killed)}


def test_what_found_no_room_on_the_line_does_not_leave_after_a_withdrawal(setting: Setting) -> None:
    node = on_a_line(setting, setting.folder / "halland", {})
    link = setting.link
    assert isinstance(link, Line)
    link.full, made = True, setting.submission()
    say(setting, made.study, "approved")
    setting.invite(node, made)
    assert setting.store.count_marked(made.study) == 1  # it was about to leave
    say(setting, made.study, "refused", TAKEN_BACK)
    turn(node)
    link.full = False
    turn(node)
    (refusal,) = said(setting)
    assert refusal.content == m.Refusal(words=f"halland refuses: {TAKEN_BACK}")
    assert refusal.body.previous == m.ZERO_HASH
    setting.store.close()


def test_a_welcome_that_claims_what_never_left_lets_nothing_more_leave(setting: Setting) -> None:
    """The aggregator says that it has the approval before it left, and after the withdrawal that it has nothing."""
    node = on_a_line(setting, setting.folder / "halland", {})
    link = setting.link
    assert isinstance(link, Line)
    link.full, made = True, setting.submission()
    say(setting, made.study, "approved")
    setting.invite(node, made)
    node._handle(Received({"type": "welcome", "accepted": {made.study.hex(): 1}}, ()))
    say(setting, made.study, "refused", TAKEN_BACK)
    turn(node)
    node._handle(Received({"type": "welcome", "accepted": {}}, ()))
    link.full = False
    turn(node)
    assert [one.content for one in said(setting)] == [m.Refusal(words=f"halland refuses: {TAKEN_BACK}")]
    setting.store.close()
