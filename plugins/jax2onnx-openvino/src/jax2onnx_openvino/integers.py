"""Integers: OpenVINO orders and divides those of 32 bits by way of float32, and neither chooses nor shifts uint32."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx_openvino.nodes import Maker, chosen_by_mask, drop, finish, is_constant, replaced

__all__ = ["mend_choice", "mend_division", "mend_equal", "mend_number", "mend_order", "mend_shift"]

_SIGN = np.array(-(2**31), np.int32)
_HIGH = np.array(-(2**16), np.int32)
_LOW = np.array(2**16 - 1, np.int32)
_EXACT = frozenset({DataType.INT32, DataType.UINT32})
"""The dtypes of which all numbers occur; those of 64 bits are sizes, indices and the like."""
_SHORT = frozenset({DataType.INT16, DataType.UINT16})
"""The dtypes whose products float32 does not hold."""
_ORDERED = frozenset({DataType.INT32, DataType.UINT32, DataType.INT64})


def mend_number(graph: ir.Graph, node: ir.Node) -> str | None:
    """Keep OpenVINO from seeing that an operand is one constant number, by which it computes in float32.

    Rewrite ``Mul(x, c)`` of integers of 32 bits to ``Mul(x, (x & 0) | c)``, and ``Add`` and ``Sub`` likewise.
    """
    x, y = _pair(node)
    if x is None or y is None or x.dtype not in _EXACT or x.dtype is None:
        return None
    make = Maker(graph, node)
    for index, (value, other) in enumerate(((x, y), (y, x))):
        constant = ir.convenience.get_const_tensor(value)
        if constant is not None and constant.size == 1 and not is_constant(other):
            none = make.like("BitwiseAnd", other, make.constant(np.zeros((), x.dtype.numpy())))
            node.replace_input_with(
                index, make.op("BitwiseOr", none, value, dtype=x.dtype, shape=node.outputs[0].shape)
            )
    return None


def mend_order(graph: ir.Graph, node: ir.Node) -> str | None:
    """Order integers of 32 bits by their halves, each of which float32 holds.

    Rewrite ``Less(x, y)`` to ``high(x) < high(y) or high(x) == high(y) and low(x) < low(y)``, where ``high(x)`` is
    ``x & -65536`` (of uint32, with the sign bit inverted) and ``low(x)`` is ``x & 65535``; ``Max(x, y)`` to
    ``Where(Less(x, y), y, x)``, and the others likewise.
    """
    x, y = _pair(node)
    if x is None or y is None or x.dtype not in _ORDERED:
        is_exact = node.inputs[0] is None or node.inputs[0].dtype not in _ORDERED or len(node.inputs) == 2
        return None if is_exact else "only two operands are ordered"
    make = Maker(graph, node)
    new = replaced(node)
    swapped = node.op_type in {"Greater", "LessOrEqual", "Min"}
    less = _less(make, *((y, x) if swapped else (x, y)), new.shape)
    if node.op_type in {"Less", "Greater"}:
        finish(graph, node, new, "Identity", less)
    elif node.op_type in {"LessOrEqual", "GreaterOrEqual"}:
        finish(graph, node, new, "Not", less)
    else:  # Max: y where x < y; Min: y where y < x
        as_int = [make.cast(value, DataType.INT32) for value in (y, x)]
        chosen = chosen_by_mask(make, _mask(make, less), as_int, new.shape)
        finish(graph, node, new, "Cast", chosen, to=int(x.dtype))
    drop(graph, node)
    return None


def mend_equal(graph: ir.Graph, node: ir.Node) -> str | None:
    """Rewrite ``Equal(x, y)`` of integers of 32 bits to ``Equal(x ^ y, 0)``: only 0 is 0 in float32."""
    x, y = _pair(node)
    if x is None or y is None or x.dtype not in _ORDERED:
        return None
    make = Maker(graph, node)
    new = replaced(node)
    operands = make.cast(x, DataType.INT32), make.cast(y, DataType.INT32)
    differing = make.op("BitwiseXor", *operands, dtype=DataType.INT32, shape=new.shape)
    finish(graph, node, new, "Equal", differing, make.constant(np.zeros((), np.int32)))
    drop(graph, node)
    return None


def _pair(node: ir.Node) -> tuple[ir.Value | None, ir.Value | None]:
    return (node.inputs[0], node.inputs[1]) if len(node.inputs) == 2 else (None, None)


def _less(make: Maker, x: ir.Value, y: ir.Value, shape: ir.Shape | None) -> ir.Value:
    """Return whether x is less than y."""
    first, second = _halves(make, x), _halves(make, y)

    def op(op_type: str, *operands: ir.Value) -> ir.Value:
        return make.op(op_type, *operands, dtype=DataType.BOOL, shape=shape)

    tie = op("And", op("Equal", first[0], second[0]), op("Less", first[1], second[1]))
    return op("Or", op("Less", first[0], second[0]), tie)


def _halves(make: Maker, value: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Return the high and the low 16 bits, as int32 that are in the order of the values."""
    bits = make.cast(value, DataType.INT32)
    if value.dtype == DataType.UINT32:
        bits = make.like("BitwiseXor", bits, make.constant(_SIGN))
    return make.like("BitwiseAnd", bits, make.constant(_HIGH)), make.like("BitwiseAnd", bits, make.constant(_LOW))


def mend_choice(graph: ir.Graph, node: ir.Node) -> str | None:
    """Choose between integers of 32 bits by a mask: a choice behind a comparison is executed in float32 with it.

    Rewrite ``Where(c, x, y)`` to ``y ^ ((x ^ y) & -int32(c))``.
    """
    condition, x, y = node.inputs
    assert condition is not None
    assert x is not None
    assert y is not None
    if x.dtype not in _EXACT | _SHORT:
        return None
    make = Maker(graph, node)
    new = replaced(node)
    operands = [make.cast(x, DataType.INT32), make.cast(y, DataType.INT32)]
    chosen = chosen_by_mask(make, _mask(make, condition), operands, new.shape)
    finish(graph, node, new, "Cast", chosen, to=int(x.dtype))
    drop(graph, node)
    return None


def _mask(make: Maker, condition: ir.Value) -> ir.Value:
    """Return -1 or 0, as an int32."""
    return make.like("Neg", make.cast(condition, DataType.INT32))


def mend_shift(graph: ir.Graph, node: ir.Node) -> str | None:
    """Shift uint32 by products of their halves with powers of two, which are exact in float32.

    Rewrite ``BitShift(x, n, direction="LEFT")`` to ``x * 2**n``, and to the right, of ``x`` as int32, to

        (int(floor(float(x & -65536) * 2**-n)) | int(floor(float(x & 65535) * 2**-n))) & (2**(32 - n) - 1)

    The powers are taken from constants of 32 numbers; JAX has no shifts by more.
    """
    x, count = node.inputs
    assert x is not None
    assert count is not None
    if x.dtype not in _WIDTHS:
        return "uint64 is not shifted"
    make = Maker(graph, node)
    if x.dtype != DataType.UINT32:
        return _shift_bytes(graph, node, make)
    index = make.like("Min", make.cast(count, DataType.INT32), make.constant(np.array(31, np.int32)))
    new = replaced(node)
    exponents = np.arange(32)
    if node.attributes.get_string("direction") == "LEFT":
        powers = make.constant((2**exponents).astype(np.uint32))
        factor = make.op("Gather", powers, index, dtype=x.dtype, shape=count.shape)
        finish(graph, node, new, "Mul", x, factor)
        drop(graph, node)
        return None
    factor = make.op(
        "Gather", make.constant(np.exp2(-exponents).astype(np.float32)), index, dtype=DataType.FLOAT, shape=count.shape
    )
    kept = np.array([(1 << (32 - n)) - 1 for n in range(32)], np.uint32).view(np.int32)
    mask = make.op("Gather", make.constant(kept), index, dtype=DataType.INT32, shape=count.shape)
    bits = make.cast(x, DataType.INT32)
    parts = []
    for half in (_HIGH, _LOW):
        part = make.cast(make.like("BitwiseAnd", bits, make.constant(half)), DataType.FLOAT)
        shifted = make.op(
            "Floor",
            make.op("Mul", part, factor, dtype=DataType.FLOAT, shape=new.shape),
            dtype=DataType.FLOAT,
            shape=new.shape,
        )
        parts.append(make.cast(shifted, DataType.INT32))
    both = make.like("BitwiseAnd", make.like("BitwiseOr", *parts), mask)
    finish(graph, node, new, "Cast", both, to=int(DataType.UINT32))
    drop(graph, node)
    return None


_WIDTHS = {DataType.UINT8: 8, DataType.UINT16: 16, DataType.UINT32: 32}


def _shift_bytes(graph: ir.Graph, node: ir.Node, make: Maker) -> str | None:
    """Rewrite ``BitShift(x, n)`` of 8 or 16 bits to ``Cast(BitShift(uint32(x), n) & (2**bits - 1))``."""
    x, count = node.inputs
    assert x is not None
    assert x.dtype is not None
    assert count is not None
    new = replaced(node)
    operands = [make.cast(value, DataType.UINT32) for value in (x, count)]
    direction = node.attributes.get_string("direction")
    shifted = make.op("BitShift", *operands, dtype=DataType.UINT32, shape=new.shape, direction=direction)
    kept = make.constant(np.array(2 ** _WIDTHS[x.dtype] - 1, np.uint32))
    finish(graph, node, new, "Cast", make.like("BitwiseAnd", shifted, kept), to=int(x.dtype))
    drop(graph, node)
    inner = shifted.producer()
    assert inner is not None
    return mend_shift(graph, inner)


def mend_division(graph: ir.Graph, node: ir.Node) -> str | None:
    """Divide int32 by quotients in float32, twice, and correct the last unit.

    Rewrite ``Div(x, y)`` to

        q = int(float(x) / float(y))
        q = q + int(float(x - q * y) / float(y))
        r = x - q * y
        q - (r < 0 and x > 0, or r > 0 and x < 0) * sign + (abs(r) >= abs(y)) * sign

    where the products wrap, and ``Mod(x, y)`` of the sign of x likewise, of which r is kept.
    """
    x, y = node.inputs
    assert x is not None
    assert y is not None
    if node.op_type == "Mod" and x.dtype is not None and x.dtype.is_floating_point():
        return "the remainder of floats is rounded where the quotient is large"
    if x.dtype not in {DataType.INT32, DataType.INT64}:
        return None
    if node.op_type == "Mod" and not node.attributes.get_int("fmod", 0):
        return "only the remainder of the sign of the dividend is computed"
    make = Maker(graph, node)
    new = replaced(node)
    shape, whole, real = new.shape, x.dtype, DataType.FLOAT

    def op(op_type: str, *operands: ir.Value, dtype: DataType = whole) -> ir.Value:
        return make.op(op_type, *operands, dtype=dtype, shape=shape)

    zero = make.constant(np.array(0, whole.numpy()))
    divisor = make.cast(y, real)
    quotient = zero
    for _ in range(2):
        rest = op("Sub", x, op("Mul", quotient, y)) if quotient is not zero else x
        ratio = op("Div", make.cast(rest, real), divisor, dtype=real)
        step = make.op("Cast", ratio, dtype=whole, shape=shape, to=int(whole))
        quotient = step if quotient is zero else op("Add", quotient, step)
    rest = op("Sub", x, op("Mul", quotient, y))
    # The remainder has the sign of x, or is 0; else the quotient is one too far from 0.
    signs = make.like("Sign", x), make.like("Sign", y)
    wrong = op("Less", op("Mul", op("Sign", rest), signs[0]), zero, dtype=DataType.BOOL)
    same = op("Mul", *signs)
    down = op("Where", wrong, same, zero)
    quotient = op("Sub", quotient, down)
    rest = op("Add", rest, op("Mul", down, y))
    # Of -2**31, there is no absolute value, so that the negative ones are compared.
    sizes = op("Min", rest, op("Neg", rest)), make.like("Min", y, make.like("Neg", y))
    short = op("Not", _less(make, sizes[1], sizes[0], shape), dtype=DataType.BOOL)
    up = op("Where", short, same, zero)
    if node.op_type == "Mod":
        finish(graph, node, new, "Sub", rest, op("Mul", up, y))
    else:
        finish(graph, node, new, "Add", quotient, up)
    drop(graph, node)
    return None
