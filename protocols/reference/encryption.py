"""Executable reference of `protocols/encryption.md`: what hefed's encryption computes, written to be read.

NOT FOR PRODUCTION. It is slow by orders of magnitude, and Python's integers, lists and comparisons take a time that
depends on the secrets they hold; nothing here is erased after use, and randomness is always an argument, so that
vectors can be made.

Relies on `primitives.py`, `keys.py` and the standard library. It must not import hefed, numpy or anything that hefed
computes with: its one purpose is to be a second, independent reading of the page, against which hefed is tested
(`make_vectors.py` writes what it says to `protocols/vectors/`).

Pre-conditions are expressions that the caller has to make true; what the page calls "refused" raises `RefusedError`.
A *vector* is a list with one entry a value, each a list of one residue for each prime.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from protocols.reference.keys import (
    Label,
    answer_noise_key,
    combined_answer_noise_key,
    contribution_noise_key,
    public_polynomial,
    secret_key,
    share,
    subsets,
)
from protocols.reference.primitives import (
    VARIANCE_CONTRIBUTION,
    VARIANCE_SEAL,
    H,
    Profile,
    RefusedError,
    Subset,
    ceil_sqrt,
    gaussian,
    inverse_transform,
    mask,
    u64,
    uniform,
    variance_answer,
    words,
)

Vector = list[list[int]]


# --- Values ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Precision:
    """
    What follows from the sizes of a study. Refused: sizes outside the page's limits.

    Pre-conditions:

        - `profile.modulus > 2 * (self.tail + contributors)`, which holds for the page's profiles
    """

    profile: Profile
    keyholders: int
    threshold: int
    contributors: int

    def __post_init__(self) -> None:
        if not 2 <= self.threshold <= self.keyholders <= 16:
            raise RefusedError("parameter", "threshold or number of keyholders")
        if math.comb(self.keyholders, self.threshold - 1) > 1024:
            raise RefusedError("parameter", "too many sets of keyholders")
        if self.contributors not in range(1, 4097):
            raise RefusedError("parameter", "too few or too many contributors")

    @property
    def variance_opened(self) -> Fraction:
        own = self.contributors * (VARIANCE_CONTRIBUTION + VARIANCE_SEAL)
        return own + math.comb(self.keyholders, self.threshold - 1) * variance_answer(self.contributors)

    @property
    def tail(self) -> int:
        return ceil_sqrt(144 * self.variance_opened)

    @property
    def capacity(self) -> int:
        """The largest c with `contributors * 2**c + tail <= modulus / 2`."""
        room = (Fraction(self.profile.modulus, 2) - self.tail) / self.contributors
        return math.floor(room).bit_length() - 1

    @property
    def largest_sum(self) -> int:
        return self.contributors * (1 << self.capacity) + self.tail


def power_of_two(exponent: int) -> Fraction:
    return Fraction(2**exponent) if exponent >= 0 else Fraction(1, 2**-exponent)


def encode_value(value: float, exponent: int, capacity: int) -> int:
    """The fixed-point integer of a value. Refused: a value that is not finite or above `2**exponent` in magnitude."""
    if not math.isfinite(value):
        raise RefusedError("range", "a value is not finite")
    if abs(Fraction(value)) > power_of_two(exponent):
        raise RefusedError("range", "a value is outside the range that its exponent states")
    return round(Fraction(value) * power_of_two(capacity - exponent))  # round() of a Fraction is half to even


def decode_value(opened: int, exponent: int, capacity: int) -> float:
    """The float64 nearest to `opened * 2**(exponent - capacity)`, half to even."""
    return float(opened * power_of_two(exponent - capacity))


# --- Packing --------------------------------------------------------------------------------------


def pack(profile: Profile, vector: Vector) -> bytes:
    """
    Pre-conditions:

        - `all(len(residues) == len(profile.primes) for residues in vector)`
        - `all(r in range(p) for residues in vector for r, p in zip(residues, profile.primes))`
    """
    bits, position = 0, 0
    for residues in vector:
        for r, p in zip(residues, profile.primes, strict=True):
            bits |= r << position
            position += p.bit_length()
    return bits.to_bytes(profile.packed_size(len(vector)), "little")


def unpack(profile: Profile, data: bytes, values: int) -> Vector:
    """The vector of `values` values in `data`. Refused: bad length, a residue not below its prime, filling not zero."""
    if len(data) != profile.packed_size(values):
        raise RefusedError("malformed", "wrong length")
    bits = int.from_bytes(data, "little")
    vector = []
    for _ in range(values):
        residues = []
        for p in profile.primes:
            residues.append(bits & ((1 << p.bit_length()) - 1))
            bits >>= p.bit_length()
            if residues[-1] >= p:
                raise RefusedError("malformed", "a residue is not below its prime")
        vector.append(residues)
    if bits != 0:
        raise RefusedError("malformed", "the filling is not zero")
    return vector


# --- A round --------------------------------------------------------------------------------------


def product_coefficients(profile: Profile, label: bytes, key: Sequence[Sequence[int]], values: int) -> Vector:
    """
    The first `values` coefficients, over all blocks, of the public polynomials times `key`.

    Pre-conditions:

        - `len(label) == 32`
        - `key[k]` is in transform form modulo `profile.primes[k]`
    """
    columns: list[list[int]] = []
    for k, p in enumerate(profile.primes):
        column: list[int] = []
        for block in range(profile.blocks(values)):
            a = public_polynomial(profile, label, block, k)
            column += inverse_transform([x * s % p for x, s in zip(a, key[k], strict=True)], p)
        columns.append(column[:values])
    return [list(residues) for residues in zip(*columns, strict=True)]


def noise_coefficients(profile: Profile, key: bytes, variance: Fraction, values: int) -> list[int]:
    """The noise of `values` coefficients over all blocks."""
    n = profile.ring_degree
    return [
        e
        for block in range(profile.blocks(values))
        for e in gaussian(profile, key, variance, block, min(n, values - block * n))
    ]


def contribution(
    precision: Precision,
    label: Label,
    dealer: str,
    seeds: Mapping[Subset, bytes],
    noise_secret: bytes,
    values: Sequence[float],
) -> bytes:
    """
    The packed contribution of `dealer` by the engine `vectorised`.

    Pre-conditions:

        - `precision.profile == label.profile`
        - `precision.contributors == label.contributors`
        - `tuple(seeds) == subsets(precision.keyholders, precision.threshold)`
        - `len(values) == label.values`
    """
    profile, digest = label.profile, label.digest
    messages = [encode_value(v, x, precision.capacity) for v, x in zip(values, label.exponents, strict=True)]
    noise_key = contribution_noise_key(noise_secret, label.study, digest)
    noise = noise_coefficients(profile, noise_key, VARIANCE_CONTRIBUTION, len(values))
    key = [secret_key(profile, seeds, dealer, label.study, k) for k in range(len(profile.primes))]
    products = product_coefficients(profile, digest, key, len(values))
    vector = [
        [(m + e - r) % p for r, p in zip(residues, profile.primes, strict=True)]
        for m, e, residues in zip(messages, noise, products, strict=True)
    ]
    return pack(profile, vector)


def add(profile: Profile, packed: Sequence[bytes], values: int) -> bytes:
    """
    The sum of contributions. Refused: one that is not well packed.

    Pre-conditions:

        - `len(packed) >= 1`
    """
    total = [[0] * len(profile.primes) for _ in range(values)]
    for data in packed:
        for sums, residues in zip(total, unpack(profile, data, values), strict=True):
            for k, p in enumerate(profile.primes):
                sums[k] = (sums[k] + residues[k]) % p
    return pack(profile, total)


def check_value(profile: Profile, packed: bytes, values: int, contributions: bytes) -> bytes:
    """
    The check value of a contribution or a sum under the hash of a list of contributions. Refused: bad packing.

    Pre-conditions:

        - `len(contributions) == 32`
    """
    vector, n = unpack(profile, packed, values), profile.ring_degree
    check = b""
    for s in range(3):
        for k, p in enumerate(profile.primes):
            y = uniform(profile, H("check y", contributions, s), 0, k)
            v = 0
            for block in range(profile.blocks(values)):
                x = uniform(profile, H("check x", contributions, s), block // n, k)[block % n]
                v += sum(x * y[j] * residues[k] for j, residues in enumerate(vector[block * n : (block + 1) * n]))
            check += u64(v % p)
    return check


def verify_checks(profile: Profile, total: bytes, values: int, contributions: bytes, checks: Sequence[bytes]) -> None:
    """
    Refused: check values that are malformed, or that do not add up to the check value of the sum.

    Pre-conditions:

        - `len(contributions) == 32`
    """
    primes = profile.primes * 3
    added = [0] * len(primes)
    for check in checks:
        if len(check) != 8 * len(primes):
            raise RefusedError("malformed", "a check value has a wrong length")
        for i, (v, p) in enumerate(zip(words(check, 8), primes, strict=True)):
            if v >= p:
                raise RefusedError("malformed", "a residue of a check value is not below its prime")
            added[i] = (added[i] + v) % p
    if b"".join(u64(v) for v in added) != check_value(profile, total, values, contributions):
        raise RefusedError("check", "the check values do not add up to that of the sum")


def answer(label: Label, subset: Subset, seeds: Mapping[str, bytes]) -> bytes:
    """
    The packed answer of a keyholder that has the seed for `subset` of each contributor, by name.

    Pre-conditions:

        - `len(seeds) == label.contributors`
    """
    profile, digest = label.profile, label.digest
    key = []
    for k, p in enumerate(profile.primes):
        shares = [share(profile, seed, dealer, label.study, subset, k) for dealer, seed in seeds.items()]
        key.append([sum(column) % p for column in zip(*shares, strict=True)])
    noise_key = answer_noise_key(combined_answer_noise_key(seeds, subset, label.cohort), digest)
    noise = noise_coefficients(profile, noise_key, variance_answer(label.contributors), label.values)
    products = product_coefficients(profile, digest, key, label.values)
    vector = [
        [(r + e) % p for r, p in zip(residues, profile.primes, strict=True)]
        for e, residues in zip(noise, products, strict=True)
    ]
    return pack(profile, vector)


def answer_hash(label: bytes, subset: Subset, packed: bytes) -> bytes:
    """
    What a keyholder sends in place of an answer that another one sends.

    Pre-conditions:

        - `len(label) == 32`
    """
    return H("answer", label, mask(subset), packed)


def chinese_remainder(residues: Sequence[int], primes: Sequence[int]) -> int:
    """
    The integer in (-Q/2, Q/2] with these residues, Q the product of the primes.

    Pre-conditions:

        - `len(residues) == len(primes)`, the primes odd and different
    """
    q = math.prod(primes)
    x = sum(r * (q // p) * pow(q // p, -1, p) for r, p in zip(residues, primes, strict=True)) % q
    return x - q if x > q // 2 else x


def open_sum(precision: Precision, label: Label, total: bytes, answers: Mapping[Subset, bytes]) -> list[int]:
    """
    The opened integers. Refused: bad packing, not one answer for each subset, an integer that no sum in range gives.

    Pre-conditions:

        - `precision.profile == label.profile`
        - `precision.contributors == label.contributors`
    """
    profile = label.profile
    if set(answers) != set(subsets(precision.keyholders, precision.threshold)):
        raise RefusedError("opening", "there is not exactly one answer for each subset")
    # Opening adds as the aggregator does: modulo each prime.
    everything = unpack(profile, add(profile, [total, *answers.values()], label.values), label.values)
    opened = [chinese_remainder(residues, profile.primes) for residues in everything]
    if any(abs(x) > precision.largest_sum for x in opened):
        raise RefusedError("opening", "an opened integer is out of range")
    return opened


def opened_bytes(opened: Sequence[int]) -> bytes:
    """
    Pre-conditions:

        - `all(x in range(-2**127, 2**127) for x in opened)`
    """
    return b"".join(x.to_bytes(16, "little", signed=True) for x in opened)
