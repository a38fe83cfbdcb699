"""Compiled kernels against Python's integers, on random and extreme inputs, and at the ends of tiles and blocks.

What a kernel does as a part of a transform, of noise or of encoding is in `test_ring`, `test_sampling`, `test_packing`
and `test_check_values`, the instructions in `test_lanes`; here is what is shared or stands at a border.
"""

import numpy as np
import pytest

from hefed.crypto import kernels, packing, packing_kernels
from hefed.crypto.parameters import COMPACT, PRECISE, PROFILES

every_profile = pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)

# One value; around eight, a tile, eight tiles, a block, and the first tile of the next block.
COUNTS = {
    profile: [1, 2, 7, 8, 9, 63, 64, 65, 127, 128, 511, 513, n - 1, n, n + 1, n + 65]
    for profile, n in ((COMPACT, COMPACT.ring_degree), (PRECISE, PRECISE.ring_degree))
}
BORDERS = pytest.mark.parametrize(
    ("profile", "count"),
    [(profile, count) for profile, counts in COUNTS.items() for count in counts],
    ids=lambda x: getattr(x, "name", x),
)
PATTERNS = pytest.mark.parametrize("pattern", ["random", "largest", "zero", "ends"])


def drawn(profile, count, pattern, seed=0):
    """Residues, shape (primes, count), as Python's integers."""
    rng = np.random.default_rng([seed, count])
    rows = []
    for p in profile.primes:
        match pattern:
            case "random":
                rows.append(rng.integers(0, p, count, np.uint64).tolist())
            case "largest":
                rows.append([p - 1] * count)
            case "zero":
                rows.append([0] * count)
            case "ends":
                rows.append(rng.choice(np.array([0, 1, p // 2, p - 2, p - 1], np.uint64), count).tolist())
    return rows


def bits_of(profile, rows):
    """The packed form as one integer: value after value, prime after prime, lowest bits first."""
    widths = [p.bit_length() for p in profile.primes]
    text = "".join(
        f"{row[j]:0{width}b}"[::-1] for j in range(len(rows[0])) for row, width in zip(rows, widths, strict=True)
    )
    return np.packbits(np.frombuffer(text.encode(), np.uint8) - ord("0"), bitorder="little")


def readable(data, more=8):
    """The bytes, and some behind them for what is read eight at a time."""
    return np.concatenate([data, np.zeros(more, np.uint8)])


# --- Packing --------------------------------------------------------------------------------------


@BORDERS
@PATTERNS
def test_packing_and_unpacking_are_the_bits_at_every_border(profile, count, pattern):
    rows = drawn(profile, count, pattern)
    packed = packing.pack(profile, np.array(rows, np.uint64))
    assert packed == bits_of(profile, rows).tobytes()
    assert packing.unpack(profile, packed, count).tolist() == rows


@BORDERS
@PATTERNS
def test_sums_of_packed_vectors_are_sums_of_integers_at_every_border(profile, count, pattern):
    terms = [drawn(profile, count, pattern, seed) for seed in range(3)]
    total = packing.PackedSum(profile, count)
    for rows in terms:
        total.add(packing.checked(profile, packing.pack(profile, np.array(rows, np.uint64)), count))
    expected = [
        [sum(column) % p for column in zip(*rows, strict=True)]
        for p, rows in zip(profile.primes, zip(*terms, strict=True), strict=True)
    ]
    assert total.packed() == bits_of(profile, expected).tobytes()


@every_profile
@pytest.mark.parametrize("first", [0, 64, 2048])
@pytest.mark.parametrize("count", [1, 63, 64, 65, 200])
def test_a_sum_of_some_values_leaves_those_before_and_behind_as_they_are(profile, first, count):
    values = first + count + (-(first + count)) % 64 + 64  # what is behind begins with a whole byte
    rows, more = drawn(profile, values, "random"), drawn(profile, count, "ends", 1)
    total = packing.PackedSum(profile, values)
    total.add(packing.checked(profile, packing.pack(profile, np.array(rows, np.uint64)), values))
    part = packing.pack(profile, np.array(more, np.uint64))
    if count % 64 == 0:
        total.add_values(packing.checked(profile, part, count), first, count)
        for row, added, p in zip(rows, more, profile.primes, strict=True):
            row[first : first + count] = [(a + b) % p for a, b in zip(row[first:], added, strict=False)]
        assert total.packed() == bits_of(profile, rows).tobytes()
    else:  # the end of a vector: nothing lies behind it
        short = packing.PackedSum(profile, first + count)
        short.add_values(packing.checked(profile, part, count), first, count)
        assert short.packed() == bits_of(profile, [[0] * first + row for row in more]).tobytes()


@every_profile
@pytest.mark.parametrize("first", [0, 1, 8, 63, 64, 2047])
@pytest.mark.parametrize("count", [1, 8, 9, 64, 100])
def test_values_are_unpacked_from_anywhere(profile, first, count):
    rows = drawn(profile, first + count, "ends")
    data = readable(bits_of(profile, rows))
    residues = np.full((len(profile.primes), count + 8), -1.0)
    packing_kernels.unpack(data, packing.widths_of(profile), first, count, residues)
    assert residues[:, :count].astype(np.uint64).tolist() == [row[first:] for row in rows]
    assert np.all(residues[:, count:] == -1)


@every_profile
@pytest.mark.parametrize("filled", [1, 7, 8, 9, 63, 64])
@pytest.mark.parametrize("pattern", ["random", "largest"])
def test_a_tile_is_packed_up_to_its_last_value_and_no_further(profile, filled, pattern):
    rows = drawn(profile, filled, pattern)
    tile = np.zeros((len(profile.primes), 64))
    tile[:, :filled] = rows
    out = np.full(1 + 64 * profile.bits_per_value // 8 + 8, 0xAB, np.uint8)
    packing_kernels.pack_tile(tile.ravel(), 0, 64, packing.widths_of(profile), filled, out, 1)
    expected = bits_of(profile, rows)
    assert out[1 : 1 + expected.size].tolist() == expected.tolist()
    assert out[0] == 0xAB
    assert np.all(out[1 + expected.size :] == 0xAB)


@BORDERS
def test_the_first_residue_that_is_too_large_is_found_wherever_it_is(profile, count):
    widths, primes = packing.widths_of(profile), packing.primes_of(profile)
    honest = drawn(profile, count, "largest")
    assert packing_kernels.first_bad(readable(bits_of(profile, honest)), widths, primes, count) == -1
    for where in sorted({0, count // 2, count - 1, max(0, count - 8)}):
        for k, p in enumerate(profile.primes):
            for bad in (p, (1 << p.bit_length()) - 1):
                rows = [list(row) for row in honest]
                rows[k][where] = bad
                rows[k][count - 1] = bad  # the first of two is named
                assert packing_kernels.first_bad(readable(bits_of(profile, rows)), widths, primes, count) == where


# --- Messages added to packed masks ---------------------------------------------------------------


@every_profile
@pytest.mark.parametrize("first", [0, 64, 2048])
@pytest.mark.parametrize("count", [1, 7, 8, 9, 63, 64, 65, 128, 2048, 2049])
@pytest.mark.parametrize("pattern", ["random", "largest", "zero"])
def test_messages_are_added_to_packed_residues_as_integers(profile, first, count, pattern):
    rng = np.random.default_rng([first, count])
    rows = drawn(profile, first + count, pattern)
    size = -(-count // 64) * 64
    largest = 2.0**46 * (min(profile.primes) - 1)  # exact in float64, and just below what is allowed
    messages = np.rint(np.ldexp(rng.uniform(-1, 1, size), rng.integers(0, 92, size)))
    messages[: min(4, size)] = [largest, -largest, 1.0, -1.0]
    packed = readable(bits_of(profile, rows))
    kernels.add_messages(
        messages, np.array(profile.primes, np.float64), packing.widths_of(profile), first, count, packed
    )
    for row, p in zip(rows, profile.primes, strict=True):
        row[first:] = [(r + int(message)) % p for r, message in zip(row[first:], messages[:count], strict=True)]
    expected = bits_of(profile, rows)
    assert packed[: expected.size].tolist() == expected.tolist()
    assert not packed[expected.size :].any()


# --- Opening --------------------------------------------------------------------------------------


@BORDERS
@pytest.mark.parametrize("pattern", ["random", "edges"])
def test_a_packed_sum_gives_its_integers_at_every_border(profile, count, pattern):
    half, rng = profile.modulus // 2, np.random.default_rng(count)
    edges = [0, 1, -1, half, -half, 2**62 % half, -(2**62 % half), *profile.primes, *(-p for p in profile.primes)]
    edges = [x for x in edges if abs(x) <= half]
    random = [int.from_bytes(rng.bytes(12), "little") % (2 * half + 1) - half for _ in range(count)]
    integers = random if pattern == "random" else [edges[i] for i in rng.integers(0, len(edges), count)]
    residues = np.array([[x % p for x in integers] for p in profile.primes], np.uint64)
    total = packing.PackedSum(profile, count)
    total.add(packing.checked(profile, packing.pack(profile, residues), count))
    parts = list(total.integers(half))
    limbs = np.concatenate([limbs for limbs, _ in parts])
    width = 8 * limbs.shape[1]
    assert limbs.tobytes() == b"".join(x.to_bytes(width, "little", signed=True) for x in integers)
    assert {beyond for _, beyond in parts} == {-1}
    most = max(abs(x) for x in integers)
    for limit in (most - 1, most) if most else ():
        where = next((j for j, x in enumerate(integers) if abs(x) > limit), -1)
        assert next((beyond for _, beyond in total.integers(limit) if beyond >= 0), -1) == where
