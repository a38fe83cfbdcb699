"""A label binds all its parts, and so does the public polynomial that follows from it."""

import dataclasses
import inspect

import numpy as np
import pytest

from hefed.crypto.errors import ParameterError
from hefed.crypto.label import Label, public_polynomial
from hefed.crypto.parameters import COMPACT, PRECISE
from tests.crypto.federation import COHORT, PREVIOUS, STUDY

LABEL = Label("f", STUDY, COHORT, 1, "p", COMPACT, 3, np.array([1, -2, 300], np.int16), PREVIOUS)
OTHER = {
    "federation": "g",
    "study": bytes(32),
    "cohort": bytes(32),
    "round": 2,
    "purpose": "q",
    "profile": PRECISE,
    "contributors": 4,
    "exponents": np.array([1, -2, 301], np.int16),
    "previous": bytes(32),
}


def test_every_part_is_named_here():
    assert set(OTHER) == set(inspect.signature(Label).parameters)


@pytest.mark.parametrize("part", OTHER)
def test_another_part_makes_another_label_and_another_polynomial(part):
    other = dataclasses.replace(LABEL, **{part: OTHER[part]})
    assert other.digest != LABEL.digest
    assert other != LABEL
    first, second = (public_polynomial(label, 0, 1)[0, 0, :100] for label in (LABEL, other))
    assert np.count_nonzero(first == second) <= 1


def test_equal_parts_make_equal_labels():
    same = dataclasses.replace(LABEL, exponents=[1, -2, 300])
    assert same == LABEL
    assert hash(same) == hash(LABEL)
    assert (LABEL.values, len(LABEL.digest)) == (3, 32)


def test_exponents_are_copied_and_cannot_be_changed():
    exponents = np.array([1, 2], np.int16)
    label = dataclasses.replace(LABEL, exponents=exponents)
    exponents[0] = 9
    assert label.exponents.tolist() == [1, 2]
    with pytest.raises(ValueError, match="read-only"):
        label.exponents[0] = 5


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("study", b"short"),
        ("cohort", bytes(33)),
        ("previous", b""),
        ("round", -1),
        ("round", 2**64),
        ("contributors", 0),
        ("contributors", 4097),
        ("exponents", np.array([], np.int16)),
        ("exponents", np.array([[1]], np.int16)),
        ("exponents", np.array([901], np.int16)),
        ("exponents", np.array([-901], np.int16)),
        ("exponents", np.array([40000], np.int64)),
        ("exponents", np.array([1.0])),
    ],
)
def test_parts_out_of_bounds_are_refused(part, value):
    with pytest.raises(ParameterError):
        dataclasses.replace(LABEL, **{part: value})
