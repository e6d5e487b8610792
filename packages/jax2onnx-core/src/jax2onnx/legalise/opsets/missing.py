"""Missing operators: those that an opset does not have, said with the operators that it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx_ir import DataType

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from jax2onnx.legalise.opsets.forms import Rewrite
    from jax2onnx.legalise.opsets.site import Site

__all__ = ["WITHOUT"]


def _trilu(site: Site) -> list[ir.Node] | None:
    """Rewrite ``Trilu(x, k, upper=1)`` to ``Where(columns - rows >= k, x, 0)``."""
    x = site.required(0)
    assert x.dtype is not None
    k = site.input(1) or site.constant(np.asarray(0, np.int64))
    # Vectors of one element have room for a k of rank 0 or 1.
    rows, columns = (_numbers(site, x, axis) for axis in (-2, -1))
    column_less_row = site.add("Sub", columns, site.add("Unsqueeze", rows, site.ints(1)))
    below = site.add("Less", column_less_row, k, dtype=DataType.BOOL)
    upper = site.node.attributes.get_int("upper", 1)
    zero = site.constant(np.zeros((), x.dtype.numpy()))
    if upper:
        return site.replace(site.add("Where", below, zero, x, dtype=x.dtype))
    above = site.add("Greater", column_less_row, k, dtype=DataType.BOOL)
    return site.replace(site.add("Where", above, zero, x, dtype=x.dtype))


def _numbers(site: Site, x: ir.Value, axis: int) -> ir.Value:
    """Append nodes that count along an axis: 0, 1, 2, …."""
    size = site.add("Squeeze", site.size(x, axis), site.ints(0))
    return site.add("Range", site.constant(np.asarray(0, np.int64)), size, site.constant(np.asarray(1, np.int64)))


_SHIFTED = {8: DataType.UINT8, 16: DataType.UINT32, 32: DataType.UINT32, 64: DataType.UINT64}
"""How wide an integer is -> the unsigned dtype whose bits are shifted."""


def _bitwise(operator: str) -> Rewrite:
    """Return the rewrite of an operator of two integers, by the operator of bools, bit by bit.

    ``BitwiseAnd(x, y)`` becomes ``ReduceSum(And(bits of x, bits of y) * [1, 2, 4, …])``.
    """

    def rewrite(site: Site) -> list[ir.Node] | None:
        x, y = site.required(0), site.required(1)
        assert x.dtype is not None
        if x.dtype.bitwidth not in _SHIFTED:
            raise site.refused(f"{x.dtype.name.lower()}")
        width = x.dtype.bitwidth
        both = site.add(operator, _bits(site, x, width), _bits(site, y, width), dtype=DataType.BOOL)
        ones = site.add("Cast", both, dtype=DataType.INT64, to=int(DataType.INT64))
        total = _number(site, ones, width)
        if x.dtype == DataType.INT64:
            return site.replace(total)
        return site.replace(site.add("Cast", total, dtype=x.dtype, to=int(x.dtype)))

    return rewrite


def _number(site: Site, ones: ir.Value, width: int) -> ir.Value:
    """Append nodes that give the numbers whose bits are along the last axis, as 0 and 1.

    Numbers of 64 bits are put together from halves: onnxruntime sums int64 by way of float64.
    """
    if width < 64:
        return _sum(site, ones, 1 << np.arange(width, dtype=np.int64))
    weights = 1 << np.arange(32, dtype=np.int64)
    low = _sum(site, site.add("Slice", ones, site.ints(0), site.ints(32), site.ints(-1)), weights)
    signed = weights.copy()
    signed[-1] = -weights[-1]
    high = _sum(site, site.add("Slice", ones, site.ints(32), site.ints(64), site.ints(-1)), signed)
    return site.add("Add", site.add("Mul", high, site.constant(np.asarray(1 << 32, np.int64))), low)


def _sum(site: Site, ones: ir.Value, weights: np.ndarray[Any, Any]) -> ir.Value:
    return site.add("ReduceSum", site.add("Mul", ones, site.constant(weights)), site.ints(-1), keepdims=0)


def _bits(site: Site, value: ir.Value, width: int) -> ir.Value:
    """Append nodes that give the bits of integers along a new last axis, the lowest first, as bools."""
    dtype = _SHIFTED[width]
    if value.dtype != dtype:
        value = site.add("Cast", value, dtype=dtype, to=int(dtype), shape=value.shape)
    steps = site.constant(np.arange(width).astype(dtype.numpy()))
    shifted = site.add("BitShift", site.add("Unsqueeze", value, site.ints(-1)), steps, direction="RIGHT")
    two = site.constant(np.asarray(2, dtype.numpy()))
    return site.add("Cast", site.add("Mod", shifted, two), dtype=DataType.BOOL, to=int(DataType.BOOL))


def _bitwise_not(site: Site) -> list[ir.Node] | None:
    """Rewrite ``BitwiseNot(x)`` to ``-1 - x``, and for unsigned integers to the largest one less ``x``."""
    x = site.required(0)
    assert x.dtype is not None
    dtype = x.dtype.numpy()
    ones = np.invert(np.zeros((), dtype))
    return site.replace(site.add("Sub", site.constant(ones), x))


WITHOUT: Mapping[str, Rewrite] = {
    "BitwiseAnd": _bitwise("And"),
    "BitwiseNot": _bitwise_not,
    "BitwiseOr": _bitwise("Or"),
    "BitwiseXor": _bitwise("Xor"),
    "Trilu": _trilu,
}
"""An operator -> how a node is said without it."""
