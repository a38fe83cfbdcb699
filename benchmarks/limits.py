"""What the machine can do, one thread: the rates that bound a round. python -m benchmarks.limits prints them.

Each rate is the best of several tries of the plainest program for it: chains of multiplications and additions in
registers, eight lanes each; reading and writing of arrays that are far larger than the caches; AES-256-CTR and SHA-256
of the libraries that hefed uses, in pieces that stay in the cache.
"""

import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from hefed.crypto.parameters import PROFILES, Profile

STEPS = 2_000_000
"""Of eight independent chains, which hide the latency of an operation."""
LARGE, PIECE = 1 << 25, 1 << 16


def _best(work: Callable[[], object], tries: int = 7) -> float:
    times = []
    for _ in range(tries):
        begun = time.perf_counter()
        work()
        times.append(time.perf_counter() - begun)
    return min(times)


def _multiply_add_rate() -> float:
    from hefed.crypto import lanes

    @numba.njit
    def chains(data: Any, steps: int) -> None:
        w, p = lanes.load(data, 0), lanes.load(data, 1)
        a0, a1, a2, a3 = lanes.load(data, 2), lanes.load(data, 3), lanes.load(data, 4), lanes.load(data, 5)
        a4, a5, a6, a7 = lanes.load(data, 6), lanes.load(data, 7), lanes.load(data, 8), lanes.load(data, 9)
        for _ in range(steps):
            a0, a1, a2, a3 = a0 * w + p, a1 * w + p, a2 * w + p, a3 * w + p
            a4, a5, a6, a7 = a4 * w + p, a5 * w + p, a6 * w + p, a7 * w + p
        for i, a in enumerate((a0, a1, a2, a3, a4, a5, a6, a7)):
            lanes.store(data, 2 + i, a)

    data = np.full((10, 8), 0.5)
    chains(data, 1)
    return 8 * 8 * 2 * STEPS / _best(lambda: chains(data, STEPS))


def _memory_rate() -> float:
    source, target = np.ones(LARGE), np.ones(LARGE)
    return 16 * LARGE / _best(lambda: np.copyto(target, source))


def _cipher_rate() -> float:
    zeros, out = bytes(PIECE), bytearray(PIECE)
    encryptor = Cipher(algorithms.AES(bytes(32)), modes.CTR(bytes(16))).encryptor()
    return 256 * PIECE / _best(lambda: [encryptor.update_into(zeros, out) for _ in range(256)])


def _hash_rate() -> float:
    data = bytes(256 * PIECE)
    return 256 * PIECE / _best(lambda: hashlib.sha256(data).digest())


def rates() -> dict[str, float]:
    """Operations of float64 a second in SIMD lanes (a multiplication counts as one, so does an addition), and bytes a
    second of memory (read and written together), cipher and hash.
    """
    return {
        "lane_operations": _multiply_add_rate(),
        "memory_bytes": _memory_rate(),
        "aes_bytes": _cipher_rate(),
        "sha256_bytes": _hash_rate(),
    }


PRODUCT = 6
"""Operations of an exact modular product: a w; fma; a (w / p); rounding; fma; addition."""


def counts(profile: Profile, engine_masks: int = 1) -> dict[str, float]:
    """What one value of a contribution, or of one answer, takes at the least.

    A transform has log2(N) / 2 butterflies a value, each a product, an addition and a subtraction; one product with the
    key and one with the twist; reduction of the result, noise and message, about PRODUCT again. AES gives 6 bytes of a
    public polynomial for each prime and 8 of noise. Memory: the value, its exponent, and what is packed; everything in
    between stays in the cache. SHA-256 goes over what is packed.
    """
    primes, stages = len(profile.primes), profile.ring_degree.bit_length() - 1
    packed = profile.bits_per_value / 8
    return {
        "lane_operations": engine_masks * primes * (stages / 2 * (PRODUCT + 2) + 3 * PRODUCT),
        "memory_bytes": 8 + 2 + packed,
        "aes_bytes": 6 * primes + 8,
        "sha256_bytes": packed,
    }


def bounds(measured: dict[str, float]) -> dict[str, dict[str, float]]:
    """Milliseconds for a million values of a contribution by each of these, were it alone, and in all."""
    found = {}
    for name, profile in PROFILES.items():
        each = {what: 1e9 * count / measured[what] for what, count in counts(profile).items()}
        found[name] = each | {"sum": sum(each.values())}
    return found


def main() -> None:
    """Prints rates and bounds as JSON."""
    measured = rates()
    print(json.dumps({"rates": measured, "bounds_ms_per_million": bounds(measured)}, indent=1))


if __name__ == "__main__":
    main()
