"""Lower sorting and the search for the largest elements to TopK, which is stable: equal elements keep their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx.plugin import Facts, is_static, may_be_zero, telling
from jax2onnx_lax.dtypes import is_float
from jax2onnx_lax.shape import none_negative
from jax2onnx_lax.zeros import source

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import BoundLowerings, LoweringContext


_OF_NO_ROWS = "TopK of no rows ends the process"
"""The fault of a target for which no row is sorted."""
_MOVING = frozenset({"Reshape", "Squeeze", "Transpose", "Unsqueeze"})
FACTS = dict.fromkeys(("approx_top_k", "top_k"), Facts(zeros=telling))


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts(FACTS)
    registry.table({"sort": sort, "top_k": top_k, "approx_top_k": approx_top_k})


def sort(ctx: LoweringContext, *xs: ir.Value, dimension: int, num_keys: int) -> list[ir.Value]:
    """Lower ``sort``: by the last key first, each further key keeping the order of what it finds equal."""
    size = ctx.avals_in[0].shape[dimension]
    if is_static(size) and size <= 1:
        return list(xs)
    # ONNX has no sort: TopK of all elements, the smallest first, is one.
    order: ir.Value | None = None
    for operand in reversed(range(num_keys)):
        for key in reversed(_keys(ctx, xs[operand], ctx.avals_in[operand].dtype)):
            values, order = _ranked(ctx, key, order, size, dimension, largest=False)
            if len(xs) == 1 and key is xs[0]:
                return [values]
    assert order is not None
    return [ctx.op.GatherElements(x, order, axis=dimension) for x in xs]


def _ranked(
    ctx: LoweringContext, key: ir.Value, order: ir.Value | None, size: Any, axis: int, *, largest: bool
) -> tuple[ir.Value, ir.Value]:
    """Refine an order by one key; return the sorted key and the new order.

    Where the target has no ``TopK`` of no rows, a row is added for it, and left out of what it returns.
    """
    if order is not None:
        key = ctx.op.GatherElements(key, order, axis=axis)
    shape = ctx.avals_in[0].shape
    empty = [d for d, dim in enumerate(shape) if d != axis and may_be_zero(dim)] if ctx.lacks(_OF_NO_ROWS) else []
    if empty:
        added = [int(d in empty) for d in range(len(shape))]
        key = ctx.op.Pad(key, ctx.ints(*[0] * len(shape), *added))
    values, ranks = ctx.op.many("TopK", key, none_negative(ctx, [size]), outputs=2, axis=axis, largest=int(largest))
    if empty:
        starts, ends, axes = (ctx.ints(*numbers) for numbers in ([0] * len(empty), [-1] * len(empty), empty))
        values, ranks = (ctx.op.Slice(found, starts, ends, axes) for found in (values, ranks))
    return values, ranks if order is None else ctx.op.GatherElements(order, ranks, axis=axis)


def _keys(ctx: LoweringContext, x: ir.Value, dtype: Any) -> list[ir.Value]:
    """Return numbers that TopK orders as JAX orders ``x``: NaN after infinity, all NaN alike, -0.0 and 0.0 alike."""
    if dtype == np.float64 or (is_float(dtype) and not ctx.supports("TopK", np.float64)):
        nan = ctx.op.IsNaN(x)
        return [ctx.cast(nan, np.int32), ctx.op.Where(nan, np.asarray(np.inf, dtype), x)] if ctx.guards else [x]
    if str(dtype).endswith("fnuz"):
        # Their one NaN has the bits of -0, and stands before all numbers in JAX's order.
        wide = ctx.cast(x, np.float32)
        return [ctx.op.Where(ctx.op.IsNaN(wide), np.asarray(-np.inf, np.float32), wide)]
    if is_float(dtype):
        return [_above_infinity(ctx, x)]
    if dtype == np.bool_:
        return [ctx.cast(x, np.int32)]
    if dtype == np.uint64:
        # No signed type holds all of uint64; shifted down by 2^63 it fits.
        return [ctx.op.BitwiseXor(ctx.cast(x, np.int64), np.asarray(np.iinfo(np.int64).min))]
    return [x]


def _above_infinity(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    """Make room for NaN above infinity, in float64: infinity becomes a number that only float64 has, NaN infinity."""
    wide = ctx.op.Min(ctx.cast(x, np.float64), np.asarray(1e300))
    return ctx.op.Where(ctx.op.IsNaN(x), np.asarray(np.inf), wide)


def top_k(ctx: LoweringContext, x: ir.Value, *, k: Any, axis: int, largest: bool = True) -> list[ir.Value]:
    """Lower ``top_k``: NaN is the largest, 0.0 is larger than -0.0.

    JAX orders NaN by its sign: the largest of negative numbers, by which programs find the smallest, has NaN last. They
    are the smallest of the numbers themselves.
    """
    dtype = ctx.avals_in[0].dtype
    order: ir.Value | None = None
    size = ctx.avals_in[0].shape[axis]
    is_negative = largest and is_float(dtype) and _is_negation(x)
    keys = _total_keys(ctx, ctx.op.Neg(x) if is_negative else x, dtype, largest=largest)
    largest = largest and not is_negative
    *refining, first = reversed(keys)
    for key in refining:
        _, order = _ranked(ctx, key, order, size, axis, largest=largest)
    values, order = _ranked(ctx, first, order, k, axis, largest=largest)
    if first is not x or refining:
        values = ctx.op.GatherElements(x, order, axis=axis)
    return [values, ctx.cast(order, ctx.avals_out[1].dtype)]


def _is_negation(x: ir.Value) -> bool:
    """Return whether the elements of a value are those of another with the other sign."""
    node = source(x, _MOVING).producer()
    return node is not None and not node.domain and node.op_type == "Neg"


def approx_top_k(
    ctx: LoweringContext,
    x: ir.Value,
    *,
    k: int,
    reduction_dimension: int,
    recall_target: float,
    is_max_k: bool,
    reduction_input_size_override: int,
    aggregate_to_topk: bool,
) -> list[ir.Value]:
    """Lower ``approx_top_k`` to the exact result, whose recall is 1.

    Without aggregation the result has more than ``k`` elements, as many as JAX says; on a CPU they are the first ones.
    """
    del recall_target, reduction_input_size_override
    axis = reduction_dimension % len(ctx.avals_in[0].shape)
    count = k if aggregate_to_topk else ctx.avals_out[0].shape[axis]
    return top_k(ctx, x, k=count, axis=axis, largest=is_max_k)


def _total_keys(ctx: LoweringContext, x: ir.Value, dtype: Any, *, largest: bool) -> list[ir.Value]:
    """Return the keys of :func:`_keys`; for the largest elements with 0.0 above -0.0."""
    if not (largest and is_float(dtype)):
        return _keys(ctx, x, dtype)
    below = ctx.op.Equal(ctx.op.Reciprocal(x), np.asarray(-np.inf, dtype))
    minus_zero = ctx.op.And(below, ctx.op.Equal(x, np.asarray(0.0, dtype)))
    if dtype == np.float64 or not ctx.supports("TopK", np.float64):
        return [*_keys(ctx, x, dtype), ctx.cast(ctx.op.Not(minus_zero), np.int32)]
    # Smaller in size than any float32, and so between 0.0 and the negative numbers.
    return [ctx.op.Where(minus_zero, np.asarray(-1e-300), _above_infinity(ctx, x))]
