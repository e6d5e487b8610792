"""Plain functions of shapes: what is known of dims, which axes are left, and the orders of axes.

A dim is a number or a symbol (a symbolic expression of ``jax.export``).
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from typing import Any

from jax2onnx._compat import is_symbolic

__all__ = ["has_zero", "is_static", "other_axes", "permuted", "to_channels_first", "to_channels_last"]


def is_static(*dims: Any) -> bool:
    """Return whether every dim is a number."""
    return not any(map(is_symbolic, dims))


def has_zero(*dims: Any) -> bool:
    """Return whether a dim is the number 0; a symbol is none, although it may be 0 at run time."""
    numbers = itertools.filterfalse(is_symbolic, dims)
    return 0 in numbers


def other_axes(rank: int, axes: Collection[int]) -> list[int]:
    """Return the axes of an array of ``rank`` dims that are not in ``axes``."""
    every = range(rank)
    return sorted(set(every).difference(axes))


def permuted(shape: Sequence[Any], permutation: Sequence[int]) -> tuple[Any, ...]:
    """Return the shape of an array whose dims are permuted."""
    dims = map(shape.__getitem__, permutation)
    return tuple(dims)


def to_channels_first(rank: int, total: int | None = None) -> tuple[int, ...]:
    """Return the permutation from (N, spatial dims, C) to (N, C, spatial dims).

    An array may have more dims than its image (``total`` instead of ``rank``); they stay last.
    """
    channels = rank - 1
    spatial = range(1, channels)
    further = range(rank, total or rank)
    return (0, channels, *spatial, *further)


def to_channels_last(rank: int, total: int | None = None) -> tuple[int, ...]:
    """Return the permutation from (N, C, spatial dims) to (N, spatial dims, C); see :func:`to_channels_first`."""
    spatial = range(2, rank)
    further = range(rank, total or rank)
    return (0, *spatial, 1, *further)
