"""What the machine can do, one thread: the rates that bound a round. python -m benchmarks.limits prints them.

Each rate is the best of several tries of the plainest program for it: chains of multiplications and additions in
registers, eight lanes each; reading and writing of arrays that are far larger than the caches; AES-256-CTR, AES-256-GCM
and SHA-256 of the libraries that hefed uses, in pieces that stay in the cache.
"""

import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

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


def _seal_rate() -> float:
    zeros, out, cipher = bytes(PIECE), bytearray(PIECE + 16), AESGCM(bytes(32))
    return 256 * PIECE / _best(lambda: [cipher.encrypt_into(bytes(12), zeros, None, out) for _ in range(256)])


def _hash_rate() -> float:
    piece = bytes(PIECE)
    return 256 * PIECE / _best(lambda: [hashlib.sha256(piece).digest() for _ in range(256)])


def rates() -> dict[str, float]:
    """Operations of float64 a second in SIMD lanes (a multiplication counts as one, so does an addition), and bytes a
    second of memory (read and written together), cipher and hash.
    """
    return {
        "lane_operations": _multiply_add_rate(),
        "memory_bytes": _memory_rate(),
        "aes_bytes": _cipher_rate(),
        "seal_bytes": _seal_rate(),
        "sha256_bytes": _hash_rate(),
    }


PRODUCT = 6
"""Operations of an exact modular product: a w; fma; a (w / p); rounding; fma; addition."""


Counts = dict[str, float]


def operations(profile: Profile) -> Counts:
    """Operations in SIMD lanes for one value of a product with public polynomials, by the kernel that does them.

    The product with the key; a transform of log2(N) stages, each of one butterfly (a product, an addition, a
    subtraction) for two values, but with one product for four values in the first two stages, whose other roots are 1;
    the twist, the noise, the message and their reduction, about two products.
    """
    primes, stages = len(profile.primes), profile.ring_degree.bit_length() - 1
    butterflies = (stages - 2) / 2 * (PRODUCT + 2) + (PRODUCT + 8) / 4
    return {
        "load_products": primes * PRODUCT,
        "inverse_stages": primes * butterflies,
        "finish": primes * 2 * PRODUCT,
    }


def counts(profile: Profile) -> Counts:
    """What one value of a contribution takes at the least.

    AES gives 6 bytes of a public polynomial for each prime and 8 of noise. Memory: the value, its exponent, and what is
    packed; everything in between stays in the cache. SHA-256 goes over what is packed. Not counted: loads and stores,
    the table of the noise, the layout of packed bits.
    """
    packed = profile.bits_per_value / 8
    return {
        "lane_operations": sum(operations(profile).values()),
        "memory_bytes": 8 + 2 + packed,
        "aes_bytes": 6 * len(profile.primes) + 8,
        "seal_bytes": 0,
        "sha256_bytes": packed,
    }


def opening_counts(profile: Profile) -> Counts:
    """What one value of an opening takes at the least where two of three open: the keyholder that answers most, and a
    reader.

    The keyholder makes two answers, seals them and hashes what it sends. The reader opens the seals of three answers,
    hashes them and the opened sum, and touches the sum twice: to check it and to open it.
    """
    one, packed = counts(profile), profile.bits_per_value / 8
    return {
        "lane_operations": 2 * one["lane_operations"],
        "memory_bytes": 2 * packed + 3 * packed + 2 * packed + 8 + 2,
        "aes_bytes": 2 * one["aes_bytes"],
        "seal_bytes": (2 + 3) * packed,
        "sha256_bytes": (2 + 3 + 1) * packed,
    }


COUNTED: dict[str, Callable[[Profile], Counts]] = {"encrypt": counts, "open": opening_counts}


def bounds(measured: dict[str, float]) -> dict[str, dict[str, Counts]]:
    """For a contribution (`encrypt`) and an opening (`open`) of a million values, by profile: milliseconds that each of
    these would take alone, and their sum.
    """
    return {job: {name: _bound(measured, count(p)) for name, p in PROFILES.items()} for job, count in COUNTED.items()}


def _bound(measured: dict[str, float], count: Counts) -> Counts:
    each = {what: 1e9 * number / measured[what] for what, number in count.items()}
    return each | {"sum": sum(each.values())}


def main() -> None:
    """Prints rates and bounds as JSON."""
    measured = rates()
    print(json.dumps({"rates": measured, "bounds_ms_per_million": bounds(measured)}, indent=1))


if __name__ == "__main__":
    main()
