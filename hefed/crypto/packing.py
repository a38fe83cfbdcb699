"""Float vectors to integers, integers to residues, residues to the exact number of bits, and back.

Relies on `kernels`. Bytes are hostile: length, every residue and the filling are checked before anything is used.
"""

import io
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hefed.crypto.errors import MalformedError, RangeError
from hefed.crypto.label import MAX_EXPONENT, MIN_EXPONENT, Label
from hefed.crypto.parameters import Precision, Profile
from hefed.crypto.ring import LANES, Floats


def widths_of(profile: Profile) -> NDArray[np.int64]:
    """Bits of each prime, for the kernels."""
    return np.array(profile.widths, np.int64)


def primes_of(profile: Profile) -> NDArray[np.int64]:
    """The primes, for the kernels."""
    return np.array(profile.primes, np.int64)


@lru_cache(maxsize=16)
def _powers_of_two(offset: int, sign: int) -> Floats:
    """2**(sign (x - offset)) for every exponent x that a label allows: all exact, none subnormal."""
    exponents = np.arange(MIN_EXPONENT, MAX_EXPONENT + 1)
    return np.ldexp(1.0, sign * (exponents - offset))


def encode(precision: Precision, label: Label, values: Floats, first: int, group: Floats, used: int) -> None:
    """The integers of the values from `first` on (a multiple of N), block by block, into the lanes of a group (N, 8).

    m = round-half-even(v 2**(C - x)), exactly. Raises RangeError for a value that is not finite or above 2**x.
    """
    from hefed.crypto import kernels

    capacity = precision.capacity_bits
    powers, limit = _powers_of_two(capacity, -1), 2.0**capacity
    if kernels.encode(values, label.exponents, powers, MIN_EXPONENT, limit, first, used, group):
        outside = ~(np.abs(values) <= np.ldexp(1.0, label.exponents))
        raise RangeError(int(np.argmax(outside)))


def decode(precision: Precision, label: Label, limbs: NDArray[np.int64]) -> Floats:
    """The float64 nearest to X 2**(x - C) for integers X given as two 64-bit limbs each, |X| < 2**93."""
    from hefed.crypto import kernels

    values = np.empty(label.values)
    kernels.decode(limbs, label.exponents, _powers_of_two(precision.capacity_bits, 1), MIN_EXPONENT, values)
    return values


class Packer:
    """Packs a vector of `values` values, a lane group (or any array of residues) at a time."""

    def __init__(self, profile: Profile, values: int) -> None:
        self._profile, self._left = profile, values
        self._widths = widths_of(profile)
        self._part = np.empty(0, np.uint8)
        self._packed = io.BytesIO()

    def add(self, residues: Floats) -> None:
        """The next values: residues of shape (blocks, primes, block size), filled in order until all are packed.

        Every block but the last of a vector has N values, or there is one block for all values.
        """
        from hefed.crypto import kernels

        blocks, _, size = residues.shape
        count = min(self._left, blocks * size)
        size_packed = self._profile.packed_size(count)
        if self._part.size < size_packed:
            self._part = np.empty(size_packed, np.uint8)
        part = self._part[:size_packed]
        kernels.pack(residues, self._widths, count, part)
        self._packed.write(part.data)
        self._left -= count

    def finish(self) -> bytes:
        """The packed vector."""
        return self._packed.getvalue()


def checked(profile: Profile, packed: bytes, values: int) -> NDArray[np.uint8]:
    """The bytes of a packed vector as an array, after every check. Raises MalformedError."""
    from hefed.crypto import kernels

    size = profile.packed_size(values)
    if len(packed) != size:
        raise MalformedError(f"{len(packed)} bytes for {values} values of profile {profile.name}; {size} are right")
    filling = 8 * size - values * profile.bits_per_value
    if packed[-1] >> (8 - filling):
        raise MalformedError("the bits that fill up the last byte are not zero")
    data = np.frombuffer(packed.ljust(8, b"\0"), np.uint8)  # compiled code reads eight bytes at a time
    bad = kernels.first_bad(data, widths_of(profile), primes_of(profile), values)
    if bad >= 0:
        raise MalformedError(f"value {bad} has a residue that is not below its prime")
    return data


def residue_array(profile: Profile, values: int) -> Floats:
    """Zeros for the residues of a vector, shape (primes, K rounded up to a multiple of eight)."""
    return np.zeros((len(profile.primes), -(-values // LANES) * LANES))


def add_packed(profile: Profile, data: NDArray[np.uint8], values: int, total: Floats) -> None:
    """Add a packed vector that was `checked` to a residue array, modulo each prime."""
    from hefed.crypto import kernels

    kernels.add_packed(data, widths_of(profile), primes_of(profile), values, total)


def pack_array(profile: Profile, residues: Floats, values: int) -> bytes:
    """A residue array as bytes."""
    packer = Packer(profile, values)
    packer.add(residues[None])
    return packer.finish()


def unpack_lanes(profile: Profile, data: NDArray[np.uint8], first: int, count: int) -> Floats:
    """At most eight blocks of a `checked` vector, from value `first` on, as lane groups: shape (primes, N, 8)."""
    from hefed.crypto import kernels

    degree = profile.ring_degree
    residues = np.zeros((len(profile.primes), LANES * degree))
    kernels.unpack(data, widths_of(profile), first, count, residues)
    return np.ascontiguousarray(residues.reshape(-1, LANES, degree).transpose(0, 2, 1))


def integers(profile: Profile, residues: Floats, values: int, largest: int) -> tuple[NDArray[np.int64], int]:
    """The integers in (-Q/2, Q/2) that a residue array stands for, as limbs (K, 2), and where one is too large.

    The second answer is the index of the first integer above `largest` in magnitude, or -1. Overwrites `residues`.
    """
    from hefed.crypto import kernels

    first, last = profile.primes[0], profile.primes[-1]
    factor = pow(first, -1, last) if len(profile.primes) == 2 else 0
    centred = float(factor - last if factor > last // 2 else factor)
    kernels.combine_residues(residues, centred, centred / last, np.array(profile.primes, np.float64))
    limbs = np.empty((values, 2), np.int64)
    limit_low, limit_high = np.uint64(largest % 2**64), largest >> 64
    return limbs, int(kernels.write_integers(residues, first, limit_low, limit_high, limbs))


def pack(profile: Profile, residues: NDArray[np.uint64]) -> bytes:
    """Residues, shape (primes, K), each below its prime, as bytes."""
    return pack_array(profile, residues.astype(np.float64), residues.shape[1])


def unpack(profile: Profile, packed: bytes, values: int) -> NDArray[np.uint64]:
    """The residues, shape (primes, K), of a packed vector. Raises MalformedError."""
    from hefed.crypto import kernels

    data = checked(profile, packed, values)
    residues = np.zeros((len(profile.primes), values))
    kernels.unpack(data, widths_of(profile), 0, values, residues)
    return residues.astype(np.uint64)
