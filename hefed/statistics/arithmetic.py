"""Arithmetic with the same bits on every IEEE-754 machine, for what all regions must decide alike.

Relies on: numpy's elementwise add, subtract, multiply, divide and square root, which IEEE-754 rounds correctly one by
one; `numpy.cumsum`, which adds from first to last; `math.fsum`, which is correctly rounded.
Must not: use BLAS, LAPACK, `dot`, `sum` (their order of addition depends on the machine) or exp and log of libm.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]

MINIMUM_EXPONENT: Final = -900
"""Stands for the exponent of zero: far below any bound that matters, still a normal float64 and one that can be
encrypted."""

LARGEST_GROWTH: Final = 709.0
"""Beyond this exp(x) leaves the range of float64."""

# fdlibm's e_log.c (Sun Microsystems, 1993): log 2 in two parts, and the Remez polynomial for log((1 + s) / (1 - s)).
_LN2_HIGH: Final = 6.93147180369123816490e-01
_LN2_LOW: Final = 1.90821492927058770002e-10
_LOG_POLYNOMIAL: Final = (
    1.479819860511658591e-01,
    1.531383769920937332e-01,
    1.818357216161805012e-01,
    2.222219843214978396e-01,
    2.857142874366239149e-01,
    3.999999999940941908e-01,
    6.666666666666735130e-01,
)


def logarithm(x: npt.ArrayLike) -> Float:
    """Natural logarithm of positive, normal numbers, within one unit in the last place, by elementwise operations only.

    The method is fdlibm's: x = 2^k m with m in [sqrt(1/2), sqrt(2)), f = m - 1, s = f / (2 + f).
    """
    mantissa, exponent = np.frexp(np.asarray(x, dtype=np.float64))
    low = mantissa < math.sqrt(0.5)
    k = (exponent - low).astype(np.float64)
    f = np.where(low, 2.0 * mantissa, mantissa) - 1.0
    s = f / (2.0 + f)
    z = s * s
    polynomial = np.zeros_like(z)
    for coefficient in _LOG_POLYNOMIAL:
        polynomial = (polynomial + coefficient) * z
    half_square = 0.5 * f * f
    return np.asarray(k * _LN2_HIGH - ((half_square - (s * (half_square + polynomial) + k * _LN2_LOW)) - f))


def ceiling_exponent(x: npt.ArrayLike) -> Int:
    """The smallest integer e with |x| <= 2^e, elementwise; `MINIMUM_EXPONENT` for what is smaller than that or zero."""
    magnitude = np.abs(np.asarray(x, dtype=np.float64))
    mantissa, exponent = np.frexp(magnitude)
    exact = np.where(mantissa == 0.5, exponent - 1, exponent).astype(np.int64)
    return np.asarray(np.where(magnitude > 0, np.maximum(exact, MINIMUM_EXPONENT), MINIMUM_EXPONENT))


def power_of_two(exponent: npt.ArrayLike) -> Float:
    """2^exponent, elementwise, exactly."""
    return np.ldexp(1.0, np.asarray(exponent, dtype=np.int64))


def exponential_bound(x: float) -> float:
    """At least exp(x) for x >= 0, less than 3 exp(x), without libm; inf beyond the range of float64 and for nan."""
    if x <= 1.0:
        return 1.0 + 2.0 * x
    if not x <= LARGEST_GROWTH:
        return math.inf
    return math.ldexp(1.0, math.ceil(1.4427 * x))  # 1.4427 > 1 / log(2)


def exact_sum(values: Iterable[float]) -> float:
    """The sum, correctly rounded; nan where it or a part of it is beyond float64, as false sums can make it."""
    try:
        return math.fsum(values)
    except (OverflowError, ValueError):  # ValueError: infinities of either sign
        return math.nan


def frozen(array: npt.ArrayLike) -> Float:
    """A read-only float64 copy."""
    copy = np.array(array, dtype=np.float64)
    copy.flags.writeable = False
    return copy


def upper_triangle(size: int) -> tuple[Int, Int]:
    """Indices of the upper triangle with its diagonal, row by row: the order in which matrices travel."""
    rows, columns = np.triu_indices(size)
    return rows.astype(np.int64), columns.astype(np.int64)


def symmetric(values: Float, size: int) -> Float:
    """The symmetric matrix (size, size) whose upper triangle is `values`."""
    rows, columns = upper_triangle(size)
    matrix = np.empty((size, size))
    matrix[rows, columns] = values
    matrix[columns, rows] = values
    return matrix


@dataclass(frozen=True)
class DependentColumn:
    """Pivot `index` of a factorisation vanished: that column follows from the earlier ones with these weights."""

    index: int
    weights: Float


@dataclass(frozen=True)
class Factor:
    """L D L' of a symmetric positive definite matrix: unit lower triangle and pivots."""

    lower: Float
    pivots: Float

    def solve(self, right: Float) -> Float:
        """The solution x (p or p x k) of L D L' x = right."""
        size = len(self.pivots)
        scale = self.pivots.reshape((-1,) + (1,) * (right.ndim - 1))
        x = np.array(right, dtype=np.float64)
        for j in range(size - 1):
            x[j + 1 :] -= np.multiply.outer(self.lower[j + 1 :, j], x[j])
        x /= scale
        for j in range(size - 1, 0, -1):
            x[:j] -= np.multiply.outer(self.lower[j, :j], x[j])
        return x

    def inverse(self) -> Float:
        """The inverse matrix (p, p)."""
        return self.solve(np.eye(len(self.pivots)))


def factorise(matrix: Float, smallest_pivots: Float) -> Factor | DependentColumn:
    """Right-looking L D L' of a symmetric matrix (p, p) without pivoting (Golub and Van Loan, section 4.1).

    A pivot j that is not above smallest_pivots[j] ends it: the answer is then how column j depends on those before it.
    """
    size = len(matrix)
    rest = np.array(matrix, dtype=np.float64)
    lower = np.eye(size)
    pivots = np.empty(size)
    for j in range(size):
        pivot = rest[j, j]
        if not pivot > smallest_pivots[j]:
            return DependentColumn(j, frozen(Factor(lower[:j, :j], pivots[:j]).solve(matrix[:j, j])))
        pivots[j] = pivot
        lower[j + 1 :, j] = rest[j + 1 :, j] / pivot
        rest[j + 1 :, j + 1 :] -= np.multiply.outer(lower[j + 1 :, j], rest[j + 1 :, j])
    return Factor(frozen(lower), frozen(pivots))
