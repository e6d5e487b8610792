"""Fake quantisation: what qwix marks as ``quant.fake_quant`` is a ``QuantizeLinear`` and a ``DequantizeLinear``.

The body of the composite divides by the scale, adds the zero point, rounds half to even and converts to int8, which
saturates. ``QuantizeLinear`` rounds first and adds the zero point then. These are the same numbers where the zero point
is 0. Elsewhere they differ by one at ties, and where the sum rounds to one: so the body stays.

Weights are quantised at conversion, by JAX itself: XLA may multiply by the reciprocal of the scale, and qwix's scales
put the largest weight at a tie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from jax2onnx.plugin import Decline

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import BoundLowerings, LoweringContext

NAME = "quant.fake_quant"


def register(registry: BoundLowerings) -> None:
    """Register the composite."""
    registry.composite(NAME, fake_quant)


def fake_quant(
    ctx: LoweringContext,
    *operands: ir.Value,
    scale: Any,
    dtype: Any,
    zero_point: Any = None,
    quantization_dimension: Any = None,
    **further: Any,
) -> ir.Value:
    """Emit the pair, or decline where it has other numbers than the body.

    ``narrow_range``, which is among ``further``, is a wish about weights that the body does not fulfil either.
    """
    del further
    x = operands[-1]  # before it come arrays that the body closes over
    scale = np.asarray(scale, np.float32)
    if not scale.size:
        raise Decline("the scale is computed from the array")
    if str(dtype) != "i8" or ctx.avals_in[-1].dtype != np.float32:
        raise Decline("QuantizeLinear makes int8 of float32")
    if zero_point is not None and np.any(np.asarray(zero_point)):
        raise Decline("QuantizeLinear adds the zero point after it has rounded")
    attributes = {} if quantization_dimension is None else {"axis": int(quantization_dimension)}
    shape = () if quantization_dimension is None else (scale.size,)
    scales, zeros = ctx.constant(scale.reshape(shape)), ctx.constant(np.zeros(shape, np.int8))
    if x.const_value is not None:
        quantised = ctx.constant(_by_jax(x.const_value.numpy(), scale, quantization_dimension))
    else:
        quantised = ctx.op.QuantizeLinear(_without_nan(ctx, x), scales, zeros, **attributes)
    result: ir.Value = ctx.op.DequantizeLinear(quantised, scales, zeros, **attributes)
    return result


def _by_jax(weights: Any, scale: Any, axis: int | None) -> Any:
    """Return the integers that JAX makes of weights."""
    shape = [1] * weights.ndim
    if axis is not None:
        shape[axis] = scale.size
    return np.asarray(jnp.round(jnp.asarray(weights) / scale.reshape(shape)).astype(jnp.int8))


def _without_nan(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    """Return the operand with 0 for NaN, as JAX's conversion to int8 has it."""
    zero = ctx.constant(np.float32(0))
    return ctx.stamp(ctx.op.Where(ctx.op.IsNaN(x), zero, x), ctx.aval_out.shape)
