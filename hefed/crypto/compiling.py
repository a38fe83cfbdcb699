"""How the compiled code of hefed.crypto is compiled, and the types of what it works on.

Compiled on first use and cached beside the source; without the interpreter's lock, so that threads run side by side; no
fast-math, so that every machine gives the same bits.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Words = NDArray[np.uint64]
Bytes = NDArray[np.uint8]
Exponents = NDArray[np.int16]


def compiled(function: Callable[..., Any], signature: str | None = None) -> Any:
    """The function, compiled by numba."""
    return numba.njit(signature, cache=True, nogil=True, error_model="numpy", boundscheck=False)(function)
