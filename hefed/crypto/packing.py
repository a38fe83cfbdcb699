"""Float vectors to integers, integers to residues, residues to the exact number of bits, and back.

Relies on `kernels`. Bytes are hostile: length, every residue and the filling are checked before anything is used.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from hefed.crypto.buffer import Buffer, Written
from hefed.crypto.errors import MalformedError, RangeError
from hefed.crypto.label import Label
from hefed.crypto.parameters import Precision, Profile
from hefed.crypto.ring import LANES, Floats

Opened = tuple[NDArray[np.int64], int]

_READ = 8  # compiled code reads eight bytes at a time

AT_ONCE = 1 << 14
"""Values that are opened at once: their residues stay in the cache."""


def widths_of(profile: Profile) -> NDArray[np.int64]:
    """Bits of each prime, for the kernels."""
    return np.array(profile.widths, np.int64)


def primes_of(profile: Profile) -> NDArray[np.int64]:
    """The primes, for the kernels."""
    return np.array(profile.primes, np.int64)


def encode(precision: Precision, label: Label, values: Floats, first: int, rows: Floats, used: int) -> None:
    """The integers of the values from `first` on (a multiple of N) to the first `used` of eight blocks, shape (8, N).

    m = round-half-even(v 2**(C - x)), exactly. Raises RangeError for a value that is not finite or above 2**x.
    """
    from hefed.crypto import kernels

    capacity = precision.capacity_bits
    last = first + used * precision.profile.ring_degree
    some, exponents, integers = values[first:last], label.exponents[first:last], rows.ravel()
    if kernels.encode(some, exponents, capacity, 2.0**capacity, integers[: some.size]):
        outside = ~(np.abs(values) <= np.ldexp(1.0, label.exponents))
        raise RangeError(int(np.argmax(outside)))
    integers[some.size : last - first] = 0.0


def decode(precision: Precision, label: Label, limbs: NDArray[np.int64], first: int = 0) -> Floats:
    """The float64 nearest to X 2**(x - C) for X as limbs (K, 2), or (K, 1) if one is enough; |X| < 2**93. X are those
    of the values from `first` on.
    """
    from hefed.crypto import packing_kernels as kernels

    values = np.empty(len(limbs))
    exponents = label.exponents[first : first + len(limbs)]
    kernels.decode(np.ascontiguousarray(limbs), exponents, precision.capacity_bits, values)
    return values


class Packer:
    """Packs a vector of `values` values, group by group, into the bytes that `finish` returns, without a copy."""

    def __init__(self, profile: Profile, values: int) -> None:
        self._profile, self._values, self._next = profile, values, 0
        self._widths = widths_of(profile)
        self._written = Written(profile.packed_size(values))
        self._packed = self._written.array()

    def add(self, residues: Floats) -> None:
        """The next values: residues of shape (blocks, primes, block size), filled in order until all are packed.

        Every block but the last of a vector has N values, or there is one block for all values.
        """
        from hefed.crypto import packing_kernels as kernels

        blocks, _, size = residues.shape
        count = min(self._values - self._next, blocks * size)
        start = self._next * self._profile.bits_per_value // 8
        kernels.pack(residues, self._widths, count, self._packed[start:])
        self._next += count

    @contextmanager
    def group(self, first: int) -> Iterator[NDArray[np.uint8]]:
        """Where the eight blocks from value `first` on are to be packed, the values that the vector has not left out.

        Groups may come in any order, and from several threads.
        """
        count = min(self._values - first, group_values(self._profile))
        start = first * self._profile.bits_per_value // 8
        part = self._packed[start : start + self._profile.packed_size(count)]
        if count == group_values(self._profile):
            yield part
        else:
            whole = group_buffer(self._profile)
            try:
                yield whole
                part[:] = cut(self._profile, whole, count)
            finally:
                whole.fill(0)  # it may be a mask

    def finish(self) -> bytes:
        """The packed vector."""
        del self._packed
        return self._written.taken()


def group_values(profile: Profile) -> int:
    """8 N, the values of a whole group: their packed form is a whole number of bytes.

    Answers are sealed in such groups. With another number the same answers would be other plaintexts under the same
    keys and nonces: it goes with a new context of the seal (`hefed.protocol.contexts.answer_context`).
    """
    return LANES * profile.ring_degree


def group_buffer(profile: Profile) -> NDArray[np.uint8]:
    """Room for a packed group."""
    return np.empty(profile.packed_size(group_values(profile)), np.uint8)


def cut(profile: Profile, whole: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """The first `count` values of a packed group, in place, with zeros in the bits that fill up the last byte."""
    part = whole[: profile.packed_size(count)]
    part[-1] &= 0xFF >> (8 * part.size - count * profile.bits_per_value)
    return part


def group_sizes(profile: Profile, values: int) -> list[int]:
    """The bytes of each packed group of a vector; only the last can be shorter."""
    full = group_values(profile)
    return [profile.packed_size(min(full, values - first)) for first in range(0, values, full)]


def in_groups(profile: Profile, packed: Buffer) -> Iterator[memoryview]:
    """A packed vector of any length, group by group, without a copy."""
    view, size = memoryview(packed), profile.packed_size(group_values(profile))
    return (view[start : start + size] for start in range(0, len(view), size))


def checked(profile: Profile, packed: Buffer, values: int, first: int = 0) -> NDArray[np.uint8]:
    """The bytes of a packed vector, or of its values from `first` on, as an array, after every check.

    Raises MalformedError.
    """
    from hefed.crypto import packing_kernels as kernels

    size = profile.packed_size(values)
    if len(packed) != size:
        raise MalformedError(f"{len(packed)} bytes for {values} values of profile {profile.name}; {size} are right")
    filling = 8 * size - values * profile.bits_per_value
    if packed[-1] >> (8 - filling):
        raise MalformedError("the bits that fill up the last byte are not zero")
    whole = packed if size >= _READ else bytes(packed).ljust(_READ, b"\0")
    data = np.frombuffer(memoryview(whole).toreadonly(), np.uint8)
    bad = kernels.first_bad(data, widths_of(profile), primes_of(profile), values)
    if bad >= 0:
        raise MalformedError(f"value {first + bad} has a residue that is not below its prime")
    return data


def residue_array(profile: Profile, values: int) -> Floats:
    """Zeros for the residues of a vector, shape (primes, K rounded up to a multiple of eight)."""
    return np.zeros((len(profile.primes), -(-values // LANES) * LANES))


def add_packed(profile: Profile, data: NDArray[np.uint8], values: int, total: Floats) -> None:
    """Add a packed vector that was `checked` to a residue array, modulo each prime."""
    from hefed.crypto import packing_kernels as kernels

    kernels.add_packed(data, widths_of(profile), primes_of(profile), 0, values, total)


class PackedSum:
    """A sum of packed vectors, held packed: as many bytes as one of them."""

    def __init__(self, profile: Profile, values: int) -> None:
        self.profile, self.values = profile, values
        self._total = Written(profile.packed_size(values))

    def add(self, data: NDArray[np.uint8]) -> None:
        """Add a vector that was `checked`."""
        self.add_values(data, 0, self.values)

    def add_values(self, data: NDArray[np.uint8], first: int, count: int) -> NDArray[np.uint8]:
        """Add `count` values that were `checked`, from value `first` on, a multiple of 64; returns the sum there."""
        from hefed.crypto import packing_kernels as kernels

        start = first * self.profile.bits_per_value // 8
        part = self._total.array()[start : start + self.profile.packed_size(count)]
        readable = _readable(part)
        kernels.add_to_packed(data, widths_of(self.profile), primes_of(self.profile), count, readable)
        if readable is not part:
            part[:] = readable[: part.size]
        return part

    def packed(self) -> bytes:
        """The sum so far; without a copy, unless more is added while somebody has it."""
        return self._total.taken()

    def integers(self, largest: int) -> Iterator[Opened]:
        """The integers in (-Q/2, Q/2) that the sum stands for, in parts of AT_ONCE: as limbs (K, primes).

        The second answer is the index of an integer above `largest` in magnitude, or -1.
        """
        from hefed.crypto import packing_kernels as kernels

        residues = residue_array(self.profile, min(self.values, AT_ONCE))
        total = _readable(self._total.array())
        for first in range(0, self.values, AT_ONCE):
            count = min(AT_ONCE, self.values - first)
            kernels.unpack(total, widths_of(self.profile), first, count, residues)
            limbs = np.empty((count, len(self.profile.primes)), np.int64)
            beyond = _write_integers(self.profile, residues, largest, limbs)
            yield limbs, beyond if beyond < 0 else first + beyond


def _readable(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The bytes, or a longer copy where there are too few for compiled code."""
    return data if data.size >= _READ else np.concatenate([data, np.zeros(_READ - data.size, np.uint8)])


def pack_array(profile: Profile, residues: Floats, values: int) -> bytes:
    """A residue array as bytes."""
    packer = Packer(profile, values)
    packer.add(residues[None])
    return packer.finish()


def unpack_lanes(profile: Profile, data: NDArray[np.uint8], first: int, count: int) -> Floats:
    """At most eight blocks of a `checked` vector, from value `first` on, as lane groups: shape (primes, N, 8)."""
    from hefed.crypto import packing_kernels as kernels

    degree = profile.ring_degree
    residues = np.zeros((len(profile.primes), LANES * degree))
    kernels.unpack(data, widths_of(profile), first, count, residues)
    return np.ascontiguousarray(residues.reshape(-1, LANES, degree).transpose(0, 2, 1))


def integers(profile: Profile, residues: Floats, values: int, largest: int) -> Opened:
    """The integers in (-Q/2, Q/2) that a residue array stands for, as limbs (K, 2), and where one is too large.

    The second answer is the index of the first integer above `largest` in magnitude, or -1. Overwrites `residues`.
    """
    limbs = np.empty((values, 2), np.int64)
    return limbs, _write_integers(profile, residues, largest, limbs)


def _write_integers(profile: Profile, residues: Floats, largest: int, limbs: NDArray[np.int64]) -> int:
    from hefed.crypto import packing_kernels as kernels

    first, last = profile.primes[0], profile.primes[-1]
    factor = pow(first, -1, last) if len(profile.primes) == 2 else 0
    centred = float(factor - last if factor > last // 2 else factor)
    kernels.combine_residues(residues, centred, centred / last, np.array(profile.primes, np.float64))
    return int(kernels.write_integers(residues, first, np.uint64(largest % 2**64), largest >> 64, limbs))


def pack(profile: Profile, residues: NDArray[np.uint64]) -> bytes:
    """Residues, shape (primes, K), each below its prime, as bytes."""
    return pack_array(profile, residues.astype(np.float64), residues.shape[1])


def unpack(profile: Profile, packed: bytes, values: int) -> NDArray[np.uint64]:
    """The residues, shape (primes, K), of a packed vector. Raises MalformedError."""
    from hefed.crypto import packing_kernels as kernels

    data = checked(profile, packed, values)
    residues = np.zeros((len(profile.primes), values))
    kernels.unpack(data, widths_of(profile), 0, values, residues)
    return residues.astype(np.uint64)
