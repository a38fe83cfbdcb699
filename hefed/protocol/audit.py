"""The audit of a study from its parties' transcripts. It needs no secret.

Every transcript is replayed on a `Board`, so by the rules that the parties themselves follow; where contributions are
kept, sums and check values are computed again; then the transcripts are compared. What cannot be seen from outside is
said in `protocols/transcript.md`: what was encrypted, and what was opened.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from hefed.crypto.contribution import RunningSum, check_value
from hefed.crypto.errors import CryptoError, MalformedError
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.errors import (
    MisplacedError,
    ProtocolError,
    RepeatedError,
    SignatureError,
    TranscriptError,
    UnfitError,
)
from hefed.protocol.messages import Message
from hefed.protocol.opened import verified_checks
from hefed.protocol.record import RoundRecord
from hefed.protocol.roster import Roster
from hefed.protocol.rules import Phase
from hefed.protocol.transcript import Recorded, TranscriptReader


@dataclass(frozen=True)
class Finding:
    """A broken rule, and the party that it names."""

    rule: str
    """A short name: transcript, message, sum, check value, label, relay, signature; result, of a result's file."""
    party: str
    """Or several, with "or" between them, where it may be any of them."""
    where: str
    """Whose transcript, and which entry of it."""
    words: str


@dataclass(frozen=True)
class Release:
    """A sum that was given to readers."""

    round: int
    purpose: str
    values: int
    contributors: tuple[str, ...]
    keyholders: tuple[str, ...]
    """Those that answered."""
    readers: tuple[str, ...]
    at: float
    """When it was in the record, by the clock of the transcript's party."""
    verified: Literal["added", "checks", "no"]
    """How the sum was verified: from the contributions, which were added once more; by the contributors' check values;
    or not at all, as the transcript has neither.
    """
    checked_again: tuple[str, ...]
    """The contributors whose check values were computed from their contributions once more."""


@dataclass
class Replayed:
    """What one transcript, or the record in a result's file, showed."""

    name: str
    reader: TranscriptReader
    roster: Roster
    study: bytes
    board: Board
    digests: list[bytes] = field(default_factory=list)
    messages: list[tuple[str, str, bytes]] = field(default_factory=list)
    """Of each entry the sender, its kind, and what its chain goes on from."""
    releases: list[Release] = field(default_factory=list)
    unrecorded: tuple[Message, ...] = ()
    whole: bool = False
    """Whether it was read to its signed end."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def party(self) -> str:
        """Whose it is."""
        return self.reader.head.party

    @property
    def format(self) -> str:
        """Which kind of file it is."""
        return self.reader.format

    @property
    def counts(self) -> bool:
        """Whether its party signed it, and it begins as a record of this study does: what it shows is compared."""
        return self.whole and self.board.phase is not Phase.INVITATION


@dataclass
class StudyAudit:
    """What the transcripts of one study show together."""

    study: bytes
    replayed: list[Replayed]
    findings: list[Finding]

    @property
    def board(self) -> Board:
        """The longest record that counts."""
        return max(self.replayed, key=lambda one: (one.counts, len(one.digests))).board

    @property
    def releases(self) -> list[Release]:
        """Of each release what the transcript that shows most says of it."""
        best: dict[int, Release] = {}
        for one in self.replayed:
            for release in one.releases:
                known = best.get(release.round)
                if known is None or _weight(release) > _weight(known):
                    best[release.round] = release
        return [best[number] for number in sorted(best)]


def audit(transcripts: Iterable[tuple[str, TranscriptReader]]) -> list[StudyAudit]:
    """The audit of every study of these transcripts, each with a name for people. Findings are in the order of their
    entries, transcript by transcript, so the first one is the first broken rule.
    """
    studies: dict[bytes, list[Replayed]] = {}
    for name, reader in transcripts:
        replayed = _Replay(name, reader).run()
        studies.setdefault(replayed.study, []).append(replayed)
    audits = []
    for study, replayed_ones in studies.items():
        findings = [finding for one in replayed_ones for finding in one.findings]
        audits.append(StudyAudit(study, replayed_ones, findings + list(_compared(replayed_ones))))
    return audits


class _Replay:
    """One transcript, replayed."""

    def __init__(self, name: str, reader: TranscriptReader) -> None:
        head = reader.head
        self._reader = reader
        self._seen = Replayed(name, reader, head.roster, head.study, Board(head.roster, head.study))
        self._board = self._seen.board
        self._sum: RunningSum | None = None
        self._total: bytes | None = None
        self._contributions: dict[str, Recorded] = {}
        self._checked: set[str] = set()
        self._labels: set[bytes] = set()
        self._own_labels: set[bytes] = set()

    def run(self) -> Replayed:
        seen, stopped = self._seen, False
        if not self._reader.is_signed():
            # Nothing of such a file is anybody's word: it may be made up, or altered on its way.
            words = f"this file is not as {seen.party} signed it, if it ever did; nothing of it counts"
            seen.findings.append(Finding("transcript", f"whoever handed in {seen.name}", seen.name, words))
            return seen
        try:
            for recorded in self._reader:
                body = recorded.message.body
                if not stopped:
                    stopped = not self._post(recorded)
                if body.study == seen.study:
                    seen.digests.append(recorded.message.digest)
                    seen.messages.append((body.sender, body.kind, body.previous))
            seen.unrecorded, seen.whole = tuple(self._reader.unrecorded), True
            self._look_at_unrecorded()
        except TranscriptError as error:
            self._find("transcript", seen.party, len(seen.digests), f"this file is not as it was signed: {error}")
        return seen

    def _find(self, rule: str, party: str, number: int, words: str) -> None:
        self._seen.findings.append(Finding(rule, party, f"{self._seen.name}, entry {number}", words))

    def _at_fault(self, sender: str, error: ProtocolError) -> str:
        """Whom a broken rule names: its signer alone where no record could hold that message. Where a message stands is
        up to the aggregator and to whoever shows it; what does not fit the rest may be its signer's fault, or theirs.
        """
        aggregator, party = self._board.roster.aggregator.name, self._seen.party
        match error:
            case UnfitError() | RepeatedError() | SignatureError():
                return sender
            case MisplacedError():
                return _any_of(aggregator, party)
            case _:
                return _any_of(sender, aggregator, party)

    def _post(self, recorded: Recorded) -> bool:
        """Whether the record can be followed further."""
        message, board, seen = recorded.message, self._board, self._seen
        content = message.content
        foreign = message.body.study != seen.study
        if foreign or (isinstance(content, m.Invitation) and content.roster != seen.roster.digest):
            what = "of another study" if foreign else "made under another roster"
            self._find("message", seen.party, recorded.number, f"{seen.party} shows a message {what} in this one")
            return False
        for position in range(len(recorded.places)):
            self._reader.attachment(recorded, position)  # it is the one that was signed, or this raises
        try:
            board.post(message)
        except ProtocolError as error:
            self._find("message", self._at_fault(message.sender, error), recorded.number, str(error))
            return False
        match content:
            case m.Contribution():
                self._contribution(recorded, content)
            case m.Open():
                self._open(recorded, content)
            case m.Check():
                self._check(recorded, content)
            case m.Sum():
                self._sum_up(recorded, content)
            case _:
                pass  # the board has looked at all that there is of it
        return True

    def _contribution(self, recorded: Recorded, content: m.Contribution) -> None:
        board, sender = self._board, recorded.message.sender
        if len(board.round.contributions) == 1:
            if content.label in self._labels:
                self._find("label", sender, recorded.number, f"{sender} encrypts a second time under a label")
            self._labels.add(content.label)
            self._sum = self._total = None
            self._contributions, self._checked = {}, set()
        if sender == self._seen.party:
            self._own_labels.add(content.label)
        packed = self._reader.attachment(recorded, 0)
        if packed is None:
            return
        self._contributions[sender] = recorded
        try:
            if self._sum is None:
                self._sum = RunningSum(board.profile, board.use(content))
            self._sum.add(packed)
        except MalformedError as error:
            self._find("message", sender, recorded.number, f"the contribution of {sender} is malformed: {error}")

    def _open(self, recorded: Recorded, content: m.Open) -> None:
        record = self._board.round
        if self._sum is not None and self._sum.count == len(record.contributions) and len(record.opens) == 1:
            self._total = self._sum.packed()
            if m.Attachment.of(self._total).sha256 != content.total:
                self._find(
                    "sum",
                    recorded.message.sender,
                    recorded.number,
                    f"the sum that {recorded.message.sender} names in round {record.number} is not that of the "
                    "contributions",
                )

    def _check(self, recorded: Recorded, content: m.Check) -> None:
        sender = recorded.message.sender
        record = self._board.rounds[content.round]
        if record.sum is not None or sender not in self._contributions:
            return
        packed = self._reader.attachment(self._contributions[sender], 0)
        assert packed is not None  # noqa: S101  only such contributions are kept there
        try:
            right = check_value(self._board.profile, packed, record.first.values, record.list_digest)
        except MalformedError:
            return  # found already, as a malformed contribution
        self._checked.add(sender)
        if content.value != right:
            self._find(
                "check value",
                sender,
                recorded.number,
                f"the check value that {sender} signed in round {record.number} is not that of its contribution",
            )

    def _sum_up(self, recorded: Recorded, content: m.Sum) -> None:
        sender = recorded.message.sender
        record = self._board.rounds[content.round]
        summed = self._total is None and self._verify_by_check_values(recorded, record)
        self._seen.releases.append(
            Release(
                record.number,
                record.first.purpose,
                record.first.values,
                tuple(sorted(record.contributions)),
                tuple(sorted(record.answers)),
                tuple(sorted(self._board.study.readers)),
                recorded.at,
                "added" if self._total is not None else "checks" if summed else "no",
                tuple(sorted(self._checked)),
            )
        )
        if not self._board.covers(set(record.answers)):
            words = f"{sender} closes round {record.number} with too few answers, or some are not shown"
            self._find("message", _any_of(sender, self._seen.party), recorded.number, words)

    def _verify_by_check_values(self, recorded: Recorded, record: RoundRecord) -> bool:
        """Without the contributions, the signed check values still say whether this is their sum; False where the
        transcript does not have it.
        """
        attachments = [self._reader.attachment(recorded, i) for i in range(len(recorded.places))]
        if not attachments or any(data is None for data in attachments):
            return False
        total, *gone = [data for data in attachments if data is not None]
        try:
            verified_checks(self._board.profile, record, total, gone)
        except CryptoError as error:
            either = _any_of(
                recorded.message.sender, *sorted(record.checks)
            )  # one of these may have signed a false one
            self._find("sum", either, recorded.number, f"round {record.number}: {error}")
        return True

    def _look_at_unrecorded(self) -> None:
        """A message of the party's own that is not in the record must at least be its own, of this study, and go on
        from its last one.
        """
        seen, previous = self._seen, m.ZERO_HASH
        for (sender, _, _), digest in zip(seen.messages, seen.digests, strict=True):
            previous = digest if sender == seen.party else previous
        for message in seen.unrecorded:
            if isinstance(message.content, m.Contribution) and message.content.label in self._own_labels:
                words = f"{seen.party} encrypts a second time under a label, in a message that is not in the record"
                self._find("label", seen.party, len(seen.digests), words)
                return
            if (message.sender, message.body.study, message.body.previous) != (seen.party, seen.study, previous):
                self._find(
                    "signature",
                    seen.party,
                    len(seen.digests),
                    f"a '{message.body.kind}' that {message.sender} signed has no place after its other messages",
                )
                return
            previous = message.digest


def _compared(replayed: list[Replayed]) -> Iterable[Finding]:
    """What two transcripts show that cannot both be: who relayed or signed two things."""
    replayed = [one for one in replayed if one.counts]
    if not replayed:
        return
    first = max(replayed, key=lambda one: len(one.digests))
    for other in replayed:
        pairs = zip(first.digests, other.digests, strict=False)
        place = next((i for i, (mine, its) in enumerate(pairs) if mine != its), None)
        if place is None:
            continue
        yield _split(first, other, place)
    yield from _forked(replayed)


def _split(first: Replayed, other: Replayed, place: int) -> Finding:
    """The order of the record is nobody's signature: it may be the aggregator that showed two, or a party that shows
    another than it was shown.
    """
    shown = " and ".join(
        f"{one.party} a '{one.messages[place][1]}' of {one.messages[place][0]}" for one in (first, other)
    )
    return Finding(
        "relay",
        _any_of(first.roster.aggregator.name, first.party, other.party),
        f"{first.name} and {other.name}, entry {place}",
        f"two records of one study: {shown}",
    )


def _weight(release: Release) -> tuple[int, int]:
    return ("no", "checks", "added").index(release.verified), len(release.checked_again)


def _any_of(*names: str) -> str:
    return " or ".join(dict.fromkeys(names))


def _forked(replayed: list[Replayed]) -> Iterable[Finding]:
    """A member that signed two messages that go on from the same one."""
    follows: dict[tuple[str, bytes], tuple[bytes, str]] = {}
    told: set[str] = set()
    for one in replayed:
        chains = [
            (sender, previous, digest) for (sender, _, previous), digest in zip(one.messages, one.digests, strict=True)
        ]
        chains += [(message.sender, message.body.previous, message.digest) for message in one.unrecorded]
        for sender, previous, digest in chains:
            known, where = follows.setdefault((sender, previous), (digest, one.name))
            if known != digest and sender not in told:
                told.add(sender)
                yield Finding(
                    "signature", sender, f"{where} and {one.name}", f"{sender} signed two messages for one place"
                )


def unfinished(board: Board) -> str | None:
    """What a study that has not ended waits for, in words; None when it has ended."""
    if board.phase is Phase.ENDED:
        return None
    if board.phase is Phase.INVITATION:
        return "its invitation is not in the record"
    return f"it stands in phase {board.phase} and waits for {', '.join(board.missing()) or 'nobody'}"
