"""Compiled code of `packing`, and the check of sums: between residues and the exact number of bits, and to integers.

As `kernels`: all lengths, bounds and types are checked by the callers; nothing here depends on secrets but arithmetic.
"""

from functools import partial
from typing import Any

import numpy as np

from hefed.crypto.compiling import Bytes, Exponents, Floats, Integers, compiled
from hefed.crypto.lanes import load, multiply_add_wide, product, reduced, residue, spread, store, store_word, word_at
from hefed.crypto.ring import LANES
from hefed.crypto.shuffles import any_reaches, largest, load_six_bytes, power_of_two, store_six_bytes

TILE = 64  # values whose packed form is a whole number of bytes
_LAZY = 32  # products of magnitude below 0.6 p that can be added up in float64 without reduction
_SIX_BYTES = np.uint64(48)  # the width for which eight residues are packed at once
_ONE, _THREE, _SEVEN, _EIGHT, _BYTE = np.uint64(1), np.uint64(3), np.uint64(7), np.uint64(8), np.uint64(255)
_TWO_46 = 2.0**46

# Arrays of residues of any layout, so that one compilation of `pack` serves them all.
_PACK = "void(float64[:, :, :], int64[::1], int64, uint8[::1])"


# --- Packing --------------------------------------------------------------------------------------


@compiled
def _append(out: Bytes, byte: int, held: np.uint64, bits: np.uint64, value: np.uint64, width: np.uint64) -> Any:
    """Write a residue after the `bits` bits that are held back, always fewer than eight; returns where that leads."""
    held |= value << bits
    store_word(out, byte, held)
    bits += width
    whole = bits >> _THREE
    return byte + np.int64(whole), held >> (whole << _THREE), bits & _SEVEN


@compiled
def pack_tile(rows: Floats, first: int, apart: int, widths: Integers, filled: int, out: Bytes, byte: int) -> None:
    """`filled` values, at most 64, as bits from out[byte] on; residues modulo prime k from
    rows[first + k apart] on.

    The last value is written byte by byte: what follows may be there already.
    """
    primes = widths.size
    width, last_width = np.uint64(widths[0]), np.uint64(widths[primes - 1])
    if primes == 1 and width == _SIX_BYTES and filled % LANES == 0:
        for i in range(filled // LANES):
            store_six_bytes(out, byte + 6 * LANES * i, load(rows, first // LANES + i))
        return
    held, bits = np.uint64(0), np.uint64(0)
    for j in range(first, first + filled - 1):
        byte, held, bits = _append(out, byte, held, bits, np.uint64(np.int64(rows[j])), width)
        if primes == 2:
            byte, held, bits = _append(out, byte, held, bits, np.uint64(np.int64(rows[j + apart])), last_width)
    for k in range(primes):
        held |= np.uint64(np.int64(rows[first + filled - 1 + k * apart])) << bits
        bits += np.uint64(widths[k])
        while bits >= _EIGHT or (bits > np.uint64(0) and k == primes - 1):
            out[byte] = held & _BYTE
            byte += 1
            held >>= _EIGHT
            bits -= min(bits, _EIGHT)


@partial(compiled, signature=_PACK)
def pack(residues: Floats, widths: Integers, count: int, out: Bytes) -> None:
    """`count` values of an array of residues (blocks, one or two primes, block size) as bits from out[0] on.

    The block size is a multiple of 64 unless there is only one block, so that every tile begins with a whole byte.
    """
    blocks, primes, size = residues.shape
    tile_bytes = TILE * widths.sum() // 8
    tiles = (size + TILE - 1) // TILE
    rows = np.empty(primes * TILE)
    for tile in range(tiles):
        first = tile * TILE
        for block in range(blocks):
            filled = min(TILE, size - first, count - block * size - first)
            if filled > 0:
                for k in range(primes):
                    for j in range(filled):
                        rows[k * TILE + j] = residues[block, k, first + j]
                pack_tile(rows, 0, TILE, widths, filled, out, (block * tiles + tile) * tile_bytes)


@compiled
def _bits_at(data: Bytes, bit: int, mask: int) -> Any:
    """The bits from `bit` on, at most 57 of them; `data` has at least eight bytes."""
    byte = min(bit >> 3, data.size - 8)
    return np.int64(word_at(data, byte) >> np.uint64(bit - 8 * byte)) & mask


@compiled
def _eights(widths: Integers, count: int) -> int:
    """How many of `count` values are read eight at a time: whole eights if a value has six bytes, none if not."""
    return count - count % LANES if widths.size == 1 and np.uint64(widths[0]) == _SIX_BYTES else 0


@compiled
def first_bad(data: Bytes, widths: Integers, primes: Integers, count: int) -> int:
    """The index of a value with a residue that is not below its prime, or -1."""
    step = widths.sum()
    offset = 0
    for k in range(primes.size):
        mask, prime = (1 << widths[k]) - 1, primes[k]
        eights, top = _eights(widths, count), spread(0.0)
        for j in range(0, eights, LANES):
            top = largest(top, load_six_bytes(data, 6 * j))
        bad = int(any_reaches(top, spread(np.float64(prime))))
        for j in range(eights, count):
            bad += int(_bits_at(data, offset + j * step, mask) >= prime)
        if bad:
            for j in range(count):
                if _bits_at(data, offset + j * step, mask) >= prime:
                    return j
        offset += widths[k]
    return -1


@compiled
def unpack(data: Bytes, widths: Integers, first: int, count: int, residues: Floats) -> None:
    """Residues of `count` values from `first` on, into the first columns of an array (primes, at least count)."""
    step = widths.sum()
    offset = first * step
    eights = _eights(widths, count)
    for k in range(widths.size):
        mask, row = (1 << widths[k]) - 1, residues[k]
        for j in range(0, eights, LANES):
            store(row, j // LANES, load_six_bytes(data, 6 * (first + j)))
        for j in range(eights, count):
            row[j] = _bits_at(data, offset + j * step, mask)
        offset += widths[k]


@compiled
def add_packed(data: Bytes, widths: Integers, primes: Integers, first: int, count: int, total: Floats) -> None:
    """Add packed residues of `count` values from `first` on to the first columns of `total` (primes, at least count),
    modulo each prime.
    """
    step = widths.sum()
    offset = first * step
    eights = _eights(widths, count)
    for k in range(widths.size):
        mask, row, prime = (1 << widths[k]) - 1, total[k], np.float64(primes[k])
        p = spread(prime)
        for j in range(0, eights, LANES):
            i = j // LANES
            store(row, i, residue(load(row, i) + load_six_bytes(data, 6 * (first + j)), p))
        for j in range(eights, count):
            added = row[j] + _bits_at(data, offset + j * step, mask)
            row[j] = added - prime * np.float64(added >= prime)  # no branch: it would be guessed wrong every other time
        offset += widths[k]


@compiled
def _added_at(a: Bytes, b: Bytes, bit: int, width: np.uint64, prime: int) -> Any:
    """The sum of the residues that begin at a bit of two vectors, modulo the prime; without a branch."""
    mask = (np.int64(1) << np.int64(width)) - 1
    added = _bits_at(a, bit, mask) + _bits_at(b, bit, mask)
    return np.uint64(added - (prime & -np.int64(added >= prime)))


@compiled
def add_to_packed(data: Bytes, widths: Integers, primes: Integers, count: int, total: Bytes) -> None:
    """Add packed residues to packed residues, modulo each prime."""
    eights = _eights(widths, count)
    p = spread(np.float64(primes[0]))
    for byte in range(0, 6 * eights, 6 * LANES):
        store_six_bytes(total, byte, residue(load_six_bytes(total, byte) + load_six_bytes(data, byte), p))
    step, last = widths.sum(), widths.size - 1
    width, last_width, offset = np.uint64(widths[0]), np.uint64(widths[last]), widths[0]
    made = np.empty(2 * TILE * LANES + LANES, np.uint8)  # in place, a value would be written over the next one
    for first in range(eights, count, TILE):  # a multiple of eight: a tile begins with a whole byte
        byte, held, bits = 0, np.uint64(0), np.uint64(0)
        for j in range(first, min(first + TILE, count)):
            added = _added_at(total, data, j * step, width, primes[0])
            byte, held, bits = _append(made, byte, held, bits, added, width)
            if last == 1:
                added = _added_at(total, data, j * step + offset, last_width, primes[1])
                byte, held, bits = _append(made, byte, held, bits, added, last_width)
        if bits > np.uint64(0):
            made[byte] = held & _BYTE
            byte += 1
        start = first * step // 8
        for i in range(0, byte - byte % 8, 8):
            store_word(total, start + i, word_at(made, i))
        for i in range(byte - byte % 8, byte):
            total[start + i] = made[i]


@compiled
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

    x has shape (3, primes, blocks), y (3, primes, N), both centred, or for one block as many multiples of eight columns
    as it has values; sums (3, primes, 8) is reduced to below 0.6 p.
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


@compiled
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


@compiled
def write_integers(digits: Floats, radix: int, limit_low: np.uint64, limit_high: int, limbs: Integers) -> int:
    """Limbs (count, 2) of digit 0 + radix * digit 1, or (count, 1) of digit 0; the index of the first integer beyond
    the limit, or -1.
    """
    bad = -1
    if limbs.shape[1] == 1:
        outside = 0
        for j in range(limbs.shape[0]):
            integer = np.int64(digits[0, j])
            limbs[j, 0] = integer
            outside += int(abs(integer) > np.int64(limit_low))
        if outside:
            for j in range(limbs.shape[0]):
                if bad < 0 and abs(limbs[j, 0]) > np.int64(limit_low):
                    bad = j
        return bad
    outside = 0
    no_low = np.int64(limit_low == np.uint64(0))
    for j in range(limbs.shape[0]):
        high_digit = np.int64(digits[1, j]) if digits.shape[0] == 2 else np.int64(0)
        low, high = multiply_add_wide(high_digit, radix, np.int64(digits[0, j]))
        limbs[j, 0], limbs[j, 1] = low, high
        # For X < 0 its complement -X - 1 against the limit - 1, without a branch on the sign.
        sign = high >> 63
        above, below = high ^ sign, np.uint64(low ^ sign)
        bound, bound_low = limit_high + sign * no_low, limit_low + np.uint64(sign)
        beyond = int(above > bound) | (int(above == bound) & int(below > bound_low))
        outside += beyond
        if outside == beyond and beyond:
            bad = j
    return bad


@compiled
def decode(limbs: Integers, exponents: Exponents, capacity: int, values: Floats) -> None:
    """The float64 nearest to X 2**(x - C), C the capacity; |X| < 2**93, below 2**52 if it has one limb.

    Both halves of X are exact in float64 and so is the multiplication: the addition rounds, once.
    """
    if limbs.shape[1] == 1:
        for j in range(values.size):
            values[j] = np.float64(limbs[j, 0]) * power_of_two(np.int64(exponents[j]) - capacity)
        return
    for j in range(values.size):
        low, high = limbs[j, 0], limbs[j, 1]
        upper = (high << 18) | ((low >> 46) & ((np.int64(1) << 18) - 1))
        lower = low & ((np.int64(1) << 46) - 1)
        whole = np.float64(upper) * _TWO_46 + np.float64(lower)
        values[j] = whole * power_of_two(np.int64(exponents[j]) - capacity)
