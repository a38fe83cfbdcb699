"""The ring Z_p[X]/(X^N + 1): tables of roots, transforms, and products with keys, on groups of eight blocks.

A *lane group* is a float64 array of shape (N, 8) that holds exact integers, one block in each column. Transform form is
SEAL's: entry j is the value at psi**(2 brv(j) + 1), psi the smallest primitive 2N-th root of unity. Relies on
`kernels`. It must not know where polynomials come from.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hefed.crypto.parameters import Profile

LANES = 8

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Roots:
    """What transforms modulo one prime multiply with, centred, and the same divided by the prime."""

    prime: int
    inverse: Floats  # (N,): entry h + j = psi**(-2 j N / 2h) for j < h, h = 1, 2, 4, ..., N / 2
    inverse_ratio: Floats
    twist: Floats  # (N,): psi**-j / N
    twist_ratio: Floats
    forward: Floats  # (N,): psi**brv(j)
    forward_ratio: Floats


class RingKey:
    """A polynomial in transform form, centred modulo each prime, ready to be multiplied with; shape (primes, N).

    Secret if made from a secret: it has no repr, cannot be pickled and can be erased.
    """

    __slots__ = ("ratio", "value")

    def __init__(self, profile: Profile, residues: NDArray[np.uint64]) -> None:
        self.value = centred(profile, residues)
        self.ratio: Floats = self.value / np.array(profile.primes, np.float64)[:, None]

    def __repr__(self) -> str:
        return "<RingKey>"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a key cannot be pickled")

    def erase(self) -> None:
        """Overwrite the key with zeros."""
        self.value.fill(0)
        self.ratio.fill(0)


def lane_group(profile: Profile) -> Floats:
    """A lane group of zeros."""
    return np.zeros((profile.ring_degree, LANES))


def block_rows(profile: Profile, blocks: int = LANES) -> Floats:
    """Zeros for blocks one after another, shape (blocks, N)."""
    return np.zeros((blocks, profile.ring_degree))


def is_lone(profile: Profile, group: Floats) -> bool:
    """Whether an array of eight columns is a lone block, and not a lane group."""
    return len(group) < profile.ring_degree


def centred(profile: Profile, residues: NDArray[np.uint64]) -> Floats:
    """The integers of least magnitude for residues of shape (..., primes, K)."""
    primes = np.array(profile.primes, np.int64)[:, None]
    signed = residues.astype(np.int64)
    return np.where(signed > primes // 2, signed - primes, signed).astype(np.float64)


def negated(profile: Profile, residues: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """-x modulo each prime, shape (primes, N)."""
    primes = np.array(profile.primes, np.uint64)[:, None]
    return np.where(residues == 0, residues, primes - residues)


def added(profile: Profile, a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """a + b modulo each prime; residues of shape (..., primes, N)."""
    primes = np.array(profile.primes, np.uint64)[:, None]
    total = a + b
    return np.where(total >= primes, total - primes, total)


def multiply(profile: Profile, k: int, group: Floats, key: RingKey) -> None:
    """A lane group or lone block in transform form (residues) times the key, in place; the result is not reduced."""
    from hefed.crypto import kernels

    by = kernels.multiply_lone if is_lone(profile, group) else kernels.multiply
    by(group, key.value[k], key.ratio[k], float(profile.primes[k]))


def inverse_stages(profile: Profile, k: int, group: Floats) -> None:
    """The inverse transform but for its last step, `untwist`, in place; magnitudes at most 1.6 p."""
    from hefed.crypto import kernels

    roots = roots_of(profile.ring_degree, profile.primes[k])
    stages = kernels.inverse_stages_lone if is_lone(profile, group) else kernels.inverse_stages
    stages(group, roots.inverse, roots.inverse_ratio, float(profile.primes[k]))


def untwist(profile: Profile, k: int, group: Floats) -> None:
    """The last step of the inverse transform, in place: residues of the coefficients."""
    from hefed.crypto import kernels

    roots = roots_of(profile.ring_degree, profile.primes[k])
    kernels.untwist(group, roots.twist, roots.twist_ratio, float(profile.primes[k]))


def inverse_transform(profile: Profile, k: int, group: Floats) -> None:
    """Transform form, of magnitude at most 1.6 p, to residues of the coefficients, in place."""
    inverse_stages(profile, k, group)
    untwist(profile, k, group)


def forward_transform(profile: Profile, k: int, group: Floats) -> None:
    """Coefficients, of magnitude at most 2p, to residues in transform form, in place."""
    from hefed.crypto import kernels

    p = profile.primes[k]
    roots = roots_of(profile.ring_degree, p)
    forward = kernels.forward_lone if is_lone(profile, group) else kernels.forward
    forward(group, roots.forward, roots.forward_ratio, float(p), 1.0 / p)


@lru_cache(maxsize=4)
def twists_of(profile: Profile) -> tuple[Floats, Floats]:
    """What `untwist` multiplies with, and the same divided by the prime, for all primes: shape (primes, N)."""
    roots = [roots_of(profile.ring_degree, p) for p in profile.primes]
    return np.stack([r.twist for r in roots]), np.stack([r.twist_ratio for r in roots])


@lru_cache(maxsize=8)
def roots_of(degree: int, p: int) -> Roots:
    """The tables for N = degree and a prime p that is 1 modulo 2N."""
    psi = smallest_root(degree, p)
    powers = _powers(psi, degree, p)
    backwards = _powers(pow(psi, -1, p), 2 * degree, p)
    stages = [0]
    half = 1
    while half < degree:
        stages += [backwards[2 * j * (degree // (2 * half))] for j in range(half)]
        half *= 2
    scale = pow(degree, -1, p)
    bits = degree.bit_length() - 1
    inverse = _centred(stages, p)
    twist = _centred([x * scale % p for x in backwards[:degree]], p)
    forward = _centred([powers[int(f"{j:0{bits}b}"[::-1], 2)] for j in range(degree)], p)
    return Roots(p, inverse, inverse / p, twist, twist / p, forward, forward / p)


def smallest_root(degree: int, p: int) -> int:
    """The smallest primitive 2N-th root of unity modulo p."""
    candidates = (pow(g, (p - 1) // (2 * degree), p) for g in range(2, p))
    root = next(r for r in candidates if pow(r, degree, p) == p - 1)
    return min(_powers(root, 2 * degree, p)[1::2])


def _powers(base: int, count: int, p: int) -> list[int]:
    powers = [1]
    for _ in range(count - 1):
        powers.append(powers[-1] * base % p)
    return powers


def _centred(residues: list[int], p: int) -> Floats:
    return np.array([r - p if r > p // 2 else r for r in residues], np.float64)
