"""Memory beside what goes in and comes out does not grow with the number of values or of contributions."""

import tracemalloc
from collections.abc import Mapping

import pytest

from hefed.crypto.contribution import RunningSum, check_value
from hefed.crypto.opening import Opening, answer, answer_groups, open_sum
from hefed.crypto.parameters import PROFILES
from tests.crypto.federation import Federation

VALUES = 400_000
WORKING = 3_000_000  # bytes for groups, keystreams and tables


@pytest.fixture(scope="module", params=PROFILES.values(), ids=PROFILES)
def federation(request):
    small = Federation(request.param, 3)
    small.open()  # what is made once stands in memory already
    federation = Federation(request.param, VALUES)
    federation.size = request.param.packed_size(VALUES)
    return federation


def peak(work):
    """The most memory that was in use at a time beyond what was before, and the result."""
    tracemalloc.start()
    try:
        result = work()
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


def test_a_contribution_takes_its_bytes_and_the_label_s_hash(federation):
    most, _ = peak(lambda: federation.encrypt(0))
    assert federation.size <= most <= federation.size + 2 * VALUES + WORKING


def test_an_answer_takes_its_bytes(federation):
    shares = federation.share_keys(0)
    most, _ = peak(lambda: answer(federation.precision, shares, shares.subsets[0], federation.label))
    assert federation.size <= most <= federation.size + 2 * VALUES + WORKING


def test_an_answer_in_groups_takes_no_memory(federation):
    shares = federation.share_keys(0)
    most, size = peak(
        lambda: sum(map(len, answer_groups(federation.precision, shares, shares.subsets[0], federation.label)))
    )
    assert size == federation.size
    assert most <= WORKING


def test_an_opening_holds_one_sum_and_then_the_integers(federation):
    """Whatever number of answers comes, each twice here."""
    shares = [federation.share_keys(j) for j in range(2)]
    held = [(t, keys) for keys in shares for t in keys.subsets]
    opening = Opening(federation.precision, federation.label)

    def add():
        for subset, keys in held:
            opening.add(subset, answer_groups(federation.precision, keys, subset, federation.label))

    total = federation.total()
    most, _ = peak(add)
    assert federation.size <= most <= federation.size + WORKING
    most, _ = peak(lambda: opening.open(total))
    assert most <= 8 * len(federation.profile.primes) * VALUES + WORKING


def test_a_sum_is_handed_out_without_a_copy(federation):
    total = RunningSum(federation.profile, federation.label)
    total.add(federation.contributions[0])
    most, packed = peak(total.packed)
    assert most <= federation.size // 10
    total.add(federation.contributions[1])
    assert packed == federation.contributions[0]  # and is not written to any more


def test_a_running_sum_is_as_long_as_a_contribution(federation):
    contributions = federation.contributions

    def work():
        total = RunningSum(federation.profile, federation.label)
        for contribution in contributions:
            total.add(contribution)
        return total

    most, _ = peak(work)
    assert federation.size <= most <= federation.size + WORKING


def test_a_check_value_takes_no_memory(federation):
    contribution = federation.contributions[0]
    most, _ = peak(lambda: check_value(federation.profile, contribution, VALUES, bytes(32)))
    assert most <= WORKING


def test_opening_holds_one_answer_at_a_time_and_the_integers(federation):
    shares = [federation.share_keys(j) for j in range(2)]
    total = federation.total()

    class Fetched(Mapping):
        """Answers that are made when asked for, as from a disk."""

        def __getitem__(self, subset):
            return answer(federation.precision, shares[1 if 0 in subset else 0], subset, federation.label)

        def __contains__(self, subset):
            return subset in list(self)

        def __iter__(self):
            yield from [(0,), (1,), (2,)]

        def __len__(self):
            return 3

    integers = 8 * len(federation.profile.primes) * VALUES
    most, opened = peak(lambda: open_sum(federation.precision, federation.label, total, Fetched()))
    assert most <= max(2 * federation.size, federation.size + integers) + WORKING
    most, _ = peak(lambda: opened.decode(federation.label, federation.precision))
    assert most <= 8 * VALUES + WORKING
