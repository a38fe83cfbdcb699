"""Eight float64 side by side, as a type that numba's compiled code can hold in SIMD registers.

One value of the type `Lanes` is one coefficient of eight blocks. LLVM turns its operations into whatever vector
instructions the processor has (or into single ones): each is an IEEE operation, rounded once, so the bits are the same
everywhere. Relies on numba's extension interface; only `kernels.py` uses this file, inside compiled code.

Modular products are exact in float64 for primes below 2**48 (van der Hoeven, Lecerf, Quintin, "Modular SIMD arithmetic
in Mathemagix", ACM TOMS 43, 2016; FLINT's fft_small): with h = a w rounded and q = a (w / p) rounded to an integer,
a w - q p = (h - q p) + (a w - h), where both brackets are integers below 2**53 that a fused multiply-add gives exactly.
"""

# mypy: disable-error-code="no-untyped-call, untyped-decorator"
# (numba's extension interface has no types.)

import operator
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from hefed.crypto.ring import LANES

_DOUBLE = ir.DoubleType()
_VECTOR = ir.VectorType(_DOUBLE, LANES)
_INDEX = ir.IntType(64)
_DOUBLE_ALIGNMENT = 8


class Lanes(types.Type):
    """The type of eight float64 in one register (or several)."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


lanes = Lanes()


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, frontend_type: Any) -> None:
        super().__init__(manager, frontend_type, _VECTOR)


def _operator(python_operator: Any, instruction: str) -> None:
    @infer_global(python_operator)
    class _Template(ConcreteTemplate):
        cases = (signature(lanes, lanes, lanes),)

    @lower_builtin(python_operator, lanes, lanes)
    def _lower(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args)


_operator(operator.add, "fadd")
_operator(operator.sub, "fsub")
_operator(operator.mul, "fmul")


def _call(builder: Any, name: str, *args: Any) -> Any:
    function_type = ir.FunctionType(_VECTOR, [_VECTOR] * len(args))
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), args)


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return _call(builder, f"llvm.fma.v{LANES}f64", a, b, c)


def _nearest(builder: Any, a: Any) -> Any:
    return _call(builder, f"llvm.nearbyint.v{LANES}f64", a)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, row: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    offset = builder.mul(row, ir.Constant(_INDEX, LANES))
    return builder.bitcast(builder.gep(data, [offset]), _VECTOR.as_pointer())


def _is_lane_array(array: Any) -> bool:
    return isinstance(array, types.Array) and array.dtype == types.float64 and array.layout == "C"


Generator = tuple[Any, Callable[..., Any]]


def _intrinsic(function: Callable[..., Generator | None]) -> Any:
    return intrinsic(function)


@_intrinsic
def load(typing_context: Any, array: Any, row: Any) -> Generator | None:
    """Row `row` of a C-contiguous float64 array whose last axis (or whose every eight entries) make one `Lanes`."""
    if not _is_lane_array(array):
        return None

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        loaded = builder.load(_pointer(context, builder, sig.args[0], args[0], args[1]))
        loaded.align = _DOUBLE_ALIGNMENT
        return loaded

    return lanes(array, types.intp), generate


@_intrinsic
def store(typing_context: Any, array: Any, row: Any, value: Any) -> Generator | None:
    """Write a `Lanes` to row `row` of such an array."""
    if not _is_lane_array(array):
        return None

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        stored = builder.store(args[2], _pointer(context, builder, sig.args[0], args[0], args[1]))
        stored.align = _DOUBLE_ALIGNMENT
        return context.get_dummy_value()

    return types.none(array, types.intp, lanes), generate


@_intrinsic
def spread(typing_context: Any, scalar: Any) -> Generator:
    """The same float64 in every lane."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        undefined = ir.Constant(_VECTOR, ir.Undefined)
        first = builder.insert_element(undefined, args[0], ir.Constant(ir.IntType(32), 0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(first, undefined, zeros)

    return lanes(types.float64), generate


@_intrinsic
def product(typing_context: Any, a: Any, w: Any, ratio: Any, p: Any) -> Generator:
    """An integer congruent to a w modulo p, of magnitude at most p (1/2 + 2**-53 |a|); exact.

    |w| <= p / 2, p < 2**48, |a| < 2**52; `ratio` is w / p rounded to float64.
    """

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, w, ratio, p = args
        high = builder.fmul(a, w)
        low = _fma(builder, a, w, builder.fneg(high))
        quotient = _nearest(builder, builder.fmul(a, ratio))
        return builder.fadd(_fma(builder, builder.fneg(quotient), p, high), low)

    return lanes(lanes, lanes, lanes, lanes), generate


@_intrinsic
def reduced(typing_context: Any, a: Any, inverse: Any, p: Any) -> Generator:
    """An integer congruent to the integer a modulo p, of magnitude at most p (1/2 + 2**-52 |a| / p); exact.

    |a| < 2**47 p; `inverse` is 1 / p rounded to float64.
    """

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, inverse, p = args
        quotient = _nearest(builder, builder.fmul(a, inverse))
        return _fma(builder, builder.fneg(quotient), p, a)

    return lanes(lanes, lanes, lanes), generate


@_intrinsic
def residue(typing_context: Any, a: Any, p: Any) -> Generator:
    """The residue 0 <= r < p of an integer -p <= a < 2p."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, p = args
        zero = ir.Constant(_VECTOR, [0.0] * LANES)
        raised = builder.select(builder.fcmp_ordered("<", a, zero), builder.fadd(a, p), a)
        return builder.select(builder.fcmp_ordered(">=", raised, p), builder.fsub(raised, p), raised)

    return lanes(lanes, lanes), generate


@_intrinsic
def nearest(typing_context: Any, a: Any) -> Generator:
    """The nearest integer of a float64, ties to even."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        function_type = ir.FunctionType(_DOUBLE, [_DOUBLE])
        rounding = cgutils.get_or_insert_function(builder.module, function_type, "llvm.nearbyint.f64")
        return builder.call(rounding, args)

    return types.float64(types.float64), generate


def _is_byte_array(data: Any) -> bool:
    return isinstance(data, types.Array) and data.dtype == types.uint8 and data.layout == "C"


def _word_pointer(context: Any, builder: Any, array_type: Any, array: Any, position: Any) -> Any:
    start = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(start, [position]), _INDEX.as_pointer())


@_intrinsic
def word_at(typing_context: Any, data: Any, position: Any) -> Generator | None:
    """The eight bytes from `position` of a uint8 array as a little-endian uint64; the array must reach that far."""
    if not _is_byte_array(data):
        return None

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        loaded = builder.load(_word_pointer(context, builder, sig.args[0], args[0], args[1]))
        loaded.align = 1
        return loaded

    return types.uint64(data, types.intp), generate


@_intrinsic
def store_word(typing_context: Any, data: Any, position: Any, word: Any) -> Generator | None:
    """Write a uint64 as eight little-endian bytes from `position` of a uint8 array, which must reach that far."""
    if not _is_byte_array(data):
        return None

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        stored = builder.store(args[2], _word_pointer(context, builder, sig.args[0], args[0], args[1]))
        stored.align = 1
        return context.get_dummy_value()

    return types.none(data, types.intp, types.uint64), generate


@_intrinsic
def multiply_add_wide(typing_context: Any, a: Any, b: Any, c: Any) -> Generator:
    """The 128-bit integer a b + c of three int64, as two int64: its lower and its upper 64 bits."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        wide = ir.IntType(128)
        a, b, c = (builder.sext(x, wide) for x in args)
        result = builder.add(builder.mul(a, b), c)
        upper = builder.ashr(result, ir.Constant(wide, 64))
        parts = [builder.trunc(x, _INDEX) for x in (result, upper)]
        return context.make_tuple(builder, sig.return_type, parts)

    return types.UniTuple(types.int64, 2)(types.int64, types.int64, types.int64), generate
