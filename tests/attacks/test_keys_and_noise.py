"""What noise, labels and seeds stand against. Each attack runs twice: with the defence off it takes a key or an update,
with it on the same steps take nothing.
"""

import secrets
from typing import Any

import numpy as np
import pytest

from hefed.crypto import keys as keys_module
from hefed.crypto import label as label_module
from hefed.crypto import masking, packing, ring, sampling
from hefed.crypto.contribution import encrypt
from hefed.crypto.errors import OpeningError, ParameterError, SeedError
from hefed.crypto.keys import ContributorKey, Seed, ShareKeys, open_seeds, share_polynomial, subsets
from hefed.crypto.label import Label, SignedUse, public_polynomial
from hefed.crypto.opening import Opening, answer
from hefed.crypto.parameters import COMPACT, PRECISE, PROFILES, Precision
from tests.attacks.cheating import NOTHING, opened_with
from tests.crypto.federation import COHORT, STUDY, Federation

Residues = Any


def without_noise(patch: pytest.MonkeyPatch) -> None:
    """Contributions and answers carry none."""
    for name in ("variance_contribution", "variance_answer"):
        patch.setattr(Precision, name, property(lambda self: NOTHING))


def two_rounds() -> tuple[Federation, Federation]:
    """Of one study, under the same keys, with other values; a block is full, so that all of a product is seen."""
    known, private = (Federation(COMPACT, COMPACT.ring_degree, round=number) for number in (0, 1))
    private.values = np.random.default_rng(9).uniform(-1000, 1000, private.values.shape)
    return known, private


def residues_of(federation: Federation, integers: Any) -> Residues:
    return np.stack([np.array(integers, object) % p for p in federation.profile.primes]).astype(np.uint64)


def divided(federation: Federation, product: Residues) -> Residues:
    """A key, in transform form, from its product with the label's public polynomial."""
    public, found = public_polynomial(federation.label, 0, 1)[0], []
    for k, p in enumerate(federation.profile.primes):
        rows = product[k].astype(np.float64).reshape(-1, ring.LANES)
        ring.forward_transform(federation.profile, k, rows)
        values = zip(rows.ravel().tolist(), public[k].tolist(), strict=True)
        found.append([int(value) * pow(a, -1, p) % p for value, a in values])
    return np.array(found, np.uint64)


# --- Noise ------------------------------------------------------------------------------------------


def key_of_a_known_vector(known: Federation) -> Residues:
    """Round 0 is known to everybody, and the aggregator has every contribution to it."""
    sent = packing.unpack(COMPACT, known.contributions[0], COMPACT.ring_degree).astype(object)
    product = residues_of(known, known.messages[0]).astype(object) - sent
    return divided(known, np.stack([row % p for row, p in zip(product, COMPACT.primes, strict=True)]))


def test_control_without_noise_the_known_answer_gives_away_a_region_s_key_and_all_its_updates() -> None:
    known, private = two_rounds()
    with pytest.MonkeyPatch.context() as patch:
        without_noise(patch)
        key = key_of_a_known_vector(known)
        assert np.array_equal(key, known.keys[0].secret_residues(COMPACT))
        stolen = opened_with(private.precision, private.label, private.contributions[0], key)
    assert np.abs(stolen - private.values[0]).max() < private.precision.error(private.exponent)


def test_with_noise_the_known_answer_gives_no_key() -> None:
    known, private = two_rounds()
    key = key_of_a_known_vector(known)
    assert np.mean(key == known.keys[0].secret_residues(COMPACT)) < 0.01
    with pytest.raises(OpeningError, match="outside the range"):
        opened_with(private.precision, private.label, private.contributions[0], key)


def key_of_an_opened_sum(known: Federation) -> Residues:
    """A reader has the opened integers, the aggregator their masked sum: between them stands the sum of all keys."""
    opened = residues_of(known, known.open().as_python()).astype(object)
    total = packing.unpack(COMPACT, known.total(), COMPACT.ring_degree).astype(object)
    return divided(known, np.stack([row % p for row, p in zip(opened - total, COMPACT.primes, strict=True)]))


def test_control_a_sum_opened_without_noise_gives_the_key_that_opens_every_other_sum() -> None:
    known, private = two_rounds()
    with pytest.MonkeyPatch.context() as patch:
        without_noise(patch)
        key = key_of_an_opened_sum(known)
        stolen = opened_with(private.precision, private.label, private.total(), key)
    assert np.abs(stolen - private.values.sum(axis=0)).max() < private.precision.error(private.exponent)


def test_a_sum_opened_with_noise_gives_no_key() -> None:
    known, private = two_rounds()
    with pytest.raises(OpeningError, match="outside the range"):
        opened_with(private.precision, private.label, private.total(), key_of_an_opened_sum(known))


VALUES = 32


def test_control_answers_with_other_noise_each_time_are_averaged_to_the_product_with_the_share() -> None:
    """The noise of 2^20 answers, by hefed's sampler without the products. Each value is then an exact equation for the
    share, and as many labels as fill a block have enough of them.
    """
    small = Federation(COMPACT, VALUES)
    (p,), label = COMPACT.primes, small.label
    product = masking.PublicProducts(label, small.share_keys(0).share((1,)))
    exact = packing.unpack(
        COMPACT, masking.masked(label, lambda first: product, bytes(32), NOTHING, None), VALUES
    ).astype(np.int64)[0]
    source = sampling.NoiseSource(COMPACT, bytes(32), small.precision.variance_answer)
    rows, noise, asked = ring.block_rows(COMPACT), np.zeros(VALUES, np.int64), 0
    while asked < 1 << 20:
        source.fill(rows, ring.LANES)
        noise += rows.reshape(-1, VALUES).sum(axis=0).astype(np.int64)
        asked += rows.size // VALUES
    averaged = np.rint(exact + noise / asked).astype(np.int64) % p
    assert np.array_equal(averaged, exact)


def average_error(small: Federation, answers: int) -> float:
    """The deviation that is left of the noise when so many answers of all holders in turn are averaged."""
    label, holders, total = small.label, [small.share_keys(who) for who in (0, 2)], np.zeros(VALUES)
    (p,), share = COMPACT.primes, holders[0].share((1,))
    exact = masking.masked(label, lambda first: masking.PublicProducts(label, share, first), bytes(32), NOTHING, None)
    right = packing.unpack(COMPACT, exact, VALUES)[0].astype(np.int64)
    for number in range(answers):
        packed = answer(small.precision, holders[number % 2], (1,), label)
        error = (packing.unpack(COMPACT, packed, VALUES)[0].astype(np.int64) - right) % p
        total += np.where(error > p // 2, error - p, error)
    return float(np.std(total / answers))


def test_control_the_average_of_real_answers_with_other_noise_loses_its_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys_module.ShareKeys, "noise_key", lambda self, subset, digest: secrets.token_bytes(32))
    small = Federation(COMPACT, VALUES)
    assert average_error(small, 1024) < small.precision.sigma_answer / 10


def test_answers_are_the_same_bits_whoever_gives_them_so_there_is_nothing_to_average() -> None:
    small = Federation(COMPACT, VALUES)
    given = {answer(small.precision, small.share_keys(who), (1,), small.label) for who in (0, 2) for _ in range(5)}
    assert len(given) == 1
    assert average_error(small, 100) == average_error(small, 1) > small.precision.sigma_answer / 2


# --- Labels -----------------------------------------------------------------------------------------


def test_control_two_vectors_under_one_label_show_their_difference_to_who_has_no_key() -> None:
    """All that a node which is set back must never do: mask and noise are the same, so they cancel."""
    federation = Federation(PRECISE, 40)
    first = federation.encrypt(0)
    second = encrypt(federation.precision, federation.keys[0], federation.label, federation.values[1])
    a, b = (packing.unpack(PRECISE, packed, 40).astype(object) for packed in (first, second))
    difference = residues_of(federation, federation.messages[0] - federation.messages[1])
    for k, p in enumerate(PRECISE.primes):
        assert ((a[k] - b[k]) % p).tolist() == difference[k].tolist()


def test_vectors_under_two_labels_show_no_difference() -> None:
    federation, next_round = (Federation(PRECISE, 40, round=number) for number in (1, 2))
    a, b = (packing.unpack(PRECISE, one.encrypt(0), 40).astype(object) for one in (federation, next_round))
    difference = packing.pack(
        PRECISE, np.stack([(x - y) % p for x, y, p in zip(a, b, PRECISE.primes, strict=True)]).astype(np.uint64)
    )
    with pytest.raises(OpeningError, match="outside the range"):  # the values are the same: it would be about 0
        Opening(federation.precision, federation.label).open_again(difference)


@pytest.mark.parametrize("bound_to_the_label", [True, False])
def test_a_contribution_replayed_in_the_next_round_counts_only_if_polynomials_do_not_follow_from_labels(
    bound_to_the_label: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not bound_to_the_label:
        monkeypatch.setattr(label_module, "public_polynomial_key", lambda digest: bytes(32))
    old, new = (Federation(PRECISE, 40, round=number) for number in (1, 2))
    old.values = old.values / 2
    replayed = new.total([*new.contributions[:2], old.contributions[2]])
    if bound_to_the_label:
        with pytest.raises(OpeningError, match="outside the range"):
            new.open(total=replayed)
    else:
        values = new.open(total=replayed).decode(new.label, new.precision)
        expected = new.values[:2].sum(axis=0) + old.values[2]
        assert np.abs(values - expected).max() < new.precision.error(new.exponent)


@pytest.mark.parametrize("follows", [True, False])
def test_regions_that_were_shown_other_sums_add_up_to_nothing_as_their_labels_follow_from_them(follows: bool) -> None:
    one, other = Federation(PRECISE, 40), Federation(PRECISE, 40)
    if follows:
        parts: dict[str, Any] = {name: getattr(other.label, name) for name in Label.__dataclass_fields__}
        other.label = Label(**parts | {"previous": bytes(32)})
    mixed = one.total([*one.contributions[:2], other.encrypt(2)])
    if follows:
        with pytest.raises(OpeningError, match="outside the range"):
            one.open(total=mixed)
        with pytest.raises(OpeningError, match="outside the range"):
            other.open(total=mixed)
    else:
        assert one.open(total=mixed) == one.open()


# --- Seeds ------------------------------------------------------------------------------------------


def copied(federation: Federation) -> Federation:
    """The last region deals the first one's seeds as its own, without having seen one."""
    seeds = federation.keys[0]._seeds
    federation.keys[2] = ContributorKey(STUDY, "region 2", 3, 2, seeds, Seed(bytes(32)))
    return federation


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_a_copied_deal_makes_another_key_in_its_dealer_s_name(profile: Any) -> None:
    federation = copied(Federation(profile, 231))
    first, second, _ = federation.contributions
    with pytest.raises(OpeningError, match="outside the range"):
        federation.open(total=federation.total([first, second, first]))


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_control_where_shares_do_not_depend_on_their_dealer_a_copied_deal_counts_another_twice(
    profile: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That region's update is in the sum twice; beside a sum in which it is once, it lies open."""
    monkeypatch.setattr(
        keys_module,
        "share_polynomial",
        lambda profile, study, dealer, subset, seed: share_polynomial(profile, study, "", subset, seed),
    )
    federation = copied(Federation(profile, 231))
    first, second, _ = federation.contributions
    values = federation.open(total=federation.total([first, second, first])).decode(
        federation.label, federation.precision
    )
    expected = 2 * federation.values[0] + federation.values[1]
    assert np.abs(values - expected).max() < 1e-6


def test_anothers_seeds_do_not_match_what_a_dealer_has_signed() -> None:
    first, second = Federation(PRECISE, 1).keys[:2]
    with pytest.raises(SeedError, match="does not match"):
        open_seeds(STUDY, "region 1", 0, 3, 2, first.seeds_for(0), list(second.seed_hashes().values()))
    with pytest.raises(SeedError, match="does not match"):  # nor do the hashes of another dealer fit under its own name
        open_seeds(STUDY, "region 1", 0, 3, 2, first.seeds_for(0), list(first.seed_hashes().values()))


def test_control_a_seed_opened_to_settle_a_complaint_gives_the_complaining_keyholder_the_whole_key() -> None:
    """Why a complaint opens nothing: keyholder 0 lacks one seed of a region, the one it would complain about."""
    federation = Federation(PRECISE, 40)
    dealt = federation.deals(0)["region 1"].seeds
    missing = [subset for subset in subsets(3, 2) if subset not in dealt]
    assert missing == [(0,)]
    key = np.zeros((len(PRECISE.primes), PRECISE.ring_degree), np.uint64)
    for subset, seed in (dealt | {(0,): federation.keys[1]._seeds[0,]}).items():
        key = ring.added(PRECISE, key, share_polynomial(PRECISE, STUDY, "region 1", subset, seed))
    stolen = opened_with(federation.precision, federation.label, federation.contributions[1], key)
    assert np.abs(stolen - federation.values[1]).max() < federation.precision.error(federation.exponent)


def test_without_that_seed_the_rest_of_them_opens_nothing() -> None:
    federation = Federation(PRECISE, 40)
    key = np.zeros((len(PRECISE.primes), PRECISE.ring_degree), np.uint64)
    for subset, seed in federation.deals(0)["region 1"].seeds.items():
        key = ring.added(PRECISE, key, share_polynomial(PRECISE, STUDY, "region 1", subset, seed))
    with pytest.raises(OpeningError, match="outside the range"):
        opened_with(federation.precision, federation.label, federation.contributions[1], key)


# --- Selections of contributions ----------------------------------------------------------------------


def shares_of_one(federation: Federation, keyholder: int) -> ShareKeys:
    """What a keyholder would add up if somebody could tell it to leave the others out."""
    deals = {"region 1": federation.deals(keyholder)["region 1"]}
    return ShareKeys.combine(federation.profile, STUDY, COHORT, deals)


def test_a_keyholder_answers_for_the_shares_of_all_contributors_or_not_at_all() -> None:
    federation = Federation(PRECISE, 40)
    with pytest.raises(ParameterError, match="numbers of contributors"):
        answer(federation.precision, shares_of_one(federation, 0), (1,), federation.label)


def test_control_keyholders_that_leave_contributors_out_open_one_region_s_contribution_alone() -> None:
    federation, precision = Federation(PRECISE, 40), Precision(PRECISE, 3, 2, 1)
    alone = SignedUse(STUDY, COHORT, PRECISE, 1, 40, federation.label.digest)
    shares = [shares_of_one(federation, number) for number in (0, 1)]
    answers = {subset: answer(precision, one, subset, alone) for one in shares for subset in one.subsets}
    opening = Opening(precision, alone)
    for subset, packed in answers.items():
        opening.add(subset, packing.in_groups(PRECISE, packed))
    integers = np.array(opening.open(federation.contributions[1]).as_python(), object)
    assert np.abs(integers - federation.messages[1]).max() < precision.tail
