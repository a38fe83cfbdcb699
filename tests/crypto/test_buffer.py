"""Bytes that are written in place: handed out without a copy, and never changed afterwards."""

import mmap
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hefed.crypto import buffer
from hefed.crypto.buffer import Written

LONG = 5_000_000  # long enough for large pages


@pytest.mark.parametrize("size", [1, 7, 4096, LONG])
def test_bytes_are_zero_until_they_are_written_to(size):
    written = Written(size)
    assert written.taken() == bytes(size)
    written.array()[:] = 1
    assert written.taken() == b"\1" * size


@given(st.binary(min_size=1, max_size=50), st.binary(min_size=1, max_size=50))
def test_what_was_handed_out_stays_as_it_was(first, second):
    written = Written(max(len(first), len(second)))
    written.array()[: len(first)] = np.frombuffer(first, np.uint8)
    before = written.taken()
    copy = bytes(bytearray(before))
    written.array()[: len(second)] = np.frombuffer(second, np.uint8)
    assert before == copy
    assert written.taken() == second + before[len(second) :]
    array = written.array()  # somebody can still write
    held = written.taken()
    array.fill(0)
    assert held == second + before[len(second) :]


@pytest.mark.parametrize(("name", "value"), [("_ADVICE", None), ("sys.platform", "darwin")])
def test_where_no_large_pages_are_to_be_had_none_are_asked_for(name, value, monkeypatch):
    asked = []
    monkeypatch.setattr(buffer, "_madvise", lambda: lambda *pages: asked.append(pages))
    assert Written(LONG).taken() == bytes(LONG)
    ((begin, size, _),) = asked
    assert (begin % mmap.PAGESIZE, size % mmap.PAGESIZE) == (0, 0)
    assert LONG - 2 * mmap.PAGESIZE < size <= LONG  # whole pages, and none that is somebody else's
    monkeypatch.setattr(f"hefed.crypto.buffer.{name}", value)
    assert Written(LONG).taken() == bytes(LONG)
    assert len(asked) == 1


def test_nothing_is_copied():
    tracemalloc.start()
    try:
        written = Written(LONG)
        written.array()[::4096] = 1
        taken = written.taken()
        assert tracemalloc.get_traced_memory()[1] < 1.1 * LONG
        assert taken[4096] == 1
    finally:
        tracemalloc.stop()
