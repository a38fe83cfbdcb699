"""Dealing: who gets which seeds, what is refused, and that secrets stay inside."""

import pickle
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefed.crypto import ring
from hefed.crypto.errors import MalformedError, ParameterError, SeedError
from hefed.crypto.hashing import encode_parts, prf, tagged_hash
from hefed.crypto.keys import (
    SEED_SIZE,
    ContributorKey,
    Seed,
    ShareKeys,
    mask_of,
    open_seeds,
    share_polynomial,
    subsets,
)
from hefed.crypto.parameters import COMPACT, PRECISE
from tests.crypto.federation import COHORT, STUDY, Federation, reproducible

SHARINGS = [(n, t) for n in range(2, 9) for t in range(2, n + 1)]


def deal(n=4, t=3, name="orebro", study=STUDY):
    return ContributorKey.deal(study, name, n, t, reproducible(f"{name} {n} {t}"))


def received(key, j, **changes):
    arguments = {
        "study": key.study,
        "dealer": key.dealer,
        "keyholder": j,
        "keyholders": key.keyholders,
        "threshold": key.threshold,
        "blob": key.seeds_for(j),
        "hashes": list(key.seed_hashes().values()),
    }
    return open_seeds(**(arguments | changes))


@pytest.mark.parametrize("change", ["one less", "one more", "out of order", "of another sharing"])
def test_a_key_has_one_seed_for_each_set_in_their_order(change):
    key = deal()
    seeds = {t: Seed(bytes(SEED_SIZE)) for t in subsets(4, 3)}
    ContributorKey(STUDY, "orebro", 4, 3, seeds, key.noise_secret)
    wrong = {
        "one less": dict(list(seeds.items())[1:]),
        "one more": seeds | {(0,): Seed(bytes(SEED_SIZE))},
        "out of order": dict(reversed(seeds.items())),
        "of another sharing": {t: Seed(bytes(SEED_SIZE)) for t in subsets(4, 2)},
    }[change]
    with pytest.raises(SeedError, match="dealer orebro: there must be one seed for each set of 2 keyholders"):
        ContributorKey(STUDY, "orebro", 4, 3, wrong, key.noise_secret)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_is_for_a_study_by_its_hash(size):
    with pytest.raises(ParameterError, match="dealer orebro: study must be a 32-byte hash"):
        deal(study=bytes(size))


# --- Who holds what -------------------------------------------------------------------------------


def test_sets_stand_in_lexicographic_order():
    assert subsets(4, 3) == ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
    assert mask_of((0, 3)) == 9


@pytest.mark.parametrize(("n", "t"), SHARINGS)
def test_any_t_keyholders_hold_all_seeds_and_no_t_minus_1_do(n, t):
    key = deal(n, t)
    held = [set(received(key, j).seeds) for j in range(n)]
    every = set(subsets(n, t))
    assert all(set().union(*(held[j] for j in quorum)) == every for quorum in combinations(range(n), t))
    for few in combinations(range(n), t - 1):
        assert every - set().union(*(held[j] for j in few)) == {few}


def test_a_keyholder_gets_the_dealer_s_seeds_and_no_others():
    key = deal()
    assert len(key.seeds_for(2)) == SEED_SIZE * len([t for t in subsets(4, 3) if 2 not in t])
    everything = {t: seed.reveal() for j in range(4) for t, seed in received(key, j).seeds.items()}
    assert tuple(sorted(everything)) == subsets(4, 3)
    assert len(set(everything.values())) == len(everything)
    for subset, digest in key.seed_hashes().items():
        assert digest == tagged_hash("seed", STUDY, "orebro", mask_of(subset), everything[subset])


def test_the_key_is_the_sum_of_the_shares():
    key = deal(3, 2)
    seeds = {t: seed for j in range(3) for t, seed in received(key, j).seeds.items()}
    for profile in (COMPACT, PRECISE):
        shares = [share_polynomial(profile, STUDY, "orebro", t, seed) for t, seed in seeds.items()]
        total = sum(s.astype(object) for s in shares) % np.array(profile.primes, dtype=object)[:, None]
        assert np.array_equal(key.secret_residues(profile).astype(object), total)


def test_each_deal_is_new():
    a, b = (ContributorKey.deal(STUDY, "orebro", 3, 2) for _ in range(2))
    assert not set(a.seed_hashes().values()) & set(b.seed_hashes().values())
    assert a.noise_secret != b.noise_secret


def test_share_keys_add_up_over_dealers_and_noise_keys_are_xored():
    federation = Federation(COMPACT, 10, contributors=3, keyholders=4, threshold=3)
    shares, deals = federation.share_keys(1), federation.deals(1)
    assert shares.subsets == tuple(t for t in subsets(4, 3) if 1 not in t)
    for subset in shares.subsets:
        parts = [share_polynomial(COMPACT, STUDY, d, subset, deal.seeds[subset]) for d, deal in deals.items()]
        total = sum(p.astype(object) for p in parts) % COMPACT.primes[0]
        assert np.array_equal(shares.share(subset).value, ring.centred(COMPACT, total.astype(np.uint64)))
        noise = 0
        for dealer, deal_of in deals.items():
            key = prf(deal_of.seeds[subset].reveal(), "answer noise", dealer, mask_of(subset), COHORT)
            noise ^= int.from_bytes(key, "big")
        expected = prf(noise.to_bytes(32, "big"), "answer noise of a label", b"L" * 32)
        assert shares.noise_key(subset, b"L" * 32) == expected


# --- What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"study": bytes(32)},
        {"dealer": "halland"},
        {"keyholder": 2},
        {"threshold": 2},
        {"keyholders": 5},
        {"blob": b""},
        {"blob": bytes(96)},
        {"hashes": []},
    ],
    ids=lambda c: next(iter(c)),
)
def test_seeds_open_only_as_what_they_were_dealt_as(changes):
    with pytest.raises(SeedError):
        received(deal(), 1, **changes)


@given(st.data())
def test_one_changed_bit_of_a_seed_or_a_hash_is_refused(data):
    key = deal()
    blob, hashes = bytearray(key.seeds_for(1)), [bytearray(h) for h in key.seed_hashes().values()]
    held = [i for i, t in enumerate(subsets(4, 3)) if 1 not in t]
    target = blob if data.draw(st.booleans()) else hashes[data.draw(st.sampled_from(held))]
    target[data.draw(st.integers(0, len(target) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(SeedError):
        received(key, 1, blob=bytes(blob), hashes=[bytes(h) for h in hashes])


def test_seeds_of_another_dealer_cannot_be_passed_on_as_own():
    """Hashes signed by the one who copies match the copied seeds only under the name of the one who was copied."""
    victim = deal(name="halland")
    copied = ContributorKey(STUDY, "orebro", 4, 3, _seeds_of(victim), victim.noise_secret)
    assert not set(copied.seed_hashes().values()) & set(victim.seed_hashes().values())
    assert not np.array_equal(copied.secret_residues(COMPACT), victim.secret_residues(COMPACT))
    with pytest.raises(SeedError):
        received(copied, 1, hashes=list(victim.seed_hashes().values()))


def _seeds_of(key):
    seeds = {t: seed for j in range(key.keyholders) for t, seed in received(key, j).seeds.items()}
    return {t: seeds[t] for t in subsets(key.keyholders, key.threshold)}


@pytest.mark.parametrize("keyholder", [-1, 4])
def test_there_are_no_other_keyholders(keyholder):
    with pytest.raises(ParameterError):
        deal().seeds_for(keyholder)
    with pytest.raises(ParameterError):
        received(deal(), 1, keyholder=keyholder)


def test_deals_that_do_not_belong_together_are_not_combined():
    right = {name: received(deal(name=name), 1) for name in ("halland", "orebro")}
    ShareKeys.combine(COMPACT, STUDY, COHORT, right)
    other_study = deal(name="orebro", study=bytes(32))
    wrong = [
        {"halland": right["orebro"]},
        right | {"orebro": received(other_study, 1)},
        right | {"orebro": received(deal(name="orebro"), 2)},
        right | {"orebro": received(deal(4, 2, name="orebro"), 1)},
    ]
    for deals in wrong:
        with pytest.raises(SeedError):
            ShareKeys.combine(COMPACT, STUDY, COHORT, deals)
    for study, cohort, deals in [(STUDY, COHORT, {}), (STUDY[:31], COHORT, right), (STUDY, b"", right)]:
        with pytest.raises(ParameterError):
            ShareKeys.combine(COMPACT, study, cohort, deals)


def test_a_keyholder_has_nothing_for_a_set_that_it_is_in():
    shares = ShareKeys.combine(COMPACT, STUDY, COHORT, {"orebro": received(deal(), 1)})
    for ask in (shares.share, lambda subset: shares.noise_key(subset, bytes(32))):
        with pytest.raises(SeedError, match=r"\(0, 1\)"):
            ask((0, 1))


# --- Storage --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "t"), [(2, 2), (4, 3), (8, 4)])
def test_a_stored_key_comes_back(n, t):
    key = deal(n, t, name="örebro")
    again = ContributorKey.from_bytes(key.to_bytes())
    assert again.to_bytes() == key.to_bytes()
    assert again.seed_hashes() == key.seed_hashes()
    assert (again.dealer, again.study, again.noise_secret) == (key.dealer, key.study, key.noise_secret)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (0, b"hefed/1 another key"),  # not stored as one
        (1, bytes(31)),  # a study's hash that is too short
        (2, b"\xff"),  # a name that is no text
        (3, bytes(7)),  # numbers of another length
        (4, bytes(9)),
        (3, (9).to_bytes(8, "little")),  # seeds for fewer keyholders than are said
        (4, (0).to_bytes(8, "little")),  # no sharing
        (5, bytes(31)),  # noise of another length
        (6, bytes(32)),  # one seed of six
        (6, bytes(32 * 7)),  # a seed left over
    ],
)
def test_a_stored_key_with_a_wrong_part_is_refused(place, value):
    key = deal()
    seeds = b"".join(seed.reveal() for seed in _seeds_of(key).values())
    numbers = (x.to_bytes(8, "little") for x in (4, 3))
    parts = [b"hefed/1 contributor key", STUDY, b"orebro", *numbers, key.noise_secret.reveal(), seeds]
    assert ContributorKey.from_bytes(encode_parts(*parts)).to_bytes() == key.to_bytes()
    stored = key.to_bytes()
    for end in (0, 7, 8, 20, len(stored) - 1):
        with pytest.raises(MalformedError, match="stored bytes end too early"):
            ContributorKey.from_bytes(stored[:end])
    parts[place] = value
    with pytest.raises(MalformedError, match="stored contributor key"):
        ContributorKey.from_bytes(encode_parts(*parts))


@given(st.data())
def test_damaged_storage_is_refused_or_is_another_key_s(data):
    stored = bytearray(deal().to_bytes())
    kind = data.draw(st.sampled_from(["cut", "longer", "flip"]))
    if kind == "cut":
        stored = stored[: data.draw(st.integers(0, len(stored) - 1))]
    elif kind == "longer":
        stored += data.draw(st.binary(min_size=1, max_size=40))
    else:
        stored[data.draw(st.integers(0, len(stored) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        again = ContributorKey.from_bytes(bytes(stored))
    except MalformedError:
        return
    assert kind == "flip"  # a flipped bit inside a name or a secret cannot be seen here
    assert again.to_bytes() == bytes(stored)


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_no_stored_key(data):
    with pytest.raises(MalformedError):
        ContributorKey.from_bytes(data)


# --- Secrets stay inside --------------------------------------------------------------------------


def test_nothing_secret_has_a_text_or_can_be_pickled():
    key = deal()
    dealt = received(key, 1)
    shares = ShareKeys.combine(COMPACT, STUDY, COHORT, {"orebro": dealt})
    seed = next(iter(dealt.seeds.values()))
    secrets = [s.reveal() for s in dealt.seeds.values()] + [key.noise_secret.reveal()]
    for item in (key, dealt, shares, seed, shares.share((0, 2)), key.secret_polynomial(COMPACT)):
        for text in (repr(item), str(item), f"{item}"):
            assert not any(s.hex() in text or repr(s)[2:-1] in text for s in secrets)
            assert len(text) < 60
        with pytest.raises(TypeError):
            pickle.dumps(item)
    with pytest.raises(TypeError):
        hash(seed)


def test_erased_keys_give_nothing_any_more():
    key = deal()
    dealt = received(key, 1)
    shares = ShareKeys.combine(COMPACT, STUDY, COHORT, {"orebro": dealt})
    for item in (key, dealt, shares):
        item.erase()
        item.erase()
    for ask in (
        key.to_bytes,
        key.seed_hashes,
        lambda: key.seeds_for(0),
        lambda: key.secret_residues(COMPACT),
        lambda: key.noise_key(bytes(32)),
        lambda: next(iter(dealt.seeds.values())).reveal(),
        lambda: shares.noise_key((0, 2), bytes(32)),
        lambda: shares.share((0, 2)),
    ):
        with pytest.raises(SeedError):
            ask()


@pytest.mark.parametrize("size", [0, 31, 33])
def test_seeds_have_32_bytes(size):
    with pytest.raises(SeedError):
        Seed(bytes(size))
