"""Where the time of a round's steps goes: python -m benchmarks.profiling [PROFILE [VALUES]].

While a step runs, every function that does its work on whole arrays is timed from outside: compiled kernels,
keystreams, SHA-256, seals. What is left of a step's time is Python and NumPy between them, and memory that is asked
for. Timing takes about a microsecond a call, of which there are some for every eight blocks.
"""

import argparse
import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from numba.core.dispatcher import Dispatcher

from benchmarks.rounds import Round
from hefed.crypto import kernels, packing_kernels, sampling
from hefed.crypto.parameters import PROFILES
from hefed.protocol.sealing import ContentCipher

REST = "rest"
"""The name of what is left of a step."""
STEPS: dict[str, Callable[[Round], object]] = {
    "encrypt": Round.encrypt,
    "check value": Round.own_check,
    "aggregate": Round.aggregate,
    "share answers": Round.answer,
    "read": Round.read,
}
"""The steps that are taken apart."""


class Watch:
    """Seconds in functions by name, each without those that it calls."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time taken."""

        def call(*args: Any, **others: Any) -> Any:
            self._inner.append(0.0)
            begun = time.perf_counter()
            try:
                return function(*args, **others)
            finally:
                spent = time.perf_counter() - begun
                self.seconds[name] += spent - self._inner.pop()
                self._inner[-1] += spent

        return call


class _Sha256:
    """A hash whose time is taken."""

    def __init__(self, watch: Watch, make: Callable[..., Any], *data: bytes) -> None:
        made = watch.timed("sha256", make)(*data)
        self.update, self.digest = watch.timed("sha256", made.update), watch.timed("sha256", made.digest)


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Times everything that `watch` is to see; it must have been compiled before."""
    sha256 = hashlib.sha256
    with ExitStack() as stack:
        for module in (kernels, packing_kernels):
            for name, kernel in list(vars(module).items()):
                if isinstance(kernel, Dispatcher) and kernel.py_func.__module__ == module.__name__:
                    stack.enter_context(patch.object(module, name, watch.timed(name, kernel)))
        for name in ("seal_into", "open_into", "open"):
            method = getattr(ContentCipher, name)
            stack.enter_context(patch.object(ContentCipher, name, watch.timed("seals", method)))
        fill = sampling.Keystream.fill
        stack.enter_context(patch.object(sampling.Keystream, "fill", watch.timed("keystream", fill)))
        stack.enter_context(patch.object(hashlib, "sha256", lambda *data: _Sha256(watch, sha256, *data)))
        yield


def profile(name: str, values: int, repetitions: int = 5) -> dict[str, dict[str, float]]:
    """For each step the seconds of its parts by name, REST among them, of the run that took least."""
    one = Round(name, values)
    one.read()
    found = {}
    for step, work in STEPS.items():
        work(one)
        best: dict[str, float] = {}
        for _ in range(repetitions):
            watch = Watch()
            with watched(watch):
                begun = time.perf_counter()
                work(one)
                spent = time.perf_counter() - begun
            parts = dict(watch.seconds)
            parts[REST] = spent - sum(parts.values())
            if not best or spent < sum(best.values()):
                best = parts
        found[step] = dict(sorted(best.items(), key=lambda part: -part[1]))
    return found


def main() -> None:
    """Prints milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("profile", choices=PROFILES, nargs="?", default="compact")
    parser.add_argument("values", type=int, nargs="?", default=1_000_000)
    chosen = parser.parse_args()
    for step, parts in profile(chosen.profile, chosen.values).items():
        print(step, json.dumps({part: round(1e3 * seconds, 3) for part, seconds in parts.items()}))


if __name__ == "__main__":
    main()
