"""Plain functions of shapes: what is known of dims, which axes are left, and the orders of axes.

A dim is a number or a symbol (a symbolic expression of ``jax.export``).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from jax2onnx._compat import is_symbolic

__all__ = ["has_zero", "is_static", "other_axes", "permuted", "to_channels_first", "to_channels_last"]


def is_static(*dims: Any) -> bool:
    """Return whether every dim is a number."""
    return not any(map(is_symbolic, dims))


def has_zero(*dims: Any) -> bool:
    """Return whether a dim is the number 0; a symbol is none, although it may be 0 at run time."""
    return any(not is_symbolic(d) and d == 0 for d in dims)


def other_axes(rank: int, axes: Collection[int]) -> list[int]:
    """Return the axes of an array of ``rank`` dims that are not in ``axes``."""
    return [axis for axis in range(rank) if axis not in axes]


def permuted(shape: Sequence[Any], permutation: Sequence[int]) -> tuple[Any, ...]:
    """Return the shape of an array whose dims are permuted."""
    return tuple(shape[axis] for axis in permutation)


def to_channels_first(rank: int, total: int | None = None) -> tuple[int, ...]:
    """Return the permutation from (N, spatial dims, C) to (N, C, spatial dims).

    An array may have more dims than its image (``total`` instead of ``rank``); they stay last.
    """
    return (0, rank - 1, *range(1, rank - 1), *range(rank, total or rank))


def to_channels_last(rank: int, total: int | None = None) -> tuple[int, ...]:
    """Return the permutation from (N, C, spatial dims) to (N, spatial dims, C); see :func:`to_channels_first`."""
    return (0, *range(2, rank), 1, *range(rank, total or rank))
