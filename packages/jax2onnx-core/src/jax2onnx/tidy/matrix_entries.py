"""Matrix entries: entries that are taken out of a matrix, and those that are joined to one, are those of a vector.

Programs that rotate bodies say ``m[1, 2]``, compute with entries one by one and write ``jnp.array([[a, b], [c, d]])``.
Entries that lie next to each other along one axis can be computed at once.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.alike_kinds import signature
from jax2onnx.tidy.match_nodes import (
    FLOATS,
    is_transpose,
    new_node,
    permutation,
    rank_of,
    replace,
    same_dims,
    shape_at,
    sizes_of,
    sole_producer,
    target_dims,
)
from jax2onnx.tidy.one_more_dim import ADDING, REMOVING
from jax2onnx.tidy.rules import rewrites
from jax2onnx.tidy.spans import slice_bounds
from jax2onnx.tidy.subgraphs import graph_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["join_rows", "join_turned", "take_of_vectors"]

_FEWEST = 2
"""So many entries are taken out of a matrix before it is made a vector for them."""


@rewrites(*REMOVING, beside={"Slice"})
def take_of_vectors(nodes: Sequence[ir.Node], home: Home) -> None:
    """Take entries of a matrix out of a vector of all its entries; slices without users stay.

    ::

        before: Squeeze(x[B, 3, 3][:, 1:2, 0:1], [1, 2]), Squeeze(x[:, 2:3, 2:3], [1, 2])
        after:  v = Reshape(x, [B, 9]), Gather(v, 3, axis=1), Gather(v, 8, axis=1)
    """
    found: dict[tuple[ir.Value, tuple[int, ...]], list[tuple[ir.Node, int]]] = {}
    for node in nodes:
        entry = _entry(node)
        if entry is not None:
            matrix, axes, place = entry
            found.setdefault((matrix, axes), []).append((node, place))
    for (matrix, axes), entries in found.items():
        if len(entries) >= _FEWEST:
            _take(matrix, axes, entries, home)


def _entry(node: ir.Node) -> tuple[ir.Value, tuple[int, ...], int] | None:
    """Return of which array, along which axes, a node takes which entry; None if it takes none.

    The axes lie next to each other, and the result has the others, or 1 in their place. Entries are counted row by row.
    """
    cut = sole_producer(node, 0, "Slice")
    matrix = None if cut is None else cut.inputs[0]
    bounds = None if cut is None else slice_bounds(cut)
    if matrix is None or matrix.shape is None or not bounds or matrix.const_value is not None:
        return None
    if node.outputs[0].shape is None:
        return None
    axes = sorted(bounds)
    dims, result = list(matrix.shape), list(node.outputs[0].shape)
    if any(end - start != 1 for start, end in bounds.values()) or axes[-1] - axes[0] != len(axes) - 1:
        return None
    before, after = dims[: axes[0]], dims[axes[-1] + 1 :]
    if len(axes) < 2 or not any(same_dims([*before, *ones, *after], result) for ones in ([], [1])):
        return None
    places = [bounds[axis][0] for axis in axes]
    return None if target_dims(before, [1], after) is None else _turned(matrix, axes, places)


def _turned(matrix: ir.Value, axes: Sequence[int], places: Sequence[int]) -> tuple[ir.Value, tuple[int, ...], int]:
    """Return the entry, of what a matrix is the transpose of."""
    turning = matrix.producer()
    if turning is not None and is_transpose(turning) and (source := turning.inputs[0]) is not None:
        order = permutation(turning)
        turned = [order.index(axis) for axis in axes]
        if sorted(turned) == list(axes) and source.shape is not None:
            matrix, places = source, [places[axis - axes[0]] for axis in turned]
    assert matrix.shape is not None
    sizes = [size for axis in axes if isinstance(size := matrix.shape[axis], int)]
    return matrix, tuple(axes), int(np.ravel_multi_index(places, sizes))


def _take(matrix: ir.Value, axes: Sequence[int], entries: Sequence[tuple[ir.Node, int]], home: Home) -> None:
    first = entries[0][0]
    dims = list(matrix.shape or ())
    before, after = dims[: axes[0]], dims[axes[-1] + 1 :]
    size = math.prod(dim for axis in axes if isinstance(dim := dims[axis], int))
    target = target_dims(before, [size], after)
    assert target is not None
    vector = new_node("Reshape", [matrix, home.ints(target)], ir.Shape([*before, size, *after]), first)
    first.prepend(vector)
    for node, place in entries:
        taken = _taken(vector.outputs[0], axes[0], place, node, home)
        taken.outputs[0].name, node.outputs[0].name = node.outputs[0].name, taken.outputs[0].name
        replace(node, taken.outputs[0])


def _taken(vector: ir.Value, axis: int, place: int, node: ir.Node, home: Home) -> ir.Node:
    """Return the node that takes an entry of a vector in the place of another node, with its dims.

    If it drops a leading axis, this is removed by a node of its own: it may be kept.
    """
    dims = list(node.outputs[0].shape or ())
    has_axis = len(dims) == rank_of(vector)
    is_removed = axis == 0 and len(dims) > 0 and not has_axis
    index = np.asarray([place] if has_axis or is_removed else place, np.int64)
    shape = ir.Shape([1, *dims] if is_removed else dims)
    taken = new_node("Gather", [vector, home.constant(index)], shape, node)
    taken.attributes.add(ir.AttrInt64("axis", axis))
    node.prepend(taken)
    if not is_removed:
        return taken
    removing = new_node("Squeeze", [taken.outputs[0], home.ints([0])], ir.Shape(dims), node)
    node.prepend(removing)
    return removing


@rewrites("Transpose", beside=["Concat"])
def join_turned(nodes: Sequence[ir.Node], home: Home) -> None:
    """Join values along the axis to which a transpose moves the one along which they are joined, and turn nothing.

    ::

        before: Transpose(Concat(Reshape(a[N], [1, N]), Reshape(b[N], [1, N]), axis=0), [1, 0])
        after:  Concat(Unsqueeze(a, 1), Unsqueeze(b, 1), axis=1)

    JAX maps ``jnp.stack`` in this way. It is done where the values may be computed at once: else the transpose may
    meet another one.
    """
    for node in nodes:
        concat = sole_producer(node, 0, "Concat")
        if concat is not None and is_transpose(node):
            _turn(node, concat, home)


def _turn(turning: ir.Node, concat: ir.Node, home: Home) -> None:
    order = permutation(turning)
    axis = concat.attributes.get_int("axis", 0) % len(order)
    if [one for one in order if one != axis] != [one for one in range(len(order)) if one != axis]:
        return
    adding = [_adding(concat, place, axis) for place in range(len(concat.inputs))]
    values = [node.inputs[0] for node in adding if node is not None]
    if len(values) < len(concat.inputs) or not _are_alike(values):
        return
    moved = order.index(axis)
    pieces = []
    for value in values:
        dims = list(value.shape or ()) if value is not None else []
        piece = new_node("Unsqueeze", [value, home.ints([moved])], ir.Shape([*dims[:moved], 1, *dims[moved:]]), turning)
        turning.prepend(piece)
        pieces.append(piece.outputs[0])
    joined = new_node("Concat", pieces, turning.outputs[0].shape, turning)
    joined.attributes.add(ir.AttrInt64("axis", moved))
    turning.prepend(joined)
    joined.outputs[0].name, turning.outputs[0].name = turning.outputs[0].name, joined.outputs[0].name
    graph = graph_of(turning)
    replace(turning, joined.outputs[0])
    graph.remove([node for node in (concat, *adding) if node is not None], safe=True)


def _are_alike(values: Sequence[ir.Value | None]) -> bool:
    """Return whether nodes alike compute values."""
    kinds = {None if value is None else signature(value) for value in values}
    return len(kinds) == 1 and None not in kinds


def _adding(concat: ir.Node, place: int, axis: int) -> ir.Node | None:
    """Return the node that gives an operand, for this alone, the axis along which it is joined; None if none does."""
    adding = sole_producer(concat, place, *ADDING)
    short, whole = shape_at(adding, 0) if adding is not None else None, shape_at(concat, place)
    if short is None or whole is None or not same_dims([*short[:axis], 1, *short[axis:]], whole):
        return None
    return adding


@rewrites("Concat", beside=ADDING)
def join_rows(nodes: Sequence[ir.Node], home: Home) -> None:
    """Join the entries of all rows of a matrix, and not those of each row; those of columns, too.

    ::

        before: Concat(Reshape(Concat(a[1], b[1]), [1, 2]), Reshape(Concat(c[1], d[1]), [1, 2]), axis=0)
        after:  Reshape(Concat(a, b, c, d), [2, 2])

    Words of keys of random numbers are joined as they are.
    """
    for node in nodes:
        axis = node.attributes.get_int("axis", 0) % max(rank_of(node.outputs[0]) or 0, 1)
        if node.outputs[0].dtype in FLOATS and not _join(node, axis, axis, home) and axis > 0:
            _join(node, axis, axis - 1, home)


def _join(node: ir.Node, axis: int, inner: int, home: Home) -> bool:
    """Join the entries of what a node joins along an axis, which was joined along ``inner``; return whether it is."""
    result = node.outputs[0]
    dims = list(result.shape or ())
    found = [_row(node, place, axis, inner) for place in range(len(node.inputs))]
    rows = [row for row in found if row is not None]
    sizes = sizes_of(dims[inner : inner + 2])
    before, after = dims[:inner], dims[inner + 2 :]
    target = None if sizes is None else target_dims(before, sizes, after)
    if len(rows) < len(found) or sizes is None or len(sizes) < 2 or target is None:
        return False
    entries = [row.inputs for row, _ in rows]
    if inner < axis:
        if any(len(column) != sizes[0] for column in entries):
            return False
        entries = [*zip(*entries, strict=True)]
    shape = ir.Shape([*before, math.prod(sizes), *after])
    joined = new_node("Concat", [entry for row in entries for entry in row], shape, node)
    joined.attributes.add(ir.AttrInt64("axis", inner))
    matrix = new_node("Reshape", [joined.outputs[0], home.ints(target)], ir.Shape(dims), node)
    node.prepend([joined, matrix])
    matrix.outputs[0].name, result.name = result.name, matrix.outputs[0].name
    graph = graph_of(node)
    replace(node, matrix.outputs[0])
    for row, adding in rows:
        graph.remove([adding, row], safe=True)
    return True


def _row(node: ir.Node, place: int, axis: int, inner: int) -> tuple[ir.Node, ir.Node] | None:
    """Return what joins entries along ``inner`` that a ``Concat`` joins to others along an axis, and what adds this."""
    adding = _adding(node, place, axis)
    row = None if adding is None else sole_producer(adding, 0, "Concat")
    if adding is None or row is None:
        return None
    rank = rank_of(row.outputs[0]) or 1
    return (row, adding) if row.attributes.get_int("axis", 0) % rank == inner else None
