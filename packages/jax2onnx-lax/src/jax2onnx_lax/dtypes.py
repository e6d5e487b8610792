"""Classify dtypes: their kinds and limits, and what the target lacks in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import LoweringContext


def is_bool(dtype: Any) -> bool:
    """Return whether the dtype is bool."""
    return bool(dtype == np.bool_)


def is_float(dtype: Any) -> bool:
    """Return whether the dtype is a real floating one (float8, float16 and bfloat16 included)."""
    return bool(jnp.issubdtype(dtype, jnp.floating))


def is_float8(dtype: Any) -> bool:
    """Return whether the dtype is a float of 8 bits."""
    return is_float(dtype) and np.dtype(dtype).itemsize == 1


def is_integer(dtype: Any) -> bool:
    """Return whether the dtype is an integer one (not bool)."""
    return bool(jnp.issubdtype(dtype, jnp.integer))


def is_unsigned(dtype: Any) -> bool:
    """Return whether the dtype is an unsigned integer."""
    return bool(jnp.issubdtype(dtype, jnp.unsignedinteger))


def is_narrow(dtype: Any) -> bool:
    """Return whether the dtype is a float of fewer than 32 bits."""
    return is_float(dtype) and np.dtype(dtype).itemsize < np.dtype(np.float32).itemsize


def info(dtype: Any) -> Any:
    """Return ``iinfo`` or ``finfo`` of the dtype."""
    limits: Any = jnp.iinfo if is_integer(dtype) else jnp.finfo
    return limits(dtype)


def unsigned(dtype: Any) -> np.dtype[Any]:
    """Return the unsigned integer dtype of the same width."""
    return np.dtype(f"uint{info(dtype).bits}")


def has_infinity(dtype: Any) -> bool:
    """Return whether a float dtype has infinities; most of those of 8 bits have none, and NaN would come of one."""
    return bool(np.isinf(np.asarray(np.inf, dtype)))


def bound(dtype: Any, *, is_max: bool) -> np.ndarray[Any, Any]:
    """Return the scalar that never wins a maximum (or minimum): the identity of that operation."""
    if is_bool(dtype):
        return np.asarray(not is_max)
    if is_integer(dtype):
        return np.asarray(info(dtype).min if is_max else info(dtype).max, dtype)
    if not has_infinity(dtype):
        return np.asarray(info(dtype).min if is_max else info(dtype).max, dtype)
    return np.asarray(-np.inf if is_max else np.inf, dtype)


def needs_double(ctx: LoweringContext, op_type: str) -> bool:
    """Return whether the equation is in float64 and the target lacks the operator in it."""
    return bool(ctx.aval_out.dtype == np.float64) and not ctx.supports(op_type, np.float64)


def widened(ctx: LoweringContext, *operands: ir.Value) -> list[ir.Value]:
    """Cast floats of fewer than 32 bits to float32, in which a composition keeps its digits."""
    return [ctx.cast(x, np.float32) if is_narrow(a.dtype) else x for x, a in zip(operands, ctx.avals_in, strict=True)]


def converted(number: Any, dtype: Any) -> Any:
    """Return a number in a dtype as JAX converts it: -7 is 249 in uint8, 2.7 is 2 in int32."""
    with np.errstate(all="ignore"):
        return np.asarray(number).astype(dtype)
