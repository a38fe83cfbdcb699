"""The aggregator in one study: it relays signed messages in one order, adds ciphertexts, and names whom it waits for.
It holds no secret but its identity.

Privacy never depends on this machine, and it alone cannot make a sum wrong without every reader noticing in the same
round; it can only refuse service. Sans-IO: the caller passes the time and who is connected, stores every entry before
it delivers it, and delivers entries in order.
"""

from collections.abc import Collection
from dataclasses import dataclass

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


Due = tuple[m.Content, tuple[bytes, ...]] | None
"""What the aggregator has to say now, with its attachments."""


@dataclass(frozen=True)
class Step:
    """One line of the aggregator's table: in this phase (None: in any) it says this as soon as `when` holds."""

    phase: Phase | None
    sends: str
    when: str


STEPS = (
    #    in phase               sends         when
    Step(Phase.APPROVAL,        "dealing",    "contributors and readers approved; keyholders too, or the wait is over"),
    Step(Phase.ACKNOWLEDGEMENT, "proposal",   "all keyholders have acknowledged, or enough and the wait is over"),
    Step(Phase.CONTRIBUTION,    "open",       "all contributions are there and enough keyholders are at hand"),
    Step(Phase.OPENING,         "open again", "a keyholder that was asked is gone, or silent for a part of the wait"),
    Step(Phase.OPENING,         "sum up",     "all that were asked answered; each contributor checked or is gone"),
    Step(None,                  "end",        "the wait or the study's deadline is over"),
)  # fmt: skip
"""All that the aggregator ever says of its own accord; the first line that is due comes first."""


@dataclass(frozen=True)
class Entry:
    """A message of the record, with the attachments that the aggregator keeps for it."""

    message: Message
    attachments: tuple[bytes, ...] = ()


def delivers_attachments(board: Board, kind: str, recipient: str) -> bool:
    """Whether a recipient needs the frames beside a message: readers need answers and sums. A contribution goes to
    nobody.
    """
    return kind in ("answer", "sum") and recipient in board.study.readers


class Coordinator:
    """The aggregator's part in one study. `receive` and `tick` return the entries that the record grows by."""

    def __init__(self, roster: Roster, signer: m.Signer, study: bytes) -> None:
        self.board = Board(roster, study)
        self._signer = signer
        self._name = roster.aggregator.name
        self._phase_since = self._asked_since = 0.0
        self._phase_seen: tuple[Phase, int] | None = None
        self._slow: set[str] = set()  # keyholders that were asked and did not answer in time; the first to be left out
        self._contributions: dict[str, bytes] = {}
        self._sum: RunningSum | None = None
        self._total: bytes | None = None

    # --- the record
    # ------------------------------------------------------------------------------------------------------------

    def receive(
        self, envelope: bytes, attachments: tuple[bytes, ...], now: float, connected: Collection[str]
    ) -> list[Entry]:
        """A member's next message. Raises ProtocolError or CryptoError, changing nothing, when it is not acceptable."""
        message = m.read_message(envelope, self.board.roster)
        if message.sender == self._name:
            raise ProtocolError("a message in the aggregator's own name")
        entry = Entry(message, attachments)
        self._require_attachments(entry)
        self._post(entry, now)
        return [entry, *self.tick(now, connected)]

    def restore(self, envelope: bytes, attachments: tuple[bytes, ...], then: float) -> None:
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
        """When the phase under way is given up, in seconds since 1970."""
        return min(self._phase_since + self.board.study.limits.wait, float(self.board.invitation.expires))

    # --- inside
    # ------------------------------------------------------------------------------------------------------------------

    def _require_attachments(self, entry: Entry) -> None:
        bound = entry.message.body.attachments
        if len(bound) != len(entry.attachments) or not all(
            b.matches(a) for b, a in zip(bound, entry.attachments, strict=True)
        ):
            raise ProtocolError(
                f"what came with a '{entry.message.body.kind}' of {entry.message.sender} is not what was signed"
            )

    def _post(self, entry: Entry, now: float) -> None:
        content = entry.message.content
        grown: RunningSum | None = None
        if isinstance(content, m.Contribution) and self.board.phase is Phase.CONTRIBUTION:
            # First of all the bytes: nothing is made of the size that a message states and does not bring.
            checked(self.board.profile, b"".join(entry.attachments), content.values)
            grown = self._sum or RunningSum(
                self.board.profile, self.board.use(content), self.board.study.security.engine
            )
        self.board.post(entry.message)
        if grown is not None:
            grown.add(entry.attachments[0])
            self._sum = grown
            self._contributions[entry.message.sender] = entry.attachments[0]
        if isinstance(content, m.Answer):
            self._slow.discard(entry.message.sender)
        if isinstance(content, m.Open):
            self._asked_since = now
        if isinstance(content, m.Sum):
            self._sum, self._total, self._contributions = None, None, {}
        if self._phase_seen != (seen := (self.board.phase, len(self.board.rounds))):
            self._phase_seen, self._phase_since = seen, now

    def _say(self, content: m.Content, attachments: tuple[bytes, ...], now: float) -> Entry:
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

    def _over(self, now: float) -> bool:
        return now > self.deadline

    def _dealing(self, now: float, connected: set[str]) -> Due:
        board, study = self.board, self.board.study
        keyholders = [name for name in study.keyholders if name in board.approvals]
        needed = {*study.contributors, *study.readers}
        if not needed <= set(board.approvals) or len(keyholders) < board.threshold:
            return None
        if len(keyholders) < len(study.keyholders) and not self._over(now):
            return None
        approvals = {name: board.approvals[name].digest for name in sorted({*needed, *keyholders})}
        return m.Dealing(approvals=approvals, keyholders=sorted(keyholders)), ()

    def _proposal(self, now: float, connected: set[str]) -> Due:
        board = self.board
        missing = set(board.dealt_keyholders) - set(board.acknowledgements)
        if len(board.acknowledgements) < board.threshold or (missing and not self._over(now)):
            return None
        return m.Proposal(acknowledgements={n: message.digest for n, message in board.acknowledgements.items()}), ()

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
            if self._sum is None:
                raise AssertionError("a sum is asked for before there are contributions")
            self._total = self._sum.packed()
        return self._total

    def _silent(self) -> set[str]:
        record = self.board.round
        return set(record.opens[-1].keyholders) - self.board.answered(record.opens[-1].attempt)

    def _open_again(self, now: float, connected: set[str]) -> Due:
        silent = self._silent()
        if silent and now - self._asked_since > self.board.study.limits.wait * PATIENCE:
            self._slow |= silent
        elif silent <= connected:
            return None
        return self._ask((set(self.board.cohort_keyholders) & connected) - self._slow)

    def _sum_up(self, now: float, connected: set[str]) -> Due:
        gone = set(self.board.study.contributors) - set(self.board.round.checks)
        if self._silent() or (gone & connected and not self._over(now)):
            return None
        attachments = (self._packed_sum(), *(self._contributions[name] for name in sorted(gone)))
        return m.Sum(round=self.board.round.number, absent=sorted(gone)), attachments

    def _end(self, now: float, connected: set[str]) -> Due:
        board = self.board
        if not self._over(now):
            return None
        missing = board.missing()
        if board.phase in (Phase.CONTRIBUTION, Phase.OPENING) and not missing:
            missing = tuple(sorted(board.cohort_keyholders))
        where = f"round {board.round.number}" if board.rounds else f"phase {board.phase}"
        over = f"{board.study.limits.wait} s of waiting are over ([limits] wait)"
        if self.deadline == board.invitation.expires:
            over = "the study's time is over ([security] deadline)"
        words = f"{over}; in {where} it waited for {', '.join(missing)}"
        return m.End(words=words, missing=list(missing)), ()


def give_up(coordinator: Coordinator, error: ProtocolError | CryptoError, now: float) -> list[Entry]:
    """Ends a study whose record cannot go on because of a member's message, with the reason."""
    if coordinator.board.phase in (Phase.INVITATION, Phase.ENDED):
        return []
    return [coordinator._say(m.End(words=m.printable(str(error)), missing=[]), (), now)]
