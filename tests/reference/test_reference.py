"""The reference of `protocols/encryption.md` against definitions written out, with rings small enough for that.

Relies on the reference alone; must not import hefed, so that it stays a second opinion.
"""

import hashlib
import itertools
import math
from contextlib import suppress
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
import tenseal.sealapi as seal
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.reference import primitives
from protocols.reference.encryption import (
    Precision,
    add,
    answer,
    check_value,
    contribution,
    decode_value,
    encode_value,
    open_sum,
    pack,
    product_coefficients,
    unpack,
    verify_checks,
)
from protocols.reference.keys import Label, open_seeds, secret_key, seed_hash, seeds_for, share, subsets
from protocols.reference.primitives import (
    COMPACT,
    PRECISE,
    VARIANCE_CONTRIBUTION,
    Profile,
    RefusedError,
    ceil_sqrt,
    enc,
    gaussian_sample,
    gaussian_table,
    inverse_transform,
    psi,
    stream,
    transform,
    uniform,
    variance_answer,
    words,
)

# The primes of the real profiles are 1 modulo twice every smaller power of two, so they serve small rings too.
TINY = Profile("tiny-8-46-47", 8, PRECISE.primes)
TINY_ONE_PRIME = Profile("tiny-16-48", 16, COMPACT.primes)
NARROW = Profile("narrow-8-17-97", 8, (17, 97))  # many words are replaced


def name(i: int) -> str:
    return f"member {i}"


class Study:
    """A study in a small ring, with contributors that are not the keyholders."""

    def __init__(self, profile: Profile, keyholders: int, threshold: int, contributors: int, values: int) -> None:
        self.precision = Precision(profile, keyholders, threshold, contributors)
        self.profile, self.sets = profile, subsets(keyholders, threshold)
        self.label = Label("f", b"s" * 32, b"c" * 32, 1, "p", profile, contributors, (3,) * values, b"v" * 32)
        self.names = [name(i) for i in range(contributors)]
        self.seeds = {
            dealer: {T: hashlib.sha256(f"{dealer} {T}".encode()).digest() for T in self.sets} for dealer in self.names
        }
        self.inputs = {d: [((7 * i + 3 * j) % 17 - 8) / 1.5 for j in range(values)] for i, d in enumerate(self.names)}

    def contribute(self, dealer: str) -> bytes:
        secret = hashlib.sha256(dealer.encode()).digest()
        return contribution(self.precision, self.label, dealer, self.seeds[dealer], secret, self.inputs[dealer])

    def total(self) -> bytes:
        return add(self.profile, [self.contribute(dealer) for dealer in self.names], self.label.values)

    def held_by(self, keyholder: int, dealer: str) -> dict[tuple[int, ...], bytes]:
        """What the keyholder has of the dealer after the seeds went through bytes and the hashes were checked."""
        p, seeds = self.precision, self.seeds[dealer]
        hashes = [seed_hash(self.label.study, dealer, T, seed) for T, seed in seeds.items()]
        sent = seeds_for(keyholder, seeds)
        return open_seeds(self.label.study, dealer, keyholder, p.keyholders, p.threshold, sent, hashes)

    def answers_of(self, keyholders: tuple[int, ...]) -> dict[tuple[int, ...], bytes]:
        """All answers that these keyholders can give; where two give one, they agree."""
        answers: dict[tuple[int, ...], bytes] = {}
        for j in keyholders:
            held = {dealer: self.held_by(j, dealer) for dealer in self.names}
            for subset in held[self.names[0]]:
                packed = answer(self.label, subset, {dealer: held[dealer][subset] for dealer in self.names})
                assert answers.setdefault(subset, packed) == packed
        return answers


# --- Hashing --------------------------------------------------------------------------------------


parts = st.lists(st.one_of(st.binary(max_size=20), st.text(max_size=10)), max_size=4)


@given(parts, parts)
def test_different_lists_of_parts_have_different_encodings(a, b):
    def as_bytes(p):
        return [x.encode() if isinstance(x, str) else x for x in p]

    assert (enc(*a) == enc(*b)) == (as_bytes(a) == as_bytes(b))


def test_the_stream_is_one_sequence_of_blocks_for_each_lane():
    key = bytes(range(32))
    whole = stream(key, 5, 0, 160)
    assert whole[64:] == stream(key, 5, 4, 96)
    assert stream(key, 4, 0, 160) != whole
    # NIST SP 800-38A, F.5.5: CTR-AES256, of which the counter block's first four bytes are the lane here.
    key = bytes.fromhex("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4")
    counter = bytes.fromhex("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff")
    keystream = stream(key, int.from_bytes(counter[:4], "big"), int.from_bytes(counter[4:], "big"), 32)
    assert keystream.hex() == "0bdf7df1591716335e9a8b15c860c502" + "5a6e699d536119065433863c8f657b94"


# --- Rings ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", [COMPACT, PRECISE, TINY, TINY_ONE_PRIME, NARROW])
def test_psi_is_the_smallest_root_of_x_to_the_n_plus_one(profile):
    n = profile.ring_degree
    for p in profile.primes:
        root = psi(n, p)
        assert pow(root, n, p) == p - 1
        if p < 1000:
            assert root == min(r for r in range(p) if pow(r, n, p) == p - 1)


@pytest.mark.parametrize(("profile", "bits"), [(COMPACT, [48]), (PRECISE, [46, 47, 16])])
def test_primes_and_transform_are_those_of_seal(profile, bits):
    n = profile.ring_degree
    parameters = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)  # in BFV, SEAL transforms a plaintext when asked to
    parameters.set_poly_modulus_degree(n)
    parameters.set_coeff_modulus(seal.CoeffModulus.Create(n, bits))
    parameters.set_plain_modulus(257)
    context = seal.SEALContext(parameters, True, seal.SEC_LEVEL_TYPE.TC128)
    made = [modulus.value() for modulus in parameters.coeff_modulus()]
    assert tuple(made[: len(profile.primes)]) == profile.primes
    plain = seal.Plaintext("7x^1000 + 3x^5 + 1x^1 + 2")
    seal.Evaluator(context).transform_to_ntt_inplace(plain, context.first_parms_id())
    polynomial = [{0: 2, 1: 1, 5: 3, 1000: 7}.get(i, 0) for i in range(n)]
    for k, p in enumerate(profile.primes):
        assert [plain.data(k * n + j) for j in range(n)] == transform(polynomial, p)


@given(st.data())
def test_the_transform_is_evaluation_at_odd_powers_of_psi_in_reversed_order(data):
    n, p = 8, 97
    f = data.draw(st.lists(st.integers(0, p - 1), min_size=n, max_size=n))
    root = psi(n, p)
    reversed_index = {0: 0, 1: 4, 2: 2, 3: 6, 4: 1, 5: 5, 6: 3, 7: 7}
    values = [sum(c * pow(root, (2 * reversed_index[j] + 1) * i, p) for i, c in enumerate(f)) % p for j in range(n)]
    assert transform(f, p) == values
    assert inverse_transform(values, p) == f


@given(st.data())
def test_products_in_transform_form_are_negacyclic(data):
    n, p = 8, 97
    polynomial = st.lists(st.integers(0, p - 1), min_size=n, max_size=n)
    f, g = data.draw(polynomial), data.draw(polynomial)
    product = [0] * n
    for i, j in itertools.product(range(n), repeat=2):
        product[(i + j) % n] += f[i] * g[j] * (-1 if i + j >= n else 1)
    forms = zip(transform(f, p), transform(g, p), strict=True)
    assert inverse_transform([a * b % p for a, b in forms], p) == [c % p for c in product]


@pytest.mark.parametrize("profile", [COMPACT, PRECISE])
def test_the_transform_of_full_size_agrees_with_evaluation(profile):
    n, p = profile.ring_degree, profile.primes[-1]
    form = uniform(profile, bytes(32), 0, len(profile.primes) - 1)
    coefficients = inverse_transform(form, p)
    bits = n.bit_length() - 1
    for j in (0, 1, n // 2 + 3, n - 1):
        point = pow(psi(n, p), 2 * int(f"{j:0{bits}b}"[::-1], 2) + 1, p)
        value = 0
        for c in reversed(coefficients):
            value = (value * point + c) % p
        assert value == form[j]


# --- Uniform polynomials --------------------------------------------------------------------------


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**40), st.integers(0, 1))
def test_words_that_are_too_large_are_replaced_in_rising_order(key, block, k):
    p, n = NARROW.primes[k], NARROW.ring_degree
    low = 31 if k == 0 else 127
    drawn = [int.from_bytes(stream(key, 2 * k, 3 * block, 48)[6 * j : 6 * j + 6], "little") & low for j in range(n)]
    spare = stream(key, 2 * k + 1, block * 2**32, 6 * 1000)
    usable = [w for i in range(1000) if (w := int.from_bytes(spare[6 * i : 6 * i + 6], "little") & low) < p]
    expected = [w if w < p else usable.pop(0) for w in drawn]
    assert uniform(NARROW, key, block, k) == expected


def test_blocks_of_one_prime_follow_one_another():
    key = bytes(32)
    blocks = [w for b in range(4) for w in uniform(TINY, key, b, 1)]
    assert blocks == [w & (2**47 - 1) for w in words(stream(key, 2, 0, 6 * 32), 6)]  # none of these is replaced


def test_a_key_is_the_sum_of_its_shares_and_every_share_is_bound_to_its_use():
    study, sets = b"s" * 32, subsets(4, 3)
    seeds = {T: bytes([i + 1]) * 32 for i, T in enumerate(sets)}
    for k, p in enumerate(TINY.primes):
        total = [0] * 8
        for subset, seed in seeds.items():
            one = share(TINY, seed, "i", study, subset, k)
            total = [(a + b) % p for a, b in zip(total, one, strict=True)]
        assert secret_key(TINY, seeds, "i", study, k) == total
    seed = seeds[sets[0]]
    other_name = Profile("another", 8, TINY.primes)
    shares = [
        share(TINY, seed, "i", study, (0, 1), 0),
        share(TINY, seed, "j", study, (0, 1), 0),
        share(TINY, seed, "i", bytes(32), (0, 1), 0),
        share(TINY, seed, "i", study, (0, 2), 0),
        share(other_name, seed, "i", study, (0, 1), 0),
        share(TINY, bytes(32), "i", study, (0, 1), 0),
    ]
    assert len({tuple(s) for s in shares}) == len(shares)


# --- Noise ----------------------------------------------------------------------------------------


@given(st.fractions(min_value=0, max_value=10**12))
def test_ceil_sqrt(x):
    root = ceil_sqrt(x)
    assert root * root >= x
    assert root == 0 or (root - 1) ** 2 < x


@pytest.mark.parametrize("variance", [Fraction(1, 4), VARIANCE_CONTRIBUTION, Fraction(1000)])
def test_the_table_is_the_cumulated_gaussian(variance):
    # Independent of the reference's decimals: e^-x as the series in fractions, halved until it converges at once.
    def exp_minus(x: Fraction) -> Fraction:
        halvings = max(0, math.ceil(x).bit_length())
        term, total, i = Fraction(1), Fraction(0), 0
        while term > Fraction(1, 2**400):
            total, i = total + term, i + 1
            term = term * (x / 2**halvings) / i
            term = Fraction(round(term * 2**420), 2**420)
        inverse = 1 / total
        for _ in range(halvings):
            inverse = Fraction(round(inverse * inverse * 2**520), 2**520)
        return inverse

    table = gaussian_table(variance)
    bound = len(table) - 1
    assert (bound - 1) ** 2 < 121 * variance <= bound**2
    assert table[-1] == 2**127
    weights = [exp_minus(x * x / (2 * variance)) for x in range(bound + 1)]
    total = weights[0] + 2 * sum(weights[1:])
    for k in range(bound):
        exact = 2**127 * (weights[0] + 2 * sum(weights[1 : k + 1])) / total
        assert table[k] == exact.numerator // exact.denominator


@pytest.mark.parametrize("variance", [VARIANCE_CONTRIBUTION, variance_answer(3)])
def test_the_sampler_is_within_two_to_minus_80_of_the_gaussian(variance):
    table = gaussian_table(variance)
    with localcontext(prec=80):
        far = 40 * len(table) // 11  # beyond that nothing is left in 80 digits
        exact = [(-Decimal(x * x) * variance.denominator / (2 * variance.numerator)).exp() for x in range(far)]
        total = exact[0] + 2 * sum(exact[1:])
        given_ = [table[0]] + [b - a for a, b in itertools.pairwise(table)] + [0] * (far - len(table))
        masses = [exact[0] / total, *(2 * w / total for w in exact[1:])]
        distance = sum(abs(m - Decimal(g) / 2**127) for m, g in zip(masses, given_, strict=True)) / 2
    assert distance < Decimal(2) ** -80


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_a_sample_has_the_sign_of_the_lowest_bit_and_grows_with_the_rest(first, second):
    sample = gaussian_sample(VARIANCE_CONTRIBUTION, first, second)
    assert gaussian_sample(VARIANCE_CONTRIBUTION, first ^ 1, second) == -sample
    if first >> 1 < 2**63 - 1:
        assert abs(gaussian_sample(VARIANCE_CONTRIBUTION, first + 2, second)) >= abs(sample)


def test_the_second_word_decides_where_the_first_is_that_of_an_entry():
    table = gaussian_table(VARIANCE_CONTRIBUTION)
    for k in (0, 7, 30):
        upper, lower = divmod(table[k], 2**64)
        assert gaussian_sample(VARIANCE_CONTRIBUTION, 2 * upper, lower - 1) == k
        assert gaussian_sample(VARIANCE_CONTRIBUTION, 2 * upper, lower) == k + 1
        assert gaussian_sample(VARIANCE_CONTRIBUTION, 2 * upper + 1, lower) == -(k + 1)
        assert gaussian_sample(VARIANCE_CONTRIBUTION, 2 * upper + 2, 0) == k + 1


# --- Values and packing ---------------------------------------------------------------------------


@given(st.floats(-1, 1), st.integers(-30, 30), st.sampled_from([45, 90]))
def test_an_encoded_value_is_the_nearest_integer_ties_to_even(value, exponent, capacity):
    scaled = math.ldexp(value, exponent)
    m = encode_value(scaled, exponent, capacity)
    exact = Fraction(scaled) * Fraction(2) ** (capacity - exponent)
    assert abs(m - exact) <= Fraction(1, 2)
    assert abs(m - exact) < Fraction(1, 2) or m % 2 == 0
    assert abs(m) <= 2**capacity
    assert abs(decode_value(m, exponent, capacity) - scaled) <= math.ldexp(1, exponent - min(capacity, 52))


@pytest.mark.parametrize(
    "precision", [Precision(COMPACT, 3, 2, 3), Precision(PRECISE, 9, 5, 4096), Precision(TINY, 4, 4, 5)]
)
def test_capacity_is_the_largest_that_never_wraps(precision):
    assert 2 * precision.largest_sum <= precision.profile.modulus
    double = precision.contributors * 2 ** (precision.capacity + 1) + precision.tail
    assert 2 * double > precision.profile.modulus


@given(st.data(), st.sampled_from([COMPACT, PRECISE, NARROW]))
def test_packing_is_undone_by_unpacking_and_no_other_bytes_give_the_vector(data, profile):
    residues = st.tuples(*(st.integers(0, p - 1) for p in profile.primes)).map(list)
    vector = data.draw(st.lists(residues, max_size=9))
    packed = pack(profile, vector)
    assert len(packed) == math.ceil(len(vector) * sum(p.bit_length() for p in profile.primes) / 8)
    assert unpack(profile, packed, len(vector)) == vector
    if packed:
        bit = data.draw(st.integers(0, 8 * len(packed) - 1))
        changed = bytearray(packed)
        changed[bit // 8] ^= 1 << bit % 8
        with suppress(RefusedError):
            assert unpack(profile, bytes(changed), len(vector)) != vector


def test_packing_puts_the_lowest_bit_first():
    assert pack(NARROW, [[1, 2], [3, 96]]) == (1 | 2 << 5 | 3 << 12 | 96 << 17).to_bytes(3, "little")


# --- A round --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "t"), [(n, t) for n in range(2, 6) for t in range(2, n + 1)])
@pytest.mark.parametrize("profile", [TINY, TINY_ONE_PRIME])
def test_any_t_keyholders_open_the_sum_to_the_same_bits_and_fewer_do_not(profile, n, t):
    study = Study(profile, n, t, 3, 19)
    total, precision = study.total(), study.precision
    opened = {
        tuple(open_sum(precision, study.label, total, study.answers_of(some)))
        for some in itertools.combinations(range(n), t)
    }
    assert len(opened) == 1
    limit = 3 / 2 + 12 * math.sqrt(precision.variance_opened)
    for j, x in enumerate(next(iter(opened))):
        exact = sum(Fraction(study.inputs[dealer][j]) for dealer in study.names) * 2 ** (precision.capacity - 3)
        assert abs(x - exact) <= limit
    for some in itertools.combinations(range(n), t - 1):
        with pytest.raises(RefusedError) as refusal:
            open_sum(precision, study.label, total, study.answers_of(some))
        assert refusal.value.kind == "opening"


@pytest.mark.parametrize("profile", [TINY, TINY_ONE_PRIME])
def test_a_contribution_and_its_label_are_a_ckks_ciphertext_of_the_values(profile):
    study, dealer = Study(profile, 3, 2, 3, 19), name(1)
    key = [secret_key(profile, study.seeds[dealer], dealer, study.label.study, k) for k in range(len(profile.primes))]
    products = product_coefficients(profile, study.label.digest, key, 19)
    packed = unpack(profile, study.contribute(dealer), 19)
    for c, a_s, value in zip(packed, products, study.inputs[dealer], strict=True):
        message = encode_value(value, 3, study.precision.capacity)
        errors = {(x + y - message + p // 2) % p - p // 2 for x, y, p in zip(c, a_s, profile.primes, strict=True)}
        assert len(errors) == 1  # the same integer modulo each prime
        assert abs(errors.pop()) <= 50


def test_a_contribution_depends_on_every_part_of_its_label():
    study = Study(TINY, 3, 2, 3, 4)
    before = study.contribute(name(0))
    fields = {
        "federation": "g",
        "study": bytes(32),
        "cohort": bytes(32),
        "round": 2,
        "purpose": "q",
        "previous": bytes(32),
    }
    for field, value in fields.items():
        other = Study(TINY, 3, 2, 3, 4)
        other.label = Label(**{**vars(study.label), field: value})
        assert other.contribute(name(0)) != before


def test_check_values_add_up_and_catch_every_single_change():
    study = Study(TINY, 3, 2, 3, 19)
    contributions, the_list = [study.contribute(d) for d in study.names], b"l" * 32
    total = add(TINY, contributions, 19)
    checks = [check_value(TINY, c, 19, the_list) for c in contributions]
    verify_checks(TINY, total, 19, the_list, checks)
    vector = unpack(TINY, total, 19)
    for j, k in itertools.product(range(19), range(2)):
        changed = [list(residues) for residues in vector]
        changed[j][k] = (changed[j][k] + 1) % TINY.primes[k]
        with pytest.raises(RefusedError, match="check"):
            verify_checks(TINY, pack(TINY, changed), 19, the_list, checks)
    with pytest.raises(RefusedError, match="check"):  # two values exchanged
        verify_checks(TINY, pack(TINY, [vector[1], vector[0], *vector[2:]]), 19, the_list, checks)


def test_a_check_value_is_the_sum_of_products_that_the_page_states():
    profile, values = NARROW, 8 * 9 + 3  # ten blocks, so that the factors of blocks come from two polynomials
    vector = [[(5 * j) % 17, (11 * j) % 97] for j in range(values)]
    the_list, expected = b"l" * 32, b""
    for s, k in itertools.product(range(3), range(2)):
        x = [w for b in range(2) for w in uniform(profile, primitives.H("check x", the_list, s), b, k)]
        y = uniform(profile, primitives.H("check y", the_list, s), 0, k)
        v = sum(x[j // 8] * y[j % 8] * residues[k] for j, residues in enumerate(vector)) % profile.primes[k]
        expected += v.to_bytes(8, "little")
    assert check_value(profile, pack(profile, vector), values, the_list) == expected


# --- Seeds ----------------------------------------------------------------------------------------


def test_the_sets_stand_in_lexicographic_order_and_not_in_that_of_their_masks():
    assert subsets(4, 3) == ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
    assert [primitives.mask(T) for T in subsets(4, 3)] == [3, 5, 9, 6, 10, 12]


@given(st.integers(2, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(2, n))))
@settings(max_examples=20)
def test_a_keyholder_gets_the_seeds_of_the_sets_without_it(sizes):
    n, t = sizes
    seeds = {T: bytes([i + 1]) * 32 for i, T in enumerate(subsets(n, t))}
    hashes = [seed_hash(b"s" * 32, "d", T, seed) for T, seed in seeds.items()]
    for j in range(n):
        held = open_seeds(b"s" * 32, "d", j, n, t, seeds_for(j, seeds), hashes)
        assert held == {T: seed for T, seed in seeds.items() if j not in T}
    # Any t hold every seed; for any t - 1 there is exactly one that none of them holds.
    for some in itertools.combinations(range(n), t):
        assert all(any(j not in T for j in some) for T in seeds)
    for some in itertools.combinations(range(n), t - 1):
        assert [T for T in seeds if all(j in T for j in some)] == [some]
