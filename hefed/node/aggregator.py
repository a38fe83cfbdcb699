"""The aggregator's process: one coordinator a study, everything stored before anything is delivered."""

import logging
import time

import zmq

from hefed.crypto.errors import CryptoError
from hefed.node.identity import Identity
from hefed.node.lifeline import Lifeline
from hefed.node.link import BEAT, LINK_VERSION, AggregatorLink, Received
from hefed.node.store import Store
from hefed.protocol import codec
from hefed.protocol import messages as m
from hefed.protocol.coordinator import Coordinator, Entry, delivers_attachments, give_up
from hefed.protocol.errors import EncodingError, ProtocolError
from hefed.protocol.roster import Roster
from hefed.protocol.rules import Phase

log = logging.getLogger(__name__)

MAX_STUDIES = 1000
"""Studies that may run at once."""
GONE_AFTER = 2.0
"""Seconds without a connection after which a member counts as gone; a reconnection within them is not noticed."""


class AggregatorNode:
    """Relays, adds and waits. `run` returns when the lifeline is cut."""

    def __init__(self, *, roster: Roster, identity: Identity, store: Store, link: AggregatorLink) -> None:
        self._roster, self._identity, self._store, self._link = roster, identity, store, link
        self._studies: dict[bytes, Coordinator] = {}
        self._connections: dict[str, bytes] = {}
        # Who was there before a restart has as long to come back as after a broken connection.
        self._seen = {member.name: time.monotonic() for member in roster.members}
        self._next: dict[tuple[str, bytes], int] = {}
        for study in store.studies():
            self._restore(study)

    def _restore(self, study: bytes) -> None:
        coordinator = Coordinator(self._roster, self._identity.signer, study)
        now = time.time()  # the time for which the aggregator was away does not count against a phase
        for entry in self._store.entries(study):
            coordinator.restore(entry.envelope, entry.attachments, now)
        self._studies[study] = coordinator
        log.info("took up study %s again in phase %s", study.hex()[:8], coordinator.board.phase)

    def run(self, lifeline: Lifeline) -> None:
        """Serves until the lifeline is cut."""
        poller = zmq.Poller()
        poller.register(self._link.socket, zmq.POLLIN)
        for descriptor in lifeline.descriptors:
            poller.register(descriptor, zmq.POLLIN)
        beat = 0.0
        while not lifeline.look():
            poller.poll(200)
            for received in self._link.receive():
                self._handle(received)
            if time.monotonic() - beat >= BEAT:
                beat = time.monotonic()
                self._beat()
            for study, coordinator in self._studies.items():
                now = time.time()
                self._append(study, coordinator.tick(now, self._at_hand()), now)
            self._deliver()
        self._store.close()

    def _at_hand(self) -> set[str]:
        return {name for name, seen in self._seen.items() if time.monotonic() - seen <= GONE_AFTER}

    def _beat(self) -> None:
        for name, connection in list(self._connections.items()):
            if self._link.send(connection, {"type": "beat"}) is None:
                del self._connections[name]
                log.warning("%s is not connected any more", name)
            else:
                self._seen[name] = time.monotonic()

    # --- from members
    # -------------------------------------------------------------------------------------------------------------

    def _handle(self, received: Received) -> None:
        kind = received.header["type"]
        if kind == "hello":
            self._greet(received)
        elif self._connections.get(received.sender) != received.connection:
            self._link.send(received.connection, {"type": "unknown"})
        elif kind == "message":
            self._take(received)

    def _greet(self, received: Received) -> None:
        name, wanted = received.sender, received.header.get("studies")
        if received.header.get("version") != LINK_VERSION or not isinstance(wanted, dict):
            words = f"the aggregator speaks version {LINK_VERSION} of the link, {name} another; install the same hefed"
            self._link.send(received.connection, {"type": "turned away", "words": words})
            return
        self._connections[name] = received.connection
        self._seen[name] = time.monotonic()
        accepted = {}
        for study, coordinator in self._studies.items():
            if not self._concerns(coordinator, name):
                continue
            if coordinator.board.phase is Phase.ENDED and study.hex() not in wanted:
                self._next[name, study] = self._store.length(study)  # it has ended there too, or never began
                continue
            number = wanted.get(study.hex(), 0)
            self._next[name, study] = number if isinstance(number, int) and number >= 0 else 0
            accepted[study.hex()] = self._store.sent_by(study, name)
        self._link.send(received.connection, {"type": "welcome", "accepted": accepted})
        log.info("%s is connected", name)

    def _take(self, received: Received) -> None:
        study, number, name = received.header.get("study"), received.header.get("number"), received.sender
        if not isinstance(study, bytes) or len(study) != 32 or not isinstance(number, int) or not received.frames:
            return
        accepted = self._store.sent_by(study, name)
        if number != accepted:
            if number > accepted:
                self._link.send(received.connection, {"type": "unknown"})
            return
        now = time.time()
        coordinator = self._studies.get(study) or self._new_study(study)
        if coordinator is None:
            return
        try:
            self._require_own(received, coordinator)
            envelope, *attachments = received.frames
            entries = coordinator.receive(envelope, tuple(attachments), now, self._at_hand())
        except (ProtocolError, CryptoError) as error:
            words = m.printable(f"refused a message of {name}: {error}")
            log.warning("%s", words)
            self._link.send(received.connection, {"type": "refused", "study": study, "words": words})
            # Only those with a part in a study can end it, and they could do so by refusing their part.
            fault = ProtocolError(words)
            entries = give_up(coordinator, fault, now) if self._concerns(coordinator, name) else []
        else:
            self._studies[study] = coordinator
        self._append(study, entries, now)

    def _require_own(self, received: Received, coordinator: Coordinator) -> None:
        if coordinator.board.phase is not Phase.INVITATION and not self._concerns(coordinator, received.sender):
            raise ProtocolError(f"{received.sender} has no part in this study")
        sender = _stated_sender(received.frames[0])
        if sender != received.sender:
            raise ProtocolError(f"{received.sender} sent a message of {sender}")

    def _new_study(self, study: bytes) -> Coordinator | None:
        running = sum(coordinator.board.phase is not Phase.ENDED for coordinator in self._studies.values())
        if running >= MAX_STUDIES or self._store.length(study):
            log.warning("no room for another study, or one that has ended; nothing is done")
            return None
        return Coordinator(self._roster, self._identity.signer, study)

    # --- to members
    # ---------------------------------------------------------------------------------------------------------------

    def _append(self, study: bytes, entries: list[Entry], now: float) -> None:
        if not entries:
            return
        self._store.add_study(study)
        number = self._store.length(study)
        for offset, entry in enumerate(entries):
            self._store.append(study, number + offset, entry.message, now, entry.attachments)
        self._store.commit()

    def _concerns(self, coordinator: Coordinator, name: str) -> bool:
        board = coordinator.board
        return board.phase is not Phase.INVITATION and (name in board.members or name == board.analyst)

    def _deliver(self) -> None:
        for study, coordinator in self._studies.items():
            length = self._store.length(study)
            for name, connection in list(self._connections.items()):
                if not self._concerns(coordinator, name):
                    continue
                number = self._next.get((name, study), 0)
                while number < length and self._send_entry(coordinator, name, connection, study, number):
                    number += 1
                self._next[name, study] = number

    def _send_entry(self, coordinator: Coordinator, name: str, connection: bytes, study: bytes, number: int) -> bool:
        entry = self._store.entry(study, number)
        attachments = entry.attachments if delivers_attachments(coordinator.board, entry.kind, name) else ()
        header = {"type": "entry", "study": study, "number": number}
        return self._link.send(connection, header, entry.envelope, *attachments) is True


def _stated_sender(envelope: bytes) -> str:
    """Whose a message says that it is; the coordinator then verifies that sender's signature."""
    match codec.decode(envelope):
        case [bytes(body), bytes()]:
            match codec.decode(body):
                case {"sender": str(sender)}:
                    return sender
    raise EncodingError("a message that names no sender")
