"""Ones: dims of size 1 are moved and removed by the fewest nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.match_nodes import (
    is_known,
    is_transpose,
    is_used_once,
    new_node,
    permutation,
    replace,
    same_dims,
    shape_at,
    sole_producer,
)
from jax2onnx.tidy.operators import RESHAPES
from jax2onnx.tidy.reshapes import reshape_ones, shorten_reshape
from jax2onnx.tidy.rules import rewrites
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["share_reshapes", "shorten_ones", "turn_ones"]

_MOST_DIMS = 3
_HEADS = (0, 2, 1, 3)
"""How the heads of an attention are transposed."""


@rewrites("Split", "Transpose", *RESHAPES)
def shorten_ones(nodes: Sequence[ir.Node], home: Home) -> None:
    """Write dims of size 1 in the fewest nodes; nodes without users stay."""
    for node in nodes:
        if node.op_type == "Transpose":
            turn_ones(node, home)
        elif node.op_type == "Split":
            _look_up(node, home)
        elif node.op_type in RESHAPES:
            shorten_reshape(node, home)


def turn_ones(node: ir.Node, home: Home) -> None:
    """Rewrite ``Transpose(Unsqueeze(x[5], 0), [1, 0])`` to ``Unsqueeze(x, 1)``; likewise before a reshape.

    The heads of one token, of four dims, stay transposed: targets know an attention by that.
    """
    value, result, shape = node.inputs[0], node.outputs[0], shape_at(node, 0)
    if shape is None or value is None or result.shape is None or not is_transpose(node):
        return
    if len(shape) > _MOST_DIMS and permutation(node) == _HEADS:
        return
    wide = [axis for axis in permutation(node) if shape[axis] != 1]
    if wide != sorted(wide):
        return
    before = sole_producer(node, 0, *RESHAPES)
    if before is None and not _is_reshaped(result):
        return
    reshape = reshape_ones(value, result.shape, node, home)
    if reshape is None:
        return
    node.prepend(reshape)
    reshape.outputs[0].name, result.name = result.name, reshape.outputs[0].name
    replace(node, reshape.outputs[0])
    shorten_reshape(reshape, home)


def _is_reshaped(value: ir.Value) -> bool:
    """Return whether only a reshape reads a value."""
    return is_used_once(value) and all(standard(user) in RESHAPES for user, _ in value.uses())


def _look_up(node: ir.Node, home: Home) -> None:
    """Rewrite ``a, b = Split(x[2, 5], axis=0); Squeeze(a), Squeeze(b)`` to ``Gather(x, 0), Gather(x, 1)``."""
    shape = shape_at(node, 0)
    axis = node.attributes.get_int("axis", 0)
    used = [(place, value) for place, value in enumerate(node.outputs) if value.uses()]
    if shape is None or not used or any(value.is_graph_output() for value in node.outputs):
        return
    axis %= len(shape)
    left = ir.Shape([*shape[:axis], *shape[axis + 1 :]])
    if shape[axis] != len(node.outputs) or not all(_are_left(value, node, left) for _, value in used):
        return
    for place, value in used:
        row = new_node("Gather", [node.inputs[0], home.constant(np.asarray(place, np.int64))], left, node)
        row.attributes.add(ir.AttrInt64("axis", axis))
        node.prepend(row)
        for user, _ in list(value.uses()):
            if user.outputs[0].is_graph_output():
                row.outputs[0].name, user.outputs[0].name = user.outputs[0].name, row.outputs[0].name
            replace(user, row.outputs[0])


def _are_left(piece: ir.Value, split: ir.Node, left: ir.Shape) -> bool:
    """Return whether all that read a piece make a shape of it, at most one of them as a result of the graph."""
    users = [user for user, _ in piece.uses()]
    if not all(standard(user) in RESHAPES and user.graph is split.graph for user in users):
        return False
    results = [user.outputs[0] for user in users]
    if sum(value.is_graph_output() for value in results) > 1:
        return False
    return all(value.shape is not None and same_dims(value.shape, left) for value in results)


@rewrites(*RESHAPES)
def share_reshapes(nodes: Sequence[ir.Node], _home: Home) -> None:
    """Rewrite ``Unsqueeze(x[5], 1)`` to ``Reshape(x, [5, 1])``, where that is computed before."""
    seen: dict[object, ir.Value] = {}
    for node in nodes:
        result = node.outputs[0]
        if result.shape is None or not all(map(is_known, result.shape)):
            continue
        first = seen.setdefault((node.inputs[0], tuple(result.shape)), result)
        if first is not result and not result.is_graph_output():
            result.replace_all_uses_with(first)
