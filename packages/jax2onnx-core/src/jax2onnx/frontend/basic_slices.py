"""Basic slices over symbolic sizes: ``x[-1]``, ``x[-3:]``, and ``x[::-1, ::2]`` one axis after the other.

JAX takes ``x[-1]`` and ``x[-3:]`` at a place that it computes, holds within bounds and wraps, as if it were not known.
Where the bounds follow from the sizes, the same elements are a plain slice.

JAX gathers by an array of indices for each element, once a slice with a step meets a symbolic size; one along a single
axis is a ``Slice`` in the model. So what has several parts is indexed part by part: numbers, new axes and slices
without a step first, as they leave less of the array, and then each slice with a step.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from types import EllipsisType
from typing import Any, TypeAlias

import numpy as np
from jax import lax

from jax2onnx._compat import InconclusiveDimensionOperation, canonicalize_slice, is_symbolic

__all__ = ["WHOLE", "bounds_of", "by_axis", "entries_of", "has_step", "is_number"]

_Function: TypeAlias = Callable[..., Any]
WHOLE = slice(None)
"""The whole of an axis."""


def by_axis(original: _Function) -> _Function:
    """Return JAX's indexing of an array, which takes basic indices over symbolic sizes part by part."""

    @functools.wraps(original)
    def take(arr: Any, idx: Any, **how: Any) -> Any:
        if not any(map(is_symbolic, arr.shape)):
            return original(arr, idx, **how)
        entries = entries_of(idx, arr.ndim)
        if not any(map(has_step, entries)):
            sliced = _plain(arr, entries) if _is_usual(how) else None
            return original(arr, idx, **how) if sliced is None else sliced
        stepped = [place for place, entry in enumerate(entries) if has_step(entry)]
        rest = [WHOLE if place in stepped else entry for place, entry in enumerate(entries)]
        is_plain = all(isinstance(entry, slice) and entry == WHOLE for entry in rest)
        if len(stepped) == 1 and is_plain:
            return original(arr, idx, **how)
        if not is_plain:
            arr = take(arr, tuple(rest), **how)
        for place in stepped:
            axis = sum(not is_number(entry) for entry in entries[:place])
            arr = original(arr, (*[WHOLE] * axis, entries[place]), **how)
        return arr

    return take


def _plain(arr: Any, entries: Sequence[Any]) -> Any:
    """Return ``arr[entries]`` as ``lax.slice``; None where JAX does it by itself, or the bounds do not follow."""
    used = [entry for entry in entries if entry is not None]
    sized = list(zip(used, arr.shape, strict=False))
    if not any(is_symbolic(size) and _depends_on_size(entry) for entry, size in sized):
        return None
    try:
        bounds = [bounds_of(entry, size) for entry, size in sized]
    except InconclusiveDimensionOperation:
        return None
    if None in bounds:
        return None
    starts, limits = zip(*bounds, *((0, size) for size in arr.shape[len(used) :]), strict=True)
    try:
        arr = lax.slice(arr, starts, limits)
    except InconclusiveDimensionOperation:
        return None
    arr = lax.squeeze(arr, [axis for axis, entry in enumerate(used) if is_number(entry)])
    kept = [entry for entry in entries if not is_number(entry)]
    return lax.expand_dims(arr, [place for place, entry in enumerate(kept) if entry is None])


def bounds_of(entry: Any, size: Any) -> tuple[Any, Any] | None:
    """Return where a slice or a number begins and ends; None if it is out of bounds, which JAX has rules for."""
    if not is_number(entry):
        start, _, length = canonicalize_slice(entry, size)
        return start, start + length
    number = operator.index(entry)
    start = number + size if number < 0 else number
    return (start, start + 1) if start >= 0 and start < size else None


def _depends_on_size(entry: Any) -> bool:
    """Return whether what an entry takes depends on the size of its axis: ``-1``, ``-3:``, ``2:-2``, but not ``0``."""
    return entry != WHOLE if isinstance(entry, slice) else entry < 0


def _is_usual(how: dict[str, Any]) -> bool:
    """Return whether negative numbers count from the end, and the result is placed as JAX likes."""
    return how.get("normalize_indices", True) and how.get("out_sharding") is None


def entries_of(idx: Any, rank: int) -> Sequence[Any]:
    """Return the parts of a basic index, without an ellipsis; none for any other index."""
    entries = list(idx) if isinstance(idx, tuple) else [idx]
    if not all(map(_is_basic, entries)):
        return []
    axes = sum(entry is not None and entry is not Ellipsis for entry in entries)
    dots = [place for place, entry in enumerate(entries) if entry is Ellipsis]
    if len(dots) > 1 or axes > rank:
        return []
    if dots:
        entries[dots[0] : dots[0] + 1] = [WHOLE] * (rank - axes)
    return entries


def _is_basic(entry: Any) -> bool:
    if isinstance(entry, slice):
        parts = (entry.start, entry.stop, entry.step)
        return all(part is None or is_symbolic(part) or is_number(part) for part in parts)
    return entry is None or isinstance(entry, EllipsisType) or is_number(entry)


def is_number(entry: Any) -> bool:
    """Return whether an entry of an index is an integer that is known."""
    return isinstance(entry, (int, np.integer)) and not isinstance(entry, bool)


def has_step(entry: Any) -> bool:
    """Return whether an entry of an index takes every second element, say, or goes backwards."""
    if not isinstance(entry, slice) or entry.step is None or is_symbolic(entry.step):
        return False
    return operator.index(entry.step) != 1
