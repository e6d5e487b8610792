"""Reductions over axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun

from jax2onnx_lax.dtypes import info, is_bool, is_float, is_integer
from jax2onnx_lax.monoids import Combine, operation, reduce_last

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.lower import LoweringContext
    from jax2onnx.registry import BoundLowerings


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.table(
        {
            "reduce_sum": reduce_sum,
            "reduce_prod": reduce_prod,
            "reduce_max": reduce_extremum("ReduceMax", "Max"),
            "reduce_min": reduce_extremum("ReduceMin", "Min"),
            "reduce_and": reduce_logical("ReduceMin", "BitwiseAnd", -1),
            "reduce_or": reduce_logical("ReduceMax", "BitwiseOr", 0),
            "reduce_xor": reduce_xor,
            "argmax": arg_extremum("ArgMax"),
            "argmin": arg_extremum("ArgMin"),
            "reduce": reduce,
        }
    )


def _emit(ctx: LoweringContext, op_type: str, x: ir.Value, axes: Sequence[int]) -> ir.Value:
    return ctx.op.emit(op_type, x, ctx.ints(*axes), keepdims=0)


def reduce_sum(ctx: LoweringContext, x: ir.Value, *, axes: Sequence[int]) -> ir.Value:
    """Lower ``reduce_sum``; onnxruntime adds integers in float64 and saturates, so there a product with ones adds."""
    if not axes:
        return x
    if ctx.target is None or not is_integer(ctx.aval_out.dtype):
        return _emit(ctx, "ReduceSum", x, axes)
    last, aval = _to_last(ctx, x, ctx.avals_in[0], axes)
    ones = ctx.op.Expand(np.ones((1,), aval.dtype), ctx.dim(aval.shape[-1]))
    return ctx.op.MatMul(last, ones)


def reduce_prod(ctx: LoweringContext, x: ir.Value, *, axes: Sequence[int]) -> ir.Value:
    """Lower ``reduce_prod``; onnxruntime multiplies integers in float64 and saturates."""
    if not axes:
        return x
    if ctx.target is None or not is_integer(ctx.aval_out.dtype):
        return _emit(ctx, "ReduceProd", x, axes)
    return _reduced(ctx, x, axes, 1, "Mul")


def reduce_extremum(op_type: str, pair: str) -> Callable[..., Any]:
    """Return the rule of ``reduce_max`` or ``reduce_min``."""

    def rule(ctx: LoweringContext, x: ir.Value, *, axes: Sequence[int]) -> ir.Value:
        op, dtype = ctx.op, ctx.aval_out.dtype
        if not axes:
            return x
        if is_bool(dtype):
            return _truth(ctx, op_type, x, axes)
        if is_float(dtype):
            # onnxruntime's kernels pass over NaN.
            nan = _truth(ctx, "ReduceMax", op.IsNaN(x), axes)
            return op.Where(nan, np.asarray(np.nan, dtype), _emit(ctx, op_type, x, axes))
        if ctx.supports(op_type, dtype) or dtype not in {np.dtype(np.int8), np.dtype(np.int16)}:
            return _emit(ctx, op_type, x, axes)
        # Over no elements the wider dtype has another bound than this one.
        bound = info(dtype).min if op_type == "ReduceMax" else info(dtype).max
        wide = _emit(ctx, op_type, ctx.cast(x, np.int32), axes)
        return ctx.cast(op.emit(pair, wide, np.asarray(bound, np.int32)), dtype)

    return rule


def _truth(ctx: LoweringContext, op_type: str, x: ir.Value, axes: Sequence[int]) -> ir.Value:
    """Reduce booleans, which ONNX's reductions take since opset 20."""
    if ctx.opset >= 20:
        return _emit(ctx, op_type, x, axes)
    return ctx.cast(_emit(ctx, op_type, ctx.cast(x, np.uint8), axes), np.bool_)


def reduce_logical(truth: str, bits: str, identity: int) -> Callable[..., Any]:
    """Return the rule of ``reduce_and`` or ``reduce_or``, which on integers are bitwise."""

    def rule(ctx: LoweringContext, x: ir.Value, *, axes: Sequence[int]) -> ir.Value:
        if not axes:
            return x
        if is_bool(ctx.aval_out.dtype):
            return _truth(ctx, truth, x, axes)
        return _reduced(ctx, x, axes, identity, bits)

    return rule


def reduce_xor(ctx: LoweringContext, x: ir.Value, *, axes: Sequence[int]) -> ir.Value:
    """Lower ``reduce_xor``."""
    return _reduced(ctx, x, axes, 0, "Xor" if is_bool(ctx.aval_out.dtype) else "BitwiseXor") if axes else x


def _reduced(ctx: LoweringContext, x: ir.Value, axes: Sequence[int], identity: int, op_type: str) -> ir.Value:
    """Reduce by a binary operator for which ONNX has no reduction."""
    last, aval = _to_last(ctx, x, ctx.avals_in[0], axes)
    initial = ctx.constant(np.asarray(identity).astype(aval.dtype))
    return reduce_last(ctx, [last], [aval], initial=[initial], combine=operation(ctx, op_type))[0]


def _to_last(ctx: LoweringContext, x: ir.Value, aval: Any, axes: Sequence[int]) -> tuple[ir.Value, Any]:
    """Move the axes to the end and merge them; return the value and its shape and dtype."""
    shape = aval.shape
    kept = [i for i in range(len(shape)) if i not in axes]
    perm = [*kept, *sorted(axes)]
    moved = [shape[i] for i in perm]
    if perm != list(range(len(shape))):
        x = ctx.stamp(ctx.op.Transpose(x, perm=perm), moved)
    merged = [*moved[: len(kept)], math.prod(moved[len(kept) :])]
    return ctx.reshape(x, moved, merged), jax.ShapeDtypeStruct(tuple(merged), aval.dtype)


def arg_extremum(op_type: str) -> Callable[..., Any]:
    """Return the rule of ``argmax`` or ``argmin``: the first of equals, and the first NaN before any number."""

    def rule(ctx: LoweringContext, x: ir.Value, *, axes: Sequence[int], index_dtype: Any) -> ir.Value:
        op, dtype = ctx.op, ctx.avals_in[0].dtype
        axis = int(axes[0])
        if is_bool(dtype):
            x = ctx.cast(x, np.uint8)
        index = op.emit(op_type, x, axis=axis, keepdims=0)
        if is_float(dtype):
            # onnxruntime's kernels compare with NaN, which is never true.
            nan = op.IsNaN(x)
            first = op.ArgMax(ctx.cast(nan, np.uint8), axis=axis, keepdims=0)
            index = op.Where(_truth(ctx, "ReduceMax", nan, [axis]), first, index)
        return ctx.cast(index, index_dtype)

    return rule


def reduce(
    ctx: LoweringContext, *operands: ir.Value, jaxpr: Any, dimensions: Sequence[int], **params: Any
) -> Sequence[ir.Value]:
    """Lower the generic ``reduce`` of one or more arrays by any associative computation."""
    del params  # The computation again, as a Python function.
    count = len(operands) // 2
    avals = ctx.avals_in[:count]
    moved = [_to_last(ctx, x, a, dimensions) for x, a in zip(operands[:count], avals, strict=True)]
    return reduce_last(
        ctx,
        [x for x, _ in moved],
        [a for _, a in moved],
        initial=operands[count:],
        combine=_computation(ctx, jaxpr),
    )


def _computation(ctx: LoweringContext, jaxpr: Any) -> Combine:
    """Return a jaxpr of scalars, mapped over arrays, as a combination."""
    function = jaxpr_as_fun(jaxpr)

    def combine(left: Sequence[ir.Value], right: Sequence[ir.Value], avals: Sequence[Any]) -> Sequence[ir.Value]:
        mapped = function
        for _ in avals[0].shape:
            mapped = jax.vmap(mapped)
        results: list[ir.Value] = ctx.via_jax(mapped, *left, *right, avals=[*avals, *avals])
        return results

    return combine
