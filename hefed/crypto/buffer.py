"""Long byte strings that are written in place and handed out without a copy.

Relies on CPython's `BytesIO`, which gives its bytes away once nobody can write to them any more.
"""

import ctypes
import io
import mmap
import sys
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Buffer = bytes | memoryview
"""Bytes that are only read."""

_HUGE = 1 << 22  # from so many bytes on, as numpy has it
_ADVICE = getattr(mmap, "MADV_HUGEPAGE", None)


class Written:
    """`size` bytes, zero at first, written through `array` and then had from `taken`."""

    def __init__(self, size: int) -> None:
        self._file = io.BytesIO(bytes(size))
        if size >= _HUGE:
            _advise(self.array())

    def array(self) -> NDArray[np.uint8]:
        """The bytes, to be written to; while the array or a part of it lives, `taken` has to copy."""
        return np.frombuffer(self._file.getbuffer(), np.uint8)

    def taken(self) -> bytes:
        """The bytes as they are now. Writing to them afterwards takes a copy, and leaves what was handed out alone."""
        return self._file.getvalue()


def _advise(array: NDArray[np.uint8]) -> None:
    """Ask for large pages, as numpy does for its own arrays: thousands of page faults cost more than the arithmetic.

    Advice may be refused; nothing follows from that but time.
    """
    if _ADVICE is not None and sys.platform == "linux":
        begin = -(-array.ctypes.data // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (array.ctypes.data + array.size) // mmap.PAGESIZE * mmap.PAGESIZE
        _madvise()(begin, end - begin, _ADVICE)


@lru_cache(maxsize=1)
def _madvise() -> Any:
    function = ctypes.CDLL(None).madvise
    function.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return function
