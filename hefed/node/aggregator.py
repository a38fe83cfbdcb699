"""The aggregator's process: one coordinator a study, everything stored before anything is delivered.

Relies on the store for what was said, on the link for who said it, and on the coordinator for every decision. A study
that has ended is not kept in memory: it is read again for whoever asks for the rest of it.
"""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import zmq

from hefed.crypto.errors import CryptoError
from hefed.node.aggregator_link import AggregatorLink
from hefed.node.connections import Connection, Connections, Greetings
from hefed.node.frames import Link, together
from hefed.node.handshake import OURS, RosterState, Versions, asked_for, differing_rosters, turned_away, welcome
from hefed.node.identity import Identity
from hefed.node.lifeline import Lifeline
from hefed.node.limits import USUAL, Limits
from hefed.node.link import BEAT, Received
from hefed.node.logs import BoundedLog
from hefed.node.rosters import Rosters
from hefed.node.store import Store
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.coordinator import Coordinator, Entry, delivers_attachments, give_up
from hefed.protocol.ending import day, require_lasting
from hefed.protocol.errors import ProtocolError
from hefed.protocol.roster import Roster
from hefed.protocol.rules import Phase

log = logging.getLogger(__name__)

LEAST_SWEEP, SWEEP = 10.0, 600.0
"""Seconds between looks for what has been kept long enough: the longer, unless it is kept for less."""
SHOWN_ENDED = 20
"""Studies that have ended, of which `status` still tells."""
HOLD = 0.05
"""Seconds for which an entry that nobody has to act upon waits, so that those that follow leave with it: a member then
takes a step's messages in one turn, and both ends flush once.
"""

Report = Callable[[Mapping[str, Any]], None]


@dataclass
class _Record:
    """How long a study's record is, and whom it concerns; the board has at least the invitation."""

    board: Board
    length: int
    ended: bool = False
    place: tuple[str, int] = ("", 0)
    since: float = 0.0
    shown: int = 0
    """How many entries may leave."""
    due: float = math.inf
    """When all of them may, in seconds of the monotonic clock."""

    def hold(self, seconds: float) -> None:
        """All that is here may leave in so many seconds at the latest."""
        self.due = min(self.due, time.monotonic() + seconds)

    def release(self) -> None:
        """Lets all entries leave once that is due."""
        if self.due <= time.monotonic():
            self.shown, self.due = self.length, math.inf

    def concerns(self, name: str) -> bool:
        return self.board.phase is not Phase.INVITATION and (name in self.board.members or name == self.board.analyst)


class AggregatorNode:
    """Relays, adds and waits. `run` returns when the lifeline is cut."""

    def __init__(
        self,
        *,
        roster: Roster,
        identity: Identity,
        store: Store,
        link: AggregatorLink,
        earlier: Sequence[Roster] = (),
        keep_days: float = 30.0,
        limits: Limits = USUAL,
        report: Report | None = None,
    ) -> None:
        """`earlier` are rosters that were in force before, for studies that began under them. Ciphertexts of a study
        stay for `keep_days` after its end. `report` gets the aggregator's standing, as plain values, about once a
        second.
        """
        self._roster, self._identity, self._store, self._link = roster, identity, store, link
        self._name, self._report, self._limits = roster.aggregator.name, report, limits
        self._rosters = Rosters(self._name, roster, earlier)
        self._keep_seconds, self._swept = keep_days * 86400, 0.0
        self._sweep = min(SWEEP, max(LEAST_SWEEP, self._keep_seconds))
        self._studies: dict[bytes, Coordinator] = {}
        self._records: dict[bytes, _Record] = {}
        self._ended: deque[dict[str, Any]] = deque(maxlen=SHOWN_ENDED)
        self._connections = Connections((member.name for member in roster.members), limits.connections_member // 2)
        self._greetings = Greetings()
        self._lines = {member.name: BoundedLog(log, member.name) for member in roster.members}
        self._messages = self._bytes = 0
        for study in store.running():
            self._restore(study)

    def _coordinator(self, study: bytes) -> Coordinator:
        roster = self._rosters.of(self._store, study)
        return Coordinator(roster, self._identity.signer, study, partial(self._store.attachments, study))

    def _restore(self, study: bytes) -> None:
        coordinator = self._coordinator(study)
        now = time.time()  # the time for which the aggregator was away does not count against a phase
        try:
            for entry in self._store.entries(study):
                coordinator.restore(entry.envelope, entry.attachments, now)
        except ProtocolError as error:  # what is stored is of an older version: it cannot go on, nor say so
            log.error("study %s cannot go on after the upgrade: %s", study.hex()[:8], m.printable(str(error)))
            self._store.end_study(study, now, f"ended at an upgrade: {error}")
            return
        self._studies[study] = coordinator
        length = self._store.length(study)
        self._records[study] = _Record(coordinator.board, length, shown=length)
        log.info("took up study %s again in phase %s", study.hex()[:8], coordinator.board.phase)
        words = self._rosters.changed(self._store, study)
        if words:
            self._append(study, give_up(coordinator, ProtocolError(words), now), now)
        self._follow_phase(study, now)

    def run(self, lifeline: Lifeline) -> None:
        """Serves until the lifeline is cut."""
        poller = zmq.Poller()
        poller.register(self._link.socket, zmq.POLLIN)
        for descriptor in lifeline.descriptors:
            poller.register(descriptor, zmq.POLLIN)
        beat = 0.0
        while not lifeline.look():
            poller.poll(self._until_due())
            self._take_in()
            self._answer_greetings()
            if time.monotonic() - beat >= BEAT:
                beat = time.monotonic()
                self._beat()
            at_hand = self._connections.at_hand()
            for study, coordinator in list(self._studies.items()):
                now = time.time()
                self._append(study, coordinator.tick(now, at_hand), now)
            self._deliver()
        self._store.close()

    def _until_due(self) -> int:
        """Milliseconds for which nothing has to leave."""
        due = min((record.due for record in self._records.values()), default=math.inf)
        return max(0, min(200, math.ceil(1000 * (due - time.monotonic())))) if due < math.inf else 200

    def _beat(self) -> None:
        for name in self._connections.beat(self._link):
            self._log(name, logging.WARNING, f"{name} is not connected any more")
        self._let_go()
        self._store.commit()
        now = time.time()
        if now - self._swept >= self._sweep:
            self._swept = now
            self._store.prune(now - self._keep_seconds)
        if self._report:
            self._report(self.status())

    def _take_in(self) -> None:
        for received in self._link.receive():
            self._handle(received)

    # --- from members -------------------------------------------------------------------------------------------------

    def _handle(self, received: Received) -> None:
        kind = received.header["type"]
        if kind == "hello":
            self._greetings.add(received)
            self._answer_greetings()
        elif kind == "probe":
            self._answer_probe(received)
        elif self._connections.get(received.connection, received.sender) is None:
            self._link.send(received.connection, {"type": "unknown"})
        elif kind == "message":
            self._take(received)

    def _log(self, name: str, level: int, words: str) -> None:
        """A line that a member has brought about."""
        self._lines[name].log(level, words)

    def _answer_greetings(self) -> None:
        for received in self._greetings.due():
            self._greet(received)

    def _answer_probe(self, received: Received) -> None:
        answer = {
            "type": "probed",
            "version": OURS.link,
            "protocols": list(OURS.protocols),
            "package": OURS.package,
            "time": time.time(),
            "roster": RosterState.of(self._roster).plain(),
            "connected": self._connections.has_node(received.sender),
        }
        self._link.send(received.connection, answer)

    def _greet(self, received: Received) -> None:
        name, wanted, theirs = received.sender, asked_for(received.header), Versions.read(received.header)
        protocol = OURS.common(theirs)
        if protocol is None or wanted is None:
            words = turned_away(self._name, name, theirs)
            self._log(name, logging.WARNING, words)
            self._link.send(received.connection, {"type": "turned away", "words": words})
            return
        only = received.header.get("only") is True
        connection = Connection(received.connection, name, time.time(), theirs.package)
        if only:
            connection.only = frozenset(study for study in map(_study_of, wanted) if study)
        self._connections.admit(connection)
        self._store.commit()  # what is said to be here must be here after a fall of the machine too
        accepted = {}
        for study in {**self._studies, **dict.fromkeys(self._asked_again(wanted))}:
            record = self._record(study)
            if record is None or not record.concerns(name) or not connection.follows(study):
                continue
            number = wanted.get(study.hex(), 0)
            connection.next[study] = number if type(number) is int and 0 <= number <= record.length else 0
            accepted[study.hex()] = self._store.sent_by(study, name)
        self._link.send(received.connection, welcome(protocol, accepted, self._roster, time.time()))
        self._log(name, logging.INFO, f"{name} is connected{' to follow a study' if only else ''}")
        theirs_roster = RosterState.read(received.header.get("roster"))
        if words := differing_rosters(self._name, RosterState.of(self._roster), name, theirs_roster) or "":
            self._log(name, logging.WARNING, words)

    def _asked_again(self, wanted: Mapping[str, Any]) -> list[bytes]:
        """Those of the studies that a member wants, that have ended here."""
        return [study for study in map(_study_of, wanted) if study and self._store.has_ended(study)]

    def _take(self, received: Received) -> None:
        study, number, name = received.header.get("study"), received.header.get("number"), received.sender
        if not isinstance(study, bytes) or len(study) != 32 or type(number) is not int or not received.size:
            return
        accepted = self._store.sent_by(study, name)
        if number != accepted:
            if number > accepted:
                self._link.send(received.connection, {"type": "unknown"})
            return
        now = time.time()
        coordinator = self._studies.get(study) or self._new_study(study, name, received.connection)
        if coordinator is None:
            return
        try:
            self._require_part(name, coordinator)
            self._limits.require_room(name, number, received.size)
            envelope, attachments = bytes(received.frames[0]), received.frames[1:]
            entries = coordinator.receive(envelope, attachments, now, self._connections.at_hand(), name)
            self._require_end(study, coordinator, now)
        except (ProtocolError, CryptoError) as error:
            words = m.printable(f"refused a message of {name}: {error}")
            self._log(name, logging.WARNING, words)
            self._link.send(received.connection, {"type": "refused", "study": study, "words": words})
            # Only those with a part in a study can end it, and they could do so by refusing their part.
            fault = ProtocolError(words)
            ends = study in self._studies and _Record(coordinator.board, 0).concerns(name)
            entries = give_up(coordinator, fault, now) if ends else []
        else:
            self._begin(study, coordinator, now)
        self._append(study, entries, now)

    def _require_part(self, name: str, coordinator: Coordinator) -> None:
        if coordinator.board.phase is not Phase.INVITATION and not _Record(coordinator.board, 0).concerns(name):
            raise ProtocolError(f"{name} has no part in this study")

    def _require_end(self, study: bytes, coordinator: Coordinator, now: float) -> None:
        if study in self._studies:
            return
        board = coordinator.board
        require_lasting(self._roster, {board.analyst, self._name, *board.study.members}, day(now))
        words = self._limits.too_long(self._name, board.invitation.expires, now)
        if words:
            raise ProtocolError(words)

    def _new_study(self, study: bytes, sender: str, connection: bytes) -> Coordinator | None:
        if self._store.length(study):
            self._log(sender, logging.WARNING, f"a message of {sender} for a study that has ended; nothing is done")
            return None
        if len(self._studies) >= self._limits.aggregator_studies:
            words = (
                f"{self._name} has no room: {len(self._studies)} studies run there, and its [limits] "
                "aggregator_studies allows no more; submit again when one has ended"
            )
            self._log(sender, logging.WARNING, words)
            self._link.send(connection, {"type": "refused", "study": study, "words": words})
            return None
        return self._coordinator(study)

    def _begin(self, study: bytes, coordinator: Coordinator, now: float) -> None:
        """Takes in a study whose invitation has come, for every connection that it concerns."""
        if study in self._studies:
            return
        board = coordinator.board
        self._studies[study] = coordinator
        record = self._records[study] = _Record(board, 0)
        self._store.add_study(study, name=str(board.study.id), analyst=board.analyst, began=now)
        for connection in self._connections:
            if record.concerns(connection.name) and connection.follows(study):
                connection.next[study] = 0

    # --- studies ------------------------------------------------------------------------------------------------------

    def _append(self, study: bytes, entries: list[Entry], now: float) -> None:
        if not entries:
            return
        record = self._records[study]
        for entry in entries:
            self._store.append(study, record.length, entry.message, now, entry.attachments)
            record.length += 1
        before = record.place
        self._follow_phase(study, now)
        acts = record.place != before or any(entry.message.sender == self._name for entry in entries)
        record.hold(0 if acts else HOLD)

    def _follow_phase(self, study: bytes, now: float) -> None:
        board, record = self._studies[study].board, self._records[study]
        place = str(board.phase), len(board.rounds)
        if place != record.place:
            record.place, record.since = place, now
        if board.phase is Phase.ENDED:
            self._ended.append(self._study_standing(study))
            words = board.outcome.words if board.outcome else ""
            self._store.end_study(study, now, words)
            del self._studies[study]
            record.ended = True

    def _record(self, study: bytes) -> _Record | None:
        """Of a study that runs, or has ended and is wanted again: then its invitation says whom it concerns."""
        if study not in self._records:
            board, length = Board(self._roster, study), self._store.length(study)
            try:
                board.post(m.read_message(self._store.bare_entry(study, 0).envelope, self._roster))
            except (ProtocolError, TypeError):
                return None  # it began under another roster, or its messages are not kept any more
            self._records[study] = _Record(board, length, ended=True, shown=length)
        return self._records[study]

    def _let_go(self) -> None:
        """Forgets ended studies that no connection waits for."""
        waited_for = {study for connection in self._connections for study in connection.next}
        for study in [one for one, record in self._records.items() if record.ended and one not in waited_for]:
            del self._records[study]

    # --- to members ---------------------------------------------------------------------------------------------------

    def _deliver(self) -> None:
        for record in self._records.values():
            record.release()
        behind: dict[bytes, list[Connection]] = {}
        for connection in self._connections:
            if self._greetings.waits(connection.key):
                continue  # what it wants next, it has just said
            for study, number in list(connection.next.items()):
                record = self._records[study]
                if number < record.shown:
                    behind.setdefault(study, []).append(connection)
                elif number == record.length and record.ended:
                    del connection.next[study]
        if behind:
            self._store.commit()  # what arrived in the meantime is flushed together, and nothing leaves before
        for study, connections in behind.items():
            self._catch_up(study, self._records[study], connections)

    def _catch_up(self, study: bytes, record: _Record, behind: list[Connection]) -> None:
        """What leaves together is read once for all who are at it; who takes no more for now is left out."""
        readers = record.board.study.readers
        while behind:
            first = min(one.next[study] for one in behind)
            for reads in (False, True):
                at_it = [one for one in behind if one.next[study] == first and (one.name in readers) is reads]
                if not at_it:
                    continue
                some = next(together(self._entries(study, record, first, at_it[0].name)))
                for one, sent in zip(at_it, self._link.send_all([one.key for one in at_it], *some), strict=True):
                    if sent:
                        one.next[study] = first + len(some)
                        self._messages += len(some)
                        self._bytes += sum(len(frame) for _, frames in some for frame in frames)
                    if not sent or one.next[study] == record.shown:
                        behind.remove(one)

    def _entries(self, study: bytes, record: _Record, first: int, recipient: str) -> Iterator[Link]:
        """The entries that may leave, from the first on, as one of those who are at it gets them."""
        for number in range(first, record.shown):
            entry = self._store.bare_entry(study, number)
            whole = delivers_attachments(record.board, entry.kind, recipient)
            attachments = self._store.leaving(study, number) if whole else ()
            yield {"type": "entry", "study": study, "number": number}, (entry.envelope, *attachments)

    # --- for people ---------------------------------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Who is connected, and for each study what it waits for, as plain values."""
        return {
            "role": "aggregator",
            "name": self._name,
            "members": [one for one in self._connections.standing() if one["name"] != self._name],
            "studies": [*map(self._study_standing, self._studies), *self._ended],
            "messages_sent": self._messages,
            "bytes_sent": self._bytes,
        }

    def _study_standing(self, study: bytes) -> dict[str, Any]:
        record, board = self._records[study], self._studies[study].board
        waiting_for = board.missing() if board.phase is not Phase.ENDED else ()
        if not waiting_for and board.phase in (Phase.CONTRIBUTION, Phase.OPENING):
            waiting_for = tuple(sorted(board.cohort_keyholders))
        return {
            "study": study.hex(),
            "name": board.study.id,
            "analyst": board.analyst,
            "phase": str(board.phase),
            "round": board.round.number if board.rounds else None,
            "waiting_for": list(waiting_for),
            "since": record.since,
            "expires": float(board.invitation.expires),
            "outcome": board.outcome.words if board.outcome else None,
        }


def _study_of(wanted: object) -> bytes | None:
    """The hash of a study that a greeting names, in the one form that ours have."""
    if isinstance(wanted, str) and len(wanted) == 64:
        try:
            study = bytes.fromhex(wanted)
        except ValueError:
            return None
        return study if len(study) == 32 and study.hex() == wanted else None
    return None
