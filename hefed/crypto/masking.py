"""What contributions and answers have in common: a product with public polynomials, and noise, packed.

Works through a vector in groups of eight blocks, so that memory does not grow with its length beyond the packed bytes.
It must not be told what a key or a message means.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Protocol

import numpy as np

from hefed.crypto import packing, ring, sampling
from hefed.crypto.errors import ParameterError
from hefed.crypto.label import Use
from hefed.crypto.parameters import Profile
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

    def __init__(self, label: Use, key: RingKey, first_block: int = 0) -> None:
        profile = label.profile
        self._profile, self._key = profile, key
        self._sources = [
            sampling.UniformSource(profile, label.public_key, k, first_block) for k in range(len(profile.primes))
        ]

    def fill(self, k: int, group: Floats, first_block: int, used: int) -> None:
        """The next blocks short of `ring.untwist`; blocks are asked for in order."""
        self._sources[k].fill_products(group, used, self._key)
        ring.inverse_stages(self._profile, k, group)


def groups(label: Use) -> Iterator[tuple[int, int]]:
    """The first block and the number of blocks of each lane group of a label's vector."""
    blocks = label.profile.blocks(label.values)
    for first in range(0, blocks, LANES):
        yield first, min(LANES, blocks - first)


def masked(
    label: Use,
    masks_from: Callable[[int], Masks],
    noise_key: bytes,
    variance: Fraction,
    messages: Messages | None,
    threads: int = 1,
) -> bytes:
    """Masks plus noise, plus messages if there are any, modulo each prime and packed.

    `masks_from(b)` are the masks from block b on. With more threads than one each takes a range of blocks: the bytes
    are the same. Raises ParameterError for less than one thread.
    """
    packer = packing.Packer(label.profile, label.values)
    mask_into(packer, label, masks_from, noise_key, variance, messages, threads)
    return packer.finish()


def mask_into(
    packer: packing.Packer,
    label: Use,
    masks_from: Callable[[int], Masks],
    noise_key: bytes,
    variance: Fraction,
    messages: Messages | None,
    threads: int = 1,
) -> None:
    """`masked` into a packer of the label's length, which is not finished."""

    def work(part: list[tuple[int, int]]) -> None:
        start = part[0][0]
        noise = sampling.NoiseSource(label.profile, noise_key, variance, first_block=start)
        _mask(label.profile, part, masks_from(start), noise, messages, packer)

    by_threads(work, list(groups(label)), threads)


def by_threads(work: Callable[[list[tuple[int, int]]], None], every: list[tuple[int, int]], threads: int) -> None:
    """Do the work on all groups, each thread on a range of them. Raises ParameterError for less than one thread."""
    if threads < 1:
        raise ParameterError(f"{threads} threads; there must be at least one")
    size = -(-len(every) // threads)
    parts = [every[i : i + size] for i in range(0, len(every), size)]
    if len(parts) == 1:
        work(parts[0])
    else:
        with ThreadPoolExecutor(len(parts)) as pool:
            list(pool.map(work, parts))


def _mask(
    profile: Profile,
    part: list[tuple[int, int]],
    masks: Masks,
    noise_source: sampling.NoiseSource,
    messages: Messages | None,
    packer: packing.Packer,
) -> None:
    from hefed.crypto import kernels

    noise, message = ring.block_rows(profile), ring.block_rows(profile)
    group = np.zeros((len(profile.primes), profile.ring_degree, LANES))
    twists, ratios = ring.twists_of(profile)
    moduli, widths = np.array(profile.primes, np.float64), packing.widths_of(profile)
    for first, used in part:
        noise_source.fill(noise, used)
        if messages is not None:
            messages.fill(first * profile.ring_degree, message, used)
        for k in range(len(profile.primes)):
            masks.fill(k, group[k], first, used)
        with packer.group(first * profile.ring_degree) as packed:
            kernels.finish(
                group, twists, ratios, noise.ravel(), message.ravel(), messages is not None, moduli, widths, packed
            )
