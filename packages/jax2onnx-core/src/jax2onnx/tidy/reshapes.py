"""Reshapes: merge reshapes in a row, transposes around reshapes, and reductions with the reshapes after them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from jax2onnx.tidy.idle_nodes import is_idle
from jax2onnx.tidy.match_nodes import (
    Dim,
    drop,
    input_at,
    ints_at,
    is_transpose,
    is_used_once,
    new_node,
    permutation,
    producer_at,
    same_dims,
    shape_at,
    sole_producer,
)
from jax2onnx.tidy.operators import REDUCTIONS, RESHAPES
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jax2onnx.tidy.initializers import Home

__all__ = ["merge_reshapes", "merge_transposes", "reshape_ones", "shorten_reshape"]


def merge_reshapes(node: ir.Node, home: Home) -> None:
    """Merge a reshape with the reshapes or with the reduction before it. The caller drops it if it is then idle."""
    _skip_reshapes(node, home)
    _keep_dims(node)


def shorten_reshape(node: ir.Node, home: Home) -> None:
    """Merge a reshape with the reshapes before it, and drop it if it is then idle."""
    _skip_reshapes(node, home)
    if is_idle(node):
        drop(node)


def _skip_reshapes(node: ir.Node, home: Home) -> None:
    """Rewrite ``Reshape(Squeeze(x[2, 1, 12], 1), [4, 6])`` to ``Reshape(x, [4, 6])``.

    ``Unsqueeze(Squeeze(x[2, 1, 12], 1), 1)`` ends in the shape that it starts from. It becomes ``Unsqueeze(x, 1)``,
    which is idle.
    """
    first = _first_of_row(node)
    start = shape_at(first, 0)
    shape = node.outputs[0].shape
    if first is node or start is None or shape is None:
        return
    # Reshape takes a 0 in its second input for the dim that its first input has there.
    if 0 in start or 0 in shape:
        return
    target = _target(shape)
    if same_dims(start, shape):
        node.replace_input_with(0, first.inputs[0])
    elif node.op_type == "Reshape" and target is not None:
        node.replace_input_with(0, first.inputs[0])
        node.replace_input_with(1, home.ints(target))
        node.attributes.pop("allowzero", None)


def _first_of_row(node: ir.Node) -> ir.Node:
    """Return the first of the reshapes in a row that ends in ``node``."""
    while True:
        before = producer_at(node, 0)
        if before is None or before.op_type not in RESHAPES:
            return node
        if before.domain or before.graph is not node.graph:
            return node
        node = before


def _target(shape: ir.Shape) -> list[int] | None:
    """Return the second input of a ``Reshape`` to a shape, None if more than one dim is symbolic."""
    target = [dim if isinstance(dim, int) else -1 for dim in shape]
    return target if target.count(-1) <= 1 else None


def _keep_dims(node: ir.Node) -> None:
    """Rewrite ``Unsqueeze(ReduceSum(x[N, 4], 1, keepdims=0), 1)`` to ``Unsqueeze(ReduceSum(x, 1, keepdims=1), 1)``.

    The ``Unsqueeze`` is then idle.
    """
    reduction = producer_at(node, 0)
    if reduction is None or standard(reduction) not in REDUCTIONS:
        return
    result = reduction.outputs[0]
    kept = _kept_shape(reduction)
    if kept is not None and kept == node.outputs[0].shape and is_used_once(result):
        reduction.attributes.add(ir.AttrInt64("keepdims", 1))
        result.shape = kept


def _kept_shape(reduction: ir.Node) -> ir.Shape | None:
    """Return the shape that the result of a reduction that drops dims would have if it kept them."""
    shape = shape_at(reduction, 0)
    axes = ints_at(reduction, 1)
    if shape is None or not axes or reduction.attributes.get_int("keepdims", 1) == 1:
        return None
    dims = list(shape)
    for axis in axes:
        dims[axis] = 1
    return ir.Shape(dims)


def merge_transposes(node: ir.Node, home: Home) -> None:
    """Merge two transposes if the reshapes between them only add and remove dims of size 1.

    Rewrite ``Transpose(Unsqueeze(Transpose(x[N, 3, M, 5], [0, 2, 3, 1]), 2), [2, 0, 1, 3, 4]) [1, N, M, 5, 3]`` to
    ``Transpose(Unsqueeze(x, 0) [1, N, 3, M, 5], [0, 1, 3, 4, 2])``. Without reshapes between them,
    ``Transpose(Transpose(x[2, 3], [1, 0]), [1, 0])`` becomes ``Transpose(x, [0, 1])``.
    """
    before = producer_at(node, 0)
    if before is not None and is_transpose(before) and is_transpose(node) and before.graph is node.graph:
        order = permutation(before)
        node.attributes.add(ir.AttrInt64s("perm", [order[axis] for axis in permutation(node)]))
        node.replace_input_with(0, before.inputs[0])
        return
    first = _transpose_before_reshapes(node)
    origin = input_at(first, 0)
    if first is None or origin is None or origin.shape is None:
        return
    kept = _kept_axes(first, node)
    if kept is None:
        return
    perm = list(range(len(permutation(node))))
    dims: list[Dim] = [1] * len(perm)
    # The reshape comes first now. It has the ones where the result has them; the other dims are in the origin's order.
    places = dict(zip(sorted(kept.values()), kept, strict=True))
    for axis, place in places.items():
        dims[place] = origin.shape[axis]
    for place, axis in kept.items():
        perm[place] = places[axis]
    reshape = reshape_ones(origin, ir.Shape(dims), node, home)
    if reshape is None:
        return
    node.prepend(reshape)
    node.attributes.add(ir.AttrInt64s("perm", perm))
    node.replace_input_with(0, reshape.outputs[0])
    shorten_reshape(reshape, home)


def _transpose_before_reshapes(node: ir.Node) -> ir.Node | None:
    """Return the transpose before one or more reshapes which only ``node``, a transpose too, reads."""
    first = sole_producer(node, 0, *RESHAPES)
    if first is None or not is_transpose(node):
        return None
    while (before := sole_producer(first, 0, *RESHAPES)) is not None:
        first = before
    transpose = producer_at(first, 0)
    if transpose is None or not is_transpose(transpose) or transpose.graph is not node.graph:
        return None
    return transpose


def _kept_axes(first: ir.Node, last: ir.Node) -> dict[int, int] | None:
    """Return which axes of the first transpose's input the axes of the last one's result are, but for those of size 1.

    None if the reshapes between the two are not known to keep the dims that are not 1.
    """
    origin = shape_at(first, 0)
    reshaped = shape_at(last, 0)
    if origin is None or reshaped is None:
        return None
    before = _wide_dims(origin, permutation(first))
    after = _wide_dims(reshaped, range(len(reshaped)))
    if not same_dims(before.values(), after.values()):
        return None
    origins = dict(zip(after, before, strict=True))
    kept = {}
    for place, axis in enumerate(permutation(last)):
        if axis in origins:
            kept[place] = origins[axis]
    return kept


def _wide_dims(shape: ir.Shape, order: Iterable[int]) -> dict[int, Dim]:
    """Return the axes whose dims are not 1, with these dims, in an order."""
    return {axis: shape[axis] for axis in order if shape[axis] != 1}


def reshape_ones(source: ir.Value, shape: ir.Shape, origin: ir.Node, home: Home) -> ir.Node | None:
    """Return a node that reshapes ``source`` to a shape with the same dims but for those of size 1."""
    gone = _ones(source.shape)
    added = _ones(shape)
    target = _target(shape)
    if not gone:
        op_type, numbers = "Unsqueeze", added
    elif not added:
        op_type, numbers = "Squeeze", gone
    elif target is not None and 0 not in target:
        op_type, numbers = "Reshape", target
    else:
        return None
    return new_node(op_type, [source, home.ints(numbers)], shape, origin)


def _ones(shape: ir.Shape | None) -> list[int]:
    """Return the axes of size 1."""
    return [axis for axis, dim in enumerate(shape or ()) if dim == 1]
