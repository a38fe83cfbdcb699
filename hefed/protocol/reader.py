"""A reader's part: it opens a round's sum by itself, trusting neither the aggregator nor any single keyholder, and
goes on with the model by itself.
"""

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from hefed.crypto.contribution import check_value, verify_checks
from hefed.crypto.errors import CryptoError
from hefed.crypto.hashing import tagged_hash
from hefed.crypto.keys import Subset
from hefed.crypto.label import Label
from hefed.crypto.opening import Opening
from hefed.protocol import codec, known_answer
from hefed.protocol import messages as m
from hefed.protocol.answers import read_answers
from hefed.protocol.board import Board
from hefed.protocol.contexts import answer_context, content_key_context, finding_context
from hefed.protocol.errors import EquivocationError, ProtocolError
from hefed.protocol.ports import Vault, Vector, Work
from hefed.protocol.record import RoundRecord
from hefed.protocol.sealing import ContentCipher, SealingKey, seal

N = TypeVar("N", bound=np.generic)

FINDING_STEP = 4096
"""Findings are filled up to about a multiple of so many bytes, so that their length tells nothing of their words."""

LEAST_VALUES = 32
"""Of a round; shorter vectors are filled up with zeros.

A label contains the hash of the last opened integers and is seen by the aggregator, which could try guesses of them.
Each opened integer has some 2^8 or more equally likely values of its noise, so 32 of them leave more than 2^256
guesses whatever is known of the sum.
"""


def padded(vector: npt.NDArray[N]) -> npt.NDArray[N]:
    """The vector with zeros behind it, up to LEAST_VALUES."""
    return np.concatenate([vector, np.zeros(max(0, LEAST_VALUES - len(vector)), vector.dtype)])


class ReaderPart:
    """What a reader does. `previous` is V, the hash of the last round as this reader saw it; it is part of the next
    label.
    """

    def __init__(self, name: str, board: Board, vault: Vault, work: Work) -> None:
        self._name, self._board, self._vault, self._work = name, board, vault, work
        self._opening: Opening | None = None  # of the round under way, once there is an answer
        self._digests: dict[Subset, dict[str, bytes]] = {}  # by share and keyholder
        self._label: Label | None = None
        self._values = 0
        self.previous = m.ZERO_HASH
        self.rounds_opened = 0
        self.checked: list[bool] = []
        self._decision_salt = b""
        self._content_keys: dict[str, bytes] = {}

    def _reading_key(self) -> SealingKey:
        return SealingKey(self._vault.get_or_create("reading key", SealingKey.new_secret))

    def reading_key(self) -> bytes:
        """The public key that content keys are sealed to."""
        return self._reading_key().public

    def _content_key(self, keyholder: str) -> bytes:
        """That of a keyholder, opened once. Raises SealError when what it acknowledged with does not open."""
        if keyholder not in self._content_keys:
            board = self._board
            context = content_key_context(board.study_digest, keyholder, self._name)
            sealed = board.acknowledgement(keyholder).content_keys[self._name]
            self._content_keys[keyholder] = self._reading_key().open(sealed, context)
        return self._content_keys[keyholder]

    def forget(self) -> None:
        """Drops the keyholders' content keys from memory, as far as Python allows."""
        self._content_keys.clear()

    @property
    def finished(self) -> bool:
        """Whether every round so far is opened, the known answer at least, and the model asks for no other."""
        opened = self.rounds_opened
        return 0 < opened == self._board.round.number and self._work.vector() is None

    def label(self) -> Label:
        """The label of the first round that this reader has not opened, from its own view of all that was opened."""
        board, number = self._board, self.rounds_opened
        if self._label is None or self._label.round != number:
            known = Vector(known_answer.PURPOSE, known_answer.EXPONENTS)
            vector = known if number == 0 else self._work.vector()
            if vector is None:
                raise EquivocationError(f"{self._name} has finished the study, but a further round has begun")
            self._values = len(vector.exponents)
            self._label = Label(
                federation=board.roster.federation,
                study=board.study_digest,
                cohort=board.cohort.digest,
                round=number,
                purpose=vector.purpose,
                profile=board.profile,
                contributors=len(board.study.contributors),
                exponents=padded(vector.exponents),
                previous=self.previous,
            )
        return self._label

    def take(self, message: m.Message, attachments: tuple[bytes, ...]) -> None:
        """The attachments of an answer or of a sum."""
        content = message.content
        if isinstance(content, m.Answer) and content.round == self.rounds_opened:
            self._take_answer(message, content, attachments[0])
        elif isinstance(content, m.Sum):
            self._open(self._board.rounds[content.round], attachments)

    def _take_answer(self, message: m.Message, content: m.Answer, sealed: bytes) -> None:
        board, record, keyholder = self._board, self._board.rounds[content.round], message.sender
        use = board.use(record.first)
        try:
            context = answer_context(record.first.label, keyholder, record.open_digests[content.attempt - 1])
            cipher = ContentCipher(self._content_key(keyholder), context)
            answers, hashes = read_answers(cipher, board.profile, use.values, sealed)
            number = board.dealt_keyholders.index(keyholder)
            for subset in (*answers, *hashes):
                if subset not in board.subsets or number in subset:
                    raise ProtocolError("it is for a share that it does not hold")
            if self._opening is None:
                self._opening = Opening(board.precision, use)
            for subset, groups in answers.items():
                hashes[subset] = self._opening.add(subset, groups)
        except (ProtocolError, CryptoError) as error:
            raise ProtocolError(f"the answer of {keyholder} cannot be used: {error}") from error
        for subset, digest in hashes.items():
            if self._digests.setdefault(subset, {}).setdefault(keyholder, digest) != digest:
                raise EquivocationError(f"{keyholder} gave two different answers for one share; it is at fault")

    def _open(self, record: RoundRecord, attachments: tuple[bytes, ...]) -> None:
        board = self._board
        label = self.label()
        if label.digest != record.first.label:
            raise EquivocationError(
                f"round {record.number} was made for another label than {self._name}'s own; nothing is opened"
            )
        total, gone = attachments[0], attachments[1:]
        checks = {name: check.value for name, check in record.checks.items()}
        for name, packed in zip(record.sum.absent if record.sum else (), gone, strict=True):
            checks[name] = check_value(board.profile, packed, label.values, record.list_digest)
        ordered = [checks[name] for name in sorted(checks)]
        verify_checks(board.profile, total, label.values, record.list_digest, ordered)
        checked = self._cross_check()
        opening = self._opening or Opening(board.precision, label)
        values = opening.open(total).decode(label, board.precision)[: self._values]
        self._go_on(record, label, values, opening.digest, ordered)
        self.checked.append(checked)

    def _cross_check(self) -> bool:
        """Whether every share answer is confirmed by `threshold` holders. Raises EquivocationError, naming both sides,
        when holders differ.
        """
        board, checked = self._board, True
        for subset in board.subsets:
            digests = self._digests.get(subset, {})
            sides = [
                sorted(name for name, other in digests.items() if other == digest)
                for digest in sorted(set(digests.values()))
            ]
            if len(sides) > 1:
                words = " against ".join(", ".join(side) for side in sides)
                raise EquivocationError(
                    f"keyholders do not agree on a share answer: {words}; at least one of them is at fault"
                )
            checked = checked and len(digests) >= board.threshold
        return checked

    def _go_on(
        self, record: RoundRecord, label: Label, total: npt.NDArray[np.float64], opened: bytes, checks: list[bytes]
    ) -> None:
        if label.round == 0:
            self._require_known(label, total)
        else:
            self._work.step(total)
        self.previous = tagged_hash("opened round", label.digest, record.list_digest, *checks, opened)
        self._decision_salt = tagged_hash("decision salt", opened)
        self.rounds_opened += 1
        self._opening, self._digests = None, {}

    def _require_known(self, label: Label, total: npt.NDArray[np.float64]) -> None:
        expected = np.zeros(self._values)
        for name in sorted(self._board.study.contributors):
            expected = expected + known_answer.vector(label.digest, name)
        bound = np.array([self._board.precision.error(int(exponent)) for exponent in label.exponents[: self._values]])
        if not np.all(np.abs(total - expected) <= bound):
            raise ProtocolError(
                "the known answer of round 0 came out wrong, so no patient's number was sent; "
                "two parties' programs are not alike: install the same version of hefed everywhere"
            )

    def closing(self) -> m.Closing:
        """Closes the study once the model is finished; the finding is sealed to the analyst."""
        board = self._board
        finding = self._work.finding()
        document = {"outcome": finding.outcome, "finding": finding.document, "checked": self.checked, "filling": b""}
        document["filling"] = bytes(-len(codec.encode(document)) % FINDING_STEP)
        context = finding_context(board.study_digest, self._name, board.analyst)
        return m.Closing(
            last=self.previous,
            decisions=self._decisions_digest(),
            outcome=finding.outcome,
            sealed=seal(codec.encode(document), board.invitation.result_key, context),
        )

    def _decisions_digest(self) -> bytes:
        """Stands for the decisions. The aggregator sees it and could try guesses of them, a small count of events say,
        but
        not of the last opened integers, whose noise is salt that only readers have.
        """
        return tagged_hash("decisions", self._decision_salt, *self._work.decisions())
