"""Cumulative sums, products, extrema and log-sum-exps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from jax2onnx.plugin import Facts, blind
from jax2onnx_lax.elementwise import emit_extremum
from jax2onnx_lax.monoids import Combine, operation, prefixes
from jax2onnx_lax.zeros import emit_plus_zero

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import BoundLowerings, LoweringContext

_LOWEST = np.iinfo(np.int64).min


FACTS = dict.fromkeys(("cumlogsumexp", "cumsum"), Facts(zeros=blind))


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts(FACTS)
    registry.table(
        {
            "cumsum": cumsum,
            "cumprod": cumulative(lambda ctx: operation(ctx, "Mul")),
            "cummax": cumulative(_extremum("Max")),
            "cummin": cumulative(_extremum("Min")),
            "cumlogsumexp": cumulative(_log_add_exp),
        }
    )


def cumsum(ctx: LoweringContext, x: ir.Value, *, axis: int, reverse: bool) -> ir.Value:
    """Lower ``cumsum``; JAX begins at 0, to which -0 adds nothing."""
    return emit_plus_zero(ctx, ctx.op.CumSum(x, ctx.constant(axis, np.int64), reverse=int(reverse)))


def cumulative(combination: Callable[[LoweringContext], Combine]) -> Callable[..., Any]:
    """Return the rule of a cumulative operation for which ONNX has no operator (``CumProd`` came with opset 26)."""

    def rule(ctx: LoweringContext, x: ir.Value, *, axis: int, reverse: bool) -> ir.Value:
        aval = ctx.avals_in[0]
        if reverse:
            x = _reversed(ctx, x, aval, axis)
        x = prefixes(ctx, [x], [aval], axis, combination(ctx))[0]
        return _reversed(ctx, x, aval, axis) if reverse else x

    return rule


def _reversed(ctx: LoweringContext, x: ir.Value, aval: Any, axis: int) -> ir.Value:
    value = ctx.op.Slice(x, ctx.ints(-1), ctx.ints(_LOWEST), ctx.ints(axis), ctx.ints(-1))
    return ctx.stamp(value, aval.shape)


def _extremum(op_type: str) -> Callable[[LoweringContext], Combine]:
    def combination(ctx: LoweringContext) -> Combine:
        def combine(left: Sequence[ir.Value], right: Sequence[ir.Value], avals: Sequence[Any]) -> Sequence[ir.Value]:
            return [emit_extremum(ctx, op_type, left[0], right[0], avals[0].dtype)]

        return combine

    return combination


def _log_add_exp(ctx: LoweringContext) -> Combine:
    def combine(left: Sequence[ir.Value], right: Sequence[ir.Value], avals: Sequence[Any]) -> Sequence[ir.Value]:
        return [ctx.via_jax(jnp.logaddexp, left[0], right[0], avals=[avals[0], avals[0]])]

    return combine
