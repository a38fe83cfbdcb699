"""Why hefed does not use public-key CKKS under one collective key: one malformed ciphertext takes the secret key.

Both halves are here. First an honest implementation of the textbook scheme (Mouchet, Troncoso-Pastoriza, Bossuat,
Hubaux, PETS 2021: additive shares of a ternary key, a common public key, partial decryptions with smudging), in which
everybody but one region follows the protocol, decryption is correct, and a reader of the decrypted sum has the whole
secret key, and with it another region's single update. Then the same trick against hefed's real code, where it changes
one opened value and tells nothing, because what the keyholders multiply is a hash output that no region sent.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import chi2

from hefed.crypto import packing, seal
from hefed.crypto.contribution import RunningSum
from hefed.crypto.errors import MalformedError, OpeningError
from hefed.crypto.label import public_polynomial
from hefed.crypto.parameters import COMPACT, PRECISE
from tests.attacks import cheating
from tests.crypto.federation import Federation

# --- Public-key CKKS under a collective key, in Python's integers -----------------------------------------

DEGREE = 1024
MODULUS = (1 << 93) - 25  # about as wide as hefed's `precise`
SCALE = 1 << 50
SMUDGING = 1 << 40
SLOT = 32  # bytes a coefficient in a packed product: above 2 * 93 + 10 bits


def multiply(a, b):
    """a b modulo X^N + 1 and Q, by one multiplication of two large integers."""
    whole = [int.from_bytes(b"".join(int(c % MODULUS).to_bytes(SLOT, "little") for c in x), "little") for x in (a, b)]
    raw = (whole[0] * whole[1]).to_bytes(2 * DEGREE * SLOT, "little")
    long = [int.from_bytes(raw[i : i + SLOT], "little") for i in range(0, len(raw), SLOT)]
    return np.array([x - y for x, y in zip(long[:DEGREE], long[DEGREE:], strict=True)], dtype=object) % MODULUS


def centred(x):
    x = x % MODULUS
    return np.where(x > MODULUS // 2, x - MODULUS, x)


class Randomness:
    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)

    def ternary(self):
        return self.rng.integers(-1, 2, DEGREE).astype(object)

    def gaussian(self, sigma=3.2):
        return np.rint(self.rng.normal(0, sigma, DEGREE)).astype(np.int64).astype(object)

    def smudging(self):
        return self.rng.integers(-SMUDGING, SMUDGING, DEGREE).astype(object)

    def uniform(self):
        words = self.rng.integers(0, 2**63, (3, DEGREE)).astype(object)
        return (words[0] * 2**126 + words[1] * 2**63 + words[2]) % MODULUS


@dataclass
class CollectiveCKKS:
    """`regions` parties, all needed to decrypt; no party ever sees the collective key."""

    random: Randomness
    regions: int = 3

    def __post_init__(self):
        self.common = self.random.uniform()
        self.shares = [self.random.ternary() for _ in range(self.regions)]
        parts = [-multiply(self.common, s) + self.random.gaussian() for s in self.shares]
        self.public_key = sum(parts) % MODULUS, self.common

    def encrypt(self, values):
        u, (b, a) = self.random.ternary(), self.public_key
        message = np.array([round(v * SCALE) for v in values], dtype=object)
        first = multiply(b, u) + self.random.gaussian() + message
        return first % MODULUS, (multiply(a, u) + self.random.gaussian()) % MODULUS

    def decrypt(self, ciphertext):
        """The integers that all regions' partial decryptions together give the readers."""
        first, second = ciphertext
        partial = [multiply(second, s) + self.random.smudging() for s in self.shares]
        return centred(first + sum(partial))


def added(ciphertexts):
    return tuple(sum(parts) % MODULUS for parts in zip(*ciphertexts, strict=True))


def uniformity(residues, modulus):
    counts = np.bincount([int(64 * int(r) // modulus) for r in residues], minlength=64)
    ideal = counts.sum() / 64
    return chi2.sf(((counts - ideal) ** 2).sum() / ideal, 63)


@pytest.fixture(scope="module")
def scheme():
    return CollectiveCKKS(Randomness(1))


@pytest.fixture(scope="module")
def updates():
    return np.random.default_rng(2).uniform(-100, 100, (3, DEGREE))


SPIKE = MODULUS // 16


@pytest.fixture(scope="module")
def ciphertexts(scheme, updates):
    return [scheme.encrypt(u) for u in updates]


@pytest.fixture(scope="module")
def malformed(ciphertexts):
    """The last region's ciphertext with a constant added to its second polynomial."""
    first, second = ciphertexts[-1]
    second = second.copy()
    second[0] = (second[0] + SPIKE) % MODULUS
    return first, second


def test_textbook_the_scheme_works_when_all_are_honest(scheme, updates, ciphertexts):
    opened = scheme.decrypt(added(ciphertexts))
    assert np.abs(opened / SCALE - updates.sum(axis=0)).max() < 1e-2


def test_textbook_the_malformed_ciphertext_looks_like_any_other(malformed, ciphertexts):
    for polynomial in (*malformed, *ciphertexts[0]):
        assert uniformity(polynomial, MODULUS) > 1e-6


def test_textbook_a_reader_takes_the_secret_key_and_another_region_s_update(scheme, updates, ciphertexts, malformed):
    opened = scheme.decrypt(added([*ciphertexts[:-1], malformed]))
    guess = np.array([round(x / SPIKE) for x in opened.tolist()], dtype=object)
    assert np.array_equal(guess, sum(scheme.shares))  # every coefficient of the key
    first, second = ciphertexts[0]
    stolen = centred(first + multiply(second, guess)) / SCALE
    assert np.abs(stolen - updates[0]).max() < 1e-6


def rotated(polynomial):
    """X times a polynomial."""
    return np.concatenate([-polynomial[-1:], polynomial[:-1]])


TRICKS = {"copied": lambda c: c, "negated": lambda c: -c, "rotated": rotated}


@pytest.mark.parametrize("trick", TRICKS)
def test_textbook_a_region_puts_anothers_ciphertext_into_the_sum_again(trick, scheme, updates, ciphertexts):
    """Negated, it takes that region out: of three updates one alone is left, and the cheat needs none of its own."""
    again = tuple(TRICKS[trick](polynomial) % MODULUS for polynomial in ciphertexts[0])
    opened = scheme.decrypt(added([*ciphertexts[:2], again])) / SCALE
    assert np.abs(opened - (updates[0] + updates[1] + TRICKS[trick](updates[0]))).max() < 1e-2
    if trick == "negated":
        assert np.abs(opened - updates[1]).max() < 1e-2


# --- The same tricks against hefed ------------------------------------------------------------------------


@pytest.fixture(params=[PRECISE, COMPACT], ids=lambda p: p.name)
def federation(request):
    return Federation(request.param, 231)


def shifted(federation, i, j, amount):
    """Contribution i with a constant added to its coefficient j: all of a ciphertext that a region sends."""
    return cheating.shifted(federation.profile, federation.contributions[i], 231, amount, j)


def test_hefed_a_spike_that_stays_in_range_changes_one_opened_integer_by_itself_and_tells_nothing(federation):
    spike = 1 << (federation.precision.capacity_bits - 1)
    federation.values[:] /= 4
    honest = np.array(federation.open().as_python(), dtype=object)
    total = federation.total([*federation.contributions[:2], shifted(federation, 2, 0, spike)])
    opened = np.array(federation.open(total=total).as_python(), dtype=object)
    change = opened - honest
    assert change[0] == spike
    assert not change[1:].any()  # in the textbook scheme this is where the key stands


@pytest.mark.parametrize("trick", TRICKS)
def test_hefed_anothers_contribution_is_under_another_key_and_opens_to_nothing(trick, federation):
    profile = federation.profile
    residues = packing.unpack(profile, federation.contributions[0], 231).astype(object)
    again = np.stack([TRICKS[trick](row) % p for row, p in zip(residues, profile.primes, strict=True)])
    sent = [*federation.contributions[:2], packing.pack(profile, again.astype(np.uint64))]
    with pytest.raises(OpeningError, match="outside the range"):
        federation.open(total=federation.total(sent))


def test_hefed_the_textbook_spike_on_top_of_a_value_at_the_end_of_its_range_is_noticed(federation):
    federation.values[:, 0] = 1024.0
    spiked = shifted(federation, 2, 0, federation.profile.modulus // 16)
    with pytest.raises(OpeningError, match="opened integer 0 "):
        federation.open(total=federation.total([*federation.contributions[:2], spiked]))


def test_hefed_there_is_no_second_polynomial_to_send(federation):
    first = federation.contributions[2]
    for engine in ("vectorised", "tenseal"):
        running = RunningSum(federation.profile, federation.label, engine)
        with pytest.raises(MalformedError):
            running.add(first + first)


def test_hefed_what_the_keyholders_multiply_does_not_depend_on_what_regions_send(federation):
    """Neither in the answers, which see the label alone, nor in SEAL's sum, whose second polynomial stays a_L."""
    before = federation.answers((0, 1))
    running = RunningSum(federation.profile, federation.label, "tenseal")
    for packed in (*federation.contributions[:2], shifted(federation, 2, 0, federation.profile.modulus // 16)):
        running.add(packed)
    second = seal.ciphertext_residues(running.ciphertexts[0])[1]
    assert np.array_equal(second, public_polynomial(federation.label, 0, 1)[0])
    again = Federation(federation.profile, 231)
    again.values[:] = 0.0
    assert again.answers((0, 1)) == before
