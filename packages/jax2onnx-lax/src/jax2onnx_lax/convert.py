"""Lower conversions between dtypes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from jax2onnx.errors import OpsetError
from jax2onnx.plugin import Facts, ir_dtype
from jax2onnx_lax import folding
from jax2onnx_lax.dtypes import info, is_float, is_float8, is_integer, is_narrow

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import BoundLowerings, LoweringContext

_FLOAT8_OVERFLOW = {
    np.dtype(ml_dtypes.float8_e4m3fn): (464.0, np.nan),
    np.dtype(ml_dtypes.float8_e5m2): (61439.99609375, np.inf),
}
"""The largest float32 that still rounds to a finite number of the dtype, and what follows it."""


FACTS = {
    "convert_element_type": Facts(
        common=True,
        scalar="convert",
        fold=folding.converted,
        identity=lambda eqn: eqn.invars[0].aval.dtype == eqn.params["new_dtype"],
    ),
}


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts(FACTS)
    registry.table({"convert_element_type": convert_element_type})


def convert_element_type(ctx: LoweringContext, x: ir.Value, *, new_dtype: Any) -> ir.Value:
    """Lower ``convert_element_type``."""
    return convert(ctx, x, ctx.avals_in[0].dtype, new_dtype)


def convert(ctx: LoweringContext, x: ir.Value, old: Any, new: Any) -> ir.Value:
    """Convert a value between dtypes as JAX does: floats to integers by truncation and saturation, NaN to zero.

    Raises:
        OpsetError: a dtype is float8, and the opset has none.
    """
    old, new = np.dtype(old), np.dtype(new)
    if old == new:
        return x
    if ctx.opset < 19 and (is_float8(old) or is_float8(new)):
        msg = f"{old} to {new}: ONNX has float8 since opset 19; an older one was asked for"
        raise OpsetError(msg, where=ctx.where, remedy="pass opset=19 or a newer one")
    if is_float8(old):
        # onnxruntime decodes a float8 infinity as the largest number, and takes -0 for true.
        return _from_float8(ctx, x, old, new)
    if is_float(old) and is_integer(new):
        return _saturated(ctx, x, old, new)
    if new in _FLOAT8_OVERFLOW:
        return _to_float8(ctx, convert(ctx, x, old, np.float32), new)
    if is_float8(new):
        # These have no infinity: what overflows is NaN, which Cast yields only if it does not saturate.
        return ctx.op.Cast(x, to=int(ir_dtype(new)), saturate=0)
    return ctx.cast(x, new)


def _saturated(ctx: LoweringContext, x: ir.Value, old: np.dtype[Any], new: np.dtype[Any]) -> ir.Value:
    """Convert floats to integers; ONNX does not define what ``Cast`` makes of NaN and of numbers out of range."""
    op = ctx.op
    if is_narrow(old):
        x, old = ctx.cast(x, np.float32), np.dtype(np.float32)
    low, high = int(info(new).min), int(info(new).max)
    number = op.Where(op.IsNaN(x), 0, x)
    if int(old.type(high)) == high:
        within = op.Clip(number, old.type(low), old.type(high))
        if info(new).bits < 8:
            # onnxruntime rounds to the nearest integer of 4 bits, and truncates to one of 8.
            within = ctx.cast(within, np.int8 if low else np.uint8)
        return ctx.cast(within, new)
    # The highest integer is no float: its float is the first number out of range.
    limit = old.type(high)
    inside = ctx.cast(op.Clip(number, old.type(low), np.nextafter(limit, old.type(0))), new)
    return op.Where(op.GreaterOrEqual(number, limit), np.asarray(high, new), inside)


def _from_float8(ctx: LoweringContext, x: ir.Value, old: np.dtype[Any], new: np.dtype[Any]) -> ir.Value:
    wide = ctx.cast(x, np.float32)
    if old == ml_dtypes.float8_e5m2:
        wide = ctx.op.Where(ctx.op.IsInf(x), ctx.op.Mul(wide, np.asarray(np.inf, np.float32)), wide)
    if new == np.bool_:
        # Not Cast: onnxruntime 1.24 makes one of two casts, which takes -0 for true.
        return ctx.op.Not(ctx.op.Equal(wide, 0))
    return wide if new == np.float32 else convert(ctx, wide, np.float32, new)


def _to_float8(ctx: LoweringContext, x: ir.Value, new: np.dtype[Any]) -> ir.Value:
    """Convert to a float8 with overflow; onnxruntime rounds numbers just above the largest one to it."""
    op = ctx.op
    last, beyond = _FLOAT8_OVERFLOW[new]
    overflow = op.Mul(op.Sign(x), np.asarray(beyond, np.float32))
    x = op.Where(op.Greater(op.Abs(x), np.asarray(last, np.float32)), overflow, x)
    return op.Cast(x, to=int(ir_dtype(new)), saturate=0)
