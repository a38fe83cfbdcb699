"""What follows from opened sums: the label of the next round, V, and the decisions of the model.

A reader goes through this round by round as it opens them; whoever is given opened sums later goes through the same,
and comes to the same labels, V and decisions, or the sums are not those.
"""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from hefed.crypto.buffer import Buffer
from hefed.crypto.contribution import check_value, verify_checks
from hefed.crypto.hashing import tagged_hash
from hefed.crypto.label import Label
from hefed.crypto.opening import OpenedIntegers
from hefed.crypto.parameters import Profile
from hefed.protocol import known_answer
from hefed.protocol import messages as m
from hefed.protocol.board import Board
from hefed.protocol.errors import EquivocationError, ProtocolError
from hefed.protocol.ports import Vector, Work
from hefed.protocol.record import RoundRecord

N = TypeVar("N", bound=np.generic)

LEAST_VALUES = 32
"""Of a round; shorter vectors are filled up with zeros.

A label contains the hash of the last opened integers and is seen by the aggregator, which could try guesses of them.
Each opened integer has some 2^8 or more equally likely values of its noise, so 32 of them leave more than 2^256
guesses whatever is known of the sum.
"""


def padded(vector: npt.NDArray[N]) -> npt.NDArray[N]:
    """The vector with zeros behind it, up to LEAST_VALUES; one that is long enough is not copied."""
    missing = LEAST_VALUES - len(vector)
    return np.concatenate([vector, np.zeros(missing, vector.dtype)]) if missing > 0 else vector


class OpenedRounds:
    """`previous` is V, the hash of the last round as whoever opened it saw it; it is part of the next label."""

    def __init__(self, name: str, board: Board, work: Work) -> None:
        self._name, self._board, self._work = name, board, work
        self._label: Label | None = None
        self._values = 0
        self._first_salt = self._decision_salt = b""
        self.previous = m.ZERO_HASH
        self.rounds_opened = 0

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

    def decoded(self, integers: OpenedIntegers, label: Label) -> npt.NDArray[np.float64]:
        """The sums of a round, without what fills them up."""
        return integers.decode(label, self._board.precision)[: self._values]

    def go_on(
        self, record: RoundRecord, label: Label, total: npt.NDArray[np.float64], opened: bytes, checks: list[bytes]
    ) -> None:
        """Goes on from the opened sum of a round: `opened` is the hash of its integers, `checks` are the check values
        in the order of names. Raises ProtocolError when it is the known answer's and not as known.
        """
        if label.round == 0:
            self._require_known(label, total)
        else:
            self._work.step(total)
        self.previous = round_digest(record, checks, opened)
        self._decision_salt = decision_salt(opened)
        if label.round == 0:
            self._first_salt = decision_salt(opened)
        self.rounds_opened += 1

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

    def decisions_digest(self) -> bytes:
        """Stands for the decisions of a model that is finished. The aggregator sees it and could try guesses of them,
        a small count of events say, but not of the last opened integers, whose noise is salt that only readers have.
        """
        return joined_decisions(self.decided, self._decision_salt, self._work.decisions()[-1])

    @property
    def decided(self) -> bytes:
        """Stands for all decisions before the last one, which are few and could be guessed. Its salt is of the known
        answer's integers, so that it stays one where the hash of the last integers is shown.
        """
        return tagged_hash("decided", self._first_salt, *self._work.decisions()[:-1])


def verified_checks(profile: Profile, record: RoundRecord, total: Buffer, gone: Sequence[Buffer]) -> list[bytes]:
    """The check values of a round in the order of names, once `total` is found to be the sum of the contributions that
    were signed. `gone` are the contributions of those who signed no check value, as the sum names them.

    Raises CheckError or MalformedError.
    """
    values, digest = record.first.values, record.list_digest
    checks = {name: check.value for name, check in record.checks.items()}
    for name, packed in zip(record.sum.absent if record.sum else (), gone, strict=True):
        checks[name] = check_value(profile, packed, values, digest)
    ordered = [checks[name] for name in sorted(checks)]
    verify_checks(profile, total, values, digest, ordered)
    return ordered


def round_digest(record: RoundRecord, checks: Sequence[bytes], opened: bytes) -> bytes:
    """V: the hash of a round as whoever opened it saw it."""
    return tagged_hash("opened round", record.first.label, record.list_digest, *checks, opened)


def decision_salt(opened: bytes) -> bytes:
    """The salt, from the hash of the last opened integers."""
    return tagged_hash("decision salt", opened)


def joined_decisions(earlier: bytes, salt: bytes, last: str) -> bytes:
    """Stands for all decisions, so that the last one, which is the result, can be shown without those before it."""
    return tagged_hash("decisions", earlier, tagged_hash("found", salt, last))
