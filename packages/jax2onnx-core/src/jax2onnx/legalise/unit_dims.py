"""Unit dims: dims of 1 that a transpose moves make onnxruntime copy each element on its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
import onnx_ir as ir

from jax2onnx.legalise.casts import like

__all__ = ["move_without_ones"]


def move_without_ones(graph: ir.Graph, node: ir.Node, /) -> None:
    """Leave dims of 1 out of a transpose, where it moves only one of the others.

    onnxruntime copies whole rows where one axis moves; a dim of 1 counts as another one, and makes it 20 times slower.
    Its ``Squeeze`` and ``Unsqueeze`` copy nothing.

    Rewrite ``Transpose(x[1, B, 16, 8], perm=[1, 3, 0, 2])`` to
    ``Unsqueeze(Transpose(Squeeze(x, [0]), perm=[0, 2, 1]), [2])``.
    """
    value = node.inputs[0]
    if value is None or value.dtype is None or value.shape is None or "perm" not in node.attributes:
        return
    order = list(node.attributes["perm"].as_ints())
    ones = [axis for axis, size in enumerate(value.shape) if size == 1]
    kept = [axis for axis in order if axis not in ones]
    if not ones or _moves_one(order) or kept == sorted(kept) or not _moves_one(kept):
        return
    turned = node.outputs[0]
    result = like(turned, value.dtype)
    turned.replace_all_uses_with(result, replace_graph_outputs=True)
    result.name, turned.name = turned.name, None if turned.name is None else f"{turned.name}_squeezed"
    turned.shape = ir.Shape([value.shape[axis] for axis in kept])
    inserted = _reshaped("Squeeze", value, ones)
    inserted[-1].outputs[0].shape = ir.Shape([size for size in value.shape if size != 1])
    graph.insert_before(node, inserted)
    node.replace_input_with(0, inserted[-1].outputs[0])
    ranks = {axis: rank for rank, axis in enumerate(sorted(kept))}
    node.attributes["perm"] = ir.AttrInt64s("perm", [ranks[axis] for axis in kept])
    places = [at for at, axis in enumerate(order) if axis in ones]
    behind = _reshaped("Unsqueeze", turned, places, result)
    graph.insert_after(node, behind)
    for one in (*inserted, *behind):
        one.metadata_props.update(node.metadata_props)


def _moves_one(order: Sequence[int]) -> bool:
    """Return whether at most one axis moves past the others."""
    return any(_is_sorted([*order[:at], *order[at + 1 :]]) for at in range(len(order)))


def _is_sorted(axes: Collection[int]) -> bool:
    return list(axes) == sorted(axes)


def _reshaped(op_type: str, value: ir.Value, axes: Sequence[int], result: ir.Value | None = None) -> list[ir.Node]:
    """Return the nodes that remove dims of 1 from a value, or insert them."""
    constant = ir.node("Constant", [], {"value": ir.tensor(np.asarray(axes, np.int64))})
    given = constant.outputs[0]
    given.shape, given.dtype = ir.Shape([len(axes)]), ir.DataType.INT64
    assert value.dtype is not None
    return [constant, ir.node(op_type, [value, given], outputs=[result or like(value, value.dtype)])]
