"""A region in a study: contributor, keyholder and reader in one machine, each a few duties.

The machine follows the study's public record (`board`). After every message of it, it looks down the table of duties
and sends what is due; every message has a key, one message a key for ever, so a machine that is started again and
shown the record from its beginning sends the same bytes or nothing.

It must not: touch sockets, files or clocks; take a state from the aggregator; let a secret into a message or an
error.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from hefed.crypto.buffer import Buffer
from hefed.crypto.errors import CryptoError
from hefed.crypto.label import Use
from hefed.protocol import messages as m
from hefed.protocol.ahead import Ahead
from hefed.protocol.board import Board
from hefed.protocol.contributor import ContributorPart
from hefed.protocol.errors import ProtocolError
from hefed.protocol.keyholder import KeyholderPart
from hefed.protocol.ports import DeclinedError, Keep, Outgoing, Recall, Vault, Work
from hefed.protocol.reader import ReaderPart
from hefed.protocol.roster import Roster
from hefed.protocol.rules import Phase

Role = Literal["member", "contributor", "keyholder", "reader"]


@dataclass(frozen=True)
class Duty:
    """One line of the table: in this phase, whoever has this role sends this kind, once for each `once`."""

    role: Role
    phase: Phase
    kind: str
    once: Literal["study", "round", "attempt"]


DUTIES = (
    #     role           in phase                 sends              once a
    Duty("member",       Phase.APPROVAL,          "approval",        "study"),
    Duty("contributor",  Phase.DEALING,           "deal",            "study"),
    Duty("keyholder",    Phase.ACKNOWLEDGEMENT,   "acknowledgement", "study"),
    Duty("contributor",  Phase.COHORT,            "cohort",          "study"),
    Duty("reader",       Phase.CONTRIBUTION,      "closing",         "study"),
    Duty("contributor",  Phase.CONTRIBUTION,      "contribution",    "round"),
    Duty("contributor",  Phase.OPENING,           "check",           "round"),
    Duty("keyholder",    Phase.OPENING,           "answer",          "attempt"),
)  # fmt: skip
"""All that a member ever sends of its own accord; beside it, at any time, a refusal, and a keyholder's complaint in
place of its acknowledgement.
"""


class Member:
    """One member's part in one study. Feed it the record with `receive`; send what it returns, in order, after
    storing it.
    """

    def __init__(
        self,
        *,
        name: str,
        signer: m.Signer,
        roster: Roster,
        study: bytes,
        vault: Vault,
        recall: Recall,
        prepare: Callable[[Board], Work | None],
        previous: bytes = m.ZERO_HASH,
        threads: int = 1,
        keep: Keep | None = None,
    ) -> None:
        """`prepare` reads an invitation as the region would: the work it will do (None for a mere keyholder), or raises
        DeclinedError. `previous` is the digest of what was sent last, for a member that declines before it is shown the
        record again. Encrypting and answering work by that many threads, with the same bytes. `keep` is for a reader.
        """
        self.name = name
        self.board = Board(roster, study)
        self._signer = signer
        self._vault = vault
        self._recall = recall
        self._prepare = prepare
        self._threads, self._ahead, self._keep = threads, Ahead(), keep
        self._work: Work | None = None
        self._sent: set[str] = set()
        self._last_digest = previous
        self._refused = self._is_live = False
        self.contributor: ContributorPart | None = None
        self.keyholder: KeyholderPart | None = None
        self.reader: ReaderPart | None = None

    @property
    def ended(self) -> bool:
        """Whether the study is over for this member; its secrets are then due for destruction."""
        return self._refused or self.board.phase is Phase.ENDED

    def receive(self, envelope: bytes, attachments: tuple[Buffer, ...]) -> list[Outgoing]:
        """The next message of the record, with the attachments meant for this member, as they came. Returns what to
        send.
        """
        if self.ended:
            return []
        try:
            message = m.read_message(envelope, self.board.roster)
        except (ProtocolError, CryptoError) as error:
            return self.decline(str(error))
        return self.follow(message, attachments)

    def follow(self, message: m.Message, attachments: tuple[Buffer, ...]) -> list[Outgoing]:
        """The same for a message that has been read, and so its signature verified, under the study's roster."""
        if self.ended:
            return []
        outgoing: list[Outgoing] = []
        try:
            self._follow(message, attachments, outgoing)
        except (DeclinedError, ProtocolError, CryptoError) as error:
            outgoing += self._refuse(str(error))  # after what is said already: the chain goes on from there
        if self.ended:
            self.forget()
        return outgoing

    def decline(self, words: str) -> list[Outgoing]:
        """Ends the study on the region's own account, for instance when its deadline is over."""
        if self.ended:
            return []
        self.forget()
        return self._refuse(words)

    # --- inside -------------------------------------------------------------------------------------------------------

    def _follow(self, message: m.Message, attachments: tuple[Buffer, ...], outgoing: list[Outgoing]) -> None:
        self.board.post(message)
        if message.body.kind == "invitation":
            self._begin()
        if attachments:
            self._take(message, attachments)
        for duty in DUTIES:
            if duty.phase is self.board.phase and self._has(duty.role):
                key = self._key(duty)
                if key not in self._sent and self._is_due(duty):
                    outgoing.append(self._perform(duty, key))
        # A contributor knows from its own label what will be answered, a mere keyholder from the first contribution.
        is_first = message.body.kind == "contribution" and len(self.board.round.contributions) == 1
        if is_first and self.contributor is None and self._is_live:
            self._begin_answers(self.board.use(self.board.round.first))

    def _begin_answers(self, use: Use) -> None:
        if self.keyholder is not None:
            self.keyholder.begin(use)

    def forget(self) -> None:
        """Erases keys, and what was made ahead with them, from memory, as far as Python allows."""
        self._ahead.forget()
        for part in (self.contributor, self.keyholder, self.reader):
            if part is not None:
                part.forget()

    def _begin(self) -> None:
        study, board = self.board.study, self.board
        if self.name not in board.members:
            raise ProtocolError(f"{self.name} has no part in this study")
        self._work = self._prepare(board)
        if self.name in study.keyholders:
            self.keyholder = KeyholderPart(self.name, board, self._vault, self._ahead, self._threads)
        if self.name in study.readers:
            if self._work is None:
                raise DeclinedError(f"{self.name} is to read the sums, but has no model to go on with")
            self.reader = ReaderPart(self.name, board, self._vault, self._work, self._keep)
        if self.name in study.contributors:
            assert self._work is not None  # noqa: S101  a study's contributors are readers
            assert self.reader is not None  # noqa: S101
            self.contributor = ContributorPart(
                self.name, board, self._vault, self._work, self.reader, self._ahead, self._threads
            )

    def _take(self, message: m.Message, attachments: tuple[Buffer, ...]) -> None:
        bound = message.body.attachments
        if len(bound) != len(attachments) or not all(b.matches(a) for b, a in zip(bound, attachments, strict=True)):
            raise ProtocolError(
                f"what came with a '{message.body.kind}' of {message.sender} is not what {message.sender} signed"
            )
        if self.reader is not None:
            self.reader.take(message, attachments)

    def _has(self, role: Role) -> bool:
        return role == "member" or getattr(self, role) is not None

    def _key(self, duty: Duty) -> str:
        if duty.once == "study":
            return duty.kind
        record = self.board.round
        attempt = f" {len(record.opens)}" if duty.once == "attempt" else ""
        return f"{duty.kind} {record.number}{attempt}"

    def _is_due(self, duty: Duty) -> bool:
        """Whether a duty of this phase is this member's now; decided before what was sent is looked up."""
        match duty.kind:
            case "closing":
                return self.reader is not None and self.reader.finished
            case "contribution":
                return self.reader is not None and not self.reader.finished
            case "answer":
                return self.keyholder is not None and self.keyholder.is_asked
        return True

    def _perform(self, duty: Duty, key: str) -> Outgoing:
        stored = self._recall(key)
        if stored is not None:
            self._remember(stored)
            return stored
        self._is_live = True
        content, attachments = self._make(duty)
        return self._send(key, content, attachments)

    def _make(self, duty: Duty) -> tuple[m.Content, tuple[bytes, ...]]:
        match duty.kind:
            case "approval":
                return self._approval(), ()
            case "acknowledgement" if self.keyholder:
                return self.keyholder.acknowledge(), ()
            case "answer" if self.keyholder:
                return self.keyholder.answer()
            case "closing" if self.reader:
                return self.reader.closing(), ()
            case "deal" if self.contributor:
                return self.contributor.deal(), ()
            case "cohort" if self.contributor:
                return self.contributor.sign_cohort(
                    self._own("approval").message.digest, self._own("deal").message.digest
                ), ()
            case "contribution" if self.contributor:
                return self.contributor.contribution(self._begin_answers)
        assert duty.kind == "check"  # noqa: S101  no other line of the table is left
        assert self.contributor is not None  # noqa: S101  its role was looked at
        own = self._own(f"contribution {self.board.round.number}")
        return self.contributor.check(own.attachments[0]), ()

    def _own(self, key: str) -> Outgoing:
        sent = self._recall(key)
        if sent is None:
            raise ProtocolError(f"the record goes on from a '{key}' of {self.name} that {self.name} never sent")
        return sent

    def _approval(self) -> m.Approval:
        return m.Approval(
            commitment=self.contributor.commitment if self.contributor else None,
            dealing_keys=self.keyholder.dealing_keys() if self.keyholder else {},
            reading_key=self.reader.reading_key() if self.reader else None,
        )

    def _refuse(self, words: str) -> list[Outgoing]:
        self._refused = True
        stored = self._recall("refusal")
        if stored is not None:
            self._remember(stored)
            return [stored]
        return [self._send("refusal", m.Refusal(words=m.printable(words)), ())]

    def _send(self, key: str, content: m.Content, attachments: tuple[bytes, ...]) -> Outgoing:
        message = self._signer.sign(
            content,
            federation=self.board.roster.federation,
            study=self.board.study_digest,
            sender=self.name,
            previous=self._last_digest,
            attachments=attachments,
        )
        outgoing = Outgoing(key, message, attachments)
        self._remember(outgoing)
        return outgoing

    def _remember(self, outgoing: Outgoing) -> None:
        self._sent.add(outgoing.key)
        self._last_digest = outgoing.message.digest
