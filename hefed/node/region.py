"""A region's process: one protocol machine a study, all stored before anything is sent, one outbound connection."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import zmq

from hefed.node.errors import NodeError
from hefed.node.identity import Identity
from hefed.node.lifeline import Lifeline
from hefed.node.link import BEAT, LINK_VERSION, MemberLink, Received
from hefed.node.logs import places
from hefed.node.store import Store, StoredMessage
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.errors import ProtocolError
from hefed.protocol.member import Member
from hefed.protocol.ports import Outgoing, Work
from hefed.protocol.roster import Roster
from hefed.protocol.rules import Phase

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds after a study's deadline that a region still listens for the aggregator's word before it ends the study
itself.
"""

MAX_STUDIES = 32
"""Studies that run at once in a region; each keeps a table in memory and a key on disk. Further ones wait for room."""
LINES_PER_HOUR = 200
"""Lines of the log that the aggregator can bring about; more are left out, so that it cannot fill the disk with them.
"""

Prepare = Callable[[Board], Work | None]


@dataclass
class _Study:
    member: Member
    received: int = 0
    to_send: int = 0


class RegionNode:
    """A region: contributor, keyholder, reader, as each study says. `run` returns when the lifeline is cut."""

    def __init__(
        self, *, name: str, roster: Roster, identity: Identity, store: Store, link: MemberLink, prepare: Prepare
    ) -> None:
        """`prepare` decides about an invitation and gives the region's own work; see `work`."""
        self._name, self._roster, self._identity = name, roster, identity
        self._store, self._link, self._prepare = store, link, prepare
        self._studies: dict[bytes, _Study] = {}
        self._welcome = self._crowded = False
        self._lines, self._lines_since = 0, time.monotonic()
        store.destroy_leftovers()
        for study in store.running():
            self._restore(study)

    def _member(self, study: bytes) -> Member:
        def recall(key: str) -> Outgoing | None:
            stored = self._store.recall(study, key)
            return self._outgoing(stored) if stored else None

        return Member(
            name=self._name,
            signer=self._identity.signer,
            roster=self._roster,
            study=study,
            vault=self._store.vault(study),
            recall=recall,
            prepare=self._prepare,
        )

    def _outgoing(self, stored: StoredMessage) -> Outgoing:
        return Outgoing(stored.key, m.read_message(stored.envelope, self._roster), stored.attachments)

    def _restore(self, study: bytes) -> None:
        running = self._studies[study] = _Study(self._member(study))
        for entry in self._store.entries(study):
            self._advance(study, entry.envelope, entry.attachments)
            running.received += 1
        if self._store.recall(study, "refusal") is not None:
            running.member.decline("")  # said before the restart; the member sends the same words again
        self._settle(study)
        log.info("took up study %s again at message %d", study.hex()[:8], running.received)

    def run(self, lifeline: Lifeline) -> None:
        """Serves until the lifeline is cut."""
        poller = zmq.Poller()
        for source in (self._link.socket, self._link.monitor, *lifeline.descriptors):
            poller.register(source, zmq.POLLIN)
        beat = 0.0
        while not lifeline.look():
            poller.poll(200)
            if self._link.news():
                self._greet()
            for received in self._link.receive():
                self._handle(received)
            for study in list(self._studies):
                self._settle(study)
            now = time.time()
            if now - beat >= BEAT:
                beat = now
                self._link.send({"type": "beat"})
                self._expire(now)
        self._store.close()

    # --- the link -----------------------------------------------------------------------------------------------------
    # --------------

    def _greet(self) -> None:
        self._welcome = False
        wanted = {study.hex(): running.received for study, running in self._studies.items()}
        self._link.send({"type": "hello", "version": LINK_VERSION, "studies": wanted})

    def _handle(self, received: Received) -> None:
        match received.header:
            case {"type": "welcome", "accepted": dict(accepted)}:
                self._welcome = True
                for study, running in self._studies.items():
                    number = accepted.get(study.hex(), 0)
                    running.to_send = number if isinstance(number, int) and number >= 0 else 0
                self._log(logging.INFO, f"ready: the aggregator has greeted {self._name}")
            case {"type": "entry", "study": bytes(study), "number": int(number)} if received.frames:
                self._take(study, number, received.frames)
            case {"type": "unknown"}:
                self._greet()
            case {"type": "refused", "words": str(words)} | {"type": "turned away", "words": str(words)}:
                self._log(logging.ERROR, f"the aggregator says: {words}")

    def _log(self, level: int, words: str) -> None:
        """A line whose number or words are up to the aggregator: printable, and not without end."""
        now = time.monotonic()
        if now - self._lines_since > 3600:
            self._lines, self._lines_since = 0, now
        self._lines += 1
        if self._lines < LINES_PER_HOUR:
            log.log(level, "%s", m.printable(words))
        elif self._lines == LINES_PER_HOUR:
            log.error("the aggregator has brought about %d lines in an hour; further ones are left out", self._lines)

    def _take(self, study: bytes, number: int, frames: tuple[bytes, ...]) -> None:
        if len(study) != 32 or self._store.has_ended(study):
            return
        running = self._studies.get(study) or self._new_study(study, number, frames[0])
        if running is None:
            return
        if number != running.received:
            if number > running.received:
                self._greet()
            return
        envelope, attachments = frames[0], frames[1:]
        try:
            message = m.read_message(envelope, self._roster)
        except ProtocolError as error:
            self._keep(study, running.member.decline(f"what the aggregator passed on cannot be used: {error}"))
            return
        self._store.append(study, number, message, time.time(), attachments)
        running.received += 1
        self._advance(study, envelope, attachments)

    def _new_study(self, study: bytes, number: int, envelope: bytes) -> _Study | None:
        """Only an analyst's own invitation makes a region keep anything: the aggregator alone cannot fill its disk."""
        if number != 0:
            return None
        if len(self._studies) >= MAX_STUDIES:
            self._crowded = True
            self._log(logging.WARNING, f"{MAX_STUDIES} studies run here; another one waits for room")
            return None
        try:
            self._require_invitation(study, envelope)
        except ProtocolError as error:
            self._log(logging.ERROR, f"the aggregator passed on what cannot be used: {error}")
            return None
        self._store.add_study(study)
        running = self._studies[study] = _Study(self._member(study))
        return running

    def _require_invitation(self, study: bytes, envelope: bytes) -> None:
        """Raises ProtocolError unless this is an analyst's invitation to this very study, under our roster."""
        message = m.read_message(envelope, self._roster)
        content = message.content
        if not isinstance(content, m.Invitation):
            raise ProtocolError(f"a '{message.body.kind}' of {message.sender} came before the study's invitation")
        self._roster.require(message.sender, "analyst")
        if not message.body.study == study == m.study_hash(content, message.sender):
            raise ProtocolError(f"an invitation of {message.sender} is not the study that it is sent as")
        if content.roster != self._roster.digest:
            raise ProtocolError(
                f"{message.sender} invites to a study under another version of the roster of "
                f"{self._roster.federation}; see to it that both have the newest"
            )

    def _advance(self, study: bytes, envelope: bytes, attachments: tuple[bytes, ...]) -> None:
        member = self._studies[study].member
        try:
            outgoing = member.receive(envelope, attachments)
        except NodeError:
            raise  # the disk's: no study can go on
        except Exception as error:
            # The places and the kind only: the words of an error of ours could hold a value of a patient.
            log.error("study %s: an error of our own, %s", study.hex()[:8], places(error))
            outgoing = member.decline(f"{self._name} met an error of its own; see its log")
        self._keep(study, outgoing)

    def _keep(self, study: bytes, outgoing: list[Outgoing]) -> None:
        for message in outgoing:
            if self._store.recall(study, message.key) is None:
                self._store.remember(study, message.key, message.message.envelope, message.attachments)
                log.info("study %s: %s", study.hex()[:8], message.key)

    def _settle(self, study: bytes) -> None:
        """Flushes, sends what is due, and destroys the secrets of a study that has ended."""
        running = self._studies[study]
        self._store.commit()
        total = self._store.count_sent(study)
        while self._welcome and running.to_send < total:
            stored = self._store.sent(study, running.to_send)
            header = {"type": "message", "study": study, "number": stored.number}
            if not self._link.send(header, stored.envelope, *stored.attachments):
                return
            running.to_send += 1
        if running.member.ended and running.to_send >= total:
            self._end(study)
            log.info("study %s has ended here; its keys are destroyed", study.hex()[:8])

    def _end(self, study: bytes) -> None:
        self._store.end_study(study)
        del self._studies[study]
        if self._crowded:
            self._crowded = False
            self._greet()  # the aggregator then begins those again that found no room

    def _expire(self, now: float) -> None:
        for study, running in list(self._studies.items()):
            board = running.member.board
            if board.phase is not Phase.INVITATION and now > board.invitation.expires + PATIENCE:
                self._keep(
                    study, running.member.decline(f"{self._name} has waited until the study's deadline; it ends here")
                )
                self._settle(study)
                if study in self._studies:
                    self._end(study)
