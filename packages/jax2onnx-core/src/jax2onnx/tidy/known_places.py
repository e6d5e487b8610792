"""Known places: what takes elements at known places takes nothing, if these are all, in order, or whole pieces."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.match_nodes import (
    become,
    drop,
    is_used_once,
    producer_at,
    same_dims,
    shape_at,
    sizes_of,
    target_dims,
    tensor_at,
)
from jax2onnx.tidy.rules import rewrites
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from jax2onnx.tidy.initializers import Home

__all__ = ["keep_all_places", "take_pieces"]

_MOST = 1024
"""At so many places it is looked."""


@rewrites("Gather")
def keep_all_places(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``Gather(x[3], [0, 1, 2])`` to ``x``, and ``Gather(x[2], [[0], [1]])`` to ``Reshape(x, [2, 1])``."""
    for node in nodes:
        known = _places(node, home)
        if known is None or node.outputs[0].shape is None:
            continue
        places, axis, shape = known
        if places.size == shape[axis] and np.array_equal(places.ravel(), np.arange(places.size)):
            _keep_all(node, shape, axis, home)


@rewrites("Gather", beside=["Concat"])
def take_pieces(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``Gather(Concat(a[1], b[2]), [1, 2, 0])`` to ``Concat(b, a)``. Nodes without users stay."""
    for node in nodes:
        known = _places(node, home)
        if known is not None and known[0].ndim == 1:
            _take_pieces(node, known[1], known[0])


def _places(node: ir.Node, home: Home) -> tuple[np.ndarray[Any, Any], int, ir.Shape] | None:
    """Return the places that a node takes, counted from 0, of which axis, and of what shape; None if it is not known.

    One place without a dim is taken as it is.
    """
    shape, indices, tensor = shape_at(node, 0), node.inputs[1], tensor_at(node, 1)
    if shape is None or indices is None or tensor is None or home.is_parameter(indices):
        return None
    axis = node.attributes.get_int("axis", 0) % len(shape)
    size = shape[axis]
    if tensor.shape.rank() == 0 or not isinstance(size, int) or not 0 < tensor.size <= _MOST:
        return None
    places = tensor.numpy()
    if np.any(places < -size) or np.any(places >= size):
        return None
    return np.where(places < 0, places + size, places), axis, shape


def _keep_all(node: ir.Node, shape: ir.Shape, axis: int, home: Home) -> None:
    """Write the node that takes all elements in their order as one that only gives them other dims, or as none."""
    result = node.outputs[0].shape
    assert result is not None
    if same_dims(shape, result):
        drop(node)
        return
    after = shape[axis + 1 :]
    new = sizes_of(result[axis : len(result) - len(after)])
    target = None if new is None else target_dims(shape[:axis], new, after)
    if target is None:
        return
    become(node, "Reshape", node.inputs[0])
    node.resize_inputs(2)
    node.replace_input_with(1, home.ints(target))


def _take_pieces(node: ir.Node, axis: int, places: np.ndarray[Any, Any]) -> None:
    """Join the pieces themselves that a node takes out of what is joined of them, if nothing else needs this."""
    concat = producer_at(node, 0)
    if concat is None or standard(concat) != "Concat" or concat.graph is not node.graph:
        return
    rank = len(concat.outputs[0].shape or ())
    if not rank or concat.attributes.get_int("axis", 0) % rank != axis:
        return
    pieces = _pieces(concat.inputs, axis, places.tolist())
    if pieces is None or not (len(pieces) == 1 or is_used_once(concat.outputs[0])):
        return
    node.resize_inputs(len(pieces))
    for place, piece in enumerate(pieces):
        node.replace_input_with(place, piece)
    if len(pieces) == 1:
        drop(node)
        return
    node.op_type = "Concat"
    node.attributes.add(ir.AttrInt64("axis", axis))


def _pieces(values: Sequence[ir.Value | None], axis: int, places: Sequence[int]) -> list[ir.Value] | None:
    """Return which of the values that lie next to each other fill some places, each once; None if they fill none."""
    sizes = [0 if value is None or value.shape is None else value.shape[axis] for value in values]
    known = [size for size in sizes if isinstance(size, int) and size > 0]
    if len(known) < len(sizes):
        return None
    starts = [*itertools.accumulate(known, initial=0)]
    found: list[ir.Value] = []
    at = 0
    while at < len(places):
        which = starts.index(places[at]) if places[at] in starts[:-1] else None
        value = None if which is None else values[which]
        if which is None or value is None or value in found:
            return None
        if [*places[at : at + known[which]]] != [*range(starts[which], starts[which + 1])]:
            return None
        found.append(value)
        at += known[which]
    return found
