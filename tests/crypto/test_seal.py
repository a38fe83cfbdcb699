"""Under the engine `tenseal`, SEAL encrypts and SEAL adds; and SEAL's own Decryptor opens what any engine made."""

import os

import numpy as np
import pytest
from scipy.stats import binom, chi2

from hefed.crypto import packing, ring, seal
from hefed.crypto.contribution import RunningSum
from hefed.crypto.errors import ParameterError
from hefed.crypto.label import public_polynomial
from hefed.crypto.opening import OpenedIntegers
from hefed.crypto.parameters import COMPACT, PRECISE, PROFILES
from tests.crypto.federation import Federation

BOTH = pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
UNLIKELY = 1e-9


def summed_secret(federation):
    """The sum of all contributors' keys, which exists nowhere but in a test."""
    secrets = [key.secret_residues(federation.profile) for key in federation.keys]
    total = secrets[0]
    for secret in secrets[1:]:
        total = ring.added(federation.profile, total, secret)
    return total


def integers_of(profile, transformed, values):
    """Centred integers of blocks in transform form, at most eight, shape (blocks, primes, N)."""
    groups = np.zeros((len(profile.primes), profile.ring_degree, ring.LANES))
    groups[:, :, : len(transformed)] = np.stack(transformed, axis=-1)
    for k in range(len(profile.primes)):
        ring.inverse_transform(profile, k, groups[k])
    flat = np.ascontiguousarray(groups.transpose(0, 2, 1)).reshape(len(profile.primes), -1)
    limbs, _ = packing.integers(profile, flat, values, profile.modulus)
    return OpenedIntegers(limbs).as_python()


def decrypted(federation, running, secret):
    context = seal.context_of(federation.profile)
    key = seal.secret_key(context, secret)
    plain = [seal.decrypt(context, key, item) for item in running.ciphertexts]
    return integers_of(federation.profile, plain, federation.label.values)


def running_sum(federation, contributions):
    running = RunningSum(federation.profile, federation.label, "tenseal")
    for packed in contributions:
        running.add(packed)
    return running


def as_integers(federation, packed):
    """The centred integers of packed residues."""
    profile, values = federation.profile, federation.label.values
    residues = packing.residue_array(profile, values)
    residues[:, :values] = packing.unpack(profile, packed, values)
    limbs, _ = packing.integers(profile, residues, values, profile.modulus)
    return np.array(OpenedIntegers(limbs).as_python(), dtype=object)


def difference(federation, a, b):
    """a - b as centred integers."""
    q = federation.profile.modulus
    raw = (as_integers(federation, a) - as_integers(federation, b)) % q
    return np.where(raw > q // 2, raw - q, raw).astype(np.int64)


# --- SEAL really encrypts -------------------------------------------------------------------------


@BOTH
def test_a_contribution_by_seal_carries_seal_s_own_error_and_nothing_else(profile):
    """Without SEAL it would be the vectorised one, bit for bit; with it, it differs by the error that SEAL drew.

    That is a centred binomial of 42 bits (util/rlwe.cpp, sample_poly_cbd), which hefed has no code for.
    """
    federation = Federation(profile, 4 * profile.ring_degree)
    error = difference(federation, federation.encrypt(0, "tenseal"), federation.encrypt(0, "vectorised"))
    counts = np.bincount(error + 21, minlength=43)
    assert counts.size == 43
    expected = binom(42, 0.5).pmf(np.arange(43)) * error.size
    likely = expected >= 10
    observed = np.append(counts[likely], counts[~likely].sum())
    ideal = np.append(expected[likely], expected[~likely].sum())
    assert chi2.sf(((observed - ideal) ** 2 / ideal).sum(), observed.size - 1) > UNLIKELY


@BOTH
def test_seal_draws_anew_each_time(profile):
    federation = Federation(profile, 500)
    first, second = federation.encrypt(0, "tenseal"), federation.encrypt(0, "tenseal")
    error = difference(federation, first, second)
    assert np.count_nonzero(error) > 400
    assert np.abs(error).max() <= 42


@BOTH
def test_seal_s_second_polynomial_is_fresh_and_uniform(profile):
    federation = Federation(profile, 1)
    context = seal.context_of(profile)
    masker = seal.Masker(context, federation.keys[0].secret_residues(profile))
    second = np.stack([seal.ciphertext_residues(masker.encrypt_zero())[1] for _ in range(3)])
    for k, p in enumerate(profile.primes):
        assert np.unique(second[:, k]).size > 0.999 * second[:, k].size
        counts = np.bincount((second[:, k].reshape(-1).astype(float) * 64 / p).astype(int), minlength=64)
        ideal = counts.sum() / 64
        assert chi2.sf(((counts - ideal) ** 2).sum() / ideal, 63) > UNLIKELY


def test_without_seal_s_encryptor_there_is_no_contribution_by_tenseal(monkeypatch):
    federation = Federation(COMPACT, 10)

    class Refuses:
        def __init__(self, *args):
            raise ConnectionRefusedError

    monkeypatch.setattr(seal.sealapi, "Encryptor", Refuses)
    federation.encrypt(0, "vectorised")
    with pytest.raises(ConnectionRefusedError):
        federation.encrypt(0, "tenseal")


@BOTH
def test_a_mask_is_c0_plus_c1_less_a_times_s_to_the_last_bit(profile, monkeypatch):
    federation, real, made = Federation(profile, 1), seal.Masker.encrypt_zero, []

    def encrypt_zero(self):
        item = real(self)
        made.append(seal.ciphertext_residues(item).astype(object))
        return item

    monkeypatch.setattr(seal.Masker, "encrypt_zero", encrypt_zero)
    secret, public = federation.keys[0].secret_residues(profile), public_polynomial(federation.label, 0, 1)[0]
    mask = seal.Masker(seal.context_of(profile), secret).mask(public)
    primes = np.array(profile.primes, dtype=object)[:, None]
    [(first, second)] = made
    by_hand = (first + (second - public.astype(object)) * secret.astype(object)) % primes
    assert np.array_equal(mask.astype(object), by_hand)


@pytest.mark.parametrize("blocks", [1, 2])
def test_every_block_has_an_encryption_of_zero_of_its_own(blocks, monkeypatch):
    federation, real, made = Federation(COMPACT, blocks * COMPACT.ring_degree), seal.Masker.encrypt_zero, []

    def encrypt_zero(self):
        made.append(real(self))
        return made[-1]

    monkeypatch.setattr(seal.Masker, "encrypt_zero", encrypt_zero)
    federation.encrypt(0, "tenseal")
    assert len(made) == len({id(item) for item in made}) == blocks


def test_a_masker_shows_nothing():
    masker = seal.Masker(seal.context_of(COMPACT), Federation(COMPACT, 1).keys[0].secret_residues(COMPACT))
    assert repr(masker) == "<Masker>"
    with pytest.raises(TypeError):
        masker.__reduce__()


# --- SEAL really adds -----------------------------------------------------------------------------


def test_seal_s_evaluator_makes_the_sum(monkeypatch):
    """With an Evaluator that adds nothing, nothing is in the sum."""
    federation = Federation(PRECISE, 231)
    real, calls = seal.sealapi.Evaluator, []

    class Idle:
        def __init__(self, context):
            pass

        def add_plain_inplace(self, total, plain):
            calls.append(plain)
            assert (total.size(), plain.coeff_count()) == (2, 2 * PRECISE.ring_degree)

    right = running_sum(federation, federation.contributions).packed()
    monkeypatch.setattr(seal.sealapi, "Evaluator", Idle)
    empty = running_sum(federation, federation.contributions).packed()
    assert len(calls) == len(federation.contributions)
    assert empty == bytes(len(empty)) != right
    monkeypatch.setattr(seal.sealapi, "Evaluator", real)
    assert right == federation.total(engine="vectorised")


@BOTH
@pytest.mark.parametrize("blocks", [1, 2])
def test_a_sum_goes_on_after_it_was_packed(profile, blocks):
    """And its ciphertexts are always (sum, a), the sum in transform form."""
    federation = Federation(profile, (blocks - 1) * profile.ring_degree + 70)
    running, vectorised = running_sum(federation, []), RunningSum(profile, federation.label)
    public = public_polynomial(federation.label, 0, blocks)
    for packed in (None, *federation.contributions):
        if packed is not None:
            running.add(packed)
            vectorised.add(packed)
        assert running.packed() == vectorised.packed()
        first, second = zip(*(seal.ciphertext_residues(item) for item in running.ciphertexts), strict=True)
        assert np.array_equal(second, public)
        opened = integers_of(profile, first, federation.label.values)
        assert opened == list(as_integers(federation, vectorised.packed()))


@BOTH
def test_the_first_polynomial_is_what_seal_s_decryptor_gives_under_the_key_zero(profile):
    federation = Federation(profile, 100)
    [item] = running_sum(federation, federation.contributions).ciphertexts
    context = seal.context_of(profile)
    first = seal.Adder(context).first(item)
    assert np.array_equal(first, seal.decrypt(context, seal.secret_key(context, context.zeros), item))
    assert np.array_equal(first, seal.ciphertext_residues(item)[0])
    assert first.any()


# --- SEAL opens -----------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("engines", [("vectorised",) * 3, ("tenseal", "vectorised", "tenseal")])
def test_seal_s_decryptor_opens_the_sum_under_the_added_keys(profile, engines):
    federation = Federation(profile, profile.ring_degree + 17)
    contributions = [federation.encrypt(i, engine) for i, engine in enumerate(engines)]
    running = running_sum(federation, contributions)
    opened = decrypted(federation, running, summed_secret(federation))
    errors = (np.array(opened, dtype=object) - federation.messages.sum(axis=0)).astype(np.int64)
    precision = federation.precision
    without_answers = 3 * precision.variance_contribution + engines.count("tenseal") * 10.5
    assert np.abs(errors).max() <= 12 * float(without_answers) ** 0.5
    assert errors.var() / float(without_answers) == pytest.approx(1, abs=0.2)


@BOTH
def test_seal_s_decryption_is_c0_plus_c1_s_to_the_last_bit(profile):
    federation = Federation(profile, 100)
    running, secret = running_sum(federation, federation.contributions), summed_secret(federation)
    public = public_polynomial(federation.label, 0, 1)[0].astype(object)
    primes = np.array(profile.primes, dtype=object)[:, None]
    product = (public * secret.astype(object) % primes).astype(np.uint64)
    by_hand = as_integers(federation, running.packed()) + np.array(integers_of(profile, [product], 100), dtype=object)
    q = profile.modulus
    by_hand = [(x + q // 2) % q - q // 2 for x in by_hand]
    assert decrypted(federation, running, secret) == by_hand


def test_under_another_key_seal_s_decryptor_opens_nothing():
    federation = Federation(COMPACT, 500)
    running = running_sum(federation, federation.contributions)
    opened = decrypted(federation, running, federation.keys[0].secret_residues(COMPACT))
    assert max(abs(x) for x in opened) > federation.precision.largest_opened


@BOTH
def test_the_shares_add_up_to_the_key_that_seal_opens_with(profile):
    federation = Federation(profile, 10, keyholders=5, threshold=3)
    shares = {}
    for keyholder in (0, 2, 4):
        held = federation.share_keys(keyholder)
        shares |= {t: held.share(t).value for t in held.subsets}
    assert len(shares) == 10
    primes = np.array(profile.primes, dtype=object)[:, None]
    total = sum(s.astype(np.int64).astype(object) for s in shares.values()) % primes
    assert np.array_equal(total, summed_secret(federation).astype(object))


# --- The serial form ------------------------------------------------------------------------------


@BOTH
def test_ciphertexts_come_back_as_they_were(profile):
    context = seal.context_of(profile)
    rng = np.random.default_rng(3)
    first, second = (
        np.array([rng.integers(0, p, profile.ring_degree, np.uint64) for p in profile.primes]) for _ in range(2)
    )
    item = seal.ciphertext(context, first, second)
    assert (item.size(), item.is_ntt_form(), item.poly_modulus_degree()) == (2, True, profile.ring_degree)
    assert np.array_equal(seal.ciphertext_residues(item), np.stack([first, second]))


def test_objects_pass_through_memory_and_leave_no_descriptor_open():
    before = set(os.listdir("/proc/self/fd"))
    federation = Federation(COMPACT, 10)
    running_sum(federation, [federation.encrypt(0, "tenseal")]).packed()
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.parametrize("position", [0, 2, 5, 8])
def test_another_serial_form_is_noticed(position, monkeypatch):
    context, save = seal.context_of(COMPACT), seal._save
    zeros = np.zeros((1, 2048), np.uint64)

    def altered(item):
        data = bytearray(save(item))
        data[position] ^= 0x41
        return bytes(data)

    monkeypatch.setattr(seal, "_save", altered)
    item = seal.ciphertext(context, zeros, zeros)
    with pytest.raises(ParameterError, match="serial form"):
        seal.ciphertext_residues(item)
    with pytest.raises(ParameterError, match="serial form"):
        seal.Adder(context).first(item)


def test_the_vectorised_engine_holds_no_ciphertexts():
    federation = Federation(COMPACT, 10)
    with pytest.raises(ParameterError):
        _ = RunningSum(COMPACT, federation.label, "vectorised").ciphertexts
