"""Round 0: vectors that everybody can compute from the label, summed through the keys, noise, network and threshold
of the real rounds.
"""

import hashlib

import numpy as np
import numpy.typing as npt

from hefed.crypto.hashing import encode_parts

PURPOSE = "known answer"
VALUES = 64
EXPONENTS: npt.NDArray[np.int16] = np.resize(np.array([-20, 0, 20], dtype=np.int16), VALUES)
"""Small, middling and large values, so that a scale gone wrong shows."""

BITS = 40
"""Of each value, so that float64 holds the sum of as many as 2^13 contributors exactly."""


def vector(label: bytes, contributor: str) -> npt.NDArray[np.float64]:
    """The vector of one contributor: float64[VALUES], binary fractions within their exponents."""
    stream = hashlib.shake_256(encode_parts("hefed/1 known answer", label, contributor)).digest(8 * VALUES)
    words = np.frombuffer(stream, dtype="<i8") >> (63 - BITS)
    return np.ldexp(words.astype(np.float64), EXPONENTS.astype(np.int32) - BITS)
