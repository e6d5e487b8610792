"""Elementwise arithmetic, exponentials, trigonometry, comparison and logic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.lower import LoweringContext
    from jax2onnx.registry import BoundLowerings

OPERATORS = {
    "add": "Add",
    "add_any": "Add",
    "sub": "Sub",
    "neg": "Neg",
    "abs": "Abs",
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "tanh": "Tanh",
    "sin": "Sin",
    "cos": "Cos",
    "tan": "Tan",
    "asin": "Asin",
    "acos": "Acos",
    "atan": "Atan",
    "logistic": "Sigmoid",
    "floor": "Floor",
    "ceil": "Ceil",
    "erf": "Erf",
    "lt": "Less",
    "le": "LessOrEqual",
    "gt": "Greater",
    "ge": "GreaterOrEqual",
    "eq": "Equal",
}
"""Primitives for which ONNX has exactly the operator."""


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.table(OPERATORS)
    registry.table({"mul": mul, "div": div, "integer_pow": integer_pow, "square": square})


def mul(ctx: LoweringContext, x: ir.Value, y: ir.Value, *, out_dtype: Any = None) -> ir.Value:
    """Lower ``mul``."""
    if out_dtype is not None:
        x, y = ctx.cast(x, out_dtype), ctx.cast(y, out_dtype)
    return ctx.op.Mul(x, y)


def div(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> ir.Value:
    """Lower ``div``."""
    return ctx.op.Div(x, y)


def integer_pow(ctx: LoweringContext, x: ir.Value, *, y: int) -> ir.Value:
    """Lower ``integer_pow``."""
    return ctx.op.Pow(x, np.asarray(y, ctx.aval_out.dtype))


def square(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    """Lower ``square``."""
    return ctx.op.Mul(x, x)
