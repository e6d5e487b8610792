"""Conversions: OpenVINO converts uint32 as if it were int32, and takes -2**31 for false."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx_openvino.nodes import Maker, chosen_by_mask, drop, finish, replaced

__all__ = ["mend_from_unsigned", "mend_to_unsigned", "mend_truth"]

_WIDE = frozenset({DataType.INT32, DataType.INT64, DataType.UINT32})
_FLOATS = frozenset({DataType.FLOAT, DataType.FLOAT16, DataType.BFLOAT16})
_SIGN = np.array(-(2**31), np.int32)
_HIGH = np.array(-(2**16), np.int32)
_LOW = np.array(2**16 - 1, np.int32)


def mend_truth(graph: ir.Graph, node: ir.Node) -> str | None:
    """Rewrite ``Cast(x, to=bool)`` to ``Not(Equal(x, 0))``.

    -2**31 is no truth to OpenVINO, and it does not load a cast of one of several slices.
    """
    x = node.inputs[0]
    if x is None or x.dtype not in _WIDE | _FLOATS or node.attributes.get_int("to") != DataType.BOOL:
        return None
    make = Maker(graph, node)
    new = replaced(node)
    number = make.cast(x, DataType.INT32) if x.dtype in _WIDE else x
    assert number.dtype is not None
    none = make.op(
        "Equal", number, make.constant(np.zeros((), number.dtype.numpy())), dtype=DataType.BOOL, shape=x.shape
    )
    finish(graph, node, new, "Not", none)
    drop(graph, node)
    return None


def mend_from_unsigned(graph: ir.Graph, node: ir.Node) -> str | None:
    """Convert uint32 to a float by its halves.

    Rewrite ``Cast(x, to=float)`` to

        high = float(x & -65536)
        Where(high < 0, high + 2**32, high) + float(x & 65535)

    where only the last sum rounds.
    """
    x = node.inputs[0]
    to = DataType(node.attributes["to"].as_int())
    if x is None or x.dtype != DataType.UINT32 or to not in _FLOATS:
        return None
    make = Maker(graph, node)
    new = replaced(node)
    bits = make.cast(x, DataType.INT32)
    high = make.cast(make.like("BitwiseAnd", bits, make.constant(_HIGH)), DataType.FLOAT)
    low = make.cast(make.like("BitwiseAnd", bits, make.constant(_LOW)), DataType.FLOAT)
    zero, cycle = make.constant(np.zeros((), np.float32)), make.constant(np.array(2.0**32, np.float32))
    is_negative = make.op("Less", high, zero, dtype=DataType.BOOL, shape=x.shape)
    high = make.op("Where", is_negative, make.like("Add", high, cycle), high, dtype=DataType.FLOAT, shape=x.shape)
    finish(graph, node, new, "Cast", make.like("Add", high, low), to=int(to))
    drop(graph, node)
    return None


def mend_to_unsigned(graph: ir.Graph, node: ir.Node) -> str | None:
    """Convert a float from 2**31 on to uint32 by way of the int32 that has the same bits.

    Rewrite ``Cast(x, to=uint32)`` to ``int(Where(x < 2**31, x, x - 2**31)) ^ (-2**31 where x >= 2**31)``.
    """
    x = node.inputs[0]
    if x is None or x.dtype not in _FLOATS or node.attributes.get_int("to") != DataType.UINT32:
        return None
    make = Maker(graph, node)
    new = replaced(node)
    number = make.cast(x, DataType.FLOAT)
    half = make.constant(np.array(2.0**31, np.float32))
    fits = make.op("Less", number, half, dtype=DataType.BOOL, shape=x.shape)
    rest = make.like("Sub", number, half)
    bits = make.cast(make.op("Where", fits, number, rest, dtype=DataType.FLOAT, shape=x.shape), DataType.INT32)
    mask = make.like("Neg", make.cast(fits, DataType.INT32))
    other = make.like("BitwiseXor", bits, make.constant(_SIGN))
    finish(graph, node, new, "Cast", chosen_by_mask(make, mask, [bits, other], x.shape), to=int(DataType.UINT32))
    drop(graph, node)
    return None
