"""Reads the committed vectors into the types of `hefed.crypto`, and compares with what they show of long outputs."""

import hashlib
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from hefed.crypto.keys import Seed, subsets
from hefed.crypto.label import Label
from hefed.crypto.parameters import PROFILES, Precision

DIRECTORY = Path(__file__).parents[2] / "protocols" / "vectors"


@cache
def read(name):
    return json.loads((DIRECTORY / f"{name}.json").read_text(encoding="utf-8"))


def profile_of(identifier):
    return next(profile for profile in PROFILES.values() if profile.identifier == identifier)


def repeated(shown):
    """A list, or `repeat` and `count`."""
    if isinstance(shown, list):
        return shown
    repeat, count = shown["repeat"], shown["count"]
    return [repeat[j % len(repeat)] for j in range(count)]


def label_of(fields):
    return Label(
        fields["federation"],
        bytes.fromhex(fields["study"]),
        bytes.fromhex(fields["cohort"]),
        int(fields["round"]),
        fields["purpose"],
        profile_of(fields["profile"]),
        fields["contributors"],
        np.array(repeated(fields["exponents"]), np.int16),
        bytes.fromhex(fields["previous"]),
    )


def with_field(label, field, shown):
    """The label with one field as a vector shows it."""
    if field in ("study", "cohort", "previous"):
        value = bytes.fromhex(shown)
    elif field == "exponents":
        value = np.array(shown, np.int16)
    else:
        value = int(shown)
    return replace(label, **{field: value})


def precision_of(entry):
    return Precision(profile_of(entry["profile"]), entry["keyholders"], entry["threshold"], entry["contributors"])


def seeds_in_order(entry, keyholders=None, threshold=None):
    sets = subsets(keyholders or entry["keyholders"], threshold or entry["threshold"])
    return {T: Seed(bytes.fromhex(seed)) for T, seed in zip(sets, entry["seeds"], strict=True)}


def assert_bytes(data, shown):
    """Compare bytes with what a vector shows; where both are long, the ends say where they first go wrong."""
    assert len(data) == shown["bytes"]
    if "hex" in shown:
        assert data.hex() == shown["hex"]
    else:
        assert data[:32].hex() == shown["first"]
        assert data[-32:].hex() == shown["last"]
    assert hashlib.sha256(data).hexdigest() == shown["sha256"]


def assert_polynomial(residues, shown):
    """Compare residues with a polynomial of a vector."""
    residues = np.ascontiguousarray(residues).astype("<u8")
    assert [str(r) for r in residues[:3].tolist()] == shown["first"]
    assert hashlib.sha256(residues.tobytes()).hexdigest() == shown["sha256"]


def context_of(case):
    """What something sealed is bound to."""
    return tuple(part["text"] if "text" in part else bytes.fromhex(part["hex"]) for part in case["context"])
