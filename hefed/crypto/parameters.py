"""Parameter sets, and the one place where noise, capacity and precision are computed.

Relies on SEAL (through TenSEAL) to say that a parameter set has 128-bit security, and on exact fractions.
It must not estimate anything in floating point that two parties have to agree on.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from hefed.crypto.errors import ParameterError

MAX_KEYHOLDERS = 16
# One answer for each set of threshold - 1 keyholders: 1024 sets of 231 values are 2.7 MB of answers a round.
MAX_SUBSETS = 1024
# The table of the answers' noise has 11 sigma entries and sigma grows with the root of this: 51,000 entries.
MAX_CONTRIBUTORS = 4096

VARIANCE_CONTRIBUTION = Fraction(454, 100) ** 2
# SEAL's own error is the difference of two sums of 21 bits (util/rlwe.cpp, sample_poly_cbd), not a Gaussian of
# deviation 3.2. It counts whether or not SEAL encrypted.
VARIANCE_SEAL = Fraction(21, 2)
ANSWER_FACTOR = 16  # sigma_answer = 16 sigma_contribution sqrt(contributors): Hint-RLWE with sigma_0 = 3.2
TAIL_SIGMAS = 12


@dataclass(frozen=True)
class Profile:
    """A parameter set: the ring Z_Q[X]/(X^N + 1), Q the product of `primes`, each 1 modulo 2N and below 2**48.

    `special_prime` completes SEAL's key chain where SEAL wants one; hefed never computes with it.
    """

    name: str
    identifier: str
    ring_degree: int
    primes: tuple[int, ...]
    special_prime: int | None

    @cached_property
    def modulus(self) -> int:
        """Q."""
        return math.prod(self.primes)

    @property
    def modulus_bits(self) -> int:
        """Bits of Q."""
        return self.modulus.bit_length()

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Bits of each prime."""
        return tuple(p.bit_length() for p in self.primes)

    @cached_property
    def bits_per_value(self) -> int:
        """Bits of one packed value."""
        return sum(self.widths)

    def blocks(self, values: int) -> int:
        """Polynomials that hold this many values, one value a coefficient."""
        return -(-values // self.ring_degree)

    def packed_size(self, values: int) -> int:
        """Bytes of this many packed values."""
        return (values * self.bits_per_value + 7) // 8


COMPACT = Profile("compact", "compact-2048-48", 2048, (0xFFFFFFFFC001,), None)
PRECISE = Profile("precise", "precise-4096-46-47", 4096, (0x3FFFFFF84001, 0x7FFFFFFEC001), 0xA001)
PROFILES = {profile.name: profile for profile in (COMPACT, PRECISE)}


def check_with_seal(profile: Profile) -> None:
    """Let SEAL judge the profile: it must accept it at its 128-bit level and derive the same primes itself.

    Raises ParameterError otherwise.
    """
    from hefed.crypto import seal

    chain = [*profile.primes] if profile.special_prime is None else [*profile.primes, profile.special_prime]
    if seal.primes_of(profile.ring_degree, [p.bit_length() for p in chain]) != chain:
        raise ParameterError(f"profile {profile.name}: SEAL derives other primes; do not use this build of TenSEAL")
    seal.context_of(profile)


@dataclass(frozen=True)
class Precision:
    """What follows from a profile, n keyholders of which any `threshold` open, and the number of contributors.

    Raises ParameterError for anything but 2 <= threshold <= keyholders <= 16, at most 1024 sets of threshold - 1
    keyholders, and 1 to 4096 contributors.
    Source: Hint-RLWE (Kim, Lee, Seo, Song, CRYPTO 2023) for the deviations.
    """

    profile: Profile
    keyholders: int
    threshold: int
    contributors: int

    def __post_init__(self) -> None:
        check_sharing(self.keyholders, self.threshold)
        if not 1 <= self.contributors <= MAX_CONTRIBUTORS:
            raise ParameterError(f"{self.contributors} contributors; there must be 1 to {MAX_CONTRIBUTORS}")

    @property
    def variance_contribution(self) -> Fraction:
        """Variance of the noise that a contributor adds."""
        return VARIANCE_CONTRIBUTION

    @property
    def variance_answer(self) -> Fraction:
        """Variance of the noise in the answer for one set of keyholders."""
        return ANSWER_FACTOR**2 * VARIANCE_CONTRIBUTION * self.contributors

    @property
    def variance_opened(self) -> Fraction:
        """Variance of the whole noise of an opened integer, SEAL's own included."""
        subsets = math.comb(self.keyholders, self.threshold - 1)
        return self.contributors * (VARIANCE_CONTRIBUTION + VARIANCE_SEAL) + subsets * self.variance_answer

    @property
    def sigma_contribution(self) -> float:
        """Deviation of the noise that a contributor adds, for people to read."""
        return math.sqrt(self.variance_contribution)

    @property
    def sigma_answer(self) -> float:
        """Deviation of the noise in one answer, for people to read."""
        return math.sqrt(self.variance_answer)

    @property
    def sigma_opened(self) -> float:
        """Deviation of the whole noise of an opened integer, for people to read."""
        return math.sqrt(self.variance_opened)

    @cached_property
    def tail(self) -> int:
        """12 deviations of an opened integer, rounded up: its noise exceeds this with a chance below 2**-100."""
        return ceil_sqrt(TAIL_SIGMAS**2 * self.variance_opened)

    @cached_property
    def capacity_bits(self) -> int:
        """C: a value v of exponent x becomes the integer v * 2**(C - x); the largest for which no sum can wrap."""
        return math.floor((Fraction(self.profile.modulus, 2) - self.tail) / self.contributors).bit_length() - 1

    @property
    def largest_opened(self) -> int:
        """The largest magnitude that an opened integer can have when all is right."""
        return (self.contributors << self.capacity_bits) + self.tail

    def error(self, exponent: int) -> float:
        """A bound on the absolute error of the decoded sum of values of this exponent.

        Noise up to the tail, half a unit of rounding a contributor, and the last rounding to float64.
        """
        noise = math.ldexp(self.tail + self.contributors / 2, exponent - self.capacity_bits)
        return noise + math.ldexp(self.contributors, exponent - 53)


def check_sharing(keyholders: int, threshold: int) -> None:
    """Raise ParameterError unless any `threshold` of `keyholders` can be made to open."""
    if not 2 <= threshold <= keyholders <= MAX_KEYHOLDERS:
        raise ParameterError(
            f"threshold {threshold} of {keyholders} keyholders; it must be 2 <= threshold <= keyholders <= "
            f"{MAX_KEYHOLDERS}"
        )
    if math.comb(keyholders, threshold - 1) > MAX_SUBSETS:
        raise ParameterError(
            f"threshold {threshold} of {keyholders} keyholders needs {math.comb(keyholders, threshold - 1)} answers a "
            f"round; at most {MAX_SUBSETS} are allowed: choose fewer keyholders or another threshold"
        )


def ceil_sqrt(square: Fraction) -> int:
    """The smallest integer whose square is not below `square`, exactly; `square` is positive."""
    return 1 + math.isqrt((square.numerator - 1) // square.denominator)
