"""Basic slices: ``x[::-1, ::2]`` over symbolic sizes, one axis after the other.

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

from jax2onnx._compat import is_symbolic

__all__ = ["by_axis"]

_Function: TypeAlias = Callable[..., Any]
_WHOLE = slice(None)


def by_axis(original: _Function) -> _Function:
    """Return JAX's indexing of an array, which takes basic indices over symbolic sizes part by part."""

    @functools.wraps(original)
    def take(arr: Any, idx: Any, **how: Any) -> Any:
        if not any(map(is_symbolic, arr.shape)):
            return original(arr, idx, **how)
        entries = _entries(idx, arr.ndim)
        stepped = [place for place, entry in enumerate(entries) if _has_step(entry)]
        rest = [_WHOLE if place in stepped else entry for place, entry in enumerate(entries)]
        is_plain = all(isinstance(entry, slice) and entry == _WHOLE for entry in rest)
        if not stepped or (len(stepped) == 1 and is_plain):
            return original(arr, idx, **how)
        if not is_plain:
            arr = original(arr, tuple(rest), **how)
        for place in stepped:
            axis = sum(not _is_number(entry) for entry in entries[:place])
            arr = original(arr, (*[_WHOLE] * axis, entries[place]), **how)
        return arr

    return take


def _entries(idx: Any, rank: int) -> Sequence[Any]:
    """Return the parts of a basic index, without an ellipsis; none for any other index."""
    entries = list(idx) if isinstance(idx, tuple) else [idx]
    if not all(map(_is_basic, entries)):
        return []
    axes = sum(entry is not None and entry is not Ellipsis for entry in entries)
    dots = [place for place, entry in enumerate(entries) if entry is Ellipsis]
    if len(dots) > 1 or axes > rank:
        return []
    if dots:
        entries[dots[0] : dots[0] + 1] = [_WHOLE] * (rank - axes)
    return entries


def _is_basic(entry: Any) -> bool:
    if isinstance(entry, slice):
        parts = (entry.start, entry.stop, entry.step)
        return all(part is None or is_symbolic(part) or _is_number(part) for part in parts)
    return entry is None or isinstance(entry, EllipsisType) or _is_number(entry)


def _is_number(entry: Any) -> bool:
    return isinstance(entry, (int, np.integer)) and not isinstance(entry, bool)


def _has_step(entry: Any) -> bool:
    if not isinstance(entry, slice) or entry.step is None or is_symbolic(entry.step):
        return False
    return operator.index(entry.step) != 1
