"""Reductions and sorts: OpenVINO reduces integers by way of float32, and sorts equal numbers in any order."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx_openvino.nodes import Maker, drop, finish, replaced

__all__ = ["LONGEST", "mend_extreme", "mend_order_of_equals", "mend_unsigned_order"]

_WIDE = frozenset({DataType.INT32, DataType.UINT32, DataType.INT64})
_SIGN = np.array(-(2**31), np.int32)
_HIGH = np.array(-(2**16), np.int32)
_LOW = np.array(2**16 - 1, np.int32)
_TOO_LARGE = np.array(2**16, np.float32)
_TOO_SMALL = np.array(-1, np.float32)


def mend_extreme(graph: ir.Graph, node: ir.Node) -> str | None:
    """Find the largest integer by its halves, each of which float32 holds.

    Rewrite ``ReduceMax(x)`` of int32 to

        high = float(x & -65536)
        low = float(x & 65535)
        top = ReduceMax(high, keepdims=1)
        int(top) | int(ReduceMax(Where(high == top, low, -1), keepdims=1))

    and squeeze the axes if the result has none; ``ReduceMin`` likewise, and uint32 with the sign bit inverted.
    """
    x = node.inputs[0]
    assert x is not None
    if x.dtype not in _WIDE:
        return None
    if x.shape is not None and 0 in tuple(x.shape):
        return "nothing is reduced"
    make = Maker(graph, node)
    new = replaced(node)
    keeps = node.attributes.get_int("keepdims", 1) != 0
    axes = node.inputs[1] if len(node.inputs) > 1 else None
    if axes is None and node.attributes.get_int("noop_with_empty_axes", 0) == 1:
        return "without axes, nothing is reduced"
    kept = new.shape if keeps else None
    bits = _in_order(make, x) if x.dtype == DataType.UINT32 else make.cast(x, DataType.INT32)
    high = make.cast(make.like("BitwiseAnd", bits, make.constant(_HIGH)), DataType.FLOAT)
    low = make.cast(make.like("BitwiseAnd", bits, make.constant(_LOW)), DataType.FLOAT)

    def reduced(value: ir.Value) -> ir.Value:
        return make.op(node.op_type, value, axes, dtype=DataType.FLOAT, shape=kept, keepdims=1)

    top = reduced(high)
    is_top = make.op("Equal", high, top, dtype=DataType.BOOL, shape=x.shape)
    other = make.constant(_TOO_SMALL if node.op_type == "ReduceMax" else _TOO_LARGE)
    rest = reduced(make.op("Where", is_top, low, other, dtype=DataType.FLOAT, shape=x.shape))
    both = make.like("BitwiseOr", make.cast(top, DataType.INT32), make.cast(rest, DataType.INT32))
    if not keeps:
        both = make.op("Squeeze", both, axes, dtype=DataType.INT32, shape=new.shape)
    if x.dtype == DataType.UINT32:
        both = make.like("BitwiseXor", both, make.constant(_SIGN))
    finish(graph, node, new, "Cast", both, to=int(x.dtype))
    drop(graph, node)
    return None


LONGEST = 46340
"""The square of a length that int32 holds."""


def mend_order_of_equals(graph: ir.Graph, node: ir.Node) -> str | None:
    """Sort a second time, by numbers that differ, where the places of equal ones are asked for.

    Rewrite ``_, places = TopK(x, k)`` along an axis of n elements to

        values, order = TopK(x, n)                              equal ones in any order
        group = CumSum(int(values != the value before), axis)   which is 0, 1, … for each number that occurs
        _, second = TopK(group * n + order, n, largest=0)
        places = GatherElements(order, second)[:k]

    and of the single largest, to ``ArgMax(x)``, which gives the first of equal ones.
    """
    x, count = node.inputs
    assert x is not None
    assert count is not None
    if x.dtype in _IN_ORDER:
        return _sorted_in_another(graph, node)
    places = node.outputs[1]
    if not places.uses() and not places.is_graph_output():
        return None
    axis = node.attributes.get_int("axis", -1)
    size = None if x.shape is None else x.shape[axis]
    if isinstance(size, int) and size > LONGEST:
        return f"equal ones are brought into order among {LONGEST} elements at most"
    constant = ir.convenience.get_const_tensor(count)
    taken = None if constant is None else int(constant.numpy().reshape(()))
    make = Maker(graph, node)
    new = [replaced(node), replaced(node, 1)]
    if taken == 1:
        op_type = "ArgMax" if node.attributes.get_int("largest", 1) else "ArgMin"
        first = make.op(op_type, x, dtype=DataType.INT64, shape=new[1].shape, axis=axis, keepdims=1)
        results = [make.op("GatherElements", x, first, dtype=x.dtype, shape=new[0].shape, axis=axis), first]
    else:
        results = list(_sorted(make, node, axis))
        if taken is None or taken != size:
            start, along = make.ints(0), make.ints(axis)
            results = [
                make.op("Slice", value, start, count, along, dtype=value.dtype, shape=new[index].shape)
                for index, value in enumerate(results)
            ]
    for value, result in zip(new, results, strict=True):
        finish(graph, node, value, "Identity", result)
    drop(graph, node)
    return None


def mend_unsigned_order(graph: ir.Graph, node: ir.Node) -> str | None:
    """Find the largest uint32 among int32 in the same order: with the sign bit inverted."""
    x = node.inputs[0]
    if x is not None and x.dtype == DataType.UINT32:
        node.replace_input_with(0, _in_order(Maker(graph, node), x))
    return None


def _in_order(make: Maker, x: ir.Value) -> ir.Value:
    """Return int32 that are in the order of uint32."""
    return make.like("BitwiseXor", make.cast(x, DataType.INT32), make.constant(_SIGN))


_IN_ORDER = {DataType.UINT32: DataType.INT32, DataType.BFLOAT16: DataType.FLOAT}
"""Dtypes that are not sorted -> others that are, whose numbers are in the same order."""


def _sorted_in_another(graph: ir.Graph, node: ir.Node) -> str | None:
    """Rewrite ``TopK(x)`` to that of another dtype in the same order, whose values are brought back."""
    x, count = node.inputs
    assert x is not None
    assert x.dtype is not None
    assert count is not None
    make = Maker(graph, node)
    values, places = replaced(node), replaced(node, 1)
    dtype = _IN_ORDER[x.dtype]
    operand = _in_order(make, x) if x.dtype == DataType.UINT32 else make.cast(x, dtype)
    attributes = {name: attribute.as_int() for name, attribute in node.attributes.items()}
    found, order = make.pair("TopK", operand, count, dtypes=(dtype, DataType.INT64), shape=values.shape, **attributes)
    again = found.producer()
    assert again is not None
    back = make.like("BitwiseXor", found, make.constant(_SIGN)) if x.dtype == DataType.UINT32 else found
    finish(graph, node, values, "Cast", back, to=int(x.dtype))
    finish(graph, node, places, "Identity", order)
    drop(graph, node)
    return mend_order_of_equals(graph, again)


def _sorted(make: Maker, node: ir.Node, axis: int) -> tuple[ir.Value, ir.Value]:
    """Return all elements of the first operand in order, equal ones in the order that they have, and their places."""
    x = node.inputs[0]
    assert x is not None
    shape = x.shape
    known = None if shape is None else shape[axis]
    if isinstance(known, int):
        size = make.ints(known)
    else:
        ends = {"start": axis} if axis == -1 else {"start": axis, "end": axis + 1}
        size = make.op("Shape", x, dtype=DataType.INT64, shape=ir.Shape([1]), **ends)
    largest = node.attributes.get_int("largest", 1)
    values, order = make.pair(
        "TopK", x, size, dtypes=(x.dtype, DataType.INT64), shape=shape, axis=axis, largest=largest
    )
    start, along = make.ints(0), make.ints(axis)
    first = make.op("Slice", values, start, make.ints(1), along, dtype=x.dtype, shape=None)
    others = make.op("Slice", values, start, make.ints(-1), along, dtype=x.dtype, shape=None)
    before = make.op("Concat", first, others, dtype=x.dtype, shape=shape, axis=axis)
    steps = _differ(make, values, before)
    group = make.like("CumSum", steps, make.constant(np.array(axis, np.int64)))
    none = make.like("BitwiseAnd", group, make.constant(np.zeros((), np.int32)))
    factor = make.like("BitwiseOr", none, make.cast(size, DataType.INT32))  # no single number: see integers.mend_number
    key = make.like("Add", make.like("Mul", group, factor), make.cast(order, DataType.INT32))
    dtypes = DataType.INT32, DataType.INT64
    _, second = make.pair("TopK", key, size, dtypes=dtypes, shape=shape, axis=axis, largest=0)
    return make.like("GatherElements", values, second, axis=axis), make.like("GatherElements", order, second, axis=axis)


def _differ(make: Maker, x: ir.Value, y: ir.Value) -> ir.Value:
    """Return 1 where two values differ, else 0."""
    if x.dtype in _WIDE:
        bits = make.like("BitwiseXor", make.cast(x, DataType.INT32), make.cast(y, DataType.INT32))
        same = make.op("Equal", bits, make.constant(np.zeros((), np.int32)), dtype=DataType.BOOL, shape=x.shape)
    else:
        same = make.op("Equal", x, y, dtype=DataType.BOOL, shape=x.shape)
    return make.cast(make.like("Not", same), DataType.INT32)
