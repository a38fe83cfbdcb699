"""All compiled code of hefed.crypto, and nothing that decides anything.

Works on *lane groups*: float64 arrays of shape (N, 8), entry (j, l) the coefficient (or transform) number j of the
l-th of eight blocks, holding exact integers. All lengths, bounds and types are checked by the callers (`ring`,
`sampling`, `packing`), which are the only users; words are little-endian, so is the machine.

Multiplications, additions and roundings take the same time for all values. Lookups that depend on secrets: the noise
tables in `sample`. Compiled on first use and cached beside this file; no fast-math, so that every machine gives the
same bits.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from hefed.crypto.lanes import (
    load,
    multiply_add_wide,
    nearest,
    product,
    reduced,
    residue,
    spread,
    store,
    store_word,
    word_at,
)
from hefed.crypto.ring import LANES

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Words = NDArray[np.uint64]
Bytes = NDArray[np.uint8]
Exponents = NDArray[np.int16]

_TILE = 64  # rows of a lane group that stay in the first-level cache while the eight blocks are gone through
_CHUNK = 256  # the same for the first stages of a transform
_LAZY = 32  # products of magnitude below 0.6 p that can be added up in float64 without reduction
_ONE, _THREE, _SEVEN, _EIGHT, _BYTE = np.uint64(1), np.uint64(3), np.uint64(7), np.uint64(8), np.uint64(255)
_TWO_46 = 2.0**46


# Arrays of residues of any layout, so that one compilation of `pack` serves them all.
_PACK = "void(float64[:, :, :], int64[::1], int64, uint8[::1])"


def _compiled(function: Callable[..., Any], signature: str | None = None) -> Any:
    return numba.njit(signature, cache=True, nogil=True, error_model="numpy", boundscheck=False)(function)


# --- Uniform words --------------------------------------------------------------------------------


@_compiled
def load_words(stream: Bytes, width: int, p: int, used: int, group: Floats) -> int:
    """Six-byte words of a keystream, masked to `width` bits, into the first `used` lanes; returns how many are >= p."""
    degree = group.shape[0]
    mask = (np.int64(1) << width) - 1
    rejected = 0
    for tile in range(0, degree, _TILE):
        for lane in range(used):
            start = lane * degree
            for j in range(tile, tile + _TILE):
                word = np.int64(word_at(stream, 6 * (start + j))) & mask
                rejected += int(word >= p)
                group[j, lane] = word
    return rejected


# --- Noise ----------------------------------------------------------------------------------------


@_compiled
def sample(
    words: Words, thresholds: Words, first: NDArray[np.uint32], shift: np.uint64, used: int, group: Floats
) -> int:
    """One noise value for each word, into the first `used` lanes; returns how many hit a threshold exactly.

    thresholds[k + 1] is the upper 63 bits of C_k; thresholds[0] and the last entry are above all words. first[g] is
    the number of thresholds not above the smallest magnitude whose leading bits are g.
    """
    degree = group.shape[0]
    ties = 0
    for tile in range(0, degree, _TILE):
        for lane in range(used):
            start = lane * degree
            for j in range(tile, tile + _TILE):
                word = words[start + j]
                magnitude = word >> _ONE
                k = np.uint64(first[magnitude >> shift])
                k += np.uint64(thresholds[k + _ONE] <= magnitude)
                while thresholds[k + _ONE] <= magnitude:
                    k += _ONE
                ties += int(thresholds[k] == magnitude)
                negative = -np.int64(word & _ONE)
                group[j, lane] = (np.int64(k) ^ negative) - negative
    return ties


# --- Transforms -----------------------------------------------------------------------------------


@_compiled
def multiply(group: Floats, key: Floats, ratio: Floats, modulus: float) -> None:
    """Entry j of every lane times key[j]; the result is below 0.54 p in magnitude if the group is below p."""
    p = spread(modulus)
    for j in range(group.shape[0]):
        store(group, j, product(load(group, j), spread(key[j]), spread(ratio[j]), p))


@_compiled
def multiply_add(group: Floats, key: Floats, ratio: Floats, summand: Floats, modulus: float) -> None:
    """Entry j of every lane times key[j], plus that of `summand` (residues)."""
    p = spread(modulus)
    for j in range(group.shape[0]):
        store(group, j, product(load(group, j), spread(key[j]), spread(ratio[j]), p) + load(summand, j))


@_compiled
def _inverse_stage(group: Floats, roots: Floats, ratios: Floats, p: Any, half: int, start: int, stop: int) -> None:
    for first in range(start, stop, 2 * half):
        for j in range(half):
            i = first + j
            u = load(group, i)
            v = product(load(group, i + half), spread(roots[half + j]), spread(ratios[half + j]), p)
            store(group, i, u + v)
            store(group, i + half, u - v)


@_compiled
def _inverse_two_stages(group: Floats, roots: Floats, ratios: Floats, p: Any, half: int, start: int, stop: int) -> None:
    for first in range(start, stop, 4 * half):
        for j in range(half):
            i = first + j
            w, w_ratio = spread(roots[half + j]), spread(ratios[half + j])
            a, b = load(group, i), product(load(group, i + half), w, w_ratio, p)
            c, d = load(group, i + 2 * half), product(load(group, i + 3 * half), w, w_ratio, p)
            even, odd = a + b, a - b
            k = 2 * half + j
            far_even = product(c + d, spread(roots[k]), spread(ratios[k]), p)
            k += half
            far_odd = product(c - d, spread(roots[k]), spread(ratios[k]), p)
            store(group, i, even + far_even)
            store(group, i + half, odd + far_odd)
            store(group, i + 2 * half, even - far_even)
            store(group, i + 3 * half, odd - far_odd)


@_compiled
def _inverse_stages(group: Floats, roots: Floats, ratios: Floats, p: Any, half: int, start: int, stop: int) -> None:
    size = stop - start
    while 4 * half <= size:
        _inverse_two_stages(group, roots, ratios, p, half, start, stop)
        half *= 4
    if 2 * half <= size:
        _inverse_stage(group, roots, ratios, p, half, start, stop)


@_compiled
def inverse(group: Floats, roots: Floats, ratios: Floats, twist: Floats, twist_ratios: Floats, modulus: float) -> None:
    """Transform form (bit-reversed) to residues of the coefficients (natural order), in place.

    Cooley and Tukey's decimation in time on bit-reversed input: products come before sums, so a stage adds at most
    p (1/2 + 2**-53 |v|) to the magnitude m of what goes in, and m grows from 2 p to less than 10 p over twelve stages
    for p < 2**48: far below 2**52, so no stage reduces anything.
    """
    degree = group.shape[0]
    p = spread(modulus)
    half, size = np.int64(1), min(_CHUNK, degree)  # a plain 1 would be a type of its own, compiled twice
    while half < degree:
        for start in range(0, degree, size):
            _inverse_stages(group, roots, ratios, p, half, start, start + size)
        half, size = size, degree
    for j in range(degree):
        store(group, j, residue(product(load(group, j), spread(twist[j]), spread(twist_ratios[j]), p), p))


@_compiled
def forward(group: Floats, roots: Floats, ratios: Floats, modulus: float, modulus_inverse: float) -> None:
    """Coefficients (natural order) to residues in transform form (bit-reversed), in place; roots in SEAL's order."""
    degree = group.shape[0]
    p, inverse_p = spread(modulus), spread(modulus_inverse)
    half, count = degree // 2, 1
    while half >= 1:
        for part in range(count):
            w, w_ratio = spread(roots[count + part]), spread(ratios[count + part])
            for i in range(2 * half * part, 2 * half * part + half):
                u, v = load(group, i), product(load(group, i + half), w, w_ratio, p)
                store(group, i, u + v)
                store(group, i + half, u - v)
        half //= 2
        count *= 2
    for j in range(degree):
        store(group, j, residue(reduced(load(group, j), inverse_p, p), p))


# --- Values ---------------------------------------------------------------------------------------


@_compiled
def encode(
    values: Floats,
    exponents: Exponents,
    powers: Floats,
    lowest: int,
    limit: float,
    first: int,
    used: int,
    group: Floats,
) -> int:
    """The fixed-point integers of the values from `first` on, block by block, into the first `used` lanes.

    powers[x - lowest] = 2**(C - x), limit = 2**C. Returns the index of a value out of range, or -1.
    """
    degree = group.shape[0]
    outside = 0
    for tile in range(0, degree, _TILE):
        for lane in range(used):
            start = first + lane * degree + tile
            some, their_exponents = values[start : start + _TILE], exponents[start : start + _TILE]
            rows = group[tile : tile + _TILE, lane]
            for j in range(some.size):
                scaled = some[j] * powers[np.uint64(their_exponents[j] - lowest)]
                outside += int(not abs(scaled) <= limit)
                rows[j] = nearest(scaled)
            rows[some.size :] = 0.0
    return outside


@_compiled
def add_noise(group: Floats, noise: Floats, modulus: float) -> None:
    """Residues plus noise, as residues; the noise is below p in magnitude."""
    p = spread(modulus)
    for j in range(group.shape[0]):
        store(group, j, residue(load(group, j) + load(noise, j), p))


@_compiled
def add_noise_and_message(
    group: Floats, noise: Floats, message: Floats, modulus: float, modulus_inverse: float
) -> None:
    """Residues plus noise (below p / 4) plus a message (below 2**46 p), as residues."""
    p, inverse_p = spread(modulus), spread(modulus_inverse)
    for j in range(group.shape[0]):
        total = load(group, j) + load(noise, j) + reduced(load(message, j), inverse_p, p)
        store(group, j, residue(total, p))


# --- Packing --------------------------------------------------------------------------------------


@_compiled
def _append(out: Bytes, byte: int, held: np.uint64, bits: np.uint64, residue: float, width: np.uint64) -> Any:
    """Write a residue after the `bits` bits that are held back, always fewer than eight; returns where that leads."""
    held |= np.uint64(np.int64(residue)) << bits
    store_word(out, byte, held)
    bits += width
    whole = bits >> _THREE
    return byte + np.int64(whole), held >> (whole << _THREE), bits & _SEVEN


@_compiled
def _pack_last(residues: Floats, widths: Integers, held: np.uint64, bits: np.uint64, out: Bytes, byte: int) -> None:
    """The last value of a tile, byte by byte: what follows may be there already."""
    for k in range(residues.size):
        held |= np.uint64(np.int64(residues[k])) << bits
        bits += np.uint64(widths[k])
        while bits >= _EIGHT or (bits > np.uint64(0) and k == residues.size - 1):
            out[byte] = held & _BYTE
            byte += 1
            held >>= _EIGHT
            bits -= min(bits, _EIGHT)


@partial(_compiled, signature=_PACK)
def pack(residues: Floats, widths: Integers, count: int, out: Bytes) -> None:
    """`count` values of an array of residues (blocks, one or two primes, block size) as bits from out[0] on.

    The block size is a multiple of 64 unless there is only one block, so that every tile begins with a whole byte.
    """
    blocks, primes, size = residues.shape
    tile_bytes = _TILE * widths.sum() // 8
    width, last_width = np.uint64(widths[0]), np.uint64(widths[primes - 1])
    tiles = (size + _TILE - 1) // _TILE
    for tile in range(tiles):
        for block in range(blocks):
            first = tile * _TILE
            filled = min(_TILE, size - first, count - block * size - first)
            byte = (block * tiles + tile) * tile_bytes
            held, bits = np.uint64(0), np.uint64(0)
            # Rows, not indices with a loop over the primes: the strides then stay in registers.
            row, last_row = residues[block, 0, first:], residues[block, primes - 1, first:]
            for j in range(filled - 1):
                byte, held, bits = _append(out, byte, held, bits, row[j], width)
                if primes == 2:
                    byte, held, bits = _append(out, byte, held, bits, last_row[j], last_width)
            if filled > 0:
                _pack_last(residues[block, :, first + filled - 1], widths, held, bits, out, byte)


@_compiled
def _bits_at(data: Bytes, bit: int, mask: int) -> Any:
    """The bits from `bit` on, at most 57 of them; `data` has at least eight bytes."""
    byte = min(bit >> 3, data.size - 8)
    return np.int64(word_at(data, byte) >> np.uint64(bit - 8 * byte)) & mask


@_compiled
def first_bad(data: Bytes, widths: Integers, primes: Integers, count: int) -> int:
    """The index of a value with a residue that is not below its prime, or -1."""
    step = widths.sum()
    offset = 0
    for k in range(primes.size):
        mask, prime = (1 << widths[k]) - 1, primes[k]
        bad = 0
        for j in range(count):
            bad += int(_bits_at(data, offset + j * step, mask) >= prime)
        if bad:
            for j in range(count):
                if _bits_at(data, offset + j * step, mask) >= prime:
                    return j
        offset += widths[k]
    return -1


@_compiled
def unpack(data: Bytes, widths: Integers, first: int, count: int, residues: Floats) -> None:
    """Residues of `count` values from `first` on, into the first columns of an array (primes, at least count)."""
    step = widths.sum()
    offset = first * step
    for k in range(widths.size):
        mask, row = (1 << widths[k]) - 1, residues[k]
        for j in range(count):
            row[j] = _bits_at(data, offset + j * step, mask)
        offset += widths[k]


@_compiled
def add_packed(data: Bytes, widths: Integers, primes: Integers, count: int, total: Floats) -> None:
    """Add packed residues, modulo each prime, to the first columns of `total`, shape (primes, at least count)."""
    step = widths.sum()
    offset = 0
    for k in range(widths.size):
        mask, row, prime = (1 << widths[k]) - 1, total[k], np.float64(primes[k])
        for j in range(count):
            added = row[j] + _bits_at(data, offset + j * step, mask)
            row[j] = added - prime if added >= prime else added
        offset += widths[k]


@_compiled
def check_sums(
    data: Bytes,
    widths: Integers,
    count: int,
    x: Floats,
    x_ratio: Floats,
    y: Floats,
    y_ratio: Floats,
    moduli: Floats,
    sums: Floats,
) -> None:
    """Add sum over blocks b and coefficients j = lane mod 8 of x[s, k, b] y[s, k, j] c[b, j] to sums[s, k, lane].

    x has shape (3, primes, blocks), y (3, primes, N), both centred; sums (3, primes, 8) is reduced to below 0.6 p.
    """
    primes, degree = y.shape[1], y.shape[2]
    residues = np.zeros((primes, degree))
    for block in range(x.shape[2]):
        filled = min(degree, count - block * degree)
        unpack(data, widths, block * degree, filled, residues)
        residues[:, filled:] = 0.0
        for s in range(y.shape[0]):
            for k in range(primes):
                p, inverse_p = spread(moduli[k]), spread(1.0 / moduli[k])
                inner = spread(0.0)
                for j in range((filled + LANES - 1) // LANES):
                    if j % _LAZY == 0:
                        inner = reduced(inner, inverse_p, p)
                    inner = inner + product(load(residues[k], j), load(y[s, k], j), load(y_ratio[s, k], j), p)
                inner = reduced(inner, inverse_p, p)
                term = product(inner, spread(x[s, k, block]), spread(x_ratio[s, k, block]), p)
                store(sums[s], k, reduced(load(sums[s], k) + term, inverse_p, p))


# --- Opening --------------------------------------------------------------------------------------


@_compiled
def combine_residues(total: Floats, factor: float, ratio: float, moduli: Floats) -> None:
    """Residues to centred mixed-radix digits, in place: X = digit 0 + p_0 * digit 1, or digit 0 alone for one prime.

    `total` has shape (primes, 8 m); factor is p_0**-1 modulo p_1, centred.
    """
    p = spread(moduli[0])
    inverse_p = spread(1.0 / moduli[0])
    for j in range(total.shape[1] // LANES):
        low = reduced(load(total[0], j), inverse_p, p)
        store(total[0], j, low)
        if moduli.size == 2:
            q = spread(moduli[1])
            high = product(load(total[1], j) - low, spread(factor), spread(ratio), q)
            store(total[1], j, reduced(high, spread(1.0 / moduli[1]), q))


@_compiled
def write_integers(digits: Floats, radix: int, limit_low: np.uint64, limit_high: int, limbs: Integers) -> int:
    """Limbs (count, 2) of digit 0 + radix * digit 1; returns the index of the first beyond the limit, or -1."""
    bad = -1
    for j in range(limbs.shape[0]):
        high_digit = np.int64(digits[1, j]) if digits.shape[0] == 2 else np.int64(0)
        low, high = multiply_add_wide(high_digit, radix, np.int64(digits[0, j]))
        limbs[j, 0], limbs[j, 1] = low, high
        magnitude_low, magnitude_high = np.uint64(low), high
        if high < 0:
            magnitude_low, magnitude_high = ~magnitude_low + _ONE, ~high + np.int64(low == 0)
        beyond = magnitude_high > limit_high or (magnitude_high == limit_high and magnitude_low > limit_low)
        if beyond and bad < 0:
            bad = j
    return bad


@_compiled
def decode(limbs: Integers, exponents: Exponents, powers: Floats, lowest: int, values: Floats) -> None:
    """The float64 nearest to X 2**(x - C); powers[x - lowest] = 2**(x - C). |X| < 2**93.

    Both halves of X are exact in float64 and so is the multiplication: the addition rounds, once.
    """
    for j in range(values.size):
        low, high = limbs[j, 0], limbs[j, 1]
        upper = (high << 18) | ((low >> 46) & ((np.int64(1) << 18) - 1))
        lower = low & ((np.int64(1) << 46) - 1)
        whole = np.float64(upper) * _TWO_46 + np.float64(lower)
        values[j] = whole * powers[np.int64(exponents[j]) - lowest]
