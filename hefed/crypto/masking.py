"""What contributions and answers have in common: a product with public polynomials, and noise, packed.

Works through a vector in groups of eight blocks, so that memory does not grow with its length beyond the packed bytes.
It must not be told what a key or a message means.
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import Protocol

import numpy as np

from hefed.crypto import packing, ring, sampling
from hefed.crypto.label import Use
from hefed.crypto.ring import LANES, Floats, RingKey


class Messages(Protocol):
    """Where the integers to be encrypted come from, in order."""

    def fill(self, first: int, rows: Floats, used: int) -> None:
        """Write the integers from value `first` on to the first `used` of eight blocks, shape (8, N)."""


class Masks(Protocol):
    """Where the polynomials that hide the messages come from, in order."""

    def fill(self, k: int, group: Floats, first_block: int, used: int) -> None:
        """Write the next blocks, modulo prime number k, short of `ring.untwist`, to the first lanes of a group."""


class PublicProducts:
    """The masks inverse transform(a_L * key): a label's public polynomials times a key."""

    def __init__(self, label: Use, key: RingKey) -> None:
        profile = label.profile
        self._profile, self._key = profile, key
        self._sources = [sampling.UniformSource(profile, label.public_key, k) for k in range(len(profile.primes))]

    def fill(self, k: int, group: Floats, first_block: int, used: int) -> None:
        """The next blocks short of `ring.untwist`; blocks are asked for in order."""
        self._sources[k].fill_products(group, used, self._key)
        ring.inverse_stages(self._profile, k, group)


def groups(label: Use) -> Iterator[tuple[int, int]]:
    """The first block and the number of blocks of each lane group of a label's vector."""
    blocks = label.profile.blocks(label.values)
    for first in range(0, blocks, LANES):
        yield first, min(LANES, blocks - first)


def masked(label: Use, masks: Masks, noise_key: bytes, variance: Fraction, messages: Messages | None) -> bytes:
    """Masks plus noise, plus messages if there are any, modulo each prime and packed."""
    from hefed.crypto import kernels

    profile = label.profile
    packer = packing.Packer(profile, label.values)
    noise_source = sampling.NoiseSource(profile, noise_key, variance)
    noise, message = ring.block_rows(profile), ring.block_rows(profile)
    group = np.zeros((len(profile.primes), profile.ring_degree, LANES))
    twists, ratios = ring.twists_of(profile)
    moduli, widths = np.array(profile.primes, np.float64), packing.widths_of(profile)
    for first, used in groups(label):
        noise_source.fill(noise, used)
        if messages is not None:
            messages.fill(first * profile.ring_degree, message, used)
        for k in range(len(profile.primes)):
            masks.fill(k, group[k], first, used)
        with packer.group() as packed:
            kernels.finish(
                group, twists, ratios, noise.ravel(), message.ravel(), messages is not None, moduli, widths, packed
            )
    return packer.finish()
