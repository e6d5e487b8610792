"""Selection by a predicate, and clamping."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jax2onnx_lax.dtypes import is_bool, is_integer

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.lower import LoweringContext
    from jax2onnx.registry import BoundLowerings


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.table({"select_n": select_n, "clamp": clamp})


def select_n(ctx: LoweringContext, which: ir.Value, *cases: ir.Value) -> ir.Value:
    """Lower ``select_n``; an index out of range selects the first or last case."""
    if len(cases) == 1:
        return cases[0]
    if is_bool(ctx.avals_in[0].dtype):
        return ctx.op.Where(which, cases[1], cases[0])
    value = cases[-1]
    for i in range(len(cases) - 1, 0, -1):
        value = ctx.op.Where(ctx.op.Less(which, i), cases[i - 1], value)
    return value


def clamp(ctx: LoweringContext, low: ir.Value, x: ir.Value, high: ir.Value) -> ir.Value:
    """Lower ``clamp``; ``Clip`` takes scalar bounds only, and does not propagate NaN from them."""
    op = ctx.op
    if is_bool(ctx.aval_out.dtype):
        return op.And(op.Or(x, low), high)
    bounds = [ctx.known(0), ctx.known(2)]
    integers = is_integer(ctx.aval_out.dtype)
    if all(b is not None and b.ndim == 0 and (integers or not np.isnan(b)) for b in bounds):
        return op.Clip(x, low, high)
    return op.Min(op.Max(x, low), high)
