"""Seeds, the keys that follow from them, and what each keyholder holds.

Every contributor deals its own key: one seed for each set T of threshold - 1 keyholders, given to every keyholder that
is not in T (replicated sharing; Boneh et al., CRYPTO 2018). Its key is the sum of what its seeds expand to, so any list
of seeds is a valid sharing of some key. Relies on the operating system for seeds. Secrets have no repr, cannot be
pickled and can be erased, as far as Python allows: copies that the interpreter made are beyond reach.
"""

import hmac
import os
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from hefed.crypto import ring, sampling
from hefed.crypto.errors import MalformedError, ParameterError, SeedError
from hefed.crypto.hashing import DIGEST_SIZE, encode_parts, prf, tagged_hash
from hefed.crypto.parameters import Profile, check_sharing

SEED_SIZE = 32

Subset = tuple[int, ...]

_STORED = "hefed/1 contributor key"


def subsets(keyholders: int, threshold: int) -> tuple[Subset, ...]:
    """The sets of threshold - 1 keyholders, in lexicographic order. Raises ParameterError for a bad sharing."""
    check_sharing(keyholders, threshold)
    return tuple(combinations(range(keyholders), threshold - 1))


def mask_of(subset: Subset) -> int:
    """How a set of keyholders is written inside hashes: bit j says that j is in it."""
    return sum(1 << j for j in subset)


class Seed:
    """32 secret bytes."""

    __slots__ = ("_bytes",)

    def __init__(self, data: bytes) -> None:
        if len(data) != SEED_SIZE:
            raise SeedError(f"a seed has {SEED_SIZE} bytes, not {len(data)}")
        self._bytes = bytearray(data)

    def __repr__(self) -> str:
        return "<Seed>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Seed) and hmac.compare_digest(self._bytes, other._bytes)

    __hash__ = None  # type: ignore[assignment]  # a hash would be a fingerprint of the secret

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a seed cannot be pickled")

    def reveal(self) -> bytes:
        """The secret bytes, for a cipher or for sealing; SeedError once erased."""
        if not self._bytes:
            raise SeedError("this seed was erased")
        return bytes(self._bytes)

    def erase(self) -> None:
        """Overwrite the bytes with zeros and forget them."""
        self._bytes[:] = bytes(len(self._bytes))
        self._bytes.clear()


def seed_hash(study: bytes, dealer: str, subset: Subset, seed: Seed) -> bytes:
    """What a dealer signs for a seed: it binds study, dealer and set."""
    return tagged_hash("seed", study, dealer, mask_of(subset), seed.reveal())


def share_polynomial(profile: Profile, study: bytes, dealer: str, subset: Subset, seed: Seed) -> NDArray[np.uint64]:
    """s_{i,T}: what a dealer's seed adds to its key; residues in transform form, shape (primes, N). Secret."""
    key = prf(seed.reveal(), "share", dealer, study, mask_of(subset), profile.identifier)
    polynomial: NDArray[np.uint64] = sampling.uniform_polynomials(profile, key, 0, 1)[0]
    return polynomial


class ContributorKey:
    """What a contributor keeps for one study: its seeds and the secret of its noise."""

    __slots__ = ("_residues", "_seeds", "dealer", "keyholders", "noise_secret", "study", "threshold")

    def __init__(
        self,
        study: bytes,
        dealer: str,
        keyholders: int,
        threshold: int,
        seeds: Mapping[Subset, Seed],
        noise_secret: Seed,
    ) -> None:
        if tuple(seeds) != subsets(keyholders, threshold):
            raise SeedError(f"dealer {dealer}: there must be one seed for each set of {threshold - 1} keyholders")
        if len(study) != DIGEST_SIZE:
            raise ParameterError(f"dealer {dealer}: study must be a {DIGEST_SIZE}-byte hash")
        self.study, self.dealer, self.keyholders, self.threshold = study, dealer, keyholders, threshold
        self._seeds, self.noise_secret = dict(seeds), noise_secret
        self._residues: dict[Profile, NDArray[np.uint64]] = {}

    def __repr__(self) -> str:
        return f"<ContributorKey of {self.dealer}>"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a key cannot be pickled")

    @classmethod
    def deal(
        cls,
        study: bytes,
        dealer: str,
        keyholders: int,
        threshold: int,
        random: Callable[[int], bytes] = os.urandom,
    ) -> "ContributorKey":
        """A new key for one study. `random(size)` gives secret random bytes."""
        sets = subsets(keyholders, threshold)
        seeds = {subset: Seed(random(SEED_SIZE)) for subset in sets}
        return cls(study, dealer, keyholders, threshold, seeds, Seed(random(SEED_SIZE)))

    def seed_hashes(self) -> dict[Subset, bytes]:
        """The hash of every seed, in the order of `subsets`: what the dealer signs."""
        return {t: seed_hash(self.study, self.dealer, t, seed) for t, seed in self._seeds.items()}

    def seeds_for(self, keyholder: int) -> bytes:
        """What keyholder j gets, to be sealed to it: the seeds of every set without j, in the order of `subsets`."""
        _check_keyholder(keyholder, self.keyholders)
        return b"".join(seed.reveal() for subset, seed in self._seeds.items() if keyholder not in subset)

    def secret_residues(self, profile: Profile) -> NDArray[np.uint64]:
        """s_i: residues in transform form, shape (primes, N), made once and kept. Secret."""
        if profile not in self._residues:
            total = np.zeros((len(profile.primes), profile.ring_degree), np.uint64)
            for subset, seed in self._seeds.items():
                share = share_polynomial(profile, self.study, self.dealer, subset, seed)
                total = ring.added(profile, total, share)
            self._residues[profile] = total
        return self._residues[profile]

    def secret_polynomial(self, profile: Profile) -> ring.RingKey:
        """s_i, ready to be multiplied with."""
        return ring.RingKey(profile, self.secret_residues(profile))

    def noise_key(self, label_digest: bytes) -> bytes:
        """The cipher key of the noise of the one contribution for this label. Secret."""
        return prf(self.noise_secret.reveal(), "contribution noise", self.study, label_digest)

    def to_bytes(self) -> bytes:
        """Everything, for durable storage that the caller encrypts. Secret."""
        seeds = b"".join(seed.reveal() for seed in self._seeds.values())
        noise = self.noise_secret.reveal()
        return encode_parts(_STORED, self.study, self.dealer, self.keyholders, self.threshold, noise, seeds)

    @classmethod
    def from_bytes(cls, data: bytes) -> "ContributorKey":
        """The key that `to_bytes` wrote. Raises MalformedError for anything else."""
        tag, study, dealer, keyholders, threshold, noise, seeds = _decode_parts(data, 7)
        if tag != _STORED.encode() or len(keyholders) != 8 or len(threshold) != 8:
            raise MalformedError("these bytes are not a stored contributor key")
        n, t = int.from_bytes(keyholders, "little"), int.from_bytes(threshold, "little")
        try:
            sets = subsets(n, t)
            split = {subset: Seed(seeds[32 * i : 32 * i + 32]) for i, subset in enumerate(sets)}
            key = cls(study, dealer.decode(), n, t, split, Seed(noise))
        except (ParameterError, SeedError, UnicodeDecodeError) as error:
            raise MalformedError("these bytes are not a stored contributor key") from error
        if key.to_bytes() != data:
            raise MalformedError("a stored contributor key has bytes left over")
        return key

    def erase(self) -> None:
        """Destroy the seeds and the noise secret; whatever is asked of the key afterwards raises SeedError."""
        for seed in self._seeds.values():
            seed.erase()
        self.noise_secret.erase()
        for residues in self._residues.values():
            residues.fill(0)
        self._residues.clear()


def _decode_parts(data: bytes, count: int) -> list[bytes]:
    parts, position = [], 0
    for _ in range(count):
        size = int.from_bytes(data[position : position + 8], "little")
        part = data[position + 8 : position + 8 + size]
        if len(data) < position + 8 or len(part) != size:
            raise MalformedError("stored bytes end too early")
        parts.append(part)
        position += 8 + size
    return parts


def _check_keyholder(keyholder: int, keyholders: int) -> None:
    if not 0 <= keyholder < keyholders:
        raise ParameterError(f"keyholder {keyholder}: there are only {keyholders}, numbered from 0")


class DealtSeeds:
    """The seeds that one keyholder has from one dealer, known to match the dealer's hashes."""

    __slots__ = ("_seeds", "dealer", "keyholder", "keyholders", "study", "threshold")

    def __init__(
        self,
        study: bytes,
        dealer: str,
        keyholder: int,
        keyholders: int,
        threshold: int,
        seeds: Mapping[Subset, Seed],
    ) -> None:
        self.study, self.dealer, self.keyholder = study, dealer, keyholder
        self.keyholders, self.threshold, self._seeds = keyholders, threshold, dict(seeds)

    def __repr__(self) -> str:
        return f"<DealtSeeds of {self.dealer} for keyholder {self.keyholder}>"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("seeds cannot be pickled")

    @property
    def seeds(self) -> Mapping[Subset, Seed]:
        """The seed of each set without this keyholder."""
        return self._seeds

    def erase(self) -> None:
        """Destroy the seeds."""
        for seed in self._seeds.values():
            seed.erase()


def open_seeds(
    study: bytes,
    dealer: str,
    keyholder: int,
    keyholders: int,
    threshold: int,
    blob: bytes,
    hashes: Sequence[bytes],
) -> DealtSeeds:
    """The seeds inside an opened `seeds_for`, checked against the dealer's hashes, one for each of `subsets`.

    Raises SeedError unless these are exactly the seeds that this dealer's hashes for this study stand for.
    """
    sets = subsets(keyholders, threshold)
    _check_keyholder(keyholder, keyholders)
    held = [subset for subset in sets if keyholder not in subset]
    if len(hashes) != len(sets):
        raise SeedError(f"dealer {dealer}: {len(hashes)} hashes of seeds; {len(sets)} are right")
    if len(blob) != SEED_SIZE * len(held):
        raise SeedError(
            f"dealer {dealer}: {len(blob)} bytes of seeds for keyholder {keyholder}; {SEED_SIZE * len(held)} are right"
        )
    expected = dict(zip(sets, hashes, strict=True))
    seeds = {t: Seed(blob[SEED_SIZE * i : SEED_SIZE * (i + 1)]) for i, t in enumerate(held)}
    for subset, seed in seeds.items():
        if not hmac.compare_digest(seed_hash(study, dealer, subset, seed), expected[subset]):
            raise SeedError(f"dealer {dealer}: the seed for the set {subset} does not match the dealer's signed hash")
    return DealtSeeds(study, dealer, keyholder, keyholders, threshold, seeds)


class ShareKeys:
    """What one keyholder needs to answer in a study: for each set, all contributors' shares in one, and a noise key."""

    __slots__ = ("_noise", "_shares", "cohort", "dealers", "keyholder", "keyholders", "profile", "study", "threshold")

    def __init__(self, profile: Profile, study: bytes, cohort: bytes, deals: Mapping[str, DealtSeeds]) -> None:
        first = next(iter(deals.values()))
        self.profile, self.study, self.cohort, self.dealers = profile, study, cohort, tuple(sorted(deals))
        self.keyholder, self.keyholders, self.threshold = first.keyholder, first.keyholders, first.threshold
        self._shares: dict[Subset, ring.RingKey] = {}
        self._noise: dict[Subset, Seed] = {}
        for subset in first.seeds:
            seeds = {dealer: deal.seeds[subset] for dealer, deal in deals.items()}
            self._shares[subset] = _added_shares(profile, study, subset, seeds)
            self._noise[subset] = _added_noise_keys(cohort, subset, seeds)

    def __repr__(self) -> str:
        return f"<ShareKeys of keyholder {self.keyholder}>"

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("shares cannot be pickled")

    @classmethod
    def combine(cls, profile: Profile, study: bytes, cohort: bytes, deals: Mapping[str, DealtSeeds]) -> "ShareKeys":
        """Add up what the contributors of a cohort dealt to one keyholder; `deals` is by dealer.

        Raises SeedError for deals of another study, dealer, keyholder or sharing, ParameterError without any.
        """
        if not deals or len(study) != DIGEST_SIZE or len(cohort) != DIGEST_SIZE:
            raise ParameterError(f"shares need at least one dealer, and {DIGEST_SIZE}-byte hashes of study and cohort")
        sharing = _sharing_of(next(iter(deals.values())))
        for dealer, deal in deals.items():
            if deal.dealer != dealer or deal.study != study:
                raise SeedError(f"the seeds given for dealer {dealer} are of another dealer or another study")
            if _sharing_of(deal) != sharing:
                raise SeedError(f"the seeds of dealer {dealer} are for another keyholder or another sharing")
        return cls(profile, study, cohort, deals)

    @property
    def subsets(self) -> tuple[Subset, ...]:
        """The sets that this keyholder can answer for: all without itself, in order."""
        return tuple(self._shares)

    def share(self, subset: Subset) -> ring.RingKey:
        """The sum over the contributors of their shares for a set. Raises SeedError if this keyholder has none."""
        if subset not in self._shares:
            raise SeedError(f"keyholder {self.keyholder} has no share for the set {subset}")
        return self._shares[subset]

    def noise_key(self, subset: Subset, label_digest: bytes) -> bytes:
        """The cipher key of the noise in the one answer for a set and a label. Secret."""
        if subset not in self._noise:
            raise SeedError(f"keyholder {self.keyholder} has no share for the set {subset}")
        return prf(self._noise[subset].reveal(), "answer noise of a label", label_digest)

    def erase(self) -> None:
        """Destroy the shares and noise keys; whatever is asked of them afterwards raises SeedError."""
        for share in self._shares.values():
            share.erase()
        for key in self._noise.values():
            key.erase()
        self._shares.clear()
        self._noise.clear()


def _sharing_of(deal: DealtSeeds) -> tuple[int, int, int]:
    return deal.keyholder, deal.keyholders, deal.threshold


def _added_shares(profile: Profile, study: bytes, subset: Subset, seeds: Mapping[str, Seed]) -> ring.RingKey:
    total = np.zeros((len(profile.primes), profile.ring_degree), np.uint64)
    for dealer, seed in seeds.items():
        total = ring.added(profile, total, share_polynomial(profile, study, dealer, subset, seed))
    return ring.RingKey(profile, total)


def _added_noise_keys(cohort: bytes, subset: Subset, seeds: Mapping[str, Seed]) -> Seed:
    total = 0
    for dealer, seed in seeds.items():
        total ^= int.from_bytes(prf(seed.reveal(), "answer noise", dealer, mask_of(subset), cohort), "little")
    return Seed(total.to_bytes(SEED_SIZE, "little"))
