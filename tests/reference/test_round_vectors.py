"""`hefed.crypto` against the vectors of whole rounds, by both engines where both apply.

Relies on the committed vectors, never on the reference that wrote them.
"""

from dataclasses import replace

import numpy as np
import pytest

from hefed.crypto.contribution import ENGINES, RunningSum, check_value, encrypt, verify_checks
from hefed.crypto.errors import CheckError, MalformedError, OpeningError, RangeError
from hefed.crypto.keys import ContributorKey, Seed, ShareKeys, open_seeds
from hefed.crypto.opening import answer, answer_digest, open_sum
from hefed.crypto.packing import unpack
from hefed.crypto.parameters import COMPACT, Precision
from tests.reference.vectors import assert_bytes, label_of, profile_of, read, repeated, seeds_in_order

SMALL = ("round_compact", "round_precise")
LARGE = ("round_compact-two-blocks", "round_precise-two-blocks")
REFUSALS = {"check": CheckError, "malformed": MalformedError, "opening": OpeningError, "range": RangeError}


class Round:
    """A round as a vector states it, in the types of hefed."""

    def __init__(self, name):
        self.v = read(name)
        self.label, self.profile = label_of(self.v["label"]), profile_of(self.v["profile"])
        self.n, self.t = self.v["keyholders"], self.v["threshold"]
        self.precision = Precision(self.profile, self.n, self.t, len(self.v["contributors"]))
        self.list_digest = bytes.fromhex(self.v["list"])

    def key(self, contributor):
        seeds = seeds_in_order(contributor, self.n, self.t)
        noise = Seed(bytes.fromhex(contributor["noise_secret"]))
        return ContributorKey(self.label.study, contributor["name"], self.n, self.t, seeds, noise)

    def values(self, contributor):
        return np.array([float(text) for text in repeated(contributor["values"])])

    def contributions(self, engine="vectorised"):
        return [
            encrypt(self.precision, self.key(c), self.label, self.values(c), engine) for c in self.v["contributors"]
        ]

    def total(self, contributions, engine="vectorised"):
        running = RunningSum(self.profile, self.label, engine)
        for packed in contributions:
            running.add(packed)
        assert running.count == len(contributions)
        return running.packed()

    def share_keys(self, keyholder):
        deals = {}
        for contributor in self.v["contributors"]:
            key = self.key(contributor)
            hashes = list(key.seed_hashes().values())
            sent = key.seeds_for(keyholder)
            deals[key.dealer] = open_seeds(key.study, key.dealer, keyholder, self.n, self.t, sent, hashes)
        return ShareKeys.combine(self.profile, self.label.study, self.label.cohort, deals)


@pytest.fixture(scope="module", params=[*SMALL, *LARGE])
def a_round(request):
    return Round(request.param)


def test_label_and_precision(a_round):
    assert a_round.label.digest.hex() == a_round.v["label"]["digest"]
    assert a_round.precision.capacity_bits == a_round.v["capacity"]
    assert a_round.precision.tail == a_round.v["tail"]


@pytest.mark.parametrize("engine", ENGINES)
def test_contributions_sum_and_check_values(a_round, engine):
    """Contributions are the vectorised engine's, which alone is deterministic; either adds them to the same sum."""
    contributions = a_round.contributions()
    values = a_round.label.values
    checks = []
    for packed, shown in zip(contributions, a_round.v["contributors"], strict=True):
        assert_bytes(packed, shown["contribution"])
        checks.append(check_value(a_round.profile, packed, values, a_round.list_digest))
        assert checks[-1].hex() == shown["check_value"]
    total = a_round.total(contributions, engine)
    assert_bytes(total, a_round.v["sum"])
    verify_checks(a_round.profile, total, values, a_round.list_digest, checks)


def test_every_holder_of_a_set_gives_the_answer(a_round):
    shown = {tuple(one["subset"]): one for one in a_round.v["answers"]}
    given = 0
    for keyholder in range(a_round.n):
        shares = a_round.share_keys(keyholder)
        for subset in shares.subsets:
            packed = answer(a_round.precision, shares, subset, a_round.label)
            assert_bytes(packed, shown[subset]["packed"])
            assert answer_digest(a_round.label, subset, packed).hex() == shown[subset]["hash"]
            given += 1
    assert given == len(shown) * (a_round.n - a_round.t + 1)


def answers_of(a_round):
    answers = {}
    for keyholder in range(a_round.n):
        shares = a_round.share_keys(keyholder)
        answers |= {
            subset: answer(a_round.precision, shares, subset, a_round.label)
            for subset in shares.subsets
            if subset not in answers
        }
    return answers


def test_opened_integers_and_decoded_values(a_round):
    opened = open_sum(a_round.precision, a_round.label, a_round.total(a_round.contributions()), answers_of(a_round))
    assert_bytes(opened.to_bytes(), a_round.v["opened"])
    shown = a_round.v["opened_integers"]
    assert [str(x) for x in opened.as_python()[: len(shown)]] == shown
    decoded = opened.decode(a_round.label, a_round.precision)
    assert [repr(x) for x in decoded.tolist()[: len(shown)]] == a_round.v["decoded"]


@pytest.mark.parametrize("name", SMALL)
def test_integers_at_the_edges_of_the_range_open(name):
    a_round = Round(name)
    for one in a_round.v["edges"]:
        opened = open_sum(a_round.precision, a_round.label, bytes.fromhex(one["sum"]["hex"]), answers_of(a_round))
        assert_bytes(opened.to_bytes(), one["opened"])
        assert {abs(x) for x in opened.as_python()} == {a_round.precision.largest_opened}


def test_the_tenseal_engine_differs_from_the_vector_by_the_error_that_seal_adds(a_round):
    profile, values = a_round.profile, a_round.label.values
    for packed, vectorised in zip(a_round.contributions("tenseal"), a_round.contributions(), strict=True):
        a, b = (unpack(profile, data, values).astype(np.int64) for data in (packed, vectorised))
        primes = np.array(profile.primes, np.int64)[:, None]
        error = (a - b + primes // 2) % primes - primes // 2
        assert np.all(error == error[0])  # one integer modulo every prime
        assert 0 < np.abs(error).max() <= 21


def test_the_error_that_seal_adds_is_the_difference_of_two_sums_of_21_bits():
    a_round, profile = Round("round_compact"), COMPACT
    key = a_round.key(a_round.v["contributors"][0])
    values = 128 * profile.ring_degree
    label = replace(a_round.label, exponents=np.zeros(values, np.int16))
    of_seal, without = (
        unpack(profile, encrypt(a_round.precision, key, label, np.zeros(values), engine), values)[0].astype(np.int64)
        for engine in ("tenseal", "vectorised")
    )
    p = profile.primes[0]
    error = (of_seal - without + p // 2) % p - p // 2
    variance, kurtosis = 21 / 2, 3 - 1 / 21
    assert abs(error.mean()) < 5 * np.sqrt(variance / values)
    assert abs(error.var() - variance) < 5 * variance * np.sqrt((kurtosis - 1) / values)
    assert abs(np.mean(error**4) / error.var() ** 2 - kurtosis) < 5 * np.sqrt(24 / values)


# --- What must be refused -------------------------------------------------------------------------


def bad(kind):
    cases = [(name, one) for name in SMALL for one in read(f"{name}_bad")[kind]]
    return pytest.mark.parametrize(("name", "one"), cases, ids=[f"{name}: {one['name']}" for name, one in cases])


@pytest.mark.parametrize("engine", ENGINES)
@bad("values")
def test_bad_values(name, one, engine):
    a_round = Round(name)
    contributor = a_round.v["contributors"][0]
    values = a_round.values(contributor)
    values[one["index"]] = float(one["value"])
    with pytest.raises(REFUSALS[one["refused"]]) as refusal:
        encrypt(a_round.precision, a_round.key(contributor), a_round.label, values, engine)
    assert refusal.value.index == one["index"]


@bad("packings")
def test_bad_packings(name, one):
    a_round, packed = Round(name), bytes.fromhex(one["hex"])
    values = a_round.label.values
    for engine in ENGINES:
        running = RunningSum(a_round.profile, a_round.label, engine)
        with pytest.raises(REFUSALS[one["refused"]]):
            running.add(packed)
        assert running.count == 0
        assert unpack(a_round.profile, running.packed(), values).max() == 0
    with pytest.raises(REFUSALS[one["refused"]]):
        check_value(a_round.profile, packed, values, a_round.list_digest)
    answers = {tuple(shown["subset"]): bytes.fromhex(shown["packed"]["hex"]) for shown in a_round.v["answers"]}
    with pytest.raises(REFUSALS[one["refused"]]):
        open_sum(a_round.precision, a_round.label, packed, answers)


@bad("checks")
def test_bad_checks(name, one):
    a_round = Round(name)
    total, checks = bytes.fromhex(one["sum"]), [bytes.fromhex(check) for check in one["check_values"]]
    with pytest.raises(REFUSALS[one["refused"]]):
        verify_checks(a_round.profile, total, a_round.label.values, a_round.list_digest, checks)


@bad("openings")
def test_bad_openings(name, one):
    a_round = Round(name)
    answers = {tuple(shown["subset"]): bytes.fromhex(shown["hex"]) for shown in one["answers"]}
    with pytest.raises(REFUSALS[one["refused"]]):
        open_sum(a_round.precision, a_round.label, bytes.fromhex(one["sum"]), answers)
