"""Answers of keyholders, and what a reader does with them.

An answer for a set T is the label's public polynomials times the contributors' shares for T, with noise that every
holder of T derives alike: whoever answers, and however often, the bits are the same. Relies on the caller to open only
what all contributors signed.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from hefed.crypto import masking, packing
from hefed.crypto.contribution import check_agreement
from hefed.crypto.errors import OpeningError, ParameterError, SeedError
from hefed.crypto.hashing import Pieces, tagged_hash
from hefed.crypto.keys import ShareKeys, Subset, mask_of, subsets
from hefed.crypto.label import Label, Use
from hefed.crypto.parameters import Precision
from hefed.crypto.ring import Floats

_INTEGER_BYTES = 16
_PIECE = 1 << 13  # integers that are hashed at once


def answer(precision: Precision, share_keys: ShareKeys, subset: Subset, label: Use, threads: int = 1) -> bytes:
    """h_T = a_L * (sum of the contributors' shares for T) + noise, packed; by that many threads, with the same bytes.

    Raises SeedError for shares of another study or cohort, or a set that this keyholder has no share for,
    ParameterError for parameters that do not fit together.
    """
    check_agreement(precision, label)
    if share_keys.study != label.study or share_keys.cohort != label.cohort:
        raise SeedError(f"the shares of keyholder {share_keys.keyholder} are of another study or cohort than the label")
    if share_keys.profile != label.profile or len(share_keys.dealers) != label.contributors:
        raise ParameterError("shares and label state different profiles or numbers of contributors")
    if (share_keys.keyholders, share_keys.threshold) != (precision.keyholders, precision.threshold):
        raise ParameterError("shares and precision state different sharings")
    share = share_keys.share(subset)
    noise_key = share_keys.noise_key(subset, label.digest)
    return masking.masked(
        label,
        lambda first: masking.PublicProducts(label, share, first),
        noise_key,
        precision.variance_answer,
        None,
        threads,
    )


def answer_digest(label: Use, subset: Subset, packed: bytes) -> bytes:
    """The hash by which other holders of the same set confirm an answer."""
    return tagged_hash("answer", label.digest, mask_of(subset), packed)


class OpenedIntegers:
    """The opened integers X of one round: the sums times 2**(C - x), plus noise."""

    __slots__ = ("limbs",)

    def __init__(self, limbs: NDArray[np.int64]) -> None:
        self.limbs = limbs
        """Shape (K, 2): the lower and the upper 64 bits of each integer in two's complement; or (K, 1), the lower."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OpenedIntegers) and self.to_bytes() == other.to_bytes()

    __hash__ = None  # type: ignore[assignment]  # holds an array

    def to_bytes(self) -> bytes:
        """16 bytes an integer, little-endian two's complement."""
        return b"".join(self.pieces())

    def pieces(self) -> Pieces:
        """The same bytes, some at a time, for a hash."""
        return Pieces(_INTEGER_BYTES * len(self.limbs), self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        for first in range(0, len(self.limbs), _PIECE):
            limbs = self.limbs[first : first + _PIECE]
            if limbs.shape[1] == 1:
                limbs = np.concatenate([limbs, limbs >> 63], axis=1)
            yield limbs.astype("<i8").tobytes()

    def as_python(self) -> list[int]:
        """The integers, one by one: for tests and for people."""
        data = self.to_bytes()
        return [int.from_bytes(data[i : i + 16], "little", signed=True) for i in range(0, len(data), 16)]

    def decode(self, label: Label, precision: Precision) -> Floats:
        """The sums, shape (K,): the float64 nearest to X * 2**(x - C)."""
        check_agreement(precision, label)
        if self.limbs.shape[0] != label.values:
            raise ParameterError(f"{self.limbs.shape[0]} opened integers for a label of {label.values}")
        return packing.decode(precision, label, self.limbs)


def open_sum(precision: Precision, label: Label, total: bytes, answers: Mapping[Subset, bytes]) -> OpenedIntegers:
    """The integers that a sum holds, given the answer for every set of threshold - 1 keyholders.

    Answers are asked for one after another and not kept: a mapping that fetches them bounds the memory.

    Raises OpeningError if an answer is missing or too many, or if an integer is outside the range of right sums,
    MalformedError if the sum or an answer is not well packed.
    """
    check_agreement(precision, label)
    needed = subsets(precision.keyholders, precision.threshold)
    missing = [t for t in needed if t not in answers]
    if missing:
        raise OpeningError(f"no answer for the sets {missing}; a keyholder outside each of them has to give one")
    if len(answers) != len(needed):
        raise OpeningError(f"{len(answers)} answers where {len(needed)} belong")
    profile = label.profile
    opened = packing.PackedSum(profile, label.values)
    opened.add(packing.checked(profile, total, label.values))
    for subset in needed:
        opened.add(packing.checked(profile, answers[subset], label.values))
    limbs, beyond = opened.integers(precision.largest_opened)
    if beyond >= 0:
        raise OpeningError(
            f"opened integer {beyond} is outside the range of right sums: a contribution, the sum or an answer is wrong"
        )
    return OpenedIntegers(limbs)
