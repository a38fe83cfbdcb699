"""One call of a parser, watched: what it raised, and how much time it took."""

import os
import time
from collections.abc import Callable
from functools import cache
from random import Random

from tests.fuzz.targets import Target
from tests.fuzz.world import examples

SECONDS = float(os.environ.get("HEFED_FUZZ_SECONDS", "40"))
"""About how long all targets together are fuzzed."""
LONGEST = 2.0
"""Seconds of processor time that a call may take at most."""


def refused(target: Target, data: bytes) -> bool:
    """Whether it raised what it may raise; otherwise it took the bytes. Anything else is raised on, with the bytes."""
    _warm(target)
    was_refused = False
    began = time.process_time()
    try:
        target.call(data)
    except target.errors:  # not kept: it would hold what it was raised over
        was_refused = True
    except BaseException as error:
        error.add_note(f"{target.name}: {kept(data)}")
        raise
    took = time.process_time() - began
    if took > LONGEST:
        raise AssertionError(f"{target.name} took {took:.1f} s: {kept(data)}")
    return was_refused


@cache
def _warm(target: Target) -> None:
    """What is loaded and compiled once counts for no call."""
    for data in examples(target.name, "good").values():
        target.call(data)


def kept(data: bytes) -> str:
    """The bytes as they can be made a file of the corpus."""
    return f"bytes.fromhex('{data.hex()}')" if len(data) <= 10_000 else f"{len(data)} bytes, {data[:100]!r}..."


def change_of(target: Target) -> Callable[[int], bytes]:
    """What makes of a number the changed example that it stands for."""
    right = list(examples(target.name).values())

    def changed(seed: int) -> bytes:
        random = Random(seed)  # noqa: S311  nothing secret
        return target.mutated(random.choice(right), random, right)

    return changed
