"""Masks made ahead: the same contribution as without, once, and nothing left of what was not used."""

import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hefed.crypto import contribution
from hefed.crypto.contribution import ENGINES, Mask
from hefed.crypto.errors import ParameterError, RangeError, SeedError
from hefed.crypto.keys import ContributorKey
from hefed.crypto.parameters import PROFILES
from tests.crypto.federation import Federation, reproducible

# Beside any number: whole tiles and groups, and one value more or less.
LENGTHS = st.one_of(
    st.integers(1, 500),
    st.integers(1, 70_000),
    st.builds(
        lambda unit, count, apart: max(1, unit * count + apart),
        st.sampled_from([64, 2048, 4096, 16384, 32768]),
        st.integers(1, 3),
        st.integers(-1, 1),
    ),
)


def mask_of(federation, engine="vectorised", threads=1):
    return Mask(federation.precision, federation.keys[0], federation.label, engine, threads)


@pytest.fixture(params=PROFILES.values(), ids=PROFILES)
def profile(request):
    return request.param


@settings(max_examples=40)
@given(values=LENGTHS, exponent=st.integers(-900, 900), threads=st.integers(1, 4), seed=st.integers(0, 2**32))
@pytest.mark.parametrize("name", PROFILES)
def test_a_mask_and_values_make_the_bytes_of_a_contribution(name, values, exponent, threads, seed):
    federation = Federation(PROFILES[name], values, exponent=exponent, seed=seed)
    assert mask_of(federation, threads=threads).encrypt(federation.values[0]) == federation.encrypt(0)


@pytest.mark.parametrize("values", [1, 2])
def test_a_vector_of_fewer_bytes_than_are_read_at_once(profile, values):
    federation = Federation(profile, values)
    assert mask_of(federation).encrypt(federation.values[0]) == federation.encrypt(0)


def test_the_largest_values_of_both_signs(profile):
    federation = Federation(profile, 500)
    federation.values[0] = np.resize([1024.0, -1024.0, 0.0], 500)
    assert mask_of(federation).encrypt(federation.values[0]) == federation.encrypt(0)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_sum_with_a_mask_made_ahead_opens(profile, engine):
    federation = Federation(profile, profile.ring_degree + 5)
    ahead = mask_of(federation, engine).encrypt(federation.values[0])
    opened = federation.open(total=federation.total([ahead, *federation.contributions[1:]]))
    assert np.abs(federation.errors(opened)).max() <= federation.precision.tail


def test_a_mask_is_for_one_contribution(profile):
    federation = Federation(profile, 100)
    mask = mask_of(federation)
    mask.encrypt(federation.values[0])
    with pytest.raises(ParameterError, match="used or erased"):
        mask.encrypt(federation.values[0])


@pytest.mark.parametrize(
    ("wrong", "error"),
    [(np.full(100, 1025.0), RangeError), (np.full(100, np.nan), RangeError), (np.zeros(99), ParameterError)],
)
def test_an_error_uses_a_mask_up_and_overwrites_it(wrong, error):
    federation = Federation(PROFILES["precise"], 100)
    mask = mask_of(federation)
    packed = mask._packed
    assert any(packed.getvalue())
    with pytest.raises(error):
        mask.encrypt(wrong)
    assert not any(packed.getvalue())
    with pytest.raises(ParameterError, match="used or erased"):
        mask.encrypt(federation.values[0])


def test_an_erased_mask_is_zero_and_of_no_use():
    federation = Federation(PROFILES["precise"], 100)
    mask = mask_of(federation)
    packed = mask._packed
    mask.erase()
    mask.erase()
    assert not any(packed.getvalue())
    with pytest.raises(ParameterError, match="used or erased"):
        mask.encrypt(federation.values[0])


def test_values_are_added_in_place():
    """What hid the values must not stay in memory beside the contribution."""
    federation = Federation(PROFILES["compact"], 400_000)
    federation.encrypt(0)  # what is made once stands in memory already
    mask = mask_of(federation)
    tracemalloc.start()
    try:
        made = mask.encrypt(federation.values[0])
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < len(made) / 4


def test_nothing_shows_a_mask():
    mask = mask_of(Federation(PROFILES["compact"], 64))
    assert repr(mask) == "<Mask>"
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(mask)
    assert not hasattr(mask, "__dict__")


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_shows_what_masks_are_made_of(engine):
    federation = Federation(PROFILES["compact"], 64)
    parts = contribution._Masks(federation.precision, federation.keys[0], federation.label, engine, 1)
    assert repr(parts) == str(parts) == "<_Masks>"
    with pytest.raises(TypeError, match="masks cannot be pickled"):
        pickle.dumps(parts)


def test_a_mask_is_for_a_key_and_a_label_that_fit():
    federation = Federation(PROFILES["compact"], 64)
    other = ContributorKey.deal(bytes(32), "region 0", 3, 2, reproducible("other"))
    with pytest.raises(SeedError, match="another study"):
        Mask(federation.precision, other, federation.label)
    with pytest.raises(ParameterError, match="engine"):
        mask_of(federation, engine="abacus")
    with pytest.raises(ParameterError, match="threads"):
        mask_of(federation, threads=0)
