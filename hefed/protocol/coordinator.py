"""The aggregator in one study: it relays signed messages in one order, adds ciphertexts, and names whom it waits for.
It holds no secret but its identity.

Privacy never depends on this machine, and it alone cannot make a sum wrong without every reader noticing in the same
round; it can only refuse service. Sans-IO: the caller passes the time and who is connected, stores every entry before
it delivers it, and delivers entries in order.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from hefed.crypto.buffer import Buffer
from hefed.crypto.contribution import RunningSum
from hefed.crypto.errors import CryptoError
from hefed.crypto.packing import checked
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.errors import ProtocolError
from hefed.protocol.messages import Message
from hefed.protocol.roster import Roster
from hefed.protocol.rules import Phase

PATIENCE = 0.25
"""Part of a phase's wait after which a keyholder that is connected but silent is left out: any threshold of the others
do.
"""


Due = tuple[m.Content, tuple[Buffer, ...]] | None
"""What the aggregator has to say now, with its attachments."""


@dataclass(frozen=True)
class Step:
    """One line of the aggregator's table: in this phase (None: in any) it says this as soon as `when` holds."""

    phase: Phase | None
    sends: str
    when: str


STEPS = (
    #    in phase               sends         when
    Step(Phase.APPROVAL,        "dealing",    "all approved; or all indispensable, and the wait is over"),
    Step(Phase.ACKNOWLEDGEMENT, "proposal",   "all keyholders acknowledged, or as above"),
    Step(Phase.CONTRIBUTION,    "open",       "all contributions are there and enough keyholders are at hand"),
    Step(Phase.OPENING,         "open again", "a keyholder that was asked is gone, or silent for a part of the wait"),
    Step(Phase.OPENING,         "sum up",     "all asked answered; all checked or are gone, or the wait is over"),
    Step(None,                  "end",        "the study's deadline is over"),
)  # fmt: skip
"""All that the aggregator ever says of its own accord; the first line that is due comes first."""


@dataclass(frozen=True)
class Entry:
    """A message of the record, with the attachments that the aggregator keeps for it."""

    message: Message
    attachments: tuple[Buffer, ...] = ()


def indispensable(board: Board) -> set[str]:
    """Those of `board.missing()` without whom the phase under way cannot end; all others it waits for no longer than
    `[limits] wait`.

    Contributors and readers are, and as many keyholders as the threshold lacks. In an opening it is whoever was asked
    (others may be asked instead, if they are at hand) and no check: readers compute that from the contribution.
    """
    missing = set(board.missing())
    match board.phase:
        case Phase.APPROVAL:
            enough = len(set(board.approvals) & set(board.study.keyholders)) >= board.threshold
        case Phase.ACKNOWLEDGEMENT:
            enough = len(board.acknowledgements) >= board.threshold
        case Phase.OPENING:
            return set(board.round.opens[-1].keyholders) - board.answered(board.round.opens[-1].attempt)
        case _:
            return missing
    return missing & {*board.study.contributors, *board.study.readers} if enough else missing


def delivers_attachments(board: Board, kind: str, recipient: str) -> bool:
    """Whether a recipient needs the frames beside a message: readers need answers and sums. A contribution goes to
    nobody.
    """
    return kind in ("answer", "sum") and recipient in board.study.readers


class Coordinator:
    """The aggregator's part in one study. `receive` and `tick` return the entries that the record grows by."""

    def __init__(
        self, roster: Roster, signer: m.Signer, study: bytes, stored: Callable[[int], tuple[bytes, ...]]
    ) -> None:
        """`stored` gives back the attachments of an entry that the caller has stored, by its place in the record: many
        contributions may be longer than the memory.
        """
        self.board = Board(roster, study)
        self._signer = signer
        self._name = roster.aggregator.name
        self._waits_since = self._asked_since = 0.0
        self._waits_in: tuple[Phase, int, bool] | None = None
        self._slow: set[str] = set()  # keyholders that were asked and did not answer in time; the first to be left out
        self._stored = stored
        self._length = 0
        self._contributions: dict[str, int] = {}  # where in the record those of the round under way are
        self._sum: RunningSum | None = None
        self._total: bytes | None = None

    # --- the record --------------------------------------------------------------------------------------------------

    def receive(
        self,
        envelope: bytes,
        attachments: tuple[Buffer, ...],
        now: float,
        connected: Collection[str],
        sender: str | None = None,
    ) -> list[Entry]:
        """A member's next message; of `sender`'s, where the caller knows whose connection it came over.

        Raises ProtocolError or CryptoError, changing nothing, when it is not acceptable.
        """
        message = m.read_message(envelope, self.board.roster, sender)
        if message.sender == self._name:
            raise ProtocolError("a message in the aggregator's own name")
        entry = Entry(message, attachments)
        self._require_attachments(entry)
        self._post(entry, now)
        return [self._kept(entry), *self.tick(now, connected)]

    def restore(self, envelope: bytes, attachments: tuple[Buffer, ...], then: float) -> None:
        """An entry of the stored record, the aggregator's own included, after a restart."""
        self._post(Entry(m.read_message(envelope, self.board.roster), attachments), then)

    def tick(self, now: float, connected: Collection[str]) -> list[Entry]:
        """What the aggregator itself has to say at this time."""
        entries: list[Entry] = []
        while self.board.phase not in (Phase.INVITATION, Phase.ENDED):
            due = self._due(now, set(connected))
            if due is None:
                break
            entries.append(self._say(*due, now))
        return entries

    @property
    def deadline(self) -> float:
        """How long the phase under way waits for those who are missing, in seconds since 1970: a `wait` from when
        everybody indispensable was there, and for these until the study's deadline.
        """
        expires = float(self.board.invitation.expires)
        return expires if indispensable(self.board) else min(self._waits_since + self.board.study.limits.wait, expires)

    # --- inside ------------------------------------------------------------------------------------------------------

    def _require_attachments(self, entry: Entry) -> None:
        bound = entry.message.body.attachments
        if len(bound) != len(entry.attachments) or not all(
            b.matches(a) for b, a in zip(bound, entry.attachments, strict=True)
        ):
            raise ProtocolError(
                f"what came with a '{entry.message.body.kind}' of {entry.message.sender} is not what was signed"
            )

    def _kept(self, entry: Entry) -> Entry:
        """The entry, without the attachment of an answer that came after the sum: nobody needs it any more."""
        content = entry.message.content
        late = isinstance(content, m.Answer) and self.board.rounds[content.round].sum is not None
        return Entry(entry.message) if late else entry

    def _post(self, entry: Entry, now: float) -> None:
        content = entry.message.content
        grown: RunningSum | None = None
        data = np.empty(0, np.uint8)
        if isinstance(content, m.Contribution) and self.board.phase is Phase.CONTRIBUTION:
            # First of all the bytes: nothing is made of the size that a message states and does not bring.
            packed = entry.attachments[0] if len(entry.attachments) == 1 else b""
            data = checked(self.board.profile, packed, content.values)
            grown = self._sum or RunningSum(
                self.board.profile, self.board.use(content), self.board.study.security.engine
            )
        self.board.post(entry.message)
        if grown is not None:
            grown.add_checked(data)
            self._sum = grown
            self._contributions[entry.message.sender] = self._length
        self._length += 1
        if isinstance(content, m.Answer):
            self._slow.discard(entry.message.sender)
        if isinstance(content, m.Open):
            self._asked_since = now
        if isinstance(content, m.Sum):
            self._sum, self._total, self._contributions = None, None, {}
        waits_in = (self.board.phase, len(self.board.rounds), bool(indispensable(self.board)))
        if self._waits_in != waits_in:
            self._waits_in, self._waits_since = waits_in, now

    def _say(self, content: m.Content, attachments: tuple[Buffer, ...], now: float) -> Entry:
        board = self.board
        message = self._signer.sign(
            content,
            federation=board.roster.federation,
            study=board.study_digest,
            sender=self._name,
            previous=board.last_digest.get(self._name, m.ZERO_HASH),
            attachments=attachments,
        )
        entry = Entry(message, attachments)
        self._post(entry, now)
        return entry

    def _due(self, now: float, connected: set[str]) -> Due:
        for step in STEPS:
            if step.phase in (None, self.board.phase):
                due: Due = getattr(self, "_" + step.sends.replace(" ", "_"))(now, connected)
                if due is not None:
                    return due
        return None

    def _goes_on(self, now: float) -> bool:
        """Whether the phase can end: with everybody, or, once the wait is over, without those that can be spared."""
        return not self.board.missing() or (not indispensable(self.board) and now > self.deadline)

    def _dealing(self, now: float, connected: set[str]) -> Due:
        board, study = self.board, self.board.study
        if not self._goes_on(now):
            return None
        keyholders = sorted(set(study.keyholders) & set(board.approvals))
        needed = sorted({*study.contributors, *study.readers, *keyholders})
        return m.Dealing(approvals={name: board.approvals[name].digest for name in needed}, keyholders=keyholders), ()

    def _proposal(self, now: float, connected: set[str]) -> Due:
        if not self._goes_on(now):
            return None
        acknowledgements = {name: message.digest for name, message in self.board.acknowledgements.items()}
        return m.Proposal(acknowledgements=acknowledgements), ()

    def _open(self, now: float, connected: set[str]) -> Due:
        board = self.board
        if set(board.round.contributions) != set(board.study.contributors):
            return None
        at_hand = set(board.cohort_keyholders) & connected
        return self._ask(at_hand - self._slow) or self._ask(at_hand)

    def _ask(self, at_hand: set[str]) -> Due:
        record = self.board.round
        if not self.board.covers(at_hand) or len(record.opens) == m.MAX_ATTEMPTS:
            return None
        total = m.Attachment.of(self._packed_sum()).sha256
        attempt = len(record.opens) + 1
        return m.Open(round=record.number, attempt=attempt, total=total, keyholders=sorted(at_hand)), ()

    def _packed_sum(self) -> bytes:
        if self._total is None:
            assert self._sum is not None  # noqa: S101  nobody is asked before all contributions are there
            self._total = self._sum.packed()
        return self._total

    def _open_again(self, now: float, connected: set[str]) -> Due:
        silent = indispensable(self.board)
        if silent and now - self._asked_since > self.board.study.limits.wait * PATIENCE:
            self._slow |= silent
        elif silent <= connected:
            return None
        return self._ask((set(self.board.cohort_keyholders) & connected) - self._slow)

    def _sum_up(self, now: float, connected: set[str]) -> Due:
        gone = set(self.board.study.contributors) - set(self.board.round.checks)
        if indispensable(self.board) or (gone & connected and not self._goes_on(now)):
            return None
        attachments = (self._packed_sum(), *(self._stored(self._contributions[name])[0] for name in sorted(gone)))
        return m.Sum(round=self.board.round.number, absent=sorted(gone)), attachments

    def _end(self, now: float, connected: set[str]) -> Due:
        board = self.board
        if now <= board.invitation.expires:
            return None
        missing = board.missing()
        if board.phase in (Phase.CONTRIBUTION, Phase.OPENING) and not missing:
            missing = tuple(sorted(board.cohort_keyholders))
        where = f"round {board.round.number}" if board.rounds else f"phase {board.phase}"
        words = f"the study's time is over ([security] deadline); in {where} it waited for {', '.join(missing)}"
        return m.End(words=words, missing=list(missing)), ()


def give_up(coordinator: Coordinator, error: ProtocolError | CryptoError, now: float) -> list[Entry]:
    """Ends a study whose record cannot go on because of a member's message, with the reason."""
    if coordinator.board.phase in (Phase.INVITATION, Phase.ENDED):
        return []
    return [coordinator._say(m.End(words=m.printable(str(error)), missing=[]), (), now)]
