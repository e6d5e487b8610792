"""Results that JAX does not determine: zeros of subnormal numbers, NaN among extrema, infinities in sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from jax2onnx._compat import bind_equation
from jax2onnx.checking.inexact import is_inexact
from jax2onnx.checking.inputs import finfo

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["as_numbers", "lifted", "selects", "undetermined", "undetermined_parts", "with_nan", "with_one_nan"]

_FLUSHED = 1e-37
"""JAX flushes subnormal numbers of dtypes whose smallest normal number is below, which is not so of float16."""


def lifted(result: Any, exists: Any) -> Any:
    """Return a result with a small number for each 0 where the exact number ``exists``.

    It is twice the smallest normal one, so that it stays normal when it is rounded down; of dtypes that JAX does not
    flush, such as float16, the smallest of all. A model computes those in float32, where less becomes 0: JAX's sigmoid
    of float16 is 0 below -11, where its exponential overflows.
    """
    if not jnp.issubdtype(result.dtype, np.floating):
        return result
    limits = finfo(result.dtype)
    smallest = 2 * limits.tiny if float(limits.tiny) <= _FLUSHED else limits.smallest_subnormal
    small = jnp.copysign(jnp.asarray(smallest, result.dtype), result)
    return jnp.where((result == 0) & exists, small, result)


def with_nan(eqn: Any, operands: Sequence[Any], plain: Sequence[Any]) -> list[Any]:
    """Return the extrema, NaN where there is a NaN among the numbers."""
    if not any(map(is_inexact, plain)):
        return list(plain)
    missing = list(map(jnp.isnan, operands))
    marks = [
        bind_equation(eqn, [jnp.where(nan, sign, 0).astype(x.dtype) for nan, x in zip(missing, operands, strict=True)])
        for sign in (1, -1)
    ]
    results = []
    for value, high, low in zip(plain, *marks, strict=True):
        results.append(jnp.where((high == 1) | (low == -1), jnp.nan, value).astype(value.dtype))
    return results


def with_one_nan(operand: Any) -> Any:
    """Return an operand in which no NaN has a sign."""
    return jnp.where(jnp.isnan(operand), jnp.nan, operand).astype(operand.dtype) if is_inexact(operand) else operand


def selects(operands: Sequence[Any]) -> bool:
    """Return whether XLA may select the terms of a sum of products: bools are multiplied by floats.

    False times infinity is 0 where it selects, and NaN where it multiplies. It does either, depending on shapes.
    """
    return any(operand.dtype == bool for operand in operands) and any(map(is_inexact, operands))


def as_numbers(operands: Sequence[Any]) -> list[Any]:
    """Return the operands with 0 and 1 for bools, in the dtype of the floats among them."""
    dtype = next(operand.dtype for operand in operands if is_inexact(operand))
    return [operand.astype(dtype) if operand.dtype == bool else operand for operand in operands]


def undetermined(result: Any, operands: Sequence[Any], rank: int, value: float) -> Any:
    """Return a result that is ``value`` where a term of its row, or matrix, is NaN or infinite.

    How far these spread depends on the order of the operations.
    """
    if not is_inexact(result):
        return result
    unknown = value + 1j * value if jnp.iscomplexobj(result) else value
    for operand in filter(is_inexact, operands):
        array = np.asarray(operand)
        batch = max(0, array.ndim - rank)
        known = np.isfinite(array).all(tuple(range(batch, array.ndim)))
        if result.shape[:batch] == known.shape:
            places = known.reshape(known.shape + (1,) * (result.ndim - batch))
            result = jnp.where(places, result, unknown)
    return result


def undetermined_parts(result: Any, value: float) -> Any:
    """Return a complex sum of products that is ``value`` where it is not finite.

    Which of its parts are infinite, and which are NaN, depends on the order in which terms of both are added.
    """
    if not jnp.iscomplexobj(result):
        return result
    return jnp.where(jnp.isfinite(result), result, value + 1j * value).astype(result.dtype)
