"""Basic updates over symbolic sizes: ``x.at[-1].set(v)``, ``x.at[..., 1:].add(v)``, in parts.

JAX scatters into places that it computes and holds within bounds, as if they were not known. Where the bounds follow
from the sizes, what lies before, what is updated and what lies after are plain slices, and are joined again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx._compat import InconclusiveDimensionOperation, is_symbolic
from jax2onnx.frontend.basic_slices import WHOLE, bounds_of, entries_of, has_step, is_number
from jax2onnx.program.dims import may_be_zero

__all__ = ["by_parts"]

_Function: TypeAlias = Callable[..., Any]
_Part: TypeAlias = tuple[int, Any, Any]
"""An axis, and where the part that is updated begins and ends on it."""


def _new(_: Any, update: Any) -> Any:
    return update


_COMBINE: Mapping[str, _Function] = {
    "scatter": _new,
    "scatter_add": lax.add,
    "scatter_sub": lax.sub,
    "scatter_mul": lax.mul,
    "scatter_min": lax.min,
    "scatter_max": lax.max,
}
"""The name of a scatter -> what it makes of an element and its update."""


def by_parts(original: _Function) -> _Function:
    """Return JAX's update of an array, which takes basic indices over symbolic sizes apart."""

    @functools.wraps(original)
    def update(x: Any, idx: Any, y: Any, scatter_op: Any, *rest: Any, **how: Any) -> Any:
        result = _updated(x, idx, y, scatter_op) if _is_usual(how) else None
        return original(x, idx, y, scatter_op, *rest, **how) if result is None else result

    return update


def _updated(x: Any, idx: Any, y: Any, scatter_op: Any) -> Any:
    """Return the updated array; None if JAX shall do it."""
    combine = _COMBINE.get(getattr(scatter_op, "__name__", ""))
    if combine is None or not any(map(is_symbolic, np.shape(x))):
        return None
    entries = entries_of(idx, len(np.shape(x)))
    if not _is_plain(entries, np.shape(x)):
        return None
    x, y = jnp.asarray(x), jnp.asarray(y)
    # JAX warns of an update that does not fit into the array, keeps weak types, and adds no booleans.
    if jnp.result_type(x, y) != x.dtype or x.weak_type or (combine is not _new and not _has_order(x.dtype)):
        return None
    try:
        return _with_parts(x, entries, y, combine)
    except InconclusiveDimensionOperation:
        return None


def _is_usual(how: Mapping[str, Any]) -> bool:
    """Return whether negative numbers count from the end, and the result is placed as JAX likes."""
    return how.get("normalize_indices", True) and how.get("out_sharding") is None


def _is_plain(entries: Sequence[Any], shape: Sequence[Any]) -> bool:
    """Return whether an index has numbers and slices without a step only, one of which cuts a symbolic axis."""
    if any(entry is None or has_step(entry) for entry in entries):
        return False
    return any(is_symbolic(size) and not _is_whole(entry) for entry, size in zip(entries, shape, strict=False))


def _is_whole(entry: Any) -> bool:
    return isinstance(entry, slice) and entry == WHOLE


def _may_be_shorter(entry: Any, size: Any, length: Any) -> bool:
    """Return whether a slice such as ``x[:1]`` has fewer elements where its axis has none; JAX takes it to have one.

    A number is out of bounds there, which JAX refuses.
    """
    return isinstance(entry, slice) and not is_symbolic(length) and is_symbolic(size) and may_be_zero(size)


def _has_order(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, np.integer) or jnp.issubdtype(dtype, np.floating))


def _with_parts(x: Any, entries: Sequence[Any], y: Any, combine: _Function) -> Any:
    parts: list[_Part] = []
    updated: list[Any] = list(x.shape)
    for axis, entry in enumerate(entries):
        bounds = bounds_of(entry, x.shape[axis])
        if bounds is None or _may_be_shorter(entry, x.shape[axis], bounds[1] - bounds[0]):
            return None
        if not _is_whole(entry):
            parts.append((axis, *bounds))
            updated[axis] = bounds[1] - bounds[0]
    y = y.astype(x.dtype)
    if combine is _new and not y.shape and len(parts) == 1 and _is_at_an_end(x, *parts[0]):
        return _filled(x, y, *parts[0])
    numbers = [axis for axis, entry in enumerate(entries) if is_number(entry)]
    if y.shape:
        result = [size for axis, size in enumerate(updated) if axis not in numbers]
        y = lax.expand_dims(jnp.broadcast_to(y, result), numbers)
    else:
        y = jnp.broadcast_to(y, updated)
    return _joined(x, parts, y, combine)


def _is_at_an_end(x: Any, axis: int, start: Any, end: Any) -> bool:
    return bool((start == 0) != (end == x.shape[axis]))


def _filled(x: Any, number: Any, axis: int, start: Any, end: Any) -> Any:
    """Return an array with a number at one end of an axis, which is cut off and padded again."""
    size = x.shape[axis]
    widths = [(0, 0, 0)] * x.ndim
    if start == 0:
        widths[axis] = (end, 0, 0)
        kept = lax.slice_in_dim(x, end, size, axis=axis)
    else:
        widths[axis] = (0, size - start, 0)
        kept = lax.slice_in_dim(x, 0, start, axis=axis)
    return lax.pad(kept, number, widths)


def _joined(x: Any, parts: Sequence[_Part], y: Any, combine: _Function) -> Any:
    """Return an array whose part is combined with ``y``, axis by axis."""
    if not parts:
        return combine(x, y)
    (axis, start, end), *rest = parts
    size = x.shape[axis]
    middle = x if combine is _new and not rest else lax.slice_in_dim(x, start, end, axis=axis)
    pieces = [_joined(middle, rest, y, combine)]
    if start != 0:
        pieces.insert(0, lax.slice_in_dim(x, 0, start, axis=axis))
    if end != size:
        pieces.append(lax.slice_in_dim(x, end, size, axis=axis))
    return lax.concatenate(pieces, axis) if len(pieces) > 1 else pieces[0]
