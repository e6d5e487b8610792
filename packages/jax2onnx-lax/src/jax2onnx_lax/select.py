"""Selection by a predicate, and clamping."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jax2onnx.plugin import Facts
from jax2onnx_lax import folding
from jax2onnx_lax.dtypes import is_bool, is_float, is_integer
from jax2onnx_lax.elementwise import emit_extremum
from jax2onnx_lax.zeros import emit_select

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import BoundLowerings, LoweringContext


FACTS = {
    "clamp": Facts(elementwise=True, common=True, fold=folding.clamp),
    "select_n": Facts(elementwise=True, common=True, fold=folding.select),
}


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts(FACTS)
    registry.table({"select_n": select_n, "clamp": clamp})


def select_n(ctx: LoweringContext, which: ir.Value, *cases: ir.Value) -> ir.Value:
    """Lower ``select_n``; an index out of range selects the first or last case."""
    if len(cases) == 1:
        return cases[0]
    if is_bool(ctx.avals_in[0].dtype):
        return emit_select(ctx, which, cases[1], cases[0])
    value = cases[-1]
    for i in range(len(cases) - 1, 0, -1):
        value = emit_select(ctx, ctx.op.Less(which, i), cases[i - 1], value)
    return value


def clamp(ctx: LoweringContext, low: ir.Value, x: ir.Value, high: ir.Value) -> ir.Value:
    """Lower ``clamp``; ``Clip`` takes scalar bounds only, and does not propagate NaN from them."""
    op = ctx.op
    if is_bool(ctx.aval_out.dtype):
        return op.And(op.Or(x, low), high)
    bounds = [ctx.known(0), ctx.known(2)]
    dtype = ctx.aval_out.dtype
    if dtype.itemsize < 8 or is_float(dtype):
        number = [b is not None and b.ndim == 0 and (is_integer(dtype) or not np.isnan(b)) for b in bounds]
        zero = is_float(dtype) and any(b == 0 for b in bounds) and ctx.sign_of_zero_matters()
        if all(number) and not zero:
            return op.Clip(x, low, high)
    return emit_extremum(ctx, "Min", emit_extremum(ctx, "Max", x, low, dtype), high, dtype)
