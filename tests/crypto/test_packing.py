"""Values, integers, residues, bits: exact in both directions, and hostile bytes are refused."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hefed.crypto import packing, ring
from hefed.crypto.errors import MalformedError, RangeError
from hefed.crypto.label import MAX_EXPONENT, MIN_EXPONENT, Label
from hefed.crypto.parameters import COMPACT, PRECISE, PROFILES, Precision
from tests.crypto.federation import COHORT, PREVIOUS, STUDY, exact_integer

PROFILE = st.sampled_from(list(PROFILES.values()))
EXPONENT = st.integers(MIN_EXPONENT, MAX_EXPONENT)


def label_of(profile, exponents, contributors=3):
    return Label("f", STUDY, COHORT, 1, "p", profile, contributors, np.array(exponents, np.int16), PREVIOUS)


def encoded(precision, values, exponents):
    """The integers of at most eight blocks of values."""
    profile = precision.profile
    rows = ring.block_rows(profile)
    used = profile.blocks(len(values))
    packing.encode(precision, label_of(profile, exponents), np.array(values, np.float64), 0, rows, used)
    return [int(m) for m in rows.ravel()[: len(values)]]


def limbs_of(integers):
    data = b"".join(x.to_bytes(16, "little", signed=True) for x in integers)
    return np.frombuffer(data, "<i8").reshape(-1, 2).astype(np.int64)


# --- Values to integers ---------------------------------------------------------------------------


@st.composite
def value_in_range(draw):
    """A float64, of any size down to subnormal ones, and an exponent that allows it; often close to a tie."""
    exponent = draw(EXPONENT)
    fraction = draw(st.floats(-1, 1) | st.integers(-(2**20), 2**20).map(lambda i: i / 2**20))
    return math.ldexp(fraction, exponent - draw(st.integers(0, 300))), exponent


@given(PROFILE, st.lists(value_in_range(), min_size=1, max_size=20))
def test_encoding_rounds_half_to_even_exactly(profile, cases):
    precision = Precision(profile, 3, 2, 3)
    values, exponents = zip(*cases, strict=True)
    expected = [exact_integer(v, precision.capacity_bits - x) for v, x in cases]
    assert encoded(precision, values, exponents) == expected


def test_ties_go_to_even():
    precision = Precision(COMPACT, 3, 2, 3)
    exponent = precision.capacity_bits  # so that the unit is 1
    assert encoded(precision, [0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.0, -0.0], [exponent] * 8) == [
        0, 2, 2, 0, -2, -2, 0, 0,
    ]  # fmt: skip


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("exponent", [MIN_EXPONENT, -1, 0, 30, MAX_EXPONENT])
def test_the_ends_of_the_range_are_allowed_and_one_step_further_is_not(profile, exponent):
    precision, end = Precision(profile, 3, 2, 3), math.ldexp(1.0, exponent)
    assert encoded(precision, [end, -end], [exponent] * 2) == [1 << precision.capacity_bits] * 1 + [
        -(1 << precision.capacity_bits)
    ]
    for beyond in (math.nextafter(end, math.inf), -math.nextafter(end, math.inf)):
        with pytest.raises(RangeError):
            encoded(precision, [end, beyond], [exponent] * 2)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1.7e308])
@pytest.mark.parametrize("index", [0, 63, 64, 2048, 4999])
def test_a_value_out_of_range_is_named_by_its_index_and_never_by_its_size(bad, index):
    values = np.zeros(5000)
    values[index] = bad
    values[4999] = math.nan  # the first is named
    with pytest.raises(RangeError) as refusal:
        encoded(Precision(COMPACT, 3, 2, 3), values, [10] * 5000)
    assert refusal.value.index == index
    assert str(index) in str(refusal.value)
    assert not any(text in str(refusal.value) for text in ("nan", "inf", "1.7e"))


@given(PROFILE, st.data())
def test_decoding_rounds_once(profile, data):
    precision = Precision(profile, 3, 2, 3)
    largest = precision.largest_opened
    integers = data.draw(st.lists(st.integers(-largest, largest), min_size=1, max_size=20))
    exponents = data.draw(st.lists(EXPONENT, min_size=len(integers), max_size=len(integers)))
    decoded = packing.decode(precision, label_of(profile, exponents), limbs_of(integers))
    scale = precision.capacity_bits
    expected = [float(Fraction(x) * Fraction(2) ** (e - scale)) for x, e in zip(integers, exponents, strict=True)]
    assert decoded.tolist() == expected


def test_decoding_rounds_ties_to_even():
    precision = Precision(PRECISE, 3, 2, 3)
    integers = [
        sign * ((2**53 + odd) * 2**30 + 2**29 + below) for sign in (1, -1) for odd in (0, 1) for below in (-1, 0, 1)
    ]
    decoded = packing.decode(
        precision, label_of(PRECISE, [precision.capacity_bits] * len(integers)), limbs_of(integers)
    )
    assert decoded.tolist() == [float(x) for x in integers]


# --- Residues to integers -------------------------------------------------------------------------


@given(PROFILE, st.data())
def test_integers_come_back_from_their_residues(profile, data):
    half = profile.modulus // 2
    integers = data.draw(
        st.lists(st.integers(-half, half) | st.sampled_from([-half, half, 0, -1, 1]), min_size=1, max_size=20)
    )
    residues = packing.residue_array(profile, len(integers))
    for k, p in enumerate(profile.primes):
        residues[k, : len(integers)] = [x % p for x in integers]
    limbs, beyond = packing.integers(profile, residues, len(integers), half)
    assert limbs.tolist() == limbs_of(integers).tolist()
    assert beyond == -1


@given(PROFILE, st.data())
def test_the_first_integer_beyond_a_limit_is_found(profile, data):
    half = profile.modulus // 2
    limit = data.draw(st.integers(0, half - 1))
    near = st.sampled_from([limit, limit + 1, -limit, -limit - 1])
    integers = data.draw(st.lists(st.integers(-half, half) | near, min_size=1, max_size=20))
    residues = packing.residue_array(profile, len(integers))
    for k, p in enumerate(profile.primes):
        residues[k, : len(integers)] = [x % p for x in integers]
    _, beyond = packing.integers(profile, residues, len(integers), limit)
    assert beyond == next((j for j, x in enumerate(integers) if abs(x) > limit), -1)


# --- Bits -----------------------------------------------------------------------------------------


@st.composite
def residue_vectors(draw):
    profile = draw(PROFILE)
    count = draw(st.integers(1, 200))
    rows = [draw(hnp.arrays(np.uint64, count, elements=st.integers(0, p - 1))) for p in profile.primes]
    return profile, np.array(rows)


def bytes_of(profile, residues):
    """The page's bit string, bit by bit, filled up to whole bytes."""
    texts = [
        f"{r:0{p.bit_length()}b}"[::-1]
        for column in residues.T.tolist()
        for r, p in zip(column, profile.primes, strict=True)
    ]
    return np.packbits(np.frombuffer("".join(texts).encode(), np.uint8) - ord("0"), bitorder="little").tobytes()


@given(residue_vectors())
def test_packing_is_the_page_s_bit_string_and_comes_back(case):
    profile, residues = case
    packed = packing.pack(profile, residues)
    assert packed == bytes_of(profile, residues)
    assert np.array_equal(packing.unpack(profile, packed, residues.shape[1]), residues)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("offset", [-1, 0, 1, 63, 64, 65])
@pytest.mark.parametrize("blocks", [1, 8, 9])
def test_vectors_that_end_anywhere_in_a_block_pack_and_add(profile, offset, blocks):
    values = blocks * profile.ring_degree + offset
    rng = np.random.default_rng(values)
    residues = np.array([rng.integers(0, p, values, np.uint64) for p in profile.primes])
    packed = packing.pack(profile, residues)
    assert packed == bytes_of(profile, residues)
    total = packing.residue_array(profile, values)
    for _ in range(3):
        packing.add_packed(profile, packing.checked(profile, packed, values), values, total)
    primes = np.array(profile.primes, np.uint64)[:, None]
    assert np.array_equal(total[:, :values].astype(np.uint64), 3 * residues % primes)
    lanes = packing.Packer(profile, values)
    for start in range(0, values, 8 * profile.ring_degree):
        data = packing.checked(profile, packed, values)
        count = min(values - start, 8 * profile.ring_degree)
        lanes.add(packing.unpack_lanes(profile, data, start, count).transpose(2, 0, 1))
    assert lanes.finish() == packed


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_a_sum_of_exactly_the_prime_is_zero_and_one_more_is_one(profile):
    first = np.array([[1, p - 1, p - 1, 0] for p in profile.primes], np.uint64)
    second = np.array([[p - 1, 1, 2, 0] for p in profile.primes], np.uint64)
    total = packing.residue_array(profile, 4)
    for residues in (first, second):
        packing.add_packed(profile, packing.checked(profile, packing.pack(profile, residues), 4), 4, total)
    assert total[:, :4].tolist() == [[0, 0, 1, 0]] * len(profile.primes)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("values", [1, 5, 231])
def test_bytes_of_the_wrong_length_are_refused(profile, values):
    packed = packing.pack(profile, np.zeros((len(profile.primes), values), np.uint64))
    for bad in (b"", packed[:-1], packed + b"\0", packed * 2):
        with pytest.raises(MalformedError, match="bytes for"):
            packing.unpack(profile, bad, values)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("where", [0, 1, 99, 230])
@pytest.mark.parametrize("excess", [0, 1, "most"])
def test_a_residue_that_is_not_below_its_prime_is_refused_and_its_place_named(profile, where, excess):
    for k, p in enumerate(profile.primes):
        residues = np.zeros((len(profile.primes), 231), np.uint64)
        residues[:, where] = [q - 1 for q in profile.primes]
        packing.unpack(profile, packing.pack(profile, residues), 231)
        residues[k, where] = 2 ** p.bit_length() - 1 if excess == "most" else p + excess
        with pytest.raises(MalformedError, match=f"value {where} "):
            packing.unpack(profile, packing.pack(profile, residues), 231)


@pytest.mark.parametrize("bit", range(3, 8))
def test_filling_that_is_not_zero_is_refused(bit):
    packed = bytearray(packing.pack(PRECISE, np.zeros((2, 7), np.uint64)))  # 651 bits: five of filling
    packed[-1] |= 1 << bit
    with pytest.raises(MalformedError, match="last byte"):
        packing.unpack(PRECISE, bytes(packed), 7)


@settings(max_examples=300)
@given(PROFILE, st.integers(1, 40), st.data())
def test_whatever_bytes_are_accepted_are_the_only_ones_for_their_residues(profile, values, data):
    size = profile.packed_size(values)
    packed = data.draw(st.binary(min_size=size, max_size=size))
    try:
        residues = packing.unpack(profile, packed, values)
    except MalformedError:
        return
    assert packing.pack(profile, residues) == packed
