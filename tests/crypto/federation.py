"""A whole federation in one place, for tests: keys of everybody, contributions, sums, answers, openings.

Deals from a seeded cipher, so that a failing test fails again.
"""

import hashlib
from functools import cached_property
from itertools import combinations

import numpy as np

from hefed.crypto.contribution import RunningSum, encrypt
from hefed.crypto.keys import ContributorKey, ShareKeys, open_seeds
from hefed.crypto.label import Label
from hefed.crypto.opening import answer, open_sum
from hefed.crypto.parameters import Precision

STUDY, COHORT, PREVIOUS = (hashlib.sha256(x).digest() for x in (b"study", b"cohort", b"previous"))


def reproducible(name):
    """A stand-in for os.urandom: SHAKE-256 of the name, read on and on."""
    position = 0

    def random(size):
        nonlocal position
        position += size
        return hashlib.shake_256(name.encode()).digest(position)[-size:]

    return random


class Federation:
    def __init__(self, profile, values, contributors=3, keyholders=3, threshold=2, exponent=10, seed=0, round=1):
        self.precision = Precision(profile, keyholders, threshold, contributors)
        self.profile, self.exponent = profile, exponent
        exponents = np.broadcast_to(np.asarray(exponent, np.int16), values)
        self.label = Label("federation", STUDY, COHORT, round, "test", profile, contributors, exponents, PREVIOUS)
        self.keys = [
            ContributorKey.deal(STUDY, f"region {i}", keyholders, threshold, reproducible(f"{seed} {i}"))
            for i in range(contributors)
        ]
        bound = np.ldexp(1.0, exponents)
        self.values = np.random.default_rng(seed).uniform(-bound, bound, (contributors, values))

    def encrypt(self, i, engine="vectorised"):
        return encrypt(self.precision, self.keys[i], self.label, self.values[i], engine)

    @cached_property
    def contributions(self):
        return [self.encrypt(i) for i in range(len(self.keys))]

    def total(self, contributions=None, engine="vectorised"):
        running = RunningSum(self.profile, self.label, engine)
        for packed in self.contributions if contributions is None else contributions:
            running.add(packed)
        return running.packed()

    def deals(self, keyholder):
        return {
            key.dealer: open_seeds(
                key.study,
                key.dealer,
                keyholder,
                key.keyholders,
                key.threshold,
                key.seeds_for(keyholder),
                list(key.seed_hashes().values()),
            )
            for key in self.keys
        }

    def share_keys(self, keyholder):
        return ShareKeys.combine(self.profile, STUDY, COHORT, self.deals(keyholder))

    @cached_property
    def answers_of(self):
        """For each keyholder, its answer for every set that it can answer for."""
        answers = []
        for keyholder in range(self.precision.keyholders):
            shares = self.share_keys(keyholder)
            answers.append({t: answer(self.precision, shares, t, self.label) for t in shares.subsets})
        return answers

    def answers(self, active):
        """What the keyholders in `active` can give together."""
        return {t: packed for keyholder in active for t, packed in self.answers_of[keyholder].items()}

    def open(self, active=None, total=None):
        active = range(self.precision.threshold) if active is None else active
        return open_sum(self.precision, self.label, total or self.total(), self.answers(active))

    @property
    def quorums(self):
        return combinations(range(self.precision.keyholders), self.precision.threshold)

    @cached_property
    def messages(self):
        """The exact integers behind the values, by Python: an array of objects (contributors, K)."""
        scale = [self.precision.capacity_bits - int(x) for x in self.label.exponents]
        return np.array(
            [[exact_integer(v, s) for v, s in zip(row, scale, strict=True)] for row in self.values.tolist()],
            dtype=object,
        )

    def errors(self, opened):
        """Opened integers minus the right ones, as int64."""
        return (np.array(opened.as_python(), dtype=object) - self.messages.sum(axis=0)).astype(np.int64)


def exact_integer(value, scale):
    """round-half-even(value * 2**scale), with integers only."""
    numerator, denominator = value.as_integer_ratio()
    numerator, denominator = (numerator << scale, denominator) if scale >= 0 else (numerator, denominator << -scale)
    quotient, remainder = divmod(numerator, denominator)
    return quotient + (2 * remainder > denominator or (2 * remainder == denominator and quotient % 2 == 1))
