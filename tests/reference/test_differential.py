"""`hefed.crypto` and the reference, side by side on inputs that nobody wrote down: they agree, or both refuse.

The vectors fix single points; these tests look between them, above all where a float64 kernel could round or overflow.
"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hefed.crypto import packing, ring, sampling
from hefed.crypto.contribution import ENGINES, RunningSum, check_value, encrypt
from hefed.crypto.errors import MalformedError, OpeningError, ParameterError, RangeError
from hefed.crypto.keys import ContributorKey, Seed, ShareKeys, open_seeds
from hefed.crypto.label import Label
from hefed.crypto.opening import answer, open_sum
from hefed.crypto.parameters import COMPACT, PRECISE, Precision
from protocols.reference import encryption as reference
from protocols.reference import keys, primitives

BOTH = {COMPACT: primitives.COMPACT, PRECISE: primitives.PRECISE}
compiling = settings(deadline=None)  # the first example waits for the compiler
profiles = st.sampled_from([COMPACT, PRECISE])
every_profile = pytest.mark.parametrize("profile", [COMPACT, PRECISE], ids=lambda profile: profile.name)


def made_up_label(profile, contributors, exponents):
    ids, array = bytes(32), np.array(exponents, np.int16)
    return Label("f", ids, ids, 1, "p", profile, contributors, array, ids)


def both_labels(profile, contributors, exponents):
    ids = bytes(32)
    theirs = keys.Label("f", ids, ids, 1, "p", BOTH[profile], contributors, tuple(exponents), ids)
    return made_up_label(profile, contributors, exponents), theirs


def as_vector(residues):
    """Residues of shape (primes, K) as the reference has them."""
    return [[int(r) for r in column] for column in residues.T]


# --- Sizes ----------------------------------------------------------------------------------------


@every_profile
def test_capacity_and_tail_agree_for_every_sharing(profile):
    for n, t, contributors in itertools.product(range(1, 18), range(0, 18), (0, 1, 2, 3, 5, 32, 100, 4096, 4097)):
        try:
            ours = Precision(profile, n, t, contributors)
        except ParameterError:
            with pytest.raises(primitives.RefusedError, match="parameter"):
                reference.Precision(BOTH[profile], n, t, contributors)
            continue
        theirs = reference.Precision(BOTH[profile], n, t, contributors)
        assert ours.variance_opened == theirs.variance_opened
        assert (ours.capacity_bits, ours.tail) == (theirs.capacity, theirs.tail)
        assert ours.largest_opened == theirs.largest_sum


# --- Values ---------------------------------------------------------------------------------------


@st.composite
def values_near_their_range(draw):
    """A float64, and an exponent around its own, so that in range, out of range and ties are all common."""
    value = draw(st.floats(allow_nan=True, allow_infinity=True, width=64))
    around = math.frexp(value)[1] if math.isfinite(value) else 0
    exponent = draw(st.integers(around - 1, around + 130))
    return value, max(-900, min(900, exponent))


@given(profiles, st.integers(1, 50), st.lists(values_near_their_range(), min_size=1, max_size=12))
@example(COMPACT, 3, [(5e-324, -900), (-5e-324, 900), (2.0**-900, -900), (2.0**900, 900), (0.0, -900)])
@compiling
def test_encoding_agrees(profile, contributors, pairs):
    precision = Precision(profile, 3, 2, contributors)
    values, exponents = np.array([v for v, _ in pairs]), [x for _, x in pairs]
    try:
        expected = [reference.encode_value(v, x, precision.capacity_bits) for v, x in pairs]
    except primitives.RefusedError:
        expected = None
    rows = ring.block_rows(profile)
    label = made_up_label(profile, contributors, exponents)
    if expected is None:
        with pytest.raises(RangeError):
            packing.encode(precision, label, values, 0, rows, 1)
    else:
        packing.encode(precision, label, values, 0, rows, 1)
        assert [int(m) for m in rows[0, : len(pairs)]] == expected


@given(profiles, st.data())
@compiling
def test_decoding_agrees(profile, data):
    precision = Precision(profile, 3, 2, data.draw(st.integers(1, 50)))
    largest = precision.largest_opened
    # Integers of which 53 bits and a half are set are where a second rounding would show.
    ties = st.builds(
        lambda m, s, d: (m << s) + (d << s >> 1), st.integers(2**52, 2**53), st.integers(0, 38), st.integers(-3, 3)
    )
    opened = data.draw(st.lists(st.one_of(st.integers(-largest, largest), ties, ties.map(lambda x: -x)), min_size=1))
    opened = [x for x in opened if abs(x) <= largest] or [0]
    exponents = data.draw(st.lists(st.integers(-900, 900), min_size=len(opened), max_size=len(opened)))
    limbs = np.frombuffer(reference.opened_bytes(opened), "<i8").reshape(-1, 2)
    values = packing.decode(precision, made_up_label(profile, precision.contributors, exponents), limbs)
    expected = [reference.decode_value(m, x, precision.capacity_bits) for m, x in zip(opened, exponents, strict=True)]
    assert values.tolist() == expected


# --- Packing, sums, check values ------------------------------------------------------------------


@given(profiles, st.integers(1, 9), st.binary(min_size=0, max_size=120), st.booleans())
@compiling
def test_unpacking_agrees_on_any_bytes(profile, values, data, right_length):
    if right_length:
        data = data.ljust(profile.packed_size(values), b"\xff")[: profile.packed_size(values)]
    try:
        expected = reference.unpack(BOTH[profile], data, values)
    except primitives.RefusedError:
        with pytest.raises(MalformedError):
            packing.unpack(profile, data, values)
    else:
        assert as_vector(packing.unpack(profile, data, values)) == expected
        assert reference.pack(BOTH[profile], expected) == data


def drawn_residues(profile, values, seed):
    """Random residues with many of the largest, zeros and ones among them, shape (primes, values)."""
    rng = np.random.default_rng(seed)
    rows = [rng.integers(0, p, values, dtype=np.uint64) for p in profile.primes]
    for row, p in zip(rows, profile.primes, strict=True):
        row[rng.random(values) < 0.2] = p - 1
        row[rng.random(values) < 0.1] = 0
        row[rng.random(values) < 0.1] = 1
    return np.stack(rows)


@given(profiles, st.integers(1, 40), st.integers(1, 6), st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_sums_agree(profile, values, count, seed):
    packed = [packing.pack(profile, drawn_residues(profile, values, seed + i)) for i in range(count)]
    running = RunningSum(profile, made_up_label(profile, count, [0] * values))
    for one in packed:
        running.add(one)
    assert running.packed() == reference.add(BOTH[profile], packed, values)


@pytest.mark.parametrize(("blocks", "extra"), [(1, -1), (1, 0), (1, 13), (3, 1)])
@every_profile
def test_check_values_agree_on_residues_at_their_ends(profile, blocks, extra):
    values = blocks * profile.ring_degree + extra
    digest = bytes([blocks]) * 32
    for residues in (
        drawn_residues(profile, values, blocks),
        np.tile(np.array([[p - 1] for p in profile.primes], np.uint64), (1, values)),
    ):
        packed = packing.pack(profile, residues)
        assert check_value(profile, packed, values, digest) == reference.check_value(
            BOTH[profile], packed, values, digest
        )


# --- Opening --------------------------------------------------------------------------------------


@given(profiles, st.integers(1, 40), st.data())
@settings(max_examples=60, deadline=None)
def test_opening_agrees_at_the_edges_of_the_range(profile, contributors, data):
    """A sum that holds any integers, under answers that are nothing: what opens, and what is out of range."""
    ours = Precision(profile, 2, 2, contributors)
    theirs = reference.Precision(BOTH[profile], 2, 2, contributors)
    q, largest = profile.modulus, theirs.largest_sum
    edges = [0, largest, largest + 1, q // 2, *profile.primes, *(p // 2 for p in profile.primes), 2**63, 2**64]
    near = st.builds(lambda e, d, s: s * (e + d), st.sampled_from(edges), st.integers(-2, 2), st.sampled_from([1, -1]))
    chosen = data.draw(st.lists(st.one_of(near, st.integers(-largest, largest)), min_size=1, max_size=12))
    vector = [[x % p for p in profile.primes] for x in chosen]
    label, their_label = both_labels(profile, contributors, [0] * len(chosen))
    total = reference.pack(BOTH[profile], vector)
    nothing = reference.pack(BOTH[profile], [[0] * len(profile.primes)] * len(chosen))
    answers = dict.fromkeys(keys.subsets(2, 2), nothing)
    try:
        expected = reference.open_sum(theirs, their_label, total, answers)
    except primitives.RefusedError:
        with pytest.raises(OpeningError):
            open_sum(ours, label, total, answers)
    else:
        opened = open_sum(ours, label, total, answers)
        assert opened.as_python() == expected
        assert opened.to_bytes() == reference.opened_bytes(expected)


# --- Whole rounds ---------------------------------------------------------------------------------

# Lengths around what compiled code treats specially: eight bytes, a tile of 64, a block, eight blocks side by side.
LENGTHS = [(COMPACT, k) for k in (1, 2, 9, 63, 64, 65, 2047, 2048, 2049, 2113, 8 * 2048 + 1)]
LENGTHS += [(PRECISE, k) for k in (1, 2, 9, 63, 64, 65, 4095, 4096, 4097)]


@pytest.mark.parametrize(("profile", "values"), LENGTHS, ids=lambda x: getattr(x, "name", x))
def test_rounds_of_any_length_agree(profile, values):
    rng = np.random.default_rng(values)
    exponents = rng.integers(-3, 4, values).tolist()
    given_ = np.ldexp(rng.uniform(-1, 1, values), exponents)
    ours, theirs = Precision(profile, 2, 2, 1), reference.Precision(BOTH[profile], 2, 2, 1)
    label, their_label = both_labels(profile, 1, exponents)
    seeds = {subset: bytes([subset[0] + 1]) * 32 for subset in keys.subsets(2, 2)}
    key = ContributorKey(
        label.study, "i", 2, 2, {subset: Seed(seed) for subset, seed in seeds.items()}, Seed(b"n" * 32)
    )
    packed = encrypt(ours, key, label, given_)
    assert packed == reference.contribution(theirs, their_label, "i", seeds, b"n" * 32, given_.tolist())
    digest = b"l" * 32
    assert check_value(profile, packed, values, digest) == reference.check_value(BOTH[profile], packed, values, digest)
    for engine in ENGINES:
        running = RunningSum(profile, label, engine)
        running.add(packed)
        assert running.packed() == packed
    answers = {}
    for keyholder in range(2):
        hashes = list(key.seed_hashes().values())
        deal = open_seeds(label.study, "i", keyholder, 2, 2, key.seeds_for(keyholder), hashes)
        shares = ShareKeys.combine(profile, label.study, label.cohort, {"i": deal})
        answers |= {subset: answer(ours, shares, subset, label) for subset in shares.subsets}
    assert answers == {subset: reference.answer(their_label, subset, {"i": seeds[subset]}) for subset in answers}
    opened = open_sum(ours, label, packed, answers)
    assert opened.as_python() == reference.open_sum(theirs, their_label, packed, answers)


# --- Polynomials ----------------------------------------------------------------------------------


def extreme_forms(profile, k):
    """Polynomials in transform form that push a lazily reduced transform the furthest, one a lane."""
    n, p = profile.ring_degree, profile.primes[k]
    rng = np.random.default_rng(k)
    half = np.array([p // 2, p // 2 + 1])
    lanes = [
        np.full(n, p - 1),
        np.full(n, p // 2),
        np.full(n, p // 2 + 1),
        np.zeros(n),
        half[rng.integers(0, 2, n)],
        np.array([0, p - 1])[rng.integers(0, 2, n)],
        rng.integers(0, p, n),
        np.where(np.arange(n) % 2, p - 1, 1),
    ]
    return np.stack(lanes, axis=1).astype(np.float64)


@every_profile
def test_transforms_agree_on_extreme_polynomials(profile):
    for k, p in enumerate(profile.primes):
        forms = extreme_forms(profile, k)
        group = forms.copy()
        ring.inverse_transform(profile, k, group)
        for lane in range(8):
            assert group[:, lane].tolist() == primitives.inverse_transform([int(x) for x in forms[:, lane]], p)
        ring.forward_transform(profile, k, group)
        assert np.array_equal(group, forms)


@every_profile
def test_products_agree_on_extreme_keys(profile):
    """Inverse transforms of products, with keys of which every residue is at an end of its range."""
    for k, p in enumerate(profile.primes):
        forms = extreme_forms(profile, k)
        for key in (p - 1, p // 2, p // 2 + 1):
            residues = np.full((len(profile.primes), profile.ring_degree), 1, np.uint64)
            residues[k] = key
            group = forms.copy()
            ring.multiply(profile, k, group, ring.RingKey(profile, residues))
            ring.inverse_transform(profile, k, group)
            for lane in (0, 5, 6):
                product = [int(x) * key % p for x in forms[:, lane]]
                assert group[:, lane].tolist() == primitives.inverse_transform(product, p)


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**40), st.integers(1, 3))
@settings(max_examples=10, deadline=None)
def test_uniform_polynomials_agree(key, first, blocks):
    made = sampling.uniform_polynomials(COMPACT, key, first, blocks)
    for b in range(blocks):
        assert made[b, 0].tolist() == primitives.uniform(primitives.COMPACT, key, first + b, 0)


@given(st.binary(min_size=32, max_size=32), st.sampled_from([1, 3, 32, 4096]))
@settings(max_examples=10, deadline=None)
def test_noise_agrees(key, contributors):
    variance = primitives.variance_answer(contributors)
    rows = ring.block_rows(COMPACT)
    sampling.NoiseSource(COMPACT, key, variance).fill(rows, 2)
    for block in range(2):
        expected = primitives.gaussian(primitives.COMPACT, key, variance, block, 40)
        assert rows[block, :40].tolist() == expected
