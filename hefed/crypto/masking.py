"""What contributions and answers have in common: a product with public polynomials, and noise, packed.

Works through a vector in groups of eight blocks, so that memory does not grow with its length beyond the packed bytes.
It must not be told what a key or a message means.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hefed.crypto import packing, ring, sampling
from hefed.crypto.errors import ParameterError
from hefed.crypto.label import Use
from hefed.crypto.ring import LANES, Floats, RingKey


class Messages(Protocol):
    """Where the integers to be encrypted come from, in order."""

    def fill(self, first: int, rows: Floats, used: int) -> None:
        """Write the integers from value `first` on to the first `used` of eight blocks, shape (8, N)."""


class Masks(Protocol):
    """Where the polynomials that hide the messages come from, in order."""

    def fill(self, k: int, group: Floats, first_block: int, used: int) -> None:
        """Write the next blocks, modulo prime number k, short of `ring.untwist`, to the first lanes of a group, or the
        only block of a vector to a lone block.
        """


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
        if ring.is_lone(self._profile, group):
            self._sources[k].fill_lone(group)
            ring.multiply(self._profile, k, group, self._key)
        else:
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
    if threads < 1:
        raise ParameterError(f"{threads} threads; there must be at least one")
    packer = packing.Packer(label.profile, label.values)

    def work(part: list[tuple[int, int]]) -> None:
        start = part[0][0]
        masker = _Masker(label, start, masks_from(start), noise_key, variance, messages)
        for first, used in part:
            with packer.group(first * label.profile.ring_degree) as packed:
                masker.write(first, used, packed)

    every = list(groups(label))
    size = -(-len(every) // threads)
    parts = [every[i : i + size] for i in range(0, len(every), size)]
    if len(parts) == 1:
        work(parts[0])
    else:
        with ThreadPoolExecutor(len(parts)) as pool:
            list(pool.map(work, parts))
    return packer.finish()


def masked_groups(label: Use, masks: Masks, noise_key: bytes, variance: Fraction) -> Iterator[memoryview]:
    """The bytes of `masked` without messages, one group after another; each stands only until the next is asked for."""
    masker = _Masker(label, 0, masks, noise_key, variance, None)
    profile = label.profile
    packed = packing.group_buffer(profile)
    for first, used in groups(label):
        masker.write(first, used, packed)
        count = min(label.values - first * profile.ring_degree, packing.group_values(profile))
        yield packing.cut(profile, packed, count).data.toreadonly()


class _Masker:
    """Masks, noise and messages of one group after another, from a block on."""

    def __init__(
        self,
        label: Use,
        first_block: int,
        masks: Masks,
        noise_key: bytes,
        variance: Fraction,
        messages: Messages | None,
    ) -> None:
        profile = label.profile
        self._profile, self._masks, self._messages = profile, masks, messages
        self._noise_source = sampling.NoiseSource(profile, noise_key, variance, first_block=first_block)
        self._values = label.values
        self._lone = profile.blocks(label.values) == 1
        rows, blocks = (profile.ring_degree // LANES, 1) if self._lone else (profile.ring_degree, LANES)
        self._noise, self._message = ring.block_rows(profile, blocks), ring.block_rows(profile, blocks)
        self._group = np.zeros((len(profile.primes), rows, LANES))
        self._moduli, self._widths = np.array(profile.primes, np.float64), packing.widths_of(profile)

    def write(self, first: int, used: int, packed: NDArray[np.uint8]) -> None:
        """The next group: `used` blocks from block `first` on."""
        from hefed.crypto import kernels

        self._noise_source.fill(self._noise, used)
        if self._messages is not None:
            self._messages.fill(first * self._profile.ring_degree, self._message, used)
        for k in range(len(self._profile.primes)):
            self._masks.fill(k, self._group[k], first, used)
        what = (self._group, *ring.twists_of(self._profile), self._noise.ravel(), self._message.ravel())
        how = (self._messages is not None, self._moduli, self._widths)
        if self._lone:
            kernels.finish_lone(*what, *how, self._values, packed)
        else:
            kernels.finish(*what, *how, packed)
