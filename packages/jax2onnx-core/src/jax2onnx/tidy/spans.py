"""Spans: between which places of an axis of an array the results of a node lie."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

from jax2onnx.tidy.match_nodes import input_at, ints_at, shape_at, slice_steps
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.tidy.match_nodes import Dim

__all__ = ["Span", "slice_bounds", "spans"]


class Span(NamedTuple):
    """Places ``start`` to ``end``, without that, of an axis."""

    axis: int
    start: int
    end: int


def spans(node: ir.Node) -> list[Span] | None:
    """Return which places of its first operand the results of a node are, in their order.

    They have the dims of the operand, except for the axis that the index of a ``Gather`` may give other dims or none.

    Returns:
        None if the node is no ``Split``, ``Slice`` of one axis or ``Gather`` of one index, or if that is not known.
    """
    kind = standard(node)
    dims = shape_at(node, 0) if kind in {"Gather", "Slice", "Split"} else None
    if dims is None:
        return None
    if kind == "Slice":
        bounds = slice_bounds(node) or {}
        return [Span(axis, *places) for axis, places in bounds.items()] if len(bounds) == 1 else None
    axis = node.attributes.get_int("axis", 0) % dims.rank()
    return _of_split(node, axis) if kind == "Split" else _of_gather(node, axis, dims[axis])


def _of_split(node: ir.Node, axis: int) -> list[Span] | None:
    found = [None if result.shape is None else result.shape[axis] for result in node.outputs]
    sizes = [size for size in found if isinstance(size, int)]
    if len(sizes) < len(found):
        return None
    ends = itertools.pairwise(itertools.accumulate(sizes, initial=0))
    return [Span(axis, start, end) for start, end in ends]


def _of_gather(node: ir.Node, axis: int, size: Dim) -> list[Span] | None:
    indices = ints_at(node, 1)
    if indices is None or len(indices) != 1 or not isinstance(size, int) or not -size <= indices[0] < size:
        return None
    start = indices[0] % size
    return [Span(axis, start, start + 1)]


def slice_bounds(node: ir.Node) -> dict[int, tuple[int, int]] | None:
    """Return between which places a ``Slice`` cuts which axes, None if that is not known or a step is not 1."""
    shape = shape_at(node, 0)
    starts, ends = ints_at(node, 1), ints_at(node, 2)
    steps = slice_steps(node)
    if shape is None or starts is None or ends is None or steps is None or set(steps) - {1}:
        return None
    axes = list(range(len(starts))) if input_at(node, 3) is None else ints_at(node, 3)
    if axes is None:
        return None
    bounds = {}
    for axis, start, end in zip(axes, starts, ends, strict=True):
        size = shape[axis]
        if not isinstance(size, int):
            return None
        places = [min(max(place + size if place < 0 else place, 0), size) for place in (start, end)]
        bounds[axis % len(shape)] = (places[0], max(places))
    return bounds
