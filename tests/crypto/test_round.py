"""A whole round of the core: any t of n open, every set of t alike, and fewer see nothing; what is wrong is refused."""

import dataclasses
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chi2

from hefed.crypto import packing
from hefed.crypto.contribution import ENGINES, RunningSum, encrypt
from hefed.crypto.errors import MalformedError, OpeningError, ParameterError, RangeError, SeedError
from hefed.crypto.hashing import tagged_hash
from hefed.crypto.keys import ContributorKey, mask_of, subsets
from hefed.crypto.label import SignedUse
from hefed.crypto.opening import OpenedIntegers, Opening, answer, answer_digest, answer_groups, open_sum
from hefed.crypto.parameters import COMPACT, MAX_CONTRIBUTORS, PRECISE, PROFILES, Precision
from tests.crypto.federation import STUDY, Federation, reproducible

SHARINGS = [(n, t) for n in range(2, 9) for t in range(2, n + 1)]
UNLIKELY = 1e-9


def uniformity(residues, p, buckets=64):
    """The chance that uniform residues look less uniform than these (chi-square over equal intervals)."""
    counts = np.bincount((residues.astype(float) * buckets / p).astype(int), minlength=buckets)
    expected = residues.size / buckets
    return chi2.sf(((counts - expected) ** 2).sum() / expected, buckets - 1)


@pytest.fixture(scope="module", params=PROFILES.values(), ids=PROFILES)
def small(request):
    return Federation(request.param, 231, contributors=3, keyholders=3, threshold=2)


# --- Opening --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "t"), SHARINGS)
def test_any_t_of_n_open_and_all_to_the_same_bits(n, t):
    federation = Federation(COMPACT, 20, contributors=2, keyholders=n, threshold=t, seed=n * 10 + t)
    opened = {federation.open(quorum).to_bytes() for quorum in federation.quorums}
    assert len(opened) == 1
    errors = federation.errors(federation.open())
    assert np.abs(errors).max() <= federation.precision.tail


@pytest.mark.parametrize(("n", "t"), [(2, 2), (3, 2), (4, 3), (5, 3), (8, 4)])
def test_every_holder_of_a_set_gives_the_same_answer(n, t):
    federation = Federation(COMPACT, 20, keyholders=n, threshold=t)
    for subset in subsets(n, t):
        holders = [j for j in range(n) if j not in subset]
        assert len(holders) == n - t + 1
        assert len({federation.answers_of[j][subset] for j in holders}) == 1


@pytest.mark.parametrize(("n", "t"), [(3, 2), (5, 3), (4, 4)])
def test_t_minus_1_keyholders_cannot_open(n, t):
    federation = Federation(COMPACT, 20, keyholders=n, threshold=t)
    for few in combinations(range(n), t - 1):
        with pytest.raises(OpeningError, match="no answer"):
            federation.open(few)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize(("n", "t"), [(3, 2), (5, 3)])
def test_what_t_minus_1_keyholders_can_compute_is_uniform(profile, n, t):
    """The sum plus all that they can answer is uniform; with the one missing answer added, it is not."""
    federation = Federation(profile, 4 * profile.ring_degree, keyholders=n, threshold=t)
    federation.values[:] = 1.0  # as far from uniform as can be
    few = tuple(range(t - 1))
    held = federation.answers(few)
    assert set(subsets(n, t)) - set(held) == {few}
    values, total = federation.label.values, federation.total()
    parts = {s: packing.unpack(profile, packed, values) for s, packed in held.items()}
    partial = packing.unpack(profile, total, values).astype(object) + sum(p.astype(object) for p in parts.values())
    missing = packing.unpack(profile, federation.answers(range(n))[few], values).astype(object)
    for k, p in enumerate(profile.primes):
        for seen in (packing.unpack(profile, total, values)[k], (partial[k] % p).astype(np.uint64)):
            assert UNLIKELY < uniformity(seen, p) < 1 - UNLIKELY
        control = ((partial[k] + missing[k]) % p).astype(np.uint64)
        if len(profile.primes) == 1:
            assert uniformity(control, p) < UNLIKELY
    opened = np.abs(np.array(federation.open(range(t)).as_python(), dtype=object))
    assert all(opened * 2**9 < profile.modulus)  # the control for two primes, whose residues alone are never small


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_contributions_and_answers_look_uniform(profile):
    federation = Federation(profile, 4 * profile.ring_degree)
    federation.values[:] = 0.0
    for packed in [*federation.contributions, *federation.answers((0, 1, 2)).values()]:
        residues = packing.unpack(profile, packed, federation.label.values)
        for k, p in enumerate(profile.primes):
            assert UNLIKELY < uniformity(residues[k], p) < 1 - UNLIKELY


@pytest.mark.parametrize("values", [1, 2, 2047, 2048, 2049, 16384, 16385, 20000])
def test_vectors_of_any_length(values):
    federation = Federation(COMPACT, values)
    opened = federation.open((0, 2))
    assert np.abs(federation.errors(opened)).max() <= federation.precision.tail
    decoded = opened.decode(federation.label, federation.precision)
    exact = [sum(map(Fraction, column)) for column in federation.values.T.tolist()]
    worst = max(abs(Fraction(d) - e) for d, e in zip(decoded.tolist(), exact, strict=True))
    assert worst <= federation.precision.error(federation.exponent)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_every_value_has_its_own_exponent(profile):
    exponents = np.resize(np.array([-900, -300, -10, 0, 1, 30, 300, 900], np.int16), 100)
    federation = Federation(profile, 100, exponent=exponents)
    opened = federation.open()
    assert np.abs(federation.errors(opened)).max() <= federation.precision.tail
    decoded = opened.decode(federation.label, federation.precision)
    for j, x in enumerate(exponents.tolist()):
        assert decoded[j] == pytest.approx(federation.values[:, j].sum(), abs=federation.precision.error(x))


def test_values_at_the_ends_of_their_range_do_not_wrap():
    for sign in (1.0, -1.0):
        federation = Federation(COMPACT, 50, contributors=32)
        federation.values[:] = sign * 1024.0
        decoded = federation.open().decode(federation.label, federation.precision)
        assert np.abs(decoded - sign * 32 * 1024).max() <= federation.precision.error(10)


def test_a_keyholder_needs_no_more_of_a_label_than_its_digest(small):
    label = small.label
    use = SignedUse(label.study, label.cohort, label.profile, label.contributors, label.values, label.digest)
    shares = small.share_keys(0)
    for subset in shares.subsets:
        assert answer(small.precision, shares, subset, use) == small.answers_of[0][subset]


# --- The engines ----------------------------------------------------------------------------------


@pytest.mark.parametrize("engines", [("tenseal",) * 3, ("tenseal", "vectorised", "vectorised"), ("vectorised",) * 3])
@pytest.mark.parametrize("adder", ENGINES)
def test_contributions_of_both_engines_go_into_one_sum(small, engines, adder):
    contributions = [small.encrypt(i, engine) for i, engine in enumerate(engines)]
    total = small.total(contributions, adder)
    assert total == small.total(contributions, ENGINES[0])
    assert np.abs(small.errors(small.open((1, 2), total))).max() <= small.precision.tail


@pytest.mark.parametrize("adder", ENGINES)
def test_sums_over_more_than_eight_blocks_agree(adder):
    federation = Federation(COMPACT, 9 * 2048 + 5, contributors=2)
    contributions = [federation.encrypt(0, "tenseal"), federation.encrypt(1)]
    total = federation.total(contributions, adder)
    assert np.abs(federation.errors(federation.open(total=total))).max() <= federation.precision.tail


def test_the_vectorised_engine_makes_the_same_bytes_again(small):
    assert small.encrypt(0) == small.contributions[0]
    again = ContributorKey.from_bytes(small.keys[0].to_bytes())
    assert encrypt(small.precision, again, small.label, small.values[0]) == small.contributions[0]


def test_a_running_sum_counts_and_can_be_read_at_any_time(small):
    running = RunningSum(small.profile, small.label)
    seen = []
    for i, packed in enumerate(small.contributions):
        running.add(packed)
        seen.append(running.packed())
        assert running.count == i + 1
    assert seen[0] == small.contributions[0]
    assert seen[-1] == small.total()


# --- Precision, asserted on opened integers -------------------------------------------------------


def test_precise_is_exact_to_2_to_minus_40_for_values_up_to_2_to_30():
    federation = Federation(PRECISE, 4096, contributors=32, keyholders=3, threshold=2, exponent=30)
    scale = Fraction(2) ** (30 - federation.precision.capacity_bits)
    opened = federation.open((0, 2)).as_python()
    for x, column in zip(opened, federation.values.T.tolist(), strict=True):
        assert abs(x * scale - sum(map(Fraction, column))) <= Fraction(1, 2**40)


@pytest.mark.parametrize("contributors", [3, 32])
def test_compact_is_exact_to_2_to_minus_30_of_the_range_of_the_sum(contributors):
    federation = Federation(COMPACT, 4096, contributors=contributors, exponent=30)
    scale = Fraction(2) ** (30 - federation.precision.capacity_bits)
    opened = federation.open((1, 2)).as_python()
    for x, column in zip(opened, federation.values.T.tolist(), strict=True):
        assert abs(x * scale - sum(map(Fraction, column))) <= Fraction(contributors * 2**30, 2**30)


def test_opened_integers_are_16_bytes_each():
    integers = [0, 1, -1, 2**92, -(2**92), 2**64, -(2**64), 2**63]
    data = b"".join(x.to_bytes(16, "little", signed=True) for x in integers)
    opened = OpenedIntegers(np.frombuffer(data, "<i8").reshape(-1, 2).astype(np.int64))
    assert opened.to_bytes() == data
    assert opened.as_python() == integers


# --- What is refused ------------------------------------------------------------------------------


def changed(federation, **parts):
    return dataclasses.replace(federation.label, **parts)


def test_parameters_that_do_not_fit_are_refused(small):
    label, key, values = small.label, small.keys[0], small.values[0]
    other_profile = COMPACT if small.profile is PRECISE else PRECISE
    precision = small.precision
    attempts = [
        lambda: encrypt(Precision(other_profile, 3, 2, 3), key, label, values),
        lambda: encrypt(Precision(small.profile, 3, 2, 4), key, label, values),
        lambda: encrypt(Precision(small.profile, 4, 2, 3), key, label, values),
        lambda: encrypt(Precision(small.profile, 3, 3, 3), key, label, values),
        lambda: encrypt(precision, key, label, values[:-1]),
        lambda: encrypt(precision, key, label, values[None]),
        lambda: encrypt(precision, key, label, values, "fast"),
        lambda: RunningSum(other_profile, label),
        lambda: RunningSum(small.profile, label, "fast"),
        lambda: answer(Precision(small.profile, 3, 2, 4), small.share_keys(0), (1,), changed(small, contributors=4)),
        lambda: answer(Precision(small.profile, 4, 2, 3), small.share_keys(0), (1,), label),
        lambda: answer(
            Precision(other_profile, 3, 2, 3), small.share_keys(0), (1,), changed(small, profile=other_profile)
        ),
        lambda: open_sum(Precision(small.profile, 3, 2, 4), label, small.total(), small.answers((0, 1))),
        lambda: small.open().decode(label, Precision(small.profile, 3, 2, 4)),
        lambda: small.open().decode(changed(small, exponents=label.exponents[1:]), precision),
    ]
    for attempt in attempts:
        with pytest.raises(ParameterError):
            attempt()


def test_a_key_or_share_of_another_study_or_cohort_is_refused(small):
    other_study = changed(small, study=bytes(32))
    with pytest.raises(SeedError, match="another study"):
        encrypt(small.precision, small.keys[0], other_study, small.values[0])
    for label in (other_study, changed(small, cohort=bytes(32))):
        with pytest.raises(SeedError, match="another study or cohort"):
            answer(small.precision, small.share_keys(0), (1,), label)
    with pytest.raises(SeedError, match="no share"):
        answer(small.precision, small.share_keys(0), (0,), small.label)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_value_out_of_range_is_refused_before_anything_is_made(small, engine):
    values = small.values[0].copy()
    values[200] = 1024.5
    with pytest.raises(RangeError, match="value 200 "):
        encrypt(small.precision, small.keys[0], small.label, values, engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_malformed_contribution_leaves_the_sum_as_it_was(small, engine):
    running = RunningSum(small.profile, small.label, engine)
    running.add(small.contributions[0])
    before = running.packed()
    whole = small.contributions[1]
    for bad in (b"", whole[:-1], whole + b"\0", b"\xff" * len(whole)):
        with pytest.raises(MalformedError):
            running.add(bad)
    assert (running.packed(), running.count) == (before, 1)
    running.add(whole)
    assert running.count == 2


def test_malformed_sums_and_answers_are_refused(small):
    total, answers = small.total(), small.answers((0, 1))
    for bad in (total[:-1], b"\xff" * len(total)):
        with pytest.raises(MalformedError):
            open_sum(small.precision, small.label, bad, answers)
        with pytest.raises(MalformedError):
            open_sum(small.precision, small.label, total, answers | {(1,): bad})
    with pytest.raises(OpeningError, match=r"the set \(0, 1\), which no key was dealt for"):
        open_sum(small.precision, small.label, total, answers | {(0, 1): total})


@settings(max_examples=40)
@given(st.data())
def test_an_altered_contribution_spoils_the_values_it_touches_and_no_others(data):
    """Integrity is the check's business (test_check_values); here: one bit changes one value, by more than noise."""
    federation = ALTERED
    packed = bytearray(federation.contributions[1])
    bit = data.draw(st.integers(0, 8 * len(packed) - 1))
    packed[bit // 8] ^= 1 << (bit % 8)
    try:
        total = federation.total([federation.contributions[0], bytes(packed), federation.contributions[2]])
        opened = federation.open(total=total)
    except (MalformedError, OpeningError):
        return
    differences = np.flatnonzero(np.array(opened.as_python()) != np.array(federation.open().as_python()))
    assert differences.tolist() == [bit // 48]


ALTERED = Federation(COMPACT, 30)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_a_sum_without_a_contribution_or_with_one_twice_opens_to_nothing(profile):
    """It is under another key: what comes out is uniform, and 231 uniform integers do not all lie in the range."""
    federation = Federation(profile, 231)
    first, second, third = federation.contributions
    other_label = Federation(profile, 231, round=2)
    for wrong in (
        [first, second],
        [first, second, third, third],
        [first, second, second],
        [first, second, other_label.contributions[2]],
    ):
        with pytest.raises(OpeningError, match="outside the range"):
            federation.open(total=federation.total(wrong))


def test_an_answer_for_another_label_or_set_opens_to_nothing(small):
    other = Federation(small.profile, 231, round=2)
    answers = small.answers((0, 1))
    swapped = answers | {(0,): answers[1,], (1,): answers[0,], (2,): answers[0,]}
    for wrong in (answers | {(0,): other.answers((1,))[0,]}, swapped):
        with pytest.raises(OpeningError, match="outside the range"):
            open_sum(small.precision, small.label, small.total(), wrong)


def test_answers_that_come_in_groups_open_to_the_same_in_any_order_and_are_added_once(small):
    """A second answer for a set is looked at and hashed, and not added again."""
    answers = small.answers((0, 1))
    opening = Opening(small.precision, small.label)
    for subset in [*reversed(answers), *answers]:
        digest = opening.add(subset, packing.in_groups(small.profile, answers[subset]))
        assert digest == answer_digest(small.label, subset, answers[subset])
    assert opening.open(small.total()) == small.open()


def test_what_was_opened_opens_again_to_the_same_without_answers(small):
    first = Opening(small.precision, small.label)
    for subset, packed in small.answers((0, 1)).items():
        first.add(subset, packing.in_groups(small.profile, packed))
    opened = first.open(small.total(), keep=True)
    again = Opening(small.precision, small.label)
    assert again.open_again(first.packed) == opened == small.open()
    assert again.digest == first.digest


def test_a_sum_that_is_opened_again_takes_no_answers(small):
    opening = Opening(small.precision, small.label)
    ((subset, packed), *_) = small.answers((0, 1)).items()
    opening.add(subset, packing.in_groups(small.profile, packed))
    with pytest.raises(OpeningError, match="a sum that is opened again needs no answer"):
        opening.open_again(small.total())


def test_an_opening_gives_nothing_away_before_it_is_open_and_keeps_only_what_is_asked_for(small):
    opening = Opening(small.precision, small.label)
    for subset, packed in small.answers((0, 1)).items():
        opening.add(subset, packing.in_groups(small.profile, packed))
    with pytest.raises(OpeningError, match="this sum is not opened, or was not to be kept"):
        _ = opening.packed
    with pytest.raises(OpeningError, match="this sum is not opened"):
        _ = opening.digest
    opening.open(small.total())
    assert len(opening.digest) == 32
    with pytest.raises(OpeningError, match="this sum is not opened, or was not to be kept"):
        _ = opening.packed


def test_a_sum_has_as_many_contributions_as_there_may_be_contributors_and_no_more():
    federation = Federation(COMPACT, 1, contributors=1)
    packed, running = federation.contributions[0], RunningSum(COMPACT, federation.label)
    for _ in range(MAX_CONTRIBUTORS):
        running.add(packed)
    full = running.packed()
    residue = packing.unpack(COMPACT, packed, 1).astype(object)
    assert packing.unpack(COMPACT, full, 1).tolist() == (MAX_CONTRIBUTORS * residue % COMPACT.primes[0]).tolist()
    with pytest.raises(ParameterError, match="a sum has at most 4096 contributions"):
        running.add(packed)
    assert (running.count, running.packed()) == (MAX_CONTRIBUTORS, full)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
@pytest.mark.parametrize("apart", [-1, 0, 1, 9])
def test_groups_of_an_answer_are_the_answer(profile, apart):
    federation = Federation(profile, 2 * 8 * profile.ring_degree + apart)
    shares = federation.share_keys(0)
    groups = [bytes(group) for group in answer_groups(federation.precision, shares, (1,), federation.label)]
    assert b"".join(groups) == answer(federation.precision, shares, (1,), federation.label)
    assert [len(group) for group in groups] == packing.group_sizes(profile, federation.label.values)
    assert groups == [bytes(group) for group in packing.in_groups(profile, b"".join(groups))]
    errors = np.abs(federation.errors(federation.open()))
    assert errors.max() <= federation.precision.tail


def test_an_opening_that_failed_half_way_opens_nothing(profile_of_two_groups):
    federation = profile_of_two_groups
    profile, answers, total = federation.profile, federation.answers((0, 1)), federation.total()
    whole = list(packing.in_groups(profile, answers[1,]))

    def stops():
        yield whole[0]
        raise ValueError("the line is dead")

    bad = [whole[0], b"\xff" * len(whole[1])]
    for groups, error in (
        (stops(), ValueError),
        (bad, MalformedError),
        (whole[:1], MalformedError),
        ([*whole, whole[0]], MalformedError),
        ([], MalformedError),
    ):
        opening = Opening(federation.precision, federation.label)
        for subset in answers:
            opening.add(subset, packing.in_groups(profile, answers[subset]))
        with pytest.raises(error):
            opening.add((1,), groups)
        with pytest.raises(OpeningError, match="was opened already, or an answer"):
            opening.add((1,), whole)
        with pytest.raises(OpeningError, match="was opened already, or an answer"):
            opening.open(total)


def test_a_malformed_group_is_named_by_the_place_in_the_whole_vector(profile_of_two_groups):
    federation = profile_of_two_groups
    whole = list(packing.in_groups(federation.profile, federation.answers((0, 1))[1,]))
    first = packing.group_values(federation.profile)
    with pytest.raises(MalformedError, match=f"value {first} "):
        Opening(federation.precision, federation.label).add((1,), [whole[0], b"\xff" * (len(whole[1]) - 1) + b"\0"])


@pytest.fixture(params=PROFILES.values(), ids=PROFILES)
def profile_of_two_groups(request):
    return Federation(request.param, packing.group_values(request.param) + 16)


def test_the_hash_of_opened_integers_is_that_of_their_residues_packed(small):
    """From Python's integers: it follows from them alone, and differs where one of them does."""
    opening = Opening(small.precision, small.label)
    for subset, packed in small.answers((0, 1)).items():
        opening.add(subset, packing.in_groups(small.profile, packed))
    integers = opening.open(small.total()).as_python()

    def of(integers):
        residues = np.array([[x % p for x in integers] for p in small.profile.primes], np.uint64)
        return tagged_hash("opened", packing.pack(small.profile, residues))

    assert opening.digest == of(integers)
    assert opening.digest != of([*integers[:-1], integers[-1] + 1])


def test_a_sum_is_opened_once_and_only_with_all_answers(small):
    answers = small.answers((0, 1))
    opening = Opening(small.precision, small.label)
    for subset in list(answers)[:-1]:
        opening.add(subset, packing.in_groups(small.profile, answers[subset]))
    with pytest.raises(OpeningError, match="no answer for the sets"):
        opening.open(small.total())
    with pytest.raises(OpeningError, match="is not opened"):
        opening.digest  # noqa: B018
    opening.add(list(answers)[-1], packing.in_groups(small.profile, answers[list(answers)[-1]]))
    assert opening.open(small.total()) == small.open()
    with pytest.raises(OpeningError, match="opened already"):
        opening.open(small.total())


def test_answer_digests_bind_label_set_and_bytes(small):
    packed = small.answers_of[0][1,]
    digest = answer_digest(small.label, (1,), packed)
    assert digest == tagged_hash("answer", small.label.digest, mask_of((1,)), packed)
    others = [(changed(small, round=9), (1,), packed), (small.label, (2,), packed), (small.label, (1,), packed[:-1])]
    assert digest not in {answer_digest(*other) for other in others}


def test_other_labels_and_contributors_have_other_noise_and_masks():
    """The same key, the same values, two labels: contributions differ by something uniform, not by something small."""
    a, b = (Federation(COMPACT, 4096, round=r) for r in (1, 2))
    residues = [packing.unpack(COMPACT, f.encrypt(0), 4096)[0].astype(np.int64) for f in (a, b)]
    p = COMPACT.primes[0]
    assert UNLIKELY < uniformity((residues[0] - residues[1]) % p, p) < 1 - UNLIKELY


def test_deals_are_reproducible_only_from_their_randomness():
    first, second = (ContributorKey.deal(STUDY, "r", 3, 2, reproducible("x")).to_bytes() for _ in range(2))
    assert first == second
    assert first != ContributorKey.deal(STUDY, "r", 3, 2).to_bytes()
