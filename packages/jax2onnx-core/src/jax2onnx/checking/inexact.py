"""Numbers that were rounded: which they are, and the arrays that have others in their places."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from jax2onnx.checking.inputs import LARGEST_EXACT, finfo

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["is_half_integer", "is_inexact", "is_real", "only_moves", "widened", "with_changed"]

Array = np.ndarray[Any, Any]

_RARE = 2.0**-9
"""Up to this distance from the next number of the dtype, one in 256 numbers at most is a multiple of one half."""


def is_inexact(value: Any) -> bool:
    """Return whether a value, which may be an array of random keys, is of floats or complex numbers."""
    dtype = value.dtype if hasattr(value, "dtype") else jnp.result_type(value)
    return bool(jnp.issubdtype(dtype, np.inexact))


def is_real(value: Any) -> bool:
    """Return whether a value is of real floats."""
    return bool(jnp.issubdtype(value.dtype, np.floating))


def widened(array: Array) -> Array:
    """Return an array in the dtype in which its numbers are moved: complex128, or float64."""
    return array.astype(np.complex128 if np.iscomplexobj(array) else np.float64)


def is_half_integer(array: Array) -> Array:
    """Return which numbers are multiples of one half, and are not so by chance: their dtype has others near them."""
    wide = widened(array)
    with np.errstate(invalid="ignore", over="ignore"):
        doubled = 2 * wide
        if np.iscomplexobj(wide):
            whole = (np.floor(doubled.real) == doubled.real) & (np.floor(doubled.imag) == doubled.imag)
        else:
            whole = np.floor(doubled) == doubled
        size = np.abs(wide)
        near = size * float(finfo(array.dtype).eps) if is_inexact(array) else np.zeros(size.shape)
        return np.asarray(whole & (size <= LARGEST_EXACT) & (near <= _RARE))


def with_changed(array: Array, keep: Array, changed: Array) -> Any:
    """Return the changed numbers as the array's dtype; what is to be kept, and what is not finite, stays."""
    fixed = keep | ~np.isfinite(widened(array))
    with np.errstate(over="ignore", invalid="ignore"):
        rounded = changed.astype(array.dtype)
    return jnp.asarray(np.where(fixed, array, rounded))


def _magnitudes(value: Any) -> Array:
    """Return the absolute values of all numbers, and of the parts of complex ones."""
    array = np.asarray(value).reshape(-1)
    parts = np.concatenate([array.real, array.imag]) if np.iscomplexobj(array) else array
    return np.abs(parts.astype(np.float64))


def only_moves(results: Sequence[Any], operands: Sequence[Any]) -> bool:
    """Return whether all numbers of the results are numbers of the operands, up to the sign, or stand for integers."""
    known = [_magnitudes(operand) for operand in operands if is_inexact(operand)]
    if not known:
        return True
    held = np.concatenate(known)
    for result in results:
        if is_inexact(result):
            numbers = _magnitudes(result)
            if not (np.isin(numbers, held) | (numbers == 0) | np.isnan(numbers)).all():
                return False
    return True
