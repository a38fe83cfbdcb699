"""Transforms and products, against evaluation and schoolbook multiplication with Python's integers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hefed.crypto import kernels, packing, ring
from hefed.crypto.parameters import PROFILES

CASES = [(profile, k) for profile in PROFILES.values() for k in range(len(profile.primes))]
IDS = [f"{profile.name}-{k}" for profile, k in CASES]


def reversed_bits(j, degree):
    bits = degree.bit_length() - 1
    return int(f"{j:0{bits}b}"[::-1], 2)


def value_at(coefficients, point, p):
    total = 0
    for c in reversed(coefficients):
        total = (total * point + c) % p
    return total


def random_group(profile, k, seed=1):
    p = profile.primes[k]
    return np.random.default_rng(seed).integers(0, p, (profile.ring_degree, ring.LANES)).astype(np.float64)


def key_of(profile, k, column):
    residues = np.zeros((len(profile.primes), profile.ring_degree), np.uint64)
    residues[k] = column.astype(np.uint64)
    return ring.RingKey(profile, residues)


@pytest.mark.parametrize(("profile", "k"), CASES, ids=IDS)
def test_root_is_the_smallest_primitive_one(profile, k):
    p, n = profile.primes[k], profile.ring_degree
    psi = ring.smallest_root(n, p)
    assert pow(psi, n, p) == p - 1
    assert all(pow(psi, odd, p) >= psi for odd in range(1, 2 * n, 2))


@pytest.mark.parametrize(("profile", "k"), CASES, ids=IDS)
def test_transform_form_holds_the_values_at_odd_powers_of_the_root(profile, k):
    p, n = profile.primes[k], profile.ring_degree
    psi, group = ring.smallest_root(n, p), random_group(profile, k)
    coefficients = [[int(c) for c in column] for column in group.T]
    ring.forward_transform(profile, k, group)
    for lane, j in [(0, 0), (1, 1), (2, n // 2), (5, n - 1), (7, 1234)]:
        point = pow(psi, 2 * reversed_bits(j, n) + 1, p)
        assert int(group[j, lane]) == value_at(coefficients[lane], point, p)


@pytest.mark.parametrize(("profile", "k"), CASES, ids=IDS)
@pytest.mark.parametrize("extreme", [None, "largest", "alternating", "one", "zero"])
def test_inverse_undoes_forward(profile, k, extreme):
    p, group = profile.primes[k], random_group(profile, k)
    if extreme is not None:
        pattern = {"largest": [p - 1], "alternating": [p - 1, 0], "one": [1], "zero": [0]}[extreme]
        group[:] = np.resize(np.array(pattern, np.float64), len(group))[:, None]
    before = group.copy()
    ring.forward_transform(profile, k, group)
    assert np.all((group >= 0) & (group < p))
    ring.inverse_transform(profile, k, group)
    assert np.array_equal(group, before)


@pytest.mark.parametrize(("profile", "k"), CASES, ids=IDS)
@pytest.mark.parametrize("magnitude", [1, 2])
def test_inverse_is_exact_for_the_largest_magnitudes_it_is_given(profile, k, magnitude):
    p, n = profile.primes[k], profile.ring_degree
    rng = np.random.default_rng(magnitude)
    group = rng.choice([-magnitude * p + 1.0, magnitude * p - 1.0], (n, ring.LANES))
    reduced = np.mod(group, p)  # float64's mod is exact
    ring.inverse_transform(profile, k, group)
    ring.inverse_transform(profile, k, reduced)
    assert np.array_equal(group, reduced)


@pytest.mark.parametrize(("profile", "k"), CASES, ids=IDS)
def test_products_are_those_of_polynomials_modulo_x_to_the_n_plus_1(profile, k):
    p, n = profile.primes[k], profile.ring_degree
    a, b = random_group(profile, k, 2), random_group(profile, k, 3)
    a_coefficients, b_coefficients = [int(x) for x in a[:, 4]], [int(x) for x in b[:, 0]]
    ring.forward_transform(profile, k, a)
    ring.forward_transform(profile, k, b)
    ring.multiply(profile, k, a, key_of(profile, k, b[:, 0]))
    ring.inverse_transform(profile, k, a)
    # Kronecker substitution: one big multiplication instead of N^2 small ones.
    slot = 16  # bytes, above 2 * 48 + 12 bits
    whole = [
        int.from_bytes(b"".join(c.to_bytes(slot, "little") for c in side), "little")
        for side in (a_coefficients, b_coefficients)
    ]
    raw = (whole[0] * whole[1]).to_bytes(2 * n * slot, "little")
    long = [int.from_bytes(raw[i * slot : (i + 1) * slot], "little") for i in range(2 * n)]
    expected = [(low - high) % p for low, high in zip(long[:n], long[n:], strict=True)]
    assert [int(x) for x in a[:, 4]] == expected


@pytest.mark.parametrize(("profile", "k"), CASES, ids=IDS)
def test_multiply_agrees_with_integers(profile, k):
    p = profile.primes[k]
    group, key = (random_group(profile, k, seed) for seed in (4, 6))
    before = group.copy()
    group -= random_group(profile, k, 7)  # also negative entries
    subtracted = before - random_group(profile, k, 7)
    ring.multiply(profile, k, group, key_of(profile, k, key[:, 0]))
    for j in (0, 1, 2, 77, profile.ring_degree - 1):
        for lane in range(ring.LANES):
            expected = int(subtracted[j, lane]) * int(key[j, 0])
            assert int(group[j, lane]) % p == expected % p
    assert np.all(np.abs(group) < 2 * p)


def finished(profile, k, residues, noise, message):
    """What `finish` packs, modulo prime k, when the last step of the transform gives these residues."""
    primes = len(profile.primes)
    groups = np.zeros((primes, profile.ring_degree, ring.LANES))
    groups[k] = residues
    twists = np.ones((primes, profile.ring_degree))
    moduli = np.array(profile.primes, np.float64)
    packed = np.zeros(profile.packed_size(8 * profile.ring_degree), np.uint8)
    other = noise if message is None else message
    kernels.finish(
        groups,
        twists,
        twists / moduli[:, None],
        noise.T.ravel(),
        other.T.ravel(),
        message is not None,
        moduli,
        packing.widths_of(profile),
        packed,
    )
    return packing.unpack(profile, packed.tobytes(), 8 * profile.ring_degree)[k].reshape(8, -1)


@pytest.mark.parametrize(("profile", "k"), CASES, ids=IDS)
def test_noise_and_messages_carry_residues_over_both_ends(profile, k):
    p = profile.primes[k]
    cases = [
        (0, 0, 0),
        (p - 1, 1, 0),
        (0, -1, 0),
        (p - 1, 0, 1),
        (0, 0, -1),
        (p - 1, 4000, p // 2),
        (0, -4000, -(p // 2)),
    ]
    cases += [(17, 0, 2**45), (p - 1, -5, 2**46 - 1), (1, 5, -(2**44))]
    residues, noise, message = (np.zeros((profile.ring_degree, ring.LANES)) for _ in range(3))
    for j, case in enumerate(cases):
        residues[j], noise[j], message[j] = case
    without_message = finished(profile, k, residues, noise, None)
    with_message = finished(profile, k, residues, noise, message)
    for j, (c, e, m) in enumerate(cases):
        assert without_message[:, j].tolist() == [(c + e) % p] * ring.LANES
        assert with_message[:, j].tolist() == [(c + e + m) % p] * ring.LANES


@pytest.mark.parametrize(("profile", "k"), CASES, ids=IDS)
def test_messages_far_above_the_prime_are_reduced_exactly(profile, k):
    p, rng = profile.primes[k], np.random.default_rng(9)
    shape = (profile.ring_degree, ring.LANES)
    message = np.rint(np.ldexp(rng.uniform(-1, 1, shape), rng.integers(0, profile.modulus_bits - 1, shape)))
    residues = np.full(shape, float(p - 1))
    made = finished(profile, k, residues, np.zeros(shape), message)
    expected = [(p - 1 + int(m)) % p for m in message.T.reshape(-1).tolist()]
    assert made.reshape(-1).tolist() == expected


def test_a_ring_key_says_nothing_of_itself_and_can_be_erased():
    profile = PROFILES["compact"]
    key = key_of(profile, 0, random_group(profile, 0)[:, 0])
    assert repr(key) == "<RingKey>"
    with pytest.raises(TypeError):
        key.__reduce__()
    key.erase()
    assert not key.value.any()
    assert not key.ratio.any()


# --- A lone block: the same numbers as those of a lane


def lone(profile, column):
    """A block along the lanes."""
    return np.ascontiguousarray(column).reshape(profile.ring_degree // ring.LANES, ring.LANES)


@pytest.mark.parametrize("largest", [False, True], ids=["random", "largest"])
@pytest.mark.parametrize(("profile", "k"), CASES, ids=IDS)
def test_a_lone_block_goes_through_the_stages_of_a_lane(profile, k, largest):
    group = random_group(profile, k, 11)
    if largest:
        group[:] = 1.6 * profile.primes[k] // 1 * np.where(group > profile.primes[k] // 2, 1, -1)
    block = lone(profile, group[:, 3])
    ring.inverse_stages(profile, k, group)
    ring.inverse_stages(profile, k, block)
    assert np.array_equal(block.ravel(), group[:, 3])


@pytest.mark.parametrize("largest", [False, True], ids=["random", "largest"])
@pytest.mark.parametrize(("profile", "k"), CASES, ids=IDS)
def test_a_lone_block_is_transformed_as_a_lane(profile, k, largest):
    p, group = profile.primes[k], random_group(profile, k, 15)
    if largest:
        group[:] = 2 * p * np.where(group > p // 2, 1, -1)
    block = lone(profile, group[:, 6])
    ring.forward_transform(profile, k, group)
    ring.forward_transform(profile, k, block)
    assert np.array_equal(block.ravel(), group[:, 6])


@pytest.mark.parametrize(("profile", "k"), CASES, ids=IDS)
def test_a_lone_block_is_multiplied_as_a_lane(profile, k):
    group, key = (random_group(profile, k, seed) for seed in (12, 14))
    by = key_of(profile, k, key[:, 0])
    block = lone(profile, group[:, 5])
    ring.multiply(profile, k, block, by)
    ring.multiply(profile, k, group, by)
    assert np.array_equal(block.ravel(), group[:, 5])


@pytest.mark.parametrize("with_message", [False, True])
@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@given(data=st.data())
@settings(max_examples=30)
def test_a_lone_block_is_finished_as_a_lane_as_far_as_it_has_values(profile, with_message, data):
    count = data.draw(st.integers(1, profile.ring_degree))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    primes, degree = len(profile.primes), profile.ring_degree
    moduli = np.array(profile.primes, np.float64)
    groups = rng.integers(0, profile.primes[0], (primes, degree, ring.LANES)).astype(np.float64)
    noise = rng.integers(-4000, 4000, (ring.LANES, degree)).astype(np.float64)
    message = rng.integers(-(2**50), 2**50, (ring.LANES, degree)).astype(np.float64)
    blocks = np.stack([lone(profile, group[:, 0]) for group in groups])
    twists, widths = ring.twists_of(profile), packing.widths_of(profile)
    whole, one = packing.group_buffer(profile), packing.group_buffer(profile)
    kernels.finish(groups, *twists, noise.ravel(), message.ravel(), with_message, moduli, widths, whole)
    kernels.finish_lone(blocks, *twists, noise[0], message[0], with_message, moduli, widths, count, one)
    assert packing.cut(profile, one, count).tobytes() == packing.cut(profile, whole, count).tobytes()
