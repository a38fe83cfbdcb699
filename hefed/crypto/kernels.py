"""Compiled code of `ring`, `sampling`, `masking` and of encoding; that of `packing` is in `packing_kernels`.

Works on *lane groups*: float64 arrays of shape (N, 8), entry (j, l) the coefficient (or transform) number j of the
l-th of eight blocks, holding exact integers. A *lone block*, which is all of a short vector, lies along the lanes:
shape (N / 8, 8), row after row; what ends in `_lone` works on one. It decides nothing: all lengths, bounds and types
are checked by the callers, which are the only users; words are little-endian, so is the machine.

Multiplications, additions and roundings take the same time for all values. Lookups and branches that depend on
secrets: the noise tables in `sample` and `_search`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hefed.crypto.compiling import Bytes, Exponents, Floats, Integers, Words, compiled
from hefed.crypto.lanes import load, nearest, product, reduced, residue, spread, store, word_at
from hefed.crypto.packing_kernels import TILE, _bits_at, _eights, pack_tile
from hefed.crypto.ring import LANES
from hefed.crypto.shuffles import (
    any_reaches,
    largest,
    load_six_bytes,
    power_of_two,
    store_six_bytes,
    turn_rows,
    words_to_rows,
)

_TILE = 64  # rows of a lane group that stay in the first-level cache while the eight blocks are gone through
_CHUNK = 256  # the same for the first stages of a transform
_RUN = 256  # noise values between the lookups and the signs
_UNDECIDED = np.uint16(0xFFFF)
_ONE = np.uint64(1)


# --- Uniform words --------------------------------------------------------------------------------


@compiled
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


@compiled
def load_products(stream: Bytes, width: int, p: int, key: Floats, ratio: Floats, group: Floats) -> Any:
    """As `load_words` for all lanes, and entry j of every lane times key[j], of magnitude below 0.54 p.

    Returns whether there was a word >= p: then the group is of no use. Reads 16 bytes more than the words.
    """
    degree = group.shape[0]
    mask, modulus = (np.int64(1) << width) - 1, spread(np.float64(p))
    top = spread(0.0)
    for j in range(0, degree, LANES):
        top = largest(top, words_to_rows(stream, 6 * j, 6 * degree, mask, group, j))
        for i in range(j, j + LANES):
            store(group, i, product(load(group, i), spread(key[i]), spread(ratio[i]), modulus))
    return any_reaches(top, modulus)


# --- Noise ----------------------------------------------------------------------------------------


@compiled
def _search(word: int, thresholds: Words, first: NDArray[np.uint32], first_shift: np.uint64) -> Any:
    """The number of thresholds not above the magnitude of a word, and whether it hit one exactly."""
    magnitude = word >> _ONE
    k = np.uint64(first[magnitude >> first_shift])
    while thresholds[k + _ONE] <= magnitude:
        k += _ONE
    return np.uint16(k), int(thresholds[k] == magnitude)


@compiled
def sample(
    words: Words,
    decided: NDArray[np.uint16],
    thresholds: Words,
    first: NDArray[np.uint32],
    first_shift: np.uint64,
    noise: Floats,
) -> int:
    """One noise value for each word, a multiple of 256 of them; returns how many hit a threshold exactly.

    thresholds[k + 1] is the upper 63 bits of C_k; thresholds[0] and the last entry are above all words. first[g] is
    the number of thresholds not above the smallest magnitude whose leading bits are g; decided[g] the same, or 65535
    where there is a threshold among the magnitudes with these leading bits.
    """
    ties = 0
    shift = first_shift + _ONE
    magnitudes = np.empty(_RUN, np.uint16)
    for start in range(0, words.size, _RUN):
        run, rows = words[start : start + _RUN], noise[start : start + _RUN]
        for j in range(_RUN):
            magnitude = decided[run[j] >> shift]
            if magnitude == _UNDECIDED:
                magnitude, tie = _search(run[j], thresholds, first, first_shift)
                ties += tie
            magnitudes[j] = magnitude
        for j in range(_RUN):
            negative = -np.int32(run[j] & _ONE)
            rows[j] = np.int32((np.int32(magnitudes[j]) ^ negative) - negative)
    return ties


# --- Transforms -----------------------------------------------------------------------------------


@compiled
def multiply(group: Floats, key: Floats, ratio: Floats, modulus: float) -> None:
    """Entry j of every lane times key[j]; the result is below 0.54 p in magnitude if the group is below p."""
    p = spread(modulus)
    for j in range(group.shape[0]):
        store(group, j, product(load(group, j), spread(key[j]), spread(ratio[j]), p))


@compiled
def multiply_lone(block: Floats, key: Floats, ratio: Floats, modulus: float) -> None:
    """The same for a lone block."""
    p = spread(modulus)
    for j in range(block.shape[0]):
        store(block, j, product(load(block, j), load(key, j), load(ratio, j), p))


@compiled
def _inverse_stage(group: Floats, roots: Floats, ratios: Floats, p: Any, half: int, start: int, stop: int) -> None:
    for first in range(start, stop, 2 * half):
        for j in range(half):
            i = first + j
            u = load(group, i)
            v = product(load(group, i + half), spread(roots[half + j]), spread(ratios[half + j]), p)
            store(group, i, u + v)
            store(group, i + half, u - v)


@compiled
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


@compiled
def _first_two_stages(group: Floats, roots: Floats, ratios: Floats, p: Any, start: int, stop: int) -> None:
    """The stages of half 1 and 2, where three of four roots are 1: these products are left out."""
    w, w_ratio = spread(roots[3]), spread(ratios[3])
    for i in range(start, stop, 4):
        a, b, c, d = load(group, i), load(group, i + 1), load(group, i + 2), load(group, i + 3)
        even, odd, far_even, far_odd = a + b, a - b, c + d, product(c - d, w, w_ratio, p)
        store(group, i, even + far_even)
        store(group, i + 1, odd + far_odd)
        store(group, i + 2, even - far_even)
        store(group, i + 3, odd - far_odd)


@compiled
def _inverse_stages(group: Floats, roots: Floats, ratios: Floats, p: Any, half: int, start: int, stop: int) -> None:
    size = stop - start
    if half == 1:
        _first_two_stages(group, roots, ratios, p, start, stop)
        half *= 4
    while 4 * half <= size:
        _inverse_two_stages(group, roots, ratios, p, half, start, stop)
        half *= 4
    if 2 * half <= size:
        _inverse_stage(group, roots, ratios, p, half, start, stop)


@compiled
def inverse_stages(group: Floats, roots: Floats, ratios: Floats, modulus: float) -> None:
    """Transform form (bit-reversed) to what `untwist` makes coefficients of, in place; at most 1.6 p in magnitude.

    Cooley and Tukey's decimation in time on bit-reversed input: products come before sums, so a stage adds at most
    p (1/2 + 2**-53 |v|) to the magnitude of what goes in. The first two, without products, make 6.4 p of 1.6 p; ten
    more make that less than 15 p for p < 2**48: below 2**52, so no stage reduces anything.
    """
    degree = group.shape[0]
    p = spread(modulus)
    half, size = np.int64(1), min(_CHUNK, degree)  # a plain 1 would be a type of its own, compiled twice
    while half < degree:
        for start in range(0, degree, size):
            _inverse_stages(group, roots, ratios, p, half, start, start + size)
        half, size = size, degree


@compiled
def inverse_stages_lone(block: Floats, roots: Floats, ratios: Floats, modulus: float) -> None:
    """The same for a lone block. The first three stages work on eight rows that are turned into columns."""
    degree = block.size
    p = spread(modulus)
    tile = np.empty((LANES, LANES))
    flat = tile.reshape(-1)
    whole = block.reshape(-1)
    for row in range(0, degree // LANES, LANES):
        turn_rows(block, row, flat, 0, LANES)
        _first_two_stages(tile, roots, ratios, p, 0, LANES)
        _inverse_stage(tile, roots, ratios, p, np.int64(4), 0, LANES)
        turn_rows(tile, 0, whole, row * LANES, LANES)
    half = 1  # in rows from here on
    while 2 * half * LANES <= degree:
        for first in range(0, degree // LANES, 2 * half):
            for j in range(half):
                i = first + j
                u = load(block, i)
                v = product(load(block, i + half), load(roots, half + j), load(ratios, half + j), p)
                store(block, i, u + v)
                store(block, i + half, u - v)
        half *= 2


@compiled
def untwist(group: Floats, twist: Floats, twist_ratios: Floats, modulus: float) -> None:
    """The last step of the inverse transform: residues of the coefficients (natural order), in place."""
    p = spread(modulus)
    for j in range(group.shape[0]):
        store(group, j, residue(product(load(group, j), spread(twist[j]), spread(twist_ratios[j]), p), p))


@compiled
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


@compiled
def forward_lone(block: Floats, roots: Floats, ratios: Floats, modulus: float, modulus_inverse: float) -> None:
    """The same for a lone block. The last three stages work on eight rows that are turned into columns."""
    rows = block.shape[0]
    p, inverse_p = spread(modulus), spread(modulus_inverse)
    half, count = rows // 2, 1  # in rows
    while half >= 1:
        for part in range(count):
            w, w_ratio = spread(roots[count + part]), spread(ratios[count + part])
            for i in range(2 * half * part, 2 * half * part + half):
                u, v = load(block, i), product(load(block, i + half), w, w_ratio, p)
                store(block, i, u + v)
                store(block, i + half, u - v)
        half //= 2
        count *= 2
    tile, turned, turned_ratios = np.empty((LANES, LANES)), np.empty((LANES, LANES)), np.empty((LANES, LANES))
    flat, whole = tile.reshape(-1), block.reshape(-1)
    for row in range(0, rows, LANES):
        turn_rows(block, row, flat, 0, LANES)
        half, count = LANES // 2, 1
        while half >= 1:
            # Each row of the block, now a lane, has roots of its own.
            first = count * (rows + row)
            for lane in range(LANES):
                for part in range(count):
                    turned[part, lane] = roots[first + count * lane + part]
                    turned_ratios[part, lane] = ratios[first + count * lane + part]
            for part in range(count):
                w, w_ratio = load(turned, part), load(turned_ratios, part)
                for i in range(2 * half * part, 2 * half * part + half):
                    u, v = load(tile, i), product(load(tile, i + half), w, w_ratio, p)
                    store(tile, i, u + v)
                    store(tile, i + half, u - v)
            half //= 2
            count *= 2
        for i in range(LANES):
            store(tile, i, residue(reduced(load(tile, i), inverse_p, p), p))
        turn_rows(tile, 0, whole, row * LANES, LANES)


# --- Values ---------------------------------------------------------------------------------------


@compiled
def encode(values: Floats, exponents: Exponents, capacity: int, limit: float, integers: Floats) -> int:
    """The integers round(v 2**(C - x)), C the capacity and limit = 2**C; returns how many values are out of range."""
    outside = 0
    for j in range(values.size):
        scaled = values[j] * power_of_two(capacity - np.int64(exponents[j]))
        outside += int(not abs(scaled) <= limit)
        integers[j] = nearest(scaled)
    return outside


@compiled
def finish(
    groups: Floats,
    twists: Floats,
    twist_ratios: Floats,
    noise: Floats,
    message: Floats,
    with_message: bool,
    moduli: Floats,
    widths: Integers,
    packed: Bytes,
) -> None:
    """`untwist` lane groups, one for each prime (primes, N, 8), add noise and message, and pack all eight blocks.

    noise (below p / 4) and message (below 2**46 p) hold 8 N integers each, block after block. Tile by tile: what is
    computed is packed while it is in the first-level cache.
    """
    primes, degree, _ = groups.shape
    tile_bytes = TILE * widths.sum() // 8
    # Flat arrays and offsets: a slice in a loop would cost counting of references.
    group, twist, ratio = groups.reshape(-1), twists.reshape(-1), twist_ratios.reshape(-1)
    rows = np.empty(LANES * primes * TILE)  # lane, prime, value
    for tile in range(degree // TILE):
        for k in range(primes):
            p, inverse_p = spread(moduli[k]), spread(1.0 / moduli[k])
            for j in range(k * degree + tile * TILE, k * degree + (tile + 1) * TILE, LANES):
                for i in range(j, j + LANES):
                    store(group, i, residue(product(load(group, i), spread(twist[i]), spread(ratio[i]), p), p))
                turn_rows(group, j, rows, j - k * (degree - TILE) - tile * TILE, primes * TILE)
            for lane in range(LANES):
                row, first = (lane * primes + k) * TILE // LANES, (lane * degree + tile * TILE) // LANES
                for i in range(TILE // LANES):
                    total = load(rows, row + i) + load(noise, first + i)
                    if with_message:
                        total = total + reduced(load(message, first + i), inverse_p, p)
                    store(rows, row + i, residue(total, p))
        for lane in range(LANES):
            byte = (lane * (degree // TILE) + tile) * tile_bytes
            pack_tile(rows, lane * primes * TILE, TILE, widths, TILE, packed, byte)


@compiled
def finish_lone(
    blocks: Floats,
    twists: Floats,
    twist_ratios: Floats,
    noise: Floats,
    message: Floats,
    with_message: bool,
    moduli: Floats,
    widths: Integers,
    count: int,
    packed: Bytes,
) -> None:
    """The same for a lone block, one for each prime (primes, N / 8, 8), as far as its first `count` values."""
    primes, degree = blocks.shape[0], twists.shape[1]
    tile_bytes = TILE * widths.sum() // 8
    block, twist, ratio = blocks.reshape(-1), twists.reshape(-1), twist_ratios.reshape(-1)
    rows = np.empty(primes * TILE)
    for tile in range((count + TILE - 1) // TILE):
        first = tile * TILE // LANES
        for k in range(primes):
            p, inverse_p = spread(moduli[k]), spread(1.0 / moduli[k])
            for i in range(TILE // LANES):
                j = k * degree // LANES + first + i
                total = residue(product(load(block, j), load(twist, j), load(ratio, j), p), p) + load(noise, first + i)
                if with_message:
                    total = total + reduced(load(message, first + i), inverse_p, p)
                store(rows, k * TILE // LANES + i, residue(total, p))
        pack_tile(rows, 0, TILE, widths, TILE, packed, tile * tile_bytes)


@compiled
def add_messages(messages: Floats, moduli: Floats, widths: Integers, first: int, count: int, packed: Bytes) -> None:
    """Add `count` integers (below 2**46 p) to the packed residues from value `first` on, a multiple of 64, modulo each
    prime, in place.

    `messages` reaches to a multiple of 64; what lies behind `count` is read and of no effect.
    """
    primes, step = widths.size, widths.sum()
    p, inverse_p = spread(moduli[0]), spread(1.0 / moduli[0])
    eights = _eights(widths, count)
    for j in range(0, eights, LANES):
        byte = 6 * (first + j)
        total = load_six_bytes(packed, byte) + reduced(load(messages, j // LANES), inverse_p, p)
        store_six_bytes(packed, byte, residue(total, p))
    rows = np.zeros(primes * TILE)
    for tile in range(eights, count, TILE):  # a multiple of eight: a tile begins with a whole byte
        filled, start = min(TILE, count - tile), (first + tile) * step
        offset = start
        for k in range(primes):
            mask, p, inverse_p = (1 << widths[k]) - 1, spread(moduli[k]), spread(1.0 / moduli[k])
            for i in range(filled):
                rows[k * TILE + i] = _bits_at(packed, offset + i * step, mask)
            for i in range((filled + LANES - 1) // LANES):
                row = k * TILE // LANES + i
                total = load(rows, row) + reduced(load(messages, tile // LANES + i), inverse_p, p)
                store(rows, row, residue(total, p))
            offset += widths[k]
        pack_tile(rows, 0, TILE, widths, filled, packed, start // 8)
