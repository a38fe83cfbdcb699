"""What one use of a study's keys is called, and the public polynomials that follow from the name.

Nobody can choose a public polynomial: it is the output of a cipher keyed by the hash of the label
(`protocols/encryption.md`, Uniform polynomials). This file must not know what the parts of a label mean.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hefed.crypto.errors import ParameterError
from hefed.crypto.hashing import DIGEST_SIZE, tagged_hash
from hefed.crypto.parameters import MAX_CONTRIBUTORS, Profile

# Within these, scaling by 2**(C - x) and by 2**(x - C) is exact in float64 for every profile, and no sum overflows.
MIN_EXPONENT, MAX_EXPONENT = -900, 900
MAX_VALUES = 1 << 30


class Use(Protocol):
    """One use of the keys, as far as those need to know it who add ciphertexts or answer for shares."""

    @property
    def study(self) -> bytes:
        """The hash of the study."""

    @property
    def cohort(self) -> bytes:
        """The hash of the cohort."""

    @property
    def profile(self) -> Profile:
        """The parameter set."""

    @property
    def contributors(self) -> int:
        """How many contributions the sum has."""

    @property
    def values(self) -> int:
        """How many values a vector has."""

    @property
    def digest(self) -> bytes:
        """The hash of the label."""

    @property
    def public_key(self) -> bytes:
        """What the public polynomials follow from."""


@dataclass(frozen=True)
class SignedUse:
    """A use whose label all contributors signed: its parts, opened sums among them, stay hidden behind the digest."""

    study: bytes
    cohort: bytes
    profile: Profile
    contributors: int
    values: int
    digest: bytes

    @property
    def public_key(self) -> bytes:
        """The (public) cipher key whose stream makes the public polynomials."""
        return public_polynomial_key(self.digest)


@dataclass(frozen=True, eq=False)
class Label:
    """One use of the keys: everything on which all parties of a round have to agree.

    `study`, `cohort` and `previous` are 32-byte hashes, `round` a u64, `exponents` an int16 array of shape (K,) with
    entries in -900..900: value j of every contributor is at most 2**exponents[j] in magnitude.
    Raises ParameterError for anything else. The array is copied and cannot be written to.
    """

    federation: str
    study: bytes
    cohort: bytes
    round: int
    purpose: str
    profile: Profile
    contributors: int
    exponents: NDArray[np.int16]
    previous: bytes

    def __post_init__(self) -> None:
        for name in ("study", "cohort", "previous"):
            if len(getattr(self, name)) != DIGEST_SIZE:
                raise ParameterError(f"label: {name} must be a {DIGEST_SIZE}-byte hash")
        if not 0 <= self.round < 1 << 64:
            raise ParameterError(f"label: round {self.round} is not a u64")
        if not 1 <= self.contributors <= MAX_CONTRIBUTORS:
            raise ParameterError(f"label: {self.contributors} contributors; there must be 1 to {MAX_CONTRIBUTORS}")
        given = np.asarray(self.exponents)
        if given.ndim != 1 or given.dtype.kind not in "iu" or not 1 <= given.size <= MAX_VALUES:
            raise ParameterError(f"label: exponents must be a vector of 1 to {MAX_VALUES} integers")
        if given.min() < MIN_EXPONENT or given.max() > MAX_EXPONENT:
            raise ParameterError(f"label: exponents must lie in {MIN_EXPONENT}..{MAX_EXPONENT}")
        exponents = given.astype("<i2")
        exponents.setflags(write=False)
        object.__setattr__(self, "exponents", exponents)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Label) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    @property
    def values(self) -> int:
        """K, the number of values."""
        return self.exponents.size

    @cached_property
    def digest(self) -> bytes:
        """L: the 32 bytes that stand for the label everywhere."""
        return tagged_hash(
            "label",
            self.federation,
            self.study,
            self.cohort,
            self.round,
            self.purpose,
            self.profile.identifier,
            self.contributors,
            self.values,
            self.exponents.data,
            self.previous,
        )

    @cached_property
    def public_key(self) -> bytes:
        """The (public) cipher key whose stream makes the public polynomials."""
        return public_polynomial_key(self.digest)


def public_polynomial_key(digest: bytes) -> bytes:
    """The (public) cipher key of the public polynomials of the label with this digest."""
    return tagged_hash("public polynomial", digest)


def public_polynomial(label: Use, first_block: int, blocks: int) -> NDArray[np.uint64]:
    """a_L: residues in transform form, shape (blocks, primes, N)."""
    from hefed.crypto import sampling

    return sampling.uniform_polynomials(label.profile, label.public_key, first_block, blocks)
