"""The part of the reference about names and keys: labels, seeds, what they expand to, and the keys of noise.

NOT FOR PRODUCTION, for the reasons that `encryption.py` gives. Relies on `primitives.py`; must not import hefed, numpy
or anything that hefed computes with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from protocols.reference.primitives import PRF, H, Profile, RefusedError, Subset, mask, uniform

# --- Labels ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Label:
    """One use of the keys of a study. Refused: fields outside the page's limits."""

    federation: str
    study: bytes
    cohort: bytes
    round: int
    purpose: str
    profile: Profile
    contributors: int
    exponents: tuple[int, ...]
    previous: bytes

    def __post_init__(self) -> None:
        if not len(self.study) == len(self.cohort) == len(self.previous) == 32:
            raise RefusedError("parameter", "a hash that is not 32 bytes")
        if self.round not in range(2**64):
            raise RefusedError("parameter", "a round that is not a u64")
        if self.contributors not in range(1, 4097):
            raise RefusedError("parameter", "too few or too many contributors")
        if self.values not in range(1, 2**30 + 1):
            raise RefusedError("parameter", "too few or too many values")
        if any(x not in range(-900, 901) for x in self.exponents):
            raise RefusedError("parameter", "an exponent out of its range")

    @property
    def values(self) -> int:
        return len(self.exponents)

    @property
    def digest(self) -> bytes:
        exponents = b"".join(x.to_bytes(2, "little", signed=True) for x in self.exponents)
        return H(
            "label",
            self.federation,
            self.study,
            self.cohort,
            self.round,
            self.purpose,
            self.profile.identifier,
            self.contributors,
            self.values,
            exponents,
            self.previous,
        )


# --- Seeds ----------------------------------------------------------------------------------------


def subsets(keyholders: int, threshold: int) -> tuple[Subset, ...]:
    """
    The sets of threshold - 1 keyholders, in the order in which seeds and hashes are listed.

    Pre-conditions:

        - `2 <= threshold <= keyholders`
    """
    return tuple(combinations(range(keyholders), threshold - 1))


def seed_hash(study: bytes, dealer: str, subset: Subset, seed: bytes) -> bytes:
    """
    Pre-conditions:

        - `len(study) == len(seed) == 32`
    """
    return H("seed", study, dealer, mask(subset), seed)


def seeds_for(keyholder: int, seeds: Mapping[Subset, bytes]) -> bytes:
    """
    What a dealer sends to one keyholder, before sealing.

    Pre-conditions:

        - `tuple(seeds) == subsets(keyholders, threshold)`
    """
    return b"".join(seed for subset, seed in seeds.items() if keyholder not in subset)


def open_seeds(
    study: bytes, dealer: str, keyholder: int, keyholders: int, threshold: int, data: bytes, hashes: Sequence[bytes]
) -> dict[Subset, bytes]:
    """
    The seeds that a keyholder got. Refused: a wrong number of seeds or hashes, a seed that does not match its hash.

    Pre-conditions:

        - `len(study) == 32`
        - `keyholder in range(keyholders)`
    """
    every = subsets(keyholders, threshold)
    held = [subset for subset in every if keyholder not in subset]
    if len(hashes) != len(every) or len(data) != 32 * len(held):
        raise RefusedError("seed", "wrong number of seeds or hashes")
    expected = dict(zip(every, hashes, strict=True))
    seeds = {subset: data[32 * i : 32 * (i + 1)] for i, subset in enumerate(held)}
    if any(seed_hash(study, dealer, subset, seed) != expected[subset] for subset, seed in seeds.items()):
        raise RefusedError("seed", "a seed does not match the hash that its dealer signed")
    return seeds


# --- Keys -----------------------------------------------------------------------------------------


def public_polynomial(profile: Profile, label: bytes, block: int, k: int) -> list[int]:
    """
    Pre-conditions:

        - `len(label) == 32`, the digest of a label
    """
    return uniform(profile, H("public polynomial", label), block, k)


def share(profile: Profile, seed: bytes, dealer: str, study: bytes, subset: Subset, k: int) -> list[int]:
    """
    What `seed` of `dealer` for `subset` adds to the dealer's key, in transform form.

    Pre-conditions:

        - `len(seed) == 32 and len(study) == 32`
    """
    return uniform(profile, PRF(seed, "share", dealer, study, mask(subset), profile.identifier), 0, k)


def secret_key(profile: Profile, seeds: Mapping[Subset, bytes], dealer: str, study: bytes, k: int) -> list[int]:
    """
    The key of a contributor: the sum of its shares, in transform form.

    Pre-conditions:

        - `tuple(seeds) == subsets(keyholders, threshold)`
    """
    shares = [share(profile, seed, dealer, study, subset, k) for subset, seed in seeds.items()]
    return [sum(column) % profile.primes[k] for column in zip(*shares, strict=True)]


# --- Noise keys -----------------------------------------------------------------------------------


def contribution_noise_key(noise_secret: bytes, study: bytes, label: bytes) -> bytes:
    """
    Pre-conditions:

        - `len(noise_secret) == len(study) == len(label) == 32`
    """
    return PRF(noise_secret, "contribution noise", study, label)


def combined_answer_noise_key(seeds: Mapping[str, bytes], subset: Subset, cohort: bytes) -> bytes:
    """
    `K_T`, from the seed for `subset` of each contributor, by name.

    Pre-conditions:

        - `len(seeds) >= 1`
        - `len(cohort) == 32`
    """
    combined = bytes(32)
    for dealer, seed in seeds.items():
        key = PRF(seed, "answer noise", dealer, mask(subset), cohort)
        combined = bytes(a ^ b for a, b in zip(combined, key, strict=True))
    return combined


def answer_noise_key(combined: bytes, label: bytes) -> bytes:
    """
    Pre-conditions:

        - `len(combined) == len(label) == 32`
    """
    return PRF(combined, "answer noise of a label", label)
