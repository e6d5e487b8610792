"""Lookups: one number, or one row, is read by one node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.idle_nodes import is_dead
from jax2onnx.tidy.match_nodes import (
    ints_at,
    is_transpose,
    new_node,
    permutation,
    producer_at,
    replace,
    shape_at,
    sole_producer,
)
from jax2onnx.tidy.operators import RESHAPES
from jax2onnx.tidy.rules import rewrites
from jax2onnx.tidy.spans import slice_bounds
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["gather_first", "shorten_lookups"]


@rewrites("Squeeze")
def shorten_lookups(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``Squeeze(Gather(x[5, 3], Reshape(i[], [1])), 0)`` to ``Gather(x, i)``.

    ``Squeeze(Slice(x[5, 3], 2, 3, axes=0), 0)`` becomes ``Gather(x, 2)``, and ``Squeeze(GatherND(x[5, 3],
    Reshape(i[2], [1, 1, 2])), [0, 1])`` becomes ``GatherND(x, i)``.
    """
    for node in nodes:
        axes = ints_at(node, 1)
        lookup, shape = producer_at(node, 0), shape_at(node, 0)
        if lookup is None or axes is None or shape is None or not _is_squeezed_only(lookup):
            continue
        removed = sorted(axis % len(shape) for axis in axes)
        index = _index(lookup, removed, home)
        if index is None:
            continue
        kind = "Gather" if lookup.op_type == "Slice" else lookup.op_type
        short = new_node(kind, [lookup.inputs[0], index], node.outputs[0].shape, lookup)
        if kind == "Gather":
            short.attributes.add(ir.AttrInt64("axis", removed[0]))
        node.prepend(short)
        result = short.outputs[0]
        result.name, node.outputs[0].name = node.outputs[0].name, result.name
        replace(node, result)


def _is_squeezed_only(lookup: ir.Node) -> bool:
    """Return whether a lookup's result is read by nodes that remove dims alone, and by one only if it is a slice.

    Several slices of one array may become one ``Split`` in a runtime.
    """
    if standard(lookup) not in {"Gather", "GatherND", "Slice"} or lookup.outputs[0].is_graph_output():
        return False
    return all(standard(user) == "Squeeze" and user.graph is lookup.graph for user, _ in lookup.outputs[0].uses())


def _index(lookup: ir.Node, removed: list[int], home: Home) -> ir.Value | None:
    """Return the index with which a lookup gives its result without some dims of size 1, None if there is none."""
    if lookup.op_type == "Slice":
        bounds = slice_bounds(lookup)
        if bounds is None or list(bounds) != removed or len(removed) != 1:
            return None
        ((start, end),) = bounds.values()
        return home.constant(np.asarray(start, np.int64)) if end == start + 1 else None
    reshape = sole_producer(lookup, 1, *RESHAPES) or _reshape_before(lookup)
    before = None if reshape is None else shape_at(reshape, 0)
    if reshape is None or before is None:
        return None
    if lookup.op_type == "Gather":
        axis = lookup.attributes.get_int("axis", 0)
        fits = len(before) == 0 and removed == [axis] and shape_at(lookup, 1) == (1,)
    else:
        added = [1] * len(removed)
        fits = (
            len(before) == 1
            and removed == list(range(len(removed)))
            and shape_at(lookup, 1) == (*added, before[0])
            and lookup.attributes.get_int("batch_dims", 0) == 0
        )
    return reshape.inputs[0] if fits else None


def _reshape_before(lookup: ir.Node) -> ir.Node | None:
    """Return the reshape that makes the index of a lookup, which others may read too."""
    value = lookup.inputs[1]
    node = None if value is None else value.producer()
    return node if node is not None and standard(node) in RESHAPES else None


def gather_first(node: ir.Node, home: Home) -> None:
    """Rewrite ``Gather(Transpose(x[3, 4], [1, 0]), i[2], axis=1)`` to ``Transpose(Gather(x, i, axis=0), [1, 0])``.

    Likewise after a reshape of a transposed array that only adds dims of size 1. It is done where a reshape or a
    transpose follows, with which the transpose may merge.
    """
    users = node.outputs[0].uses()
    indices = shape_at(node, 1)
    axis = node.attributes.get_int("axis", 0)
    if len(users) != 1 or indices is None or len(indices) != 1 or node.outputs[0].is_graph_output() or axis < 0:
        return
    ((user, place),) = users
    follows = standard(user) in RESHAPES or is_transpose(user)
    before = sole_producer(node, 0, "Transpose", *RESHAPES)
    if before is None or not follows or place != 0 or user.graph is not node.graph:
        return
    if before.op_type != "Transpose" and sole_producer(before, 0, "Transpose") is None:
        return
    source, result = before.inputs[0], node.outputs[0]
    if source is None or source.shape is None or result.shape is None:
        return
    own = _axis_before(before, axis)
    if own is None:
        return
    dims = list(source.shape)
    dims[own] = indices[0]
    gathered = new_node("Gather", [source, node.inputs[1]], ir.Shape(dims), node)
    gathered.attributes.add(ir.AttrInt64("axis", own))
    operands: list[ir.Value | None] = [gathered.outputs[0]]
    if before.op_type != "Transpose":
        sizes = [dim if isinstance(dim, int) else -1 for dim in result.shape]
        if sizes.count(-1) > 1 or 0 in sizes:
            return
        operands.append(home.ints(sizes))
    after = new_node("Transpose" if before.op_type == "Transpose" else "Reshape", operands, result.shape, before)
    if before.op_type == "Transpose":
        after.attributes.add(ir.AttrInt64s("perm", permutation(before)))
    node.prepend([gathered, after])
    replace(node, after.outputs[0])
    if is_dead(before) and before.graph is not None:
        before.graph.remove(before, safe=True)
    # Behind the reshape there may be the transpose, which is read once less now.
    gather_first(gathered, home)


def _axis_before(node: ir.Node, axis: int) -> int | None:
    """Return which axis of a node's input an axis of its result is, None if it is not one of them as it is."""
    if node.op_type == "Transpose":
        return permutation(node)[axis] if is_transpose(node) else None
    before, after = shape_at(node, 0), node.outputs[0].shape
    if before is None or after is None or after[axis] == 1:
        return None
    wide = [place for place, dim in enumerate(before) if dim != 1]
    if [before[place] for place in wide] != [dim for dim in after if dim != 1] or 0 in before:
        return None
    if not all(isinstance(dim, int) for dim in before):
        return None
    return wide[sum(1 for dim in after[:axis] if dim != 1)]
