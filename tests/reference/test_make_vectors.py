"""The committed vectors are what the generator gives now. Relies on the reference alone; must not import hefed."""

import pytest

from protocols.reference.make_vectors import DIRECTORY, VECTORS, text

SEALED = {"sealed"}
"""Made with hefed and with randomness; `test_sealed_vectors.py` says that its generator makes the same cases."""


def test_every_committed_file_has_a_generator():
    assert {path.stem for path in DIRECTORY.glob("*.json")} == set(VECTORS) | SEALED


@pytest.mark.parametrize("name", sorted(VECTORS))
def test_committed_vectors_are_what_the_generator_gives(name):
    assert (DIRECTORY / f"{name}.json").read_text(encoding="utf-8") == text(name)
