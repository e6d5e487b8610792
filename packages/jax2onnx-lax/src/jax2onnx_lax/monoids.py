"""Emit prefix combinations and reductions by any associative function, as a ``Loop`` of logarithmically many steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import numpy as np

from jax2onnx.plugin import is_static
from jax2onnx_lax.shape import TO_END
from jax2onnx_lax.zeros import emit_select

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import LoweringContext

Combine: TypeAlias = Callable[[Sequence["ir.Value"], Sequence["ir.Value"], Sequence[Any]], Sequence["ir.Value"]]
"""``combine(left, right, avals)``: combine arrays of the same shapes elementwise; ``avals`` describe either side."""

_INT64 = jax.ShapeDtypeStruct((), np.int64)
_BOOL = jax.ShapeDtypeStruct((), np.bool_)
_SHIFT = jax.ShapeDtypeStruct((1,), np.int64)


def prefixes(
    ctx: LoweringContext, values: Sequence[ir.Value], avals: Sequence[Any], axis: int, combine: Combine
) -> list[ir.Value]:
    """Combine each element with all before it along ``axis``, in order.

    In step s every element takes in the combination that ends 2**s before it (Hillis and Steele, 1986).
    """
    size = avals[0].shape[axis]
    if is_static(size) and size < 2:
        return list(values)
    op = ctx.op
    length = ctx.dim(size)
    index = _indices(ctx, length, len(avals[0].shape), axis)

    def body(inputs: list[ir.Value]) -> list[ir.Value]:
        _, _, shift, *current = inputs
        earlier = [_rolled(ctx, x, aval, axis, shift) for x, aval in zip(current, avals, strict=True)]
        first = op.Less(index, shift)  # nothing stands so far before these
        combined = combine(earlier, current, avals)
        new: list[ir.Value] = []
        for old, value, aval in zip(current, combined, avals, strict=True):
            new.append(ctx.stamp(emit_select(ctx, first, old, value), aval.shape))
        # Now each element combines the last 2 * shift ones, or all if there are fewer.
        doubled = ctx.stamp(op.Add(shift, shift), (1,))
        return [ctx.stamp(op.Squeeze(op.Less(doubled, length)), ()), doubled, *new]

    graph = ctx.subgraph("prefixes", [_INT64, _BOOL, _SHIFT, *avals], body)
    start = ctx.ints(1)
    go = op.Squeeze(op.Less(start, length))
    results = op.many("Loop", None, go, start, *values, outputs=1 + len(values), body=graph)
    return [ctx.stamp(x, a.shape) for x, a in zip(results[1:], avals, strict=True)]


def _indices(ctx: LoweringContext, length: ir.Value, rank: int, axis: int) -> ir.Value:
    """Return the indices along an axis, in an array of that rank."""
    places = [1] * rank
    places[axis] = -1
    numbers = ctx.op.Range(ctx.constant(0, np.int64), ctx.op.Squeeze(length), ctx.constant(1, np.int64))
    return ctx.op.Reshape(numbers, ctx.ints(*places))


def _rolled(ctx: LoweringContext, x: ir.Value, aval: Any, axis: int, shift: ir.Value) -> ir.Value:
    """Move the elements along the axis by ``shift`` (an int64 of shape ``[1]``), the last ones to the front."""
    op, axes = ctx.op, ctx.ints(axis)
    back = op.Neg(shift)
    last = op.Slice(x, back, ctx.ints(TO_END), axes)
    rest = op.Slice(x, ctx.ints(0), back, axes)
    return ctx.stamp(op.Concat(last, rest, axis=axis), aval.shape)


def reduce_last(
    ctx: LoweringContext,
    values: Sequence[ir.Value],
    avals: Sequence[Any],
    *,
    initial: Sequence[ir.Value],
    combine: Combine,
) -> list[ir.Value]:
    """Combine the scalars ``initial`` and then all elements along the last axis, in order."""
    op = ctx.op
    kept = avals[0].shape[:-1]
    longer = [jax.ShapeDtypeStruct((*kept, a.shape[-1] + 1), a.dtype) for a in avals]
    starts = [op.Expand(i, ctx.shape((*kept, 1))) for i in initial]
    whole = [ctx.stamp(op.Concat(s, x, axis=-1), a.shape) for s, x, a in zip(starts, values, longer, strict=True)]
    results = prefixes(ctx, whole, longer, len(kept), combine)
    return [op.Gather(x, ctx.constant(-1, np.int64), axis=-1) for x in results]
