"""Emit random numbers below 1 from random bits: JAX writes the bits into the mantissa of a number from 1 to 2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import MIN_OPSET, Fusion

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import LoweringContext

_FLOATS = {np.dtype(f"uint{bits}"): np.dtype(f"float{bits}") for bits in (16, 32, 64)}


def _fraction(bits: Any) -> Any:
    """Return what ``jax.random.uniform`` makes of bits before it scales and shifts the numbers."""
    unsigned, dtype = bits.dtype, _FLOATS[bits.dtype]
    info = np.finfo(dtype)
    mantissas = lax.shift_right_logical(bits, jnp.array(info.bits - info.nmant, unsigned))
    one = jnp.asarray(np.ones((), dtype).view(unsigned))
    return lax.bitcast_convert_type(lax.bitwise_or(mantissas, one), dtype) - jnp.array(1, dtype)


def _emit(ctx: LoweringContext, bits: ir.Value) -> ir.Value:
    """Emit the mantissa as a number, which it is exactly, times the distance of 1 to the next number.

    ::

        before: bits[n] -> BitShift -> BitwiseOr -> bitcast (17 nodes without BitCast) -> Sub(., 1)
        after:  bits[n] -> BitShift -> Cast -> Mul(., eps)
    """
    dtype = np.dtype(ctx.aval_out.dtype)
    info = np.finfo(dtype)
    mantissas = ctx.op.BitShift(bits, info.bits - info.nmant, direction="RIGHT")
    return ctx.op.Mul(ctx.cast(mantissas, dtype), info.eps)


FUSIONS = (
    Fusion(
        name="jax.random.uniform",
        reference=_fraction,
        examples=[[jax.ShapeDtypeStruct((3,), unsigned)] for unsigned in _FLOATS],
        emit={MIN_OPSET: _emit},
        dtypes=frozenset(map(str, _FLOATS.values())),
        primitives=frozenset({"bitcast_convert_type", "shift_right_logical"}),
    ),
)
