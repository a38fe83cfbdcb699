"""Eight times eight values in registers: from one block after another to eight blocks side by side, and back.

As `lanes`: operations that LLVM turns into whatever the processor has, for compiled code in `kernels` and
`packing_kernels` only. Shuffles and bit patterns of integers below 2**52 are exact.
"""

# mypy: disable-error-code="no-untyped-call, untyped-decorator"
# (numba's extension interface has no types.)

from collections.abc import Iterable
from typing import Any

from llvmlite import ir
from numba.core import types

from hefed.crypto.lanes import Generator, _intrinsic, _is_byte_array, _is_lane_array, lanes
from hefed.crypto.ring import LANES

_DOUBLE, _INDEX, _BYTE = ir.DoubleType(), ir.IntType(64), ir.IntType(8)
_DOUBLES, _WORDS = ir.VectorType(_DOUBLE, LANES), ir.VectorType(_INDEX, LANES)
_WORD_BYTES = 6
_READ = 8 * LANES  # bytes that are read for eight words: `words_to_rows` needs 16 more than the words have
_TWO_52 = 2.0**52  # the float64 2**52 + x has the bits of x < 2**52 in its lower 52
_TWO_52_BITS = 0x4330000000000000


def _constant(value: float) -> Any:
    return ir.Constant(_DOUBLES, [value] * LANES)


def _mask(indices: Iterable[int]) -> Any:
    chosen = list(indices)
    return ir.Constant(ir.VectorType(ir.IntType(32), len(chosen)), chosen)


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Entry j of row i becomes entry i of row j: three rounds of exchanges between pairs of rows."""
    distance = LANES // 2
    while distance:
        # Entries whose index has the bit `distance` go from one row of a pair to the other.
        low = _mask(i if not i & distance else LANES + i - distance for i in range(LANES))
        high = _mask(i + distance if not i & distance else LANES + i for i in range(LANES))
        following = list(rows)
        for i in range(LANES):
            if not i & distance:
                first, second = rows[i], rows[i + distance]
                following[i] = builder.shuffle_vector(first, second, low)
                following[i + distance] = builder.shuffle_vector(first, second, high)
        rows, distance = following, distance // 2
    return rows


def _start(context: Any, builder: Any, array_type: Any, array: Any) -> Any:
    return context.make_array(array_type)(context, builder, array).data


def _load(builder: Any, start: Any, position: Any, vector: Any) -> Any:
    loaded = builder.load(builder.bitcast(builder.gep(start, [position]), vector.as_pointer()))
    loaded.align = 1
    return loaded


def _store(builder: Any, start: Any, position: Any, value: Any) -> None:
    stored = builder.store(value, builder.bitcast(builder.gep(start, [position]), value.type.as_pointer()))
    stored.align = 1


def _index(value: int) -> Any:
    return ir.Constant(_INDEX, value)


@_intrinsic
def words_to_rows(typing_context: Any, data: Any, first: Any, step: Any, mask: Any, group: Any, row: Any) -> Any:
    """Eight six-byte words from each of the bytes first, first + step, ..., first + 7 step of `data`, under a mask of
    at most 48 bits, into rows row, ..., row + 7 of a lane group. Returns the largest of each lane.

    Sixteen bytes more than the words are read.
    """
    if not (_is_byte_array(data) and _is_lane_array(group)):
        return None

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data, first, step, mask, group, row = args
        source = _start(context, builder, sig.args[0], data)
        zero_bytes = ir.Constant(ir.VectorType(_BYTE, _READ), [0] * _READ)
        apart = _mask(_WORD_BYTES * (i // 8) + i % 8 if i % 8 < _WORD_BYTES else _READ for i in range(_READ))
        undefined = ir.Constant(_WORDS, ir.Undefined)
        one_mask = builder.insert_element(undefined, mask, ir.Constant(ir.IntType(32), 0))
        masks = builder.shuffle_vector(one_mask, undefined, _mask([0] * LANES))
        high_bits = ir.Constant(_WORDS, [_TWO_52_BITS] * LANES)
        rows, largest = [], None
        for lane in range(LANES):
            position = builder.add(first, builder.mul(step, _index(lane)))
            read = _load(builder, source, position, ir.VectorType(_BYTE, _READ))
            words = builder.bitcast(builder.shuffle_vector(read, zero_bytes, apart), _WORDS)
            bits = builder.or_(builder.and_(words, masks), high_bits)
            rows.append(builder.fsub(builder.bitcast(bits, _DOUBLES), _constant(_TWO_52)))
        target = _start(context, builder, sig.args[4], group)
        for i, values in enumerate(_transposed(builder, rows)):
            _store(builder, target, builder.mul(builder.add(row, _index(i)), _index(LANES)), values)
            if largest is None:
                largest = values
            else:
                largest = builder.select(builder.fcmp_ordered(">", values, largest), values, largest)
        return largest

    return lanes(data, types.intp, types.intp, types.int64, group, types.intp), generate


@_intrinsic
def largest(typing_context: Any, a: Any, b: Any) -> Generator:
    """The larger one in every lane."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, b = args
        return builder.select(builder.fcmp_ordered(">", a, b), a, b)

    return lanes(lanes, lanes), generate


@_intrinsic
def any_reaches(typing_context: Any, a: Any, bound: Any) -> Generator:
    """Whether a lane is at least the bound."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        compared = builder.fcmp_ordered(">=", *args)
        bits = builder.bitcast(compared, ir.IntType(LANES))
        return builder.icmp_unsigned("!=", bits, ir.Constant(ir.IntType(LANES), 0))

    return types.boolean(lanes, lanes), generate


@_intrinsic
def turn_rows(typing_context: Any, rows: Any, row: Any, out: Any, first: Any, step: Any) -> Generator | None:
    """Rows row, ..., row + 7 of one lane group: lane l becomes eight values from entry first + l step of `out`."""
    if not (_is_lane_array(rows) and _is_lane_array(out)):
        return None

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        rows, row, out, first, step = args
        source = _start(context, builder, sig.args[0], rows)
        loaded = [
            _load(builder, source, builder.mul(builder.add(row, _index(i)), _index(LANES)), _DOUBLES)
            for i in range(LANES)
        ]
        target = _start(context, builder, sig.args[2], out)
        for lane, values in enumerate(_transposed(builder, loaded)):
            _store(builder, target, builder.add(first, builder.mul(step, _index(lane))), values)
        return context.get_dummy_value()

    return types.none(rows, types.intp, out, types.intp, types.intp), generate


@_intrinsic
def store_six_bytes(typing_context: Any, out: Any, byte: Any, values: Any) -> Generator | None:
    """Eight integers 0 <= x < 2**48 as 48 bytes of a uint8 array, little-endian, from `byte` on."""
    if not _is_byte_array(out):
        return None

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        out, byte, values = args
        bits = builder.bitcast(builder.fadd(values, _constant(_TWO_52)), ir.VectorType(_BYTE, _READ))
        together = _mask(8 * (i // _WORD_BYTES) + i % _WORD_BYTES for i in range(_WORD_BYTES * LANES))
        packed = builder.shuffle_vector(bits, bits, together)
        _store(builder, _start(context, builder, sig.args[0], out), byte, packed)
        return context.get_dummy_value()

    return types.none(out, types.intp, lanes), generate


@_intrinsic
def load_six_bytes(typing_context: Any, data: Any, byte: Any) -> Generator | None:
    """Eight integers 0 <= x < 2**48 from 48 bytes of a uint8 array, from `byte` on."""
    if not _is_byte_array(data):
        return None

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data, byte = args
        size = _WORD_BYTES * LANES
        read = _load(builder, _start(context, builder, sig.args[0], data), byte, ir.VectorType(_BYTE, size))
        zero_bytes = ir.Constant(ir.VectorType(_BYTE, size), [0] * size)
        apart = _mask(_WORD_BYTES * (i // 8) + i % 8 if i % 8 < _WORD_BYTES else size for i in range(_READ))
        words = builder.bitcast(builder.shuffle_vector(read, zero_bytes, apart), _WORDS)
        bits = builder.or_(words, ir.Constant(_WORDS, [_TWO_52_BITS] * LANES))
        return builder.fsub(builder.bitcast(bits, _DOUBLES), _constant(_TWO_52))

    return lanes(data, types.intp), generate


@_intrinsic
def power_of_two(typing_context: Any, exponent: Any) -> Generator:
    """2.0**exponent, exactly, for -1022 <= exponent <= 1023 (int64)."""

    def generate(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        biased = builder.add(args[0], _index(1023))
        return builder.bitcast(builder.shl(biased, _index(52)), _DOUBLE)

    return types.float64(types.int64), generate
