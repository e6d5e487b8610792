"""Lower cumulative sums, products, extrema and log-sum-exps."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Facts, blind, has_zero
from jax2onnx_lax.blocked import prefixes_in_blocks
from jax2onnx_lax.elementwise import emit_extremum
from jax2onnx_lax.monoids import prefixes
from jax2onnx_lax.shape import flip
from jax2onnx_lax.zeros import emit_plus_zero

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import BoundLowerings, LoweringContext


FACTS = dict.fromkeys(("cumlogsumexp", "cumsum"), Facts(zeros=blind))


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts(FACTS)
    registry.table(
        {
            "cumsum": cumsum,
            "cumprod": cumprod,
            "cummax": cumulative(functools.partial(_extremum, "Max")),
            "cummin": cumulative(functools.partial(_extremum, "Min")),
            "cumlogsumexp": cumlogsumexp,
        }
    )


def cumsum(ctx: LoweringContext, x: ir.Value, *, axis: int, reverse: bool) -> ir.Value:
    """Lower ``cumsum``; JAX begins at 0, to which -0 adds nothing."""
    return emit_plus_zero(ctx, ctx.op.CumSum(x, ctx.constant(axis, np.int64), reverse=int(reverse)))


def cumulative(combine: Callable[[LoweringContext, ir.Value, ir.Value, Any], ir.Value]) -> Callable[..., Any]:
    """Return the rule of a cumulative operation for which ONNX has no operator (``CumProd`` came with opset 26).

    ``combine(ctx, x, y, aval)`` emits the operation of two arrays.
    """

    def rule(ctx: LoweringContext, x: ir.Value, *, axis: int, reverse: bool) -> ir.Value:
        aval = ctx.avals_in[0]
        if reverse:
            x = ctx.stamp(flip(ctx, x, [axis]), aval.shape)
        (x,) = prefixes(ctx, [x], [aval], axis, lambda left, right, _: [combine(ctx, left[0], right[0], aval)])
        return flip(ctx, x, [axis]) if reverse else x

    return rule


def cumprod(ctx: LoweringContext, x: ir.Value, *, axis: int, reverse: bool) -> ir.Value:
    """Lower ``cumprod``; of floats in JAX's order, which decides whether a product that overflows meets 0."""
    aval = ctx.avals_in[0]
    value: ir.Value
    if jnp.issubdtype(aval.dtype, np.inexact):
        value = ctx.via_jax(prefixes_in_blocks, x, combine=lax.mul, start=1, axis=axis, reverse=reverse)
    else:
        value = cumulative(_product)(ctx, x, axis=axis, reverse=reverse)
    return value


def cumlogsumexp(ctx: LoweringContext, x: ir.Value, *, axis: int, reverse: bool) -> ir.Value:
    """Lower ``cumlogsumexp``; JAX traces it for integers, and runs it for none but empty arrays of them."""
    aval = ctx.avals_in[0]
    if has_zero(*aval.shape):
        return x
    if not jnp.issubdtype(aval.dtype, np.inexact):
        raise ctx.unsupported(
            f"logarithms of {aval.dtype}, which JAX does not compute either",
            "convert the operand before: lax.cumlogsumexp(x.astype(jnp.float32))",
        )
    value: ir.Value = cumulative(_log_add_exp)(ctx, x, axis=axis, reverse=reverse)
    return value


def _product(ctx: LoweringContext, x: ir.Value, y: ir.Value, aval: Any) -> ir.Value:
    del aval
    return ctx.op.Mul(x, y)


def _extremum(op_type: str, ctx: LoweringContext, x: ir.Value, y: ir.Value, aval: Any) -> ir.Value:
    return emit_extremum(ctx, op_type, x, y, aval.dtype)


def _log_add_exp(ctx: LoweringContext, x: ir.Value, y: ir.Value, aval: Any) -> ir.Value:
    return ctx.via_jax(jnp.logaddexp, x, y, avals=[aval, aval])  # type: ignore[no-any-return]
