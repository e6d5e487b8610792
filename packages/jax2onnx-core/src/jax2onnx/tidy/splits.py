"""Splits: slices that lie next to each other, and are the whole array, are the results of one split."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import onnx_ir as ir

from jax2onnx.tidy.idle_nodes import is_dead
from jax2onnx.tidy.match_nodes import rank_of, replace
from jax2onnx.tidy.pieces import forward_pieces
from jax2onnx.tidy.rules import rewrites
from jax2onnx.tidy.spans import spans
from jax2onnx.tidy.subgraphs import graph_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["split_at_once"]

_Slices: TypeAlias = "list[tuple[tuple[int, int], ir.Node]]"
"""Slices of one array along one axis, in the order of their graph: between which places, and the node."""


@rewrites("Gather", "Slice")
def split_at_once(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``Slice(x[5], 0, 2), Slice(x, 2, 5)`` to ``Split(x, [2, 3])``; what joins all of these is ``x``.

    ``Gather(x, [0])`` is such a slice, too.
    """
    found: dict[tuple[ir.Value, int], _Slices] = {}
    for node in nodes:
        if is_dead(node) or node.outputs[0].is_graph_output():
            continue
        value, places = node.inputs[0], spans(node)
        if places and value is not None and rank_of(value) == rank_of(node.outputs[0]):
            ((axis, start, end),) = places
            found.setdefault((value, axis), []).append(((start, end), node))
    splits = []
    for (value, axis), slices in found.items():
        parts = sorted({places for places, _ in slices})
        if len(parts) > 1 and _fill(parts, value, axis):
            splits.append(_split(axis, parts, slices, home))
    if not splits:
        return
    graph = graph_of(splits[0])
    forward_pieces(graph, home)
    for split in splits:
        if is_dead(split):
            graph.remove(split, safe=True)


def _fill(parts: Sequence[tuple[int, int]], value: ir.Value, axis: int) -> bool:
    """Return whether parts lie next to each other, and are the whole array."""
    last = 0
    for start, end in parts:
        if start != last or end == start:
            return False
        last = end
    return value.shape is not None and value.shape[axis] == last


def _split(axis: int, parts: Sequence[tuple[int, int]], slices: _Slices, home: Home) -> ir.Node:
    """Put one split in the place of some slices."""
    _, first = slices[0]
    sizes = home.ints([end - start for start, end in parts])
    split = ir.Node(
        "",
        "Split",
        [first.inputs[0], sizes],
        [ir.AttrInt64("axis", axis)],
        num_outputs=len(parts),
        metadata_props=dict(first.metadata_props),
    )
    first.prepend(split)
    pieces = dict(zip(parts, split.outputs, strict=True))
    for places, node in slices:
        piece, result = pieces[places], node.outputs[0]
        piece.type, piece.shape = result.type, result.shape
        replace(node, piece)
    return split
