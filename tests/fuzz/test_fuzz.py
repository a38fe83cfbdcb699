"""Whatever bytes a parser is given: it takes them or raises its typed errors, in bounded time and memory."""

import os
import subprocess
import sys
import tracemalloc
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutate import MIB
from tests.fuzz.running import LONGEST, SECONDS, change_of, refused
from tests.fuzz.targets import TARGETS, Target
from tests.fuzz.world import CORPUS, examples

EACH = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
MOST_MEMORY = 64 * MIB
"""That a call may hold at once, as Python counts; no example that is not a bomb has a megabyte."""
SAMPLE = 40


def test_every_parser_has_examples_and_every_example_a_parser() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
    for name in TARGETS:
        assert examples(name, "good")
        assert set(examples(name)) == {*examples(name, "good"), *examples(name, "bad")}


@EACH
def test_good_examples_are_accepted(target: Target) -> None:
    for name, data in examples(target.name, "good").items():
        assert not refused(target, data), name


@EACH
def test_past_failures_are_refused(target: Target) -> None:
    for name, data in examples(target.name, "bad").items():
        assert refused(target, data), name


@EACH
def test_changed_examples_and_bytes_at_random(target: Target) -> None:
    changed = change_of(target)
    wrong = 0

    @settings(
        max_examples=max(30, int(target.each * SECONDS / len(TARGETS))),
        deadline=timedelta(seconds=10 * LONGEST),  # by the clock, on a machine that does other things too
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.integers(0, 2**64).map(changed) | st.binary(max_size=400))
    @example(b"")
    def fuzz(data: bytes) -> None:
        nonlocal wrong
        wrong += refused(target, data)

    fuzz()
    assert wrong, "nothing that was tried is wrong"


@EACH
def test_memory_is_bounded(target: Target) -> None:
    changed = change_of(target)
    for seed in range(SAMPLE):
        data = changed(seed)
        tracemalloc.start()
        try:
            refused(target, data)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < MOST_MEMORY, (seed, peak)


BOMBED = """
import resource
from pathlib import Path
from tests.fuzz.mutate import BOMBS
from tests.fuzz.running import refused
from tests.fuzz.targets import TARGETS
from tests.fuzz.world import examples

for target in TARGETS.values():
    for data in examples(target.name, "good").values():
        assert not refused(target, data)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 96 * 2**20,) * 2)
for target in TARGETS.values():
    for name, bomb in BOMBS.items():
        try:
            refused(target, bytes(target.prefix) + bomb)
        except BaseException as error:
            error.add_note(name)
            raise
print("all went off")
"""
"""Every bomb for every parser, with 96 MiB of address space beside what the good examples took."""


def test_small_causes_have_no_large_effects() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BOMBED],
        env=os.environ | {"MALLOC_ARENA_MAX": "1"},  # a thread's own arena takes 64 MiB of addresses
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout == "all went off\n"
