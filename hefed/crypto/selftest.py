"""The self-test of a node at its start: the two engines against each other, and both against SEAL.

Relies on fresh keys from the operating system. It must raise SelfTestError on any difference: a node that computes
something else than the others must not take part.
"""

import numpy as np

from hefed.crypto import packing, ring, sampling, seal
from hefed.crypto.contribution import ENGINES, Engine, Mask, RunningSum, check_value, encrypt, verify_checks
from hefed.crypto.errors import SelfTestError
from hefed.crypto.keys import ContributorKey, ShareKeys, Subset, open_seeds
from hefed.crypto.label import Label
from hefed.crypto.opening import OpenedIntegers, answer, open_sum
from hefed.crypto.parameters import Precision, Profile, check_with_seal

_STUDY, _COHORT, _PREVIOUS = b"self-test study".ljust(32), b"self-test cohort".ljust(32), bytes(32)
_KEYHOLDERS, _THRESHOLD = 3, 2
_EXPONENT = 10
_SHORT = 65  # a tile and one value of a second


def self_test(profile: Profile) -> None:
    """Encrypt by both engines, add by both, check, open by two of three keyholders, open by SEAL, and compare.

    A short vector, which is a lone block, and one of a full block and one value of a second, which is a lane group,
    reach all code. Only SEAL tells a wrong transform: among hefed's own parts it would cancel, and hide nothing.
    Raises ParameterError if SEAL does not accept the profile, SelfTestError on any difference, CheckError if the sum
    has another check value.
    """
    check_with_seal(profile)
    _test_products(profile)
    for values in (_SHORT, profile.ring_degree + 1):
        _test_round(profile, values)


def _test_products(profile: Profile) -> None:
    """Words are multiplied as they are read, unless one of them is too large, which is rare."""
    key = ring.RingKey(profile, sampling.uniform_polynomials(profile, _STUDY, 0, 1)[0])
    for k in range(len(profile.primes)):
        at_once, after = ring.lane_group(profile), ring.lane_group(profile)
        sampling.UniformSource(profile, _COHORT, k).fill_products(at_once, ring.LANES, key)
        sampling.UniformSource(profile, _COHORT, k).fill(after, ring.LANES)
        ring.multiply(profile, k, after, key)
        _require(np.array_equal(at_once, after), profile, "products depend on how they are made")


def _test_round(profile: Profile, values: int) -> None:
    precision = Precision(profile, _KEYHOLDERS, _THRESHOLD, len(ENGINES))
    exponents = np.full(values, _EXPONENT, np.int16)
    label = Label("self-test", _STUDY, _COHORT, 0, "self-test", profile, len(ENGINES), exponents, _PREVIOUS)
    keys = [ContributorKey.deal(_STUDY, engine, _KEYHOLDERS, _THRESHOLD) for engine in ENGINES]
    known = np.ldexp(np.linspace(-1, 1, values), _EXPONENT)
    contributions = [encrypt(precision, key, label, known, engine) for key, engine in zip(keys, ENGINES, strict=True)]
    ahead = Mask(precision, keys[-1], label).encrypt(known)
    _require(ahead == contributions[-1], profile, "a mask made ahead gives another contribution")
    totals = [_total(label, contributions, engine) for engine in ENGINES]
    _require(totals[0].packed() == totals[1].packed(), profile, "SEAL's sum differs from the vectorised one")
    checks = [check_value(profile, packed, values, _PREVIOUS) for packed in contributions]
    verify_checks(profile, totals[0].packed(), values, _PREVIOUS, checks)
    opened = open_sum(precision, label, totals[0].packed(), _answers(precision, label, keys))
    error = np.abs(opened.decode(label, precision) - len(ENGINES) * known).max()
    _require(bool(error <= precision.error(_EXPONENT)), profile, "the opened sum is not the known one")
    by_seal = _decrypted_by_seal(label, keys, totals[0])
    differences = [abs(a - b) for a, b in zip(by_seal.as_python(), opened.as_python(), strict=True)]
    _require(max(differences) <= precision.tail, profile, "SEAL's Decryptor opens another sum")


def _require(holds: bool, profile: Profile, failure: str) -> None:
    if not holds:
        raise SelfTestError(f"self-test of profile {profile.name}: {failure}; it must not take part in a study")


def _total(label: Label, contributions: list[bytes], engine: Engine) -> RunningSum:
    total = RunningSum(label.profile, label, engine)
    for packed in contributions:
        total.add(packed)
    return total


def _answers(precision: Precision, label: Label, keys: list[ContributorKey]) -> dict[Subset, bytes]:
    answers: dict[Subset, bytes] = {}
    for keyholder in range(precision.threshold):
        deals = {
            key.dealer: open_seeds(
                key.study,
                key.dealer,
                keyholder,
                key.keyholders,
                key.threshold,
                key.seeds_for(keyholder),
                list(key.seed_hashes().values()),
            )
            for key in keys
        }
        shares = ShareKeys.combine(label.profile, label.study, label.cohort, deals)
        for subset in shares.subsets:
            answers[subset] = answer(precision, shares, subset, label)
    return answers


def _decrypted_by_seal(label: Label, keys: list[ContributorKey], total: RunningSum) -> OpenedIntegers:
    """What SEAL's Decryptor makes of SEAL's sum, under the sum of the keys, which exists nowhere but in this test."""
    profile = label.profile
    secret = keys[0].secret_residues(profile)
    for key in keys[1:]:
        secret = ring.added(profile, secret, key.secret_residues(profile))
    context = seal.context_of(profile)
    secret_key = seal.secret_key(context, secret)
    groups = np.zeros((len(profile.primes), profile.ring_degree, ring.LANES))
    for lane, item in enumerate(total.ciphertexts):
        groups[:, :, lane] = seal.decrypt(context, secret_key, item)
    for k in range(len(profile.primes)):
        ring.inverse_transform(profile, k, groups[k])
    residues = np.ascontiguousarray(groups.transpose(0, 2, 1)).reshape(len(profile.primes), -1)
    limbs, _ = packing.integers(profile, residues, label.values, profile.modulus)
    return OpenedIntegers(limbs)
