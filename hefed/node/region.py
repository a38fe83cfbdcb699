"""A region's process: a part in each study, all stored before anything is sent, one outbound connection."""

import gc
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import zmq

from hefed.crypto.buffer import Buffer
from hefed.node.consent import CLOCK_TOLERANCE, Consent
from hefed.node.frames import Link, together
from hefed.node.identity import Identity
from hefed.node.invitation import is_asked, read_invitation, title, unfit
from hefed.node.lifeline import Lifeline
from hefed.node.limits import USUAL, Limits
from hefed.node.link import BEAT, Received
from hefed.node.logs import BoundedLog
from hefed.node.member_link import MemberLink
from hefed.node.participation import Participation
from hefed.node.rosters import Rosters
from hefed.node.store import Store
from hefed.protocol import messages as m
from hefed.protocol.coordinator import delivers_attachments
from hefed.protocol.errors import ProtocolError
from hefed.protocol.roster import Roster
from hefed.protocol.rules import Phase

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds after a study's deadline that a region still listens for the aggregator's word before it ends the study
itself.
"""

LEAST_SWEEP, SWEEP = 10.0, 600.0
"""Seconds between looks for what has been kept long enough: the longer, unless it is kept for less."""
TELL = 0.2
"""Seconds between two standings that are told."""
LOOK = 0.5
"""Seconds between looks for what the region's people decided."""

Report = Callable[[Mapping[str, Any]], None]


class RegionNode:
    """A region: contributor, keyholder, reader, as each study says. `run` returns when the lifeline is cut."""

    def __init__(
        self,
        *,
        name: str,
        roster: Roster,
        identity: Identity,
        store: Store,
        link: MemberLink,
        consent: Consent,
        earlier: Sequence[Roster] = (),
        keep_days: float = 30.0,
        threads: int = 1,
        limits: Limits = USUAL,
        report: Report | None = None,
    ) -> None:
        """`earlier` are rosters that were in force before, for studies that began under them. Ciphertexts of a study
        stay for `keep_days` after its end. Encrypting and answering work by that many `threads`. `report` gets the
        node's standing, as plain values, about once a second.
        """
        self._name, self._roster, self._identity = name, roster, identity
        self._store, self._link, self._consent = store, link, consent
        self._rosters = Rosters(name, roster, earlier)
        self._report, self._keep_seconds = report, keep_days * 86400
        self._threads, self._limits = threads, limits
        self._sweep = min(SWEEP, max(LEAST_SWEEP, self._keep_seconds))
        self._studies: dict[bytes, Participation] = {}
        self._welcome = self._crowded = self._has_room = self._one_ended = False
        self._accepted: dict[Any, Any] = {}
        self._ready_since: float | None = None
        self._trouble = ""
        self._messages = self._bytes = 0
        self._bounded = BoundedLog(log, "the aggregator")
        store.destroy_leftovers()
        for study in store.running():
            self._restore(study)

    def _restore(self, study: bytes) -> None:
        running = self._studies[study] = self._participation(study, self._rosters.of(self._store, study))
        try:
            words = self._rosters.changed(self._store, study)
            if words:
                running.decline(words)
            else:
                running.restore()
        except ProtocolError as error:  # what is stored is of an older version: it cannot go on, nor say so
            log.error("study %s cannot go on after the upgrade: %s", study.hex()[:8], m.printable(str(error)))
            self._store.end_study(study, time.time(), f"ended at an upgrade: {error}")
            del self._studies[study]
            return
        self._settle(study)
        log.info("took up study %s again at message %d", running.title, running.received)

    def _participation(self, study: bytes, roster: Roster) -> Participation:
        return Participation(
            name=self._name,
            identity=self._identity,
            roster=roster,
            store=self._store,
            consent=self._consent,
            study=study,
            threads=self._threads,
        )

    def run(self, lifeline: Lifeline) -> None:
        """Serves until the lifeline is cut."""
        poller = zmq.Poller()
        for source in (self._link.socket, self._link.monitor, *lifeline.descriptors):
            poller.register(source, zmq.POLLIN)
        beat = looked = swept = told = 0.0
        while not lifeline.look():
            poller.poll(200)
            if self._link.news():
                self._greet()
            self._tell_trouble()
            self._take_in()
            now = time.time()
            if now - looked >= LOOK:
                looked = now
                self._decide()
            self._settle_all()
            if now - beat >= BEAT:
                beat = now
                self._store.commit()  # what was only received: after a kill before this it is asked for again
                self._link.send({"type": "beat"})
                self._expire(now)
                if now - swept >= self._sweep:
                    swept = now
                    self._store.prune(now - self._keep_seconds)
            if self._report and time.monotonic() - told >= TELL:
                told = time.monotonic()
                self._report(self.status())
        self._store.close()

    def forget(self) -> None:
        """Erases the keys of all studies from memory, as far as Python allows, and leaves off what is made ahead."""
        for running in self._studies.values():
            running.forget()

    def _decide(self) -> None:
        for running in list(self._studies.values()):
            running.decide()

    def _settle_all(self) -> None:
        for study in list(self._studies):
            self._settle(study)
        if self._has_room and not self._link.is_busy:
            self._crowded = self._has_room = False
            self._greet()  # the aggregator then begins those again that found no room
        if self._one_ended:
            # Its keys and its table are in objects that refer to each other, which would stay for many more studies.
            self._one_ended = False
            gc.collect()

    def _take_in(self) -> None:
        for received in self._link.receive():
            self._handle(received)

    # --- the link -----------------------------------------------------------------------------------------------------

    def _greet(self) -> None:
        self._welcome = False
        wanted = {study.hex(): running.received for study, running in self._studies.items()}
        self._link.greet(wanted)

    def _handle(self, received: Received) -> None:
        match received.header:
            case {"type": "welcome", "accepted": dict(accepted)}:
                self._welcome = True
                self._ready_since = time.time()
                self._accepted = accepted
                for study, running in self._studies.items():
                    running.note_accepted(accepted.get(study.hex()))
                self._on_welcome()
            case {"type": "entry", "study": bytes(study), "number": int(number)} if received.frames:
                self._take(study, number, received.frames)
            case {"type": "entry", "study": bytes(study), "number": int()} if received.too_long:
                self._refuse_long(study, received.size)
            case {"type": "unknown"}:
                self._greet()
            case {"type": "refused", "words": str(words)}:
                self._log(logging.ERROR, f"the aggregator says: {words}")

    def _on_welcome(self) -> None:
        self._log(logging.INFO, f"ready: the aggregator has greeted {self._name}")
        differs = self._link.differing_roster()
        if differs:
            self._log(logging.WARNING, differs)
        welcome = self._link.welcome
        if welcome and welcome.time is not None and abs(welcome.time - time.time()) > CLOCK_TOLERANCE:
            apart = f"{abs(welcome.time - time.time()):.0f} s"
            self._log(
                logging.WARNING, f"the clocks of {self._name} and the aggregator are {apart} apart; set both right"
            )

    def _tell_trouble(self) -> None:
        """Logs why there is no greeted connection, when that changes."""
        trouble = str(self._link.trouble() or "")
        if trouble != self._trouble:
            self._trouble = trouble
            if trouble:
                self._log(logging.WARNING, trouble)

    def _log(self, level: int, words: str) -> None:
        """A line whose number or words are up to the aggregator: printable, and not without end."""
        self._bounded.log(level, m.printable(words))

    def _take(self, study: bytes, number: int, frames: tuple[Buffer, ...]) -> None:
        running = self._studies.get(study)
        if running is None:
            if len(study) != 32 or self._store.has_ended(study):
                return
            running = self._new_study(study, number, bytes(frames[0]))
        if running is None or running.ended:
            return
        if number != running.received:
            if number > running.received:
                self._greet()
            return
        envelope, attachments = bytes(frames[0]), () if running.lost else frames[1:]
        try:
            if running.board.phase is not Phase.INVITATION:
                self._limits.require_record(number + 1, 2 + len(running.board.study.members))
            message = running.read(envelope)
        except ProtocolError as error:
            running.decline(f"what the aggregator passed on cannot be used: {error}")
            return
        if attachments and not self._belong(running, message, attachments):
            running.decline(
                f"the aggregator sent beside a '{message.body.kind}' of {message.sender} what is not its own"
            )
            return
        self._store.append(study, number, message, time.time(), attachments)
        if number == 0:
            self._store.commit()  # so that its people, in processes of their own, find what they are told of
        running.follow(message, attachments)

    def _refuse_long(self, study: bytes, size: int) -> None:
        running = self._studies.get(study)
        if running is None:
            return
        try:
            self._limits.require_room(self._roster.aggregator.name, 0, size)
        except ProtocolError as error:
            running.decline(f"what the aggregator passed on cannot be used: {error}")

    def _belong(self, running: Participation, message: m.Message, attachments: tuple[Buffer, ...]) -> bool:
        """Whether what came beside a message is for this region, and the sender's: nothing else is kept."""
        board, bound = running.board, message.body.attachments
        known = board.phase is not Phase.INVITATION and not running.waits
        return (
            known
            and delivers_attachments(board, message.body.kind, self._name)
            and board.keeps_attachments(message)
            and len(bound) == len(attachments)
            and all(one.matches(data) for one, data in zip(bound, attachments, strict=True))
        )

    def _new_study(self, study: bytes, number: int, envelope: bytes) -> Participation | None:
        """Only an analyst's own invitation makes a region keep anything: the aggregator alone cannot fill its disk."""
        if number != 0:
            return None
        if len(self._studies) >= self._limits.region_studies:
            self._crowded = True
            most = self._limits.region_studies
            self._log(logging.WARNING, f"{most} studies run or wait here; another one waits for room")
            return None
        try:
            invitation = read_invitation(envelope, study, self._roster)
        except ProtocolError as error:
            differs = self._link.differing_roster()  # a new key of the analyst's is not known here then
            self._log(
                logging.ERROR,
                f"the aggregator passed on what cannot be used: {error}" + (f"; {differs}" if differs else ""),
            )
            return None
        words = unfit(invitation, self._roster, self._name)
        if words is None and isinstance(invitation.content, m.Invitation):
            words = self._limits.too_long(self._name, invitation.content.expires, time.time())
        if not is_asked(invitation.content, self._name):
            self._log(logging.INFO, f"{invitation.sender} invites to a study that {self._name} has no part in")
            return None
        self._store.add_study(study, name=title(invitation.content), analyst=invitation.sender, began=time.time())
        running = self._studies[study] = self._participation(study, self._roster)
        running.note_accepted(self._accepted.get(study.hex()))
        if words:
            running.decline(words)  # and the invitation itself is not kept
            return None
        return running

    def _settle(self, study: bytes) -> None:
        """Sends what is due, once all that it follows from is flushed and that it is about to leave, and destroys the
        secrets of a study that has ended.
        """
        running = self._studies[study]
        if self._welcome and running.to_send < self._store.count_sent(study):
            running.decide()  # nothing more leaves once the people of the region took their approval back
        total = self._store.count_sent(study)
        if running.to_send < total:
            if self._welcome:
                self._store.mark_leaving(study, running.to_send, self._roster.aggregator.name)
            self._store.commit()
        if self._welcome:
            for some in together(self._to_send(running, total)):
                if not self._link.send_all(*some):
                    return
                for header, frames in some:
                    self._store.mark_left(study, header["number"], time.time(), self._roster.aggregator.name)
                    self._messages += 1
                    self._bytes += sum(map(len, frames))
                    running.note_left()
        if running.ended and running.to_send >= total:
            self._end(study)
            log.info("study %s has ended here; its keys are destroyed", running.title)

    def _to_send(self, running: Participation, total: int) -> Iterator[Link]:
        for number in range(running.to_send, total):
            header = {"type": "message", "study": running.study, "number": number}
            yield header, self._store.sent_leaving(running.study, number)

    def _end(self, study: bytes) -> None:
        if not self._studies[study].was_closed:
            self._store.forget_opened(study)
        self._store.end_study(study, time.time(), self._studies[study].outcome)
        del self._studies[study]
        self._one_ended = True
        self._has_room = self._crowded

    def _expire(self, now: float) -> None:
        for study, running in list(self._studies.items()):
            board = running.board
            if board.phase is not Phase.INVITATION and now > board.invitation.expires + PATIENCE:
                running.expire()
                self._settle(study)
                if study in self._studies:
                    self._end(study)

    # --- for people ---------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """The node's standing as plain values, for `hefed status` and metrics."""
        now = time.time()
        return {
            "role": "region",
            "name": self._name,
            "connected": self._link.greeted,
            "ready_since": self._ready_since if self._link.greeted else None,
            "trouble": self._trouble,
            "notice": self._link.differing_roster() or "",
            "roster": self._roster.version,
            "present": list(self._link.present),
            "studies": [running.standing(now) for running in self._studies.values()],
            "messages_sent": self._messages,
            "bytes_sent": self._bytes,
        }
