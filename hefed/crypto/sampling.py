"""Uniform polynomials and exact discrete Gaussian noise, from keyed streams (`protocols/encryption.md`).

Relies on AES-256-CTR of `cryptography` and on integers only, so that every machine makes the same bits. It must not
draw randomness of its own. Lookups in the noise tables depend on the noise, which is secret.
"""

import bisect
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from hefed.crypto.errors import CryptoError
from hefed.crypto.parameters import Profile, ceil_sqrt
from hefed.crypto.ring import LANES, Floats, RingKey

_WORD_BYTES = 6
_PADDING = 16  # words are read as eight bytes each, or eight words as 64
_SPARE_BLOCKS = 1 << 32  # distance, in cipher blocks, of the spare words of two polynomials
_TABLE_SIGMAS = 11
_TABLE_BITS = 127
_FRACTION_BITS = 320  # of the fixed-point numbers behind the table
_GUARD_BITS = 128  # fraction bits of a threshold that are looked at before they are cut off
_ZEROS = memoryview(bytes(1 << 16))  # what a keystream is made of, small enough to stay in the cache
_UNDECIDED = 0xFFFF  # above every magnitude
_DOUBT = 1 << (_GUARD_BITS - 100)  # what the error of a threshold stays below


class Stream(Protocol):
    """Where random bytes come from, in order."""

    def fill(self, out: NDArray[np.uint8]) -> None:
        """The next out.size bytes."""


OpenStream = Callable[[bytes, int, int], Stream]


class Keystream:
    """`stream(key, lane, offset)`: an AES-256-CTR keystream; `offset` counts 16-byte blocks."""

    def __init__(self, key: bytes, lane: int, offset: int) -> None:
        counter = lane.to_bytes(4, "big") + offset.to_bytes(12, "big")
        self._encryptor = Cipher(algorithms.AES(key), modes.CTR(counter)).encryptor()

    def fill(self, out: NDArray[np.uint8]) -> None:
        """The next out.size bytes of the stream."""
        for start in range(0, out.size, len(_ZEROS)):
            part = out[start : start + len(_ZEROS)]
            self._encryptor.update_into(_ZEROS[: part.size], part.data)


# --- Uniform polynomials --------------------------------------------------------------------------


class UniformSource:
    """The polynomials U(key, b, k), b = first_block, first_block + 1, ..., eight at a time."""

    def __init__(
        self, profile: Profile, key: bytes, k: int, first_block: int = 0, open_stream: OpenStream = Keystream
    ) -> None:
        self._key, self._k, self._block, self._open = key, k, first_block, open_stream
        self._degree, self._prime, self._width = profile.ring_degree, profile.primes[k], profile.widths[k]
        self._bytes = _WORD_BYTES * self._degree
        self._stream = open_stream(key, 2 * k, first_block * self._bytes // 16)

    @cached_property
    def _buffer(self) -> NDArray[np.uint8]:
        return np.zeros(LANES * self._bytes + _PADDING, np.uint8)

    def fill(self, group: Floats, used: int) -> None:
        """Write the next `used` polynomials (transform form) to the first lanes of a lane group (N, 8)."""
        from hefed.crypto import kernels

        self._stream.fill(self._buffer[: used * self._bytes])
        rejected = kernels.load_words(self._buffer, self._width, self._prime, used, group)
        if rejected:
            for lane in range(used):
                self._mend(group, lane)
        self._block += used

    def fill_products(self, group: Floats, used: int, key: RingKey) -> None:
        """Write the next `used` polynomials times a key to the first lanes of a lane group, not reduced.

        The other lanes hold numbers of the same magnitude.
        """
        from hefed.crypto import kernels

        self._stream.fill(self._buffer[: used * self._bytes])
        value, ratio = key.value[self._k], key.ratio[self._k]
        if kernels.load_products(self._buffer, self._width, self._prime, value, ratio, group):
            kernels.load_words(self._buffer, self._width, self._prime, used, group)
            for lane in range(used):
                self._mend(group, lane)
            kernels.multiply(group, value, ratio, float(self._prime))
        self._block += used

    def fill_lone(self, block: Floats) -> None:
        """Write the next polynomial to a lone block (N / 8, 8)."""
        from hefed.crypto import kernels

        words = np.empty(self._bytes + _PADDING, np.uint8)
        self._stream.fill(words[: self._bytes])
        one_lane = block.reshape(self._degree, 1)
        if kernels.load_words(words, self._width, self._prime, 1, one_lane):
            self._mend(one_lane, 0)
        self._block += 1

    def _mend(self, group: Floats, lane: int) -> None:
        """Replace words that are not below the prime; one polynomial in 2**15 or fewer has one."""
        positions = np.flatnonzero(group[:, lane] >= self._prime)
        if positions.size:
            group[positions, lane] = self._spares(self._block + lane, positions.size)

    def _spares(self, block: int, count: int) -> list[int]:
        """What stands in the place of the first words of a polynomial that are not below the prime, in order."""
        spare = self._open(self._key, 2 * self._k + 1, block * _SPARE_BLOCKS)
        word = np.empty(_WORD_BYTES, np.uint8)
        found: list[int] = []
        while len(found) < count:
            spare.fill(word)
            value = int.from_bytes(word.tobytes(), "little") & ((1 << self._width) - 1)
            if value < self._prime:
                found.append(value)
        return found

    def beginning(self, count: int) -> NDArray[np.uint64]:
        """The first `count` residues from here on, polynomial after polynomial, as if they were one; shape (count,)."""
        words = np.zeros((count, 8), np.uint8)
        self._stream.fill(drawn := np.empty(_WORD_BYTES * count, np.uint8))
        words[:, :_WORD_BYTES] = drawn.reshape(count, _WORD_BYTES)
        residues: NDArray[np.uint64] = words.view("<u8")[:, 0] & np.uint64((1 << self._width) - 1)
        if residues.max(initial=0) >= self._prime:
            rejected = np.flatnonzero(residues >= self._prime)
            for block in np.unique(rejected // self._degree):
                positions = rejected[rejected // self._degree == block]
                residues[positions] = self._spares(self._block + int(block), positions.size)
        return residues


def uniform_polynomials(profile: Profile, key: bytes, first_block: int, blocks: int) -> NDArray[np.uint64]:
    """U(key, b, k) for `blocks` blocks: residues in transform form, shape (blocks, primes, N)."""
    out = np.empty((blocks, len(profile.primes), profile.ring_degree), np.uint64)
    group = np.empty((profile.ring_degree, LANES))
    for k in range(len(profile.primes)):
        source = UniformSource(profile, key, k, first_block)
        for start in range(0, blocks, LANES):
            used = min(LANES, blocks - start)
            source.fill(group, used)
            out[start : start + used, k] = group[:, :used].T
    return out


def uniform_residues(profile: Profile, key: bytes, count: int) -> NDArray[np.uint64]:
    """The first `count` residues of U(key, 0, k), U(key, 1, k), ... for each prime; shape (primes, count)."""
    return np.stack([UniformSource(profile, key, k).beginning(count) for k in range(len(profile.primes))])


# --- Noise ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NoiseTable:
    """The exact table of a discrete Gaussian: magnitude v has the number of `thresholds` not above a 127-bit word."""

    thresholds: tuple[int, ...]  # C_0, ..., C_{B-1}, below 2**127
    upper: NDArray[np.uint64]  # their upper 63 bits, between two entries above all words
    first: NDArray[np.uint32]  # for the leading bits of a word, where the search begins
    decided: NDArray[np.uint16]  # the same where leading bits decide, _UNDECIDED where not
    shift: np.uint64


@lru_cache(maxsize=16)
def noise_table(variance: Fraction) -> NoiseTable:
    """The table for sigma**2 = variance.

    Computed in integers with 320 fraction bits: w(x) = g**(x*x) with g = exp(-1 / (2 sigma**2)) is built by products,
    since w(x + 1) = w(x) g**(2x + 1). The error of a C_k stays below 2**-100, and CryptoError is raised should that
    leave its integer part in doubt.
    """
    bound = ceil_sqrt(_TABLE_SIGMAS**2 * variance)
    one = 1 << _FRACTION_BITS
    g = _exponential(one, 1 / (2 * variance))
    weight, step, square = one, g, g * g >> _FRACTION_BITS
    sums = [one]
    for _ in range(bound):
        weight = weight * step >> _FRACTION_BITS
        step = step * square >> _FRACTION_BITS
        sums.append(sums[-1] + 2 * weight)
    thresholds = []
    for partial in sums[:-1]:
        whole, fraction = divmod((partial << (_TABLE_BITS + _GUARD_BITS)) // sums[-1], 1 << _GUARD_BITS)
        if not _DOUBT < fraction < (1 << _GUARD_BITS) - _DOUBT:
            raise CryptoError(f"noise table for variance {variance}: a threshold is too close to an integer")
        thresholds.append(whole)
    return _with_guide(tuple(thresholds))


def _exponential(one: int, x: Fraction) -> int:
    """exp(-x) in units of 1 / one, by its series; 0 < x <= 1."""
    total, term, k = one, one, 0
    while term:
        k += 1
        term = term * x.numerator // (x.denominator * k)
        total += -term if k % 2 else term
    return total


def _with_guide(thresholds: tuple[int, ...]) -> NoiseTable:
    upper = np.array([c >> 64 for c in thresholds], np.uint64)
    above = np.array([2**64 - 1], np.uint64)
    bits = min(14, len(thresholds).bit_length() + 6)
    shift = 63 - bits
    starts = np.arange(1 << bits, dtype=np.uint64) << np.uint64(shift)
    ends = starts + np.uint64((1 << shift) - 1)
    first = np.searchsorted(upper, starts, side="right").astype(np.uint32)
    # Where a threshold lies in a range, its first magnitude included, the search decides, and sees ties.
    below = np.searchsorted(upper, starts, side="left")
    decided = np.where(below == np.searchsorted(upper, ends, side="right"), below, _UNDECIDED).astype(np.uint16)
    return NoiseTable(thresholds, np.concatenate([above, upper, above]), first, decided, np.uint64(shift))


class NoiseSource:
    """The noise G(key, sigma, b), b = first_block, first_block + 1, ..., of one vector, eight blocks at a time."""

    def __init__(
        self,
        profile: Profile,
        key: bytes,
        variance: Fraction,
        open_stream: OpenStream = Keystream,
        first_block: int = 0,
    ) -> None:
        self._key, self._open, self._block = key, open_stream, first_block
        self._degree, self._table = profile.ring_degree, noise_table(variance)
        self._stream = open_stream(key, 0, first_block * 8 * self._degree // 16)
        self._buffer = np.empty(LANES * self._degree, np.uint64)

    def fill(self, rows: Floats, used: int) -> None:
        """Write the noise of the next `used` blocks to the first of eight blocks, shape (8, N)."""
        from hefed.crypto import kernels

        words = self._buffer[: used * self._degree]
        self._stream.fill(words.view(np.uint8))
        table = self._table
        noise = rows.ravel()[: words.size]
        if kernels.sample(words, table.decided, table.upper, table.first, table.shift, noise):
            self._settle_ties(words, noise)
        self._block += used

    def _settle_ties(self, words: NDArray[np.uint64], noise: Floats) -> None:
        """Draw again, with second words, where the first did not decide; one word in 2**47 or more is such a tie."""
        second = np.empty_like(words)
        self._open(self._key, 1, self._block * 8 * self._degree // 16).fill(second.view(np.uint8))
        for position in np.flatnonzero(np.isin(words >> np.uint64(1), self._table.upper)):
            word = int(words[position])
            magnitude = bisect.bisect_right(self._table.thresholds, ((word >> 1) << 64) | int(second[position]))
            noise[position] = -magnitude if word & 1 else magnitude
