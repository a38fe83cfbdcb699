"""The parts of the reference that know nothing of contributors: hashing, rings, uniform polynomials, Gaussian noise.

NOT FOR PRODUCTION, for the reasons that `encryption.py` gives. Relies on the standard library and on `cryptography` for
AES; must not import hefed, numpy or anything that hefed computes with.
"""

import hashlib
import hmac
import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from functools import cache

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

Part = bytes | str | int
Subset = tuple[int, ...]


class RefusedError(ValueError):
    """What the page says is refused. `kind` is "parameter", "range", "malformed", "seed", "check", "opening",
    "equivocation", "sealed" or "frames".
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(f"{kind}: {reason}")
        self.kind = kind


# --- Conventions ----------------------------------------------------------------------------------


def u64(x: int) -> bytes:
    """
    Pre-conditions:

        - `x in range(2**64)`
    """
    return x.to_bytes(8, "little")


def enc(*parts: Part) -> bytes:
    """
    Each part with its length before it, so that different lists of parts never give the same bytes.

    Pre-conditions:

        - `all(p in range(2**64) for p in parts if isinstance(p, int))`
    """
    encoded = b""
    for part in parts:
        if isinstance(part, str):
            part = part.encode("utf-8")
        elif isinstance(part, int):
            part = u64(part)
        encoded += u64(len(part)) + part
    return encoded


def H(tag: str, *parts: Part) -> bytes:  # noqa: N802 - the page's name
    """The 32-byte hash of `parts` for the use that `tag` names."""
    return hashlib.sha256(enc("hefed/1 " + tag, *parts)).digest()


def PRF(key: bytes, tag: str, *parts: Part) -> bytes:  # noqa: N802 - the page's name
    """
    The 32-byte pseudorandom output for the use that `tag` names.

    Pre-conditions:

        - `len(key) == 32`
    """
    return hmac.digest(key, enc("hefed/1 " + tag, *parts), "sha256")


def stream(key: bytes, lane: int, offset: int, length: int) -> bytes:
    """
    The first `length` bytes of the keystream of AES-256 in counter mode from block `offset` of `lane`.

    Pre-conditions:

        - `len(key) == 32`
        - `lane in range(2**32)`
        - `offset in range(2**96)`
    """
    first_counter = lane.to_bytes(4, "big") + offset.to_bytes(12, "big")
    return Cipher(algorithms.AES(key), modes.CTR(first_counter)).encryptor().update(bytes(length))


def words(data: bytes, size: int) -> list[int]:
    """
    Pre-conditions:

        - `len(data) % size == 0`
    """
    return [int.from_bytes(data[i : i + size], "little") for i in range(0, len(data), size)]


def mask(subset: Subset) -> int:
    """
    A set of keyholders as the integer that stands for it in hashes: bit j says that keyholder j is in it.

    Pre-conditions:

        - `all(j in range(64) for j in subset)`
        - `len(set(subset)) == len(subset)`
    """
    return sum(1 << j for j in subset)


# --- Parameter sets -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Profile:
    """
    Pre-conditions:

        - `ring_degree` is a power of two and `ring_degree >= 8`
        - `all(p % (2 * ring_degree) == 1 and p < 2**48 for p in primes)`, each p prime, all different
    """

    identifier: str
    ring_degree: int
    primes: tuple[int, ...]

    @property
    def modulus(self) -> int:
        return math.prod(self.primes)

    @property
    def value_bits(self) -> int:
        return sum(p.bit_length() for p in self.primes)

    def blocks(self, values: int) -> int:
        return -(-values // self.ring_degree)

    def packed_size(self, values: int) -> int:
        return -(-values * self.value_bits // 8)


COMPACT = Profile("compact-2048-48", 2048, (281474976694273,))
PRECISE = Profile("precise-4096-46-47", 4096, (70368743669761, 140737488273409))


def brv(index: int, bits: int) -> int:
    """
    The reversal of the lowest `bits` bits.

    Pre-conditions:

        - `index in range(2**bits)`
    """
    return int(format(index, f"0{bits}b")[::-1], 2)


@cache
def psi(ring_degree: int, p: int) -> int:
    """
    The smallest primitive root of unity of order 2 * ring_degree modulo p.

    Pre-conditions:

        - `p` is prime and `p % (2 * ring_degree) == 1`
    """
    # A power of two divides the order, so r is primitive exactly if r^N = -1. The primitive ones are r's odd powers.
    candidates = (pow(g, (p - 1) // (2 * ring_degree), p) for g in range(2, p))
    r = next(r for r in candidates if pow(r, ring_degree, p) == p - 1)
    return min(pow(r, 2 * i + 1, p) for i in range(ring_degree))


def dft(a: Sequence[int], omega: int, p: int) -> list[int]:
    """
    `[sum(a[j] * omega**(i * j) for j in range(len(a))) % p for i in range(len(a))]`, by halves (Cooley and Tukey).

    Pre-conditions:

        - `len(a)` is a power of two
        - `omega` is a primitive root of unity of order `len(a)` modulo `p`
    """
    if len(a) == 1:
        return list(a)
    even, odd = dft(a[0::2], omega * omega % p, p), dft(a[1::2], omega * omega % p, p)
    upper, lower, power = [], [], 1
    for x, y in zip(even, odd, strict=True):
        upper.append((x + power * y) % p)
        lower.append((x - power * y) % p)
        power = power * omega % p
    return upper + lower


def transform(coefficients: Sequence[int], p: int) -> list[int]:
    """
    Coefficients of a polynomial modulo X^N + 1 and p to its transform form: entry j is its value at psi^(2 brv(j) + 1).

    Pre-conditions:

        - `len(coefficients)` is the ring degree N
    """
    n = len(coefficients)
    root = psi(n, p)
    # f(psi^(2i+1)) = sum of (f_j psi^j) (psi^2)^(i j)
    natural = dft([c * pow(root, j, p) % p for j, c in enumerate(coefficients)], root * root % p, p)
    return [natural[brv(j, n.bit_length() - 1)] for j in range(n)]


def inverse_transform(form: Sequence[int], p: int) -> list[int]:
    """
    The coefficients in `range(p)` of the polynomial with this transform form.

    Pre-conditions:

        - `len(form)` is the ring degree N
    """
    n = len(form)
    inverse_root = pow(psi(n, p), -1, p)
    natural = [form[brv(j, n.bit_length() - 1)] for j in range(n)]
    scaled = dft(natural, inverse_root * inverse_root % p, p)
    return [c * pow(inverse_root, j, p) * pow(n, -1, p) % p for j, c in enumerate(scaled)]


# --- Uniform polynomials --------------------------------------------------------------------------


def uniform(profile: Profile, key: bytes, block: int, k: int) -> list[int]:
    """
    `U(key, block, k)`: a uniform polynomial for prime number k, in transform form.

    Pre-conditions:

        - `len(key) == 32`
        - `block in range(2**64)`
        - `k in range(len(profile.primes))`
    """
    n, p = profile.ring_degree, profile.primes[k]
    low_bits = (1 << p.bit_length()) - 1
    polynomial = [w & low_bits for w in words(stream(key, 2 * k, block * 6 * n // 16, 6 * n), 6)]
    used = 0
    for j in range(n):
        while polynomial[j] >= p:
            # Word number `used` of the second lane: made by starting that lane from its beginning each time.
            spare = stream(key, 2 * k + 1, block << 32, 6 * (used + 1))[6 * used :]
            polynomial[j] = int.from_bytes(spare, "little") & low_bits
            used += 1
    return polynomial


# --- Noise ----------------------------------------------------------------------------------------

VARIANCE_CONTRIBUTION = Fraction("4.54") ** 2  # sigma_e^2
VARIANCE_SEAL = Fraction(21, 2)


def variance_answer(contributors: int) -> Fraction:
    """sigma_s^2"""
    return 256 * VARIANCE_CONTRIBUTION * contributors


def ceil_sqrt(x: Fraction) -> int:
    """
    The smallest integer whose square is at least x.

    Pre-conditions:

        - `x >= 0`
    """
    root = math.isqrt(math.ceil(x))
    return root if root * root >= x else root + 1


@cache
def gaussian_table(variance: Fraction) -> tuple[int, ...]:
    """
    `(C_0, ..., C_B)` of the discrete Gaussian with this variance.

    Pre-conditions:

        - `variance > 0`
    """
    bound = ceil_sqrt(121 * variance)
    with localcontext(prec=120):
        weights = [
            (-Decimal(x * x * variance.denominator) / Decimal(2 * variance.numerator)).exp() for x in range(bound + 1)
        ]
        total = weights[0] + 2 * sum(weights[1:])
        table, cumulated = [], weights[0]
        for k in range(bound):
            exact = 2**127 * cumulated / total
            table.append(int(exact))
            # 120 digits leave an error far below this; a floor that it could change would need more digits.
            if int(exact - Decimal("1e-60")) != int(exact + Decimal("1e-60")):
                raise ArithmeticError("more digits are needed for this table")
            cumulated += 2 * weights[k + 1]
    return (*table, 2**127)


def gaussian_sample(variance: Fraction, first: int, second: int) -> int:
    """
    One value of the discrete Gaussian from two random words.

    Pre-conditions:

        - `first in range(2**64) and second in range(2**64)`
    """
    v = ((first >> 1) << 64) | second
    magnitude = sum(1 for c in gaussian_table(variance) if c <= v)
    return -magnitude if first & 1 else magnitude


def gaussian(profile: Profile, key: bytes, variance: Fraction, block: int, count: int) -> list[int]:
    """
    The first `count` coefficients of `G(key, sigma, block)`.

    Pre-conditions:

        - `len(key) == 32`
        - `count in range(profile.ring_degree + 1)`
    """
    offset = block * 8 * profile.ring_degree // 16
    first, second = words(stream(key, 0, offset, 8 * count), 8), words(stream(key, 1, offset, 8 * count), 8)
    return [gaussian_sample(variance, u, w) for u, w in zip(first, second, strict=True)]
