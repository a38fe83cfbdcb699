"""One encrypted round in one process, step by step: what benchmarks time, with the library's own functions.

Every region contributes, holds keys and reads; any two open, whatever the number of regions. What a step needs is made
when it is first asked for, so that a step can be timed alone.
"""

import hashlib
import os
from collections.abc import Iterable
from functools import cached_property

import numpy as np
import numpy.typing as npt

from hefed.crypto import packing, ring
from hefed.crypto.contribution import Engine, RunningSum, check_value, encrypt, verify_checks
from hefed.crypto.hashing import tagged_hash
from hefed.crypto.keys import ContributorKey, DealtSeeds, ShareKeys, Subset, open_seeds, subsets
from hefed.crypto.label import Label
from hefed.crypto.opening import Opening, answer, answer_digest, answer_groups, open_sum
from hefed.crypto.parameters import PROFILES, Precision
from hefed.protocol import known_answer
from hefed.protocol.answers import read_answers, write_answers
from hefed.protocol.sealing import CONTENT_KEY_SIZE, ContentCipher

THRESHOLD = 2
LIST = bytes(range(32))
"""Stands for the hash of the signed list of contributions."""

Floats = npt.NDArray[np.float64]


class Round:
    """A round of `parties` regions with vectors of `values` values in -1..1."""

    def __init__(self, profile: str, values: int, parties: int = 3) -> None:
        self.profile, self.values, self.parties = PROFILES[profile], values, parties
        self.study, self.cohort = os.urandom(32), os.urandom(32)
        self.names = [f"region-{i}" for i in range(parties)]
        self.precision = Precision(self.profile, parties, THRESHOLD, parties)
        self.label = self._label(np.zeros(values, np.int16))
        self._content_key = os.urandom(CONTENT_KEY_SIZE)

    def _label(self, exponents: npt.NDArray[np.int16]) -> Label:
        return Label("benchmark", self.study, self.cohort, 1, "sum", self.profile, self.parties, exponents, bytes(32))

    def vector(self, party: int) -> Floats:
        """What a region contributes, float64 (values,)."""
        return np.random.default_rng(party).uniform(-1, 1, self.values)

    # --- Once a study

    def deal(self) -> ContributorKey:
        """A contributor deals its key: all that every keyholder gets, and the hashes that it signs."""
        key = ContributorKey.deal(self.study, self.names[0], self.parties, THRESHOLD)
        key.seed_hashes()
        for keyholder in range(self.parties):
            key.seeds_for(keyholder)
        key.secret_residues(self.profile)
        return key

    @cached_property
    def keys(self) -> list[ContributorKey]:
        """Everybody's own key."""
        return [ContributorKey.deal(self.study, name, self.parties, THRESHOLD) for name in self.names]

    def _opened_seeds(self, key: ContributorKey, keyholder: int) -> DealtSeeds:
        hashes = list(key.seed_hashes().values())
        blob = key.seeds_for(keyholder)
        return open_seeds(self.study, key.dealer, keyholder, self.parties, THRESHOLD, blob, hashes)

    def take_deals(self, keyholder: int = 0) -> ShareKeys:
        """A keyholder looks at what everybody dealt to it, and adds it up."""
        deals = {key.dealer: self._opened_seeds(key, keyholder) for key in self.keys}
        return ShareKeys.combine(self.profile, self.study, self.cohort, deals)

    @cached_property
    def shares(self) -> list[ShareKeys]:
        """What every keyholder holds."""
        return [self.take_deals(keyholder) for keyholder in range(self.parties)]

    def known_answer(self) -> bytes:
        """A region's contribution to round 0: the vector that everybody can compute, encrypted."""
        label = self._label(known_answer.EXPONENTS)
        vector = known_answer.vector(label.digest, self.names[0])
        return encrypt(self.precision, self.keys[0], label, vector)

    # --- A contributor

    @cached_property
    def own_vector(self) -> Floats:
        """The first region's."""
        return self.vector(0)

    def encode(self) -> None:
        """The vector as integers, a lane group at a time."""
        group = ring.lane_group(self.profile)
        size = self.profile.ring_degree
        for first in range(0, self.profile.blocks(self.values), ring.LANES):
            used = min(ring.LANES, self.profile.blocks(self.values) - first)
            packing.encode(self.precision, self.label, self.own_vector, first * size, group, used)

    def encrypt(self, engine: Engine = "vectorised") -> bytes:
        """Encode, encrypt, serialise, and hash: a contribution as it is signed and sent."""
        packed = encrypt(self.precision, self.keys[0], self.label, self.own_vector, engine)
        hashlib.sha256(packed).digest()
        return packed

    @cached_property
    def residues(self) -> Floats:
        """Something to pack, as the aggregator's sum holds it: (primes, values rounded up to eight)."""
        residues = packing.residue_array(self.profile, self.values)
        data = packing.checked(self.profile, self.contributions[0], self.values)
        packing.add_packed(self.profile, data, self.values, residues)
        return residues

    def pack(self) -> bytes:
        """Residues to the exact number of bits."""
        return packing.pack_array(self.profile, self.residues, self.values)

    def own_check(self) -> bytes:
        """A contributor's check value of its own contribution."""
        return check_value(self.profile, self.contributions[0], self.values, LIST)

    # --- The aggregator

    @cached_property
    def contributions(self) -> list[bytes]:
        """Everybody's."""
        return [encrypt(self.precision, key, self.label, self.vector(i)) for i, key in enumerate(self.keys)]

    def aggregate(self, engine: Engine = "vectorised") -> bytes:
        """The sum of all contributions."""
        total = RunningSum(self.profile, self.label, engine)
        for contribution in self.contributions:
            total.add(contribution)
        return total.packed()

    @cached_property
    def total(self) -> bytes:
        """The sum."""
        return self.aggregate()

    @cached_property
    def checks(self) -> list[bytes]:
        """Everybody's check value."""
        return [check_value(self.profile, packed, self.values, LIST) for packed in self.contributions]

    def verify(self) -> None:
        """A reader checks that the sum is that of the signed contributions."""
        verify_checks(self.profile, self.total, self.values, LIST, self.checks)

    # --- Keyholders and a reader

    def answer(self, keyholder: int = 0) -> bytes:
        """All that a keyholder does: the answer or the hash of each share that it holds, sealed, and its hash.

        The first keyholder has the most to do: it answers for every share that it holds.
        """
        share_keys = self.shares[keyholder]
        groups = {s: answer_groups(self.precision, share_keys, s, self.label) for s in share_keys.subsets}
        own = {s for s in groups if min(j for j in range(self.parties) if j not in s) == keyholder}
        sealed = write_answers(
            self._cipher(keyholder),
            self.profile,
            self.values,
            [(s, groups[s]) for s in groups if s in own],
            [(s, answer_digest(self.label, s, groups[s])) for s in groups if s not in own],
        )
        hashlib.sha256(sealed).digest()
        return sealed

    def _cipher(self, keyholder: int) -> ContentCipher:
        return ContentCipher(self._content_key, (self.label.digest, self.names[keyholder]))

    @cached_property
    def sealed(self) -> Iterable[bytes]:
        """Everybody's answers, as they are sent; in the order of the keyholders."""
        return [self.answer(keyholder) for keyholder in range(self.parties)]

    def take(self, sealed: Iterable[bytes]) -> Opening:
        """A reader takes answers as they come, and compares what holders of the same share say of it."""
        opening = Opening(self.precision, self.label)
        digests: dict[Subset, set[bytes]] = {}
        for keyholder, one in enumerate(sealed):
            answers, hashes = read_answers(self._cipher(keyholder), self.profile, self.values, one)
            for subset, groups in answers.items():
                hashes[subset] = opening.add(subset, groups)
            for subset, digest in hashes.items():
                digests.setdefault(subset, set()).add(digest)
        assert set(digests) == set(subsets(self.parties, THRESHOLD))
        assert all(len(found) == 1 for found in digests.values())
        return opening

    def finish(self, opening: Opening) -> Floats:
        """Then it checks the sum, opens it, decodes it and hashes what it opened."""
        self.verify()
        opened = opening.open(self.total)
        values = opened.decode(self.label, self.precision)
        tagged_hash("opened round", self.label.digest, opening.digest)
        return values

    def read(self) -> Floats:
        """All that a reader does: seals, cross-check, check of the sum, opening, decoding, hash of what it opened."""
        return self.finish(self.take(self.sealed))

    @cached_property
    def plain_answers(self) -> dict[Subset, bytes]:
        """The answer for every set, in the clear."""
        holders = {s: share_keys for share_keys in self.shares for s in share_keys.subsets}
        return {s: answer(self.precision, holders[s], s, self.label) for s in subsets(self.parties, THRESHOLD)}

    def open(self) -> Floats:
        """The sum opened with answers in the clear, and decoded."""
        return open_sum(self.precision, self.label, self.total, self.plain_answers).decode(self.label, self.precision)

    def require_right(self, values: Floats) -> None:
        """Raises AssertionError unless these are the sums of everybody's vectors."""
        expected = np.sum([self.vector(i) for i in range(self.parties)], axis=0)
        rounding = self.parties * 2.0**-52  # of the expected sums
        np.testing.assert_allclose(values, expected, rtol=0, atol=self.precision.error(0) + rounding)
