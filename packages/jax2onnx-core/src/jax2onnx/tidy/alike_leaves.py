"""Leaves of what is computed alike: operands that are one value, constants, pieces of an array, or other values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.spans import spans

__all__ = ["Cut", "Joined", "Known", "Same", "Values", "constants", "piece", "pieces", "size_at"]

Values: TypeAlias = tuple[ir.Value, ...]


@dataclass(frozen=True, slots=True)
class Same:
    """One value for all."""

    value: ir.Value


@dataclass(frozen=True, slots=True)
class Known:
    """Constants next to each other."""

    array: np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Cut:
    """Pieces of one array along an axis.

    Attributes:
        source: the array.
        axis: the axis.
        places: the places in it.
        values: the pieces.
    """

    source: ir.Value
    axis: int
    places: tuple[int, ...]
    values: Values

    @property
    def is_range(self) -> bool:
        """Return whether the pieces lie next to each other in the array."""
        return self.places == tuple(range(self.places[0], self.places[0] + len(self.places)))

    @property
    def is_all(self) -> bool:
        """Return whether the pieces are all of the array, in its order."""
        assert self.source.shape is not None
        return self.places == tuple(range(int(self.source.shape[self.axis])))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Joined:
    """Values as they are, next to each other."""

    values: Values
    axis: int


def size_at(value: ir.Value, end: int) -> int | None:
    """Return the size of an axis, counted from the last; 1 if the value has not so many, None if it is not known."""
    if value.shape is None:
        return None
    if len(value.shape) < end:
        return 1
    size = value.shape[len(value.shape) - end]
    return size if isinstance(size, int) else None


def constants(values: Values, end: int) -> Known | None:
    """Return constants next to each other."""
    arrays = [None if value.const_value is None else value.const_value.numpy() for value in values]
    known = [array for array in arrays if array is not None]
    if len(known) < len(values):
        return None
    if known[0].ndim >= end:
        return Known(np.concatenate(known, known[0].ndim - end))
    ones = (1,) * (end - 1 - known[0].ndim)
    return Known(np.stack([np.reshape(array, (*ones, *array.shape)) for array in known]))


def pieces(values: Values, end: int) -> Cut | None:
    """Return pieces of one array along the axis as such."""
    cuts = [piece(value) for value in values]
    found = [cut for cut in cuts if cut is not None]
    if len(found) < len(values) or len({(id(source), axis, rank) for source, axis, rank, _ in found}) > 1:
        return None
    source, axis, rank, _ = found[0]
    if source.shape is None or len(source.shape) - axis != end or (rank < len(source.shape) and axis != 0):
        return None
    return Cut(source, axis, tuple(place for _, _, _, places in found for place in places), values)


def piece(value: ir.Value) -> tuple[ir.Value, int, int, tuple[int, ...]] | None:
    """Return of which array, along which axis, and with which rank, a value is which places."""
    node = value.producer()
    source = node.inputs[0] if node is not None and node.inputs else None  # a constant of a function has no inputs
    found = None if node is None else spans(node)
    if node is None or source is None or found is None:
        return None
    axis, start, end = found[node.outputs.index(value)]
    rank = len(value.shape or ())
    return (source, axis, rank, tuple(range(start, end))) if rank <= len(source.shape or ()) else None
