"""A region's part in one study, from the invitation to the end: waits for consent, then follows the record as a member.

Every entry is stored before it comes here, and what is to be sent is stored before it leaves. A region that is started
again is shown the stored record and stands where it stood. Relies on `protocol.member` for what to send and on
`consent` for whether to take part. Must not touch the link.
"""

import logging
from collections.abc import Iterator
from functools import partial

from hefed.crypto.buffer import Buffer
from hefed.node.consent import Consent
from hefed.node.decision import DecisionError
from hefed.node.errors import NodeError
from hefed.node.identity import Identity
from hefed.node.logs import places
from hefed.node.store import Store, StoredMessage
from hefed.node.vault import StudyVault
from hefed.node.work import ModelWork
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.errors import ProtocolError
from hefed.protocol.member import Member
from hefed.protocol.ports import Outgoing
from hefed.protocol.roster import Roster
from hefed.protocol.rules import Phase

log = logging.getLogger(__name__)

OWN = 4
"""Messages of our own that are kept as they were made: of those, the bytes say enough."""


class Participation:
    """One study. `received` counts the entries of the record that are here, `to_send` is the next of our messages."""

    def __init__(
        self,
        *,
        name: str,
        identity: Identity,
        roster: Roster,
        store: Store,
        consent: Consent,
        study: bytes,
        threads: int = 1,
    ) -> None:
        """Encrypts and answers by that many threads."""
        self.study, self.roster = study, roster
        self.received = self.to_send = 0
        self._name, self._identity, self._store, self._consent = name, identity, store, consent
        self._threads = threads
        self._board = Board(roster, study)
        self._member: Member | None = None
        self._decided = self._lost = False
        self._left = 0  # of our messages: how many left, or may have left before a restart
        self._knows_what_left = True
        self._complaint = ""
        self._own: dict[bytes, m.Message] = {}

    @property
    def board(self) -> Board:
        """The study's record as far as it is here."""
        return self._member.board if self._decided and self._member else self._board

    @property
    def waits(self) -> bool:
        """Whether the study waits for the people of the region."""
        return not self._decided and not self._lost and not self.ended

    @property
    def lost(self) -> bool:
        """Whether the region's state of the study was lost: it then only looks for what it had said, to refuse."""
        return self._lost

    @property
    def ended(self) -> bool:
        """Whether the study is over here; its secrets are then due for destruction."""
        return (self._member is not None and self._member.ended) or self.board.phase is Phase.ENDED

    @property
    def was_closed(self) -> bool:
        """Whether its readers closed it, with a result or an error."""
        return self.board.outcome is not None and self.board.outcome.how in ("result", "error")

    @property
    def title(self) -> str:
        """How people know the study: its name and the first digits of its hash."""
        known = self.board.phase is not Phase.INVITATION
        return f"{self.board.study.id} ({self.study.hex()[:8]})" if known else self.study.hex()[:8]

    @property
    def outcome(self) -> str:
        """How it ended, in words."""
        outcome = self.board.outcome
        if outcome is None:
            refusal = self._store.recall(self.study, "refusal")
            content = m.read_message(refusal.envelope, self.roster).content if refusal else None
            return f"{self._name} ended it: {content.words}" if isinstance(content, m.Refusal) else "ended"
        return (
            outcome.words if outcome.how in ("result", "error") else f"{outcome.how} by {outcome.by}: {outcome.words}"
        )

    # --- what happens to it -------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Takes the study up from the store, after a restart. What was marked as leaving before that may have left, and
        stays. An older version marked nothing: until the aggregator has said what it has, an approval is not taken
        back; nothing leaves before that either.
        """
        self._knows_what_left, self._left = False, self._store.count_marked(self.study)
        self.received = self._store.length(self.study)
        if self._store.recall(self.study, "refusal") is not None:
            self.decline("")  # said before the restart; the member sends the same words again
        elif self._store.recall(self.study, "approval") is not None:
            self._take_part()
        else:
            self._lost = self._store.has_found(self.study)
            for message, _ in self._stored():
                self._look(message)
            self.decide()

    def _stored(self) -> Iterator[tuple[m.Message, tuple[bytes, ...]]]:
        """The record as it is stored. Where it cannot be read, as under another roster, the study ends."""
        for entry in self._store.entries(self.study):
            try:
                message = m.read_message(entry.envelope, self.roster)
            except ProtocolError as error:
                self.decline(str(error))
                return
            yield message, entry.attachments

    def note_accepted(self, number: object) -> None:
        """How many of our messages the aggregator says that it has. When they are more than are stored here, the state
        was lost, or an older one was put back: then this region has no part in the study any more. Nobody signed that
        number: after a restart it may only add to what is taken to have left, and without one it says nothing new.
        """
        self.to_send = number if isinstance(number, int) and number >= 0 else 0
        if not self._knows_what_left:
            self._knows_what_left, self._left = True, max(self._left, self.to_send)
        if self.to_send > self._store.count_sent(self.study) and not self.ended and not self._lost:
            self._lost = True
            log.error("study %s: the state that %s had of it is lost; it will refuse", self.title, self._name)

    def note_left(self) -> None:
        """The next of our messages was handed to the connection."""
        self.to_send += 1
        self._left = max(self._left, self.to_send)

    def read(self, envelope: bytes) -> m.Message:
        """The message in these bytes, its signature verified; of our own that come back, that they are the same bytes
        is enough. Raises ProtocolError.
        """
        return self._own.get(envelope) or m.read_message(envelope, self.roster)

    def follow(self, message: m.Message, attachments: tuple[Buffer, ...]) -> None:
        """The next entry of the record, which is stored already."""
        self.received += 1
        if self._lost:
            self._find(message)
        elif self._decided:
            self._advance(message, attachments)
        else:
            self._look(message)
            self.decide()

    def _find(self, message: m.Message) -> None:
        """After a loss: keeps what the record shows that we had said, says nothing else, and refuses at its end."""
        if not self._decided:
            self._look(message)
        mine = message.sender == self._name
        if mine and not self.ended and not self._store.was_sent(self.study, message.envelope):
            self._store.keep_found(self.study, message.envelope)
            if self._store.count_sent(self.study) >= self.to_send:
                self.forget()
                self._lost, self._member = False, self._make_member()
                self.decline(f"{self._name} has lost its state of this study and cannot go on with it; submit it again")

    def _look(self, message: m.Message) -> None:
        if self.ended:
            return
        try:
            self._board.post(message)
        except ProtocolError as error:
            self.decline(str(error))

    def decide(self) -> None:
        """Asks for consent where that is still open; takes an approval back where the region's people did."""
        if self.ended or self._lost or self.board.phase is Phase.INVITATION:
            return
        try:
            if self._decided:
                words = self._consent.withdrawn(self.study)
                if words is not None and self._knows_what_left:
                    self._withdraw(words)
                return
            verdict = self._consent.verdict(self._board)
        except DecisionError as error:
            self._complain(str(error))
            return
        match verdict.answer:
            case "approve":
                self._store.note_approval(self.study, verdict.words)
                log.info("study %s: approved %s", self.title, verdict.words)
                self._take_part()
            case "refuse":
                self.decline(verdict.words)
            case "wait":
                self._complain(verdict.words)

    def _withdraw(self, words: str) -> None:
        """Refuses after an approval: what was made and has certainly not left does not leave any more. What may have
        left stays, and the refusal follows on it: no two messages are ever signed for one place.
        """
        self.forget()
        self._store.forget_unsent(self.study, self._left)
        self.to_send = min(self.to_send, self._store.count_sent(self.study))
        self._member = None
        self.decline(words)

    def _complain(self, words: str) -> None:
        if words != self._complaint:
            self._complaint = words
            log.warning("study %s: %s", self.title, words)

    def decline(self, words: str) -> None:
        """Ends the study on the region's own account."""
        if self._member is None:
            self._member = self._make_member()
        self._decided = True
        self._keep(self._member.decline(words))

    def expire(self) -> None:
        """Ends the study because its deadline is over, and nobody said so."""
        if self._decided:
            self.decline(f"{self._name} has waited until the study's deadline; it ends here")
        else:
            self.decline(f"nobody of {self._name} approved or refused the study before its deadline")

    # --- as a member --------------------------------------------------------------------------------------------------

    def _make_member(self) -> Member:
        store, study = self._store, self.study

        def recall(key: str) -> Outgoing | None:
            stored = store.recall(study, key)
            return self._outgoing(stored) if stored else None

        vault, sent = store.vault(study), store.count_sent(study)
        return Member(
            name=self._name,
            signer=self._identity.signer,
            roster=self.roster,
            study=study,
            vault=vault,
            recall=recall,
            previous=self._outgoing(store.sent(study, sent - 1)).message.digest if sent else m.ZERO_HASH,
            prepare=lambda board: self._prepare(board, vault),
            threads=self._threads,
            keep=partial(store.keep_opened, study),
        )

    def _prepare(self, board: Board, vault: StudyVault) -> ModelWork | None:
        work = self._consent.prepare(board, vault)
        if work is not None:
            self._store.note_rows(self.study, work.rows)
        return work

    def _outgoing(self, stored: StoredMessage) -> Outgoing:
        return Outgoing(stored.key, self.read(stored.envelope), stored.attachments)

    def _take_part(self) -> None:
        """Becomes a member, who is shown the record from its beginning."""
        self._member, self._decided = self._make_member(), True
        for message, attachments in self._stored():
            self._advance(message, attachments)

    def _advance(self, message: m.Message, attachments: tuple[Buffer, ...]) -> None:
        member = self._member
        if member is None:
            raise AssertionError("a study goes on before it is decided about")
        try:
            outgoing = member.follow(message, attachments)
        except NodeError:
            raise  # the disk's: no study can go on
        except Exception as error:
            # The places and the kind only: the words of an error of ours could hold a value of a patient.
            log.error("study %s: an error of our own, %s", self.title, places(error))
            outgoing = member.decline(f"{self._name} met an error of its own; see its log")
        self._keep(outgoing)

    def _keep(self, outgoing: list[Outgoing]) -> None:
        for message in outgoing:
            if self._store.recall(self.study, message.key) is None:
                self._store.remember(self.study, message.key, message.message.envelope, message.attachments)
                self._note_own(message.message)
                if isinstance(message.message.content, m.Refusal):
                    log.warning("study %s: refused: %s", self.title, message.message.content.words)
                else:
                    log.info("study %s: %s", self.title, message.key)

    def _note_own(self, message: m.Message) -> None:
        self._own[message.envelope] = message
        if len(self._own) > OWN:
            del self._own[next(iter(self._own))]

    def forget(self) -> None:
        """Erases the study's keys from memory, as far as Python allows; it cannot go on in this process."""
        if self._member is not None:
            self._member.forget()

    # --- for people ---------------------------------------------------------------------------------------------------

    def standing(self, now: float) -> dict[str, object]:
        """Where the study stands, as plain values for `status`."""
        board = self.board
        known = board.phase is not Phase.INVITATION
        running = known and board.phase is not Phase.ENDED
        return {
            "study": self.study.hex(),
            "name": board.study.id if known else "",
            "analyst": board.analyst if known else "",
            "state": "ended" if self.ended else "pending" if self.waits else "running",
            "phase": str(board.phase),
            "round": board.round.number if board.rounds and running else None,
            "waiting_for": list(board.missing()) if running else [],
            "expires": board.invitation.expires if known else now,
        }
