"""Small reductions: what says of few numbers whether all are so is told before them, and one number is not reduced."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.known_numbers import can_be_contrary, is_magnitude
from jax2onnx.tidy.match_nodes import (
    become,
    drop,
    ints_at,
    new_node,
    producer_at,
    rank_of,
    scalar_at,
    shape_at,
    sizes_of,
    sole_producer,
)
from jax2onnx.tidy.rules import by_rules
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax2onnx.tidy.initializers import Home

__all__ = ["shorten_reductions"]

_FEW = 1024
"""Of up to so many numbers each is compared, and not the largest of them."""
_BOOLS = 20
"""Since this opset reductions take conditions."""
_CONTRARY = {"ReduceMax": "ReduceMin", "ReduceMin": "ReduceMax"}


def _reduced(node: ir.Node, _home: Home) -> None:
    """Write a reduction of dims of size 1 as ``Squeeze``, or leave it out behind another one.

    ::

        before: ReduceMax(ReduceMax(x[3], keepdims=1), keepdims=0)
        after:  ReduceMax(x, keepdims=0)
    """
    axes, sizes = _axes(node), sizes_of(shape_at(node, 0))
    if axes is None or sizes is None or any(sizes[axis] != 1 for axis in axes):
        if standard(node) in _CONTRARY:
            _told_before(node)
        return
    if node.attributes.get_int("keepdims", 1) == 1:
        drop(node)
        return
    contrary = sole_producer(node, 0, "Not")
    before = sole_producer(node if contrary is None else contrary, 0, *_REDUCTIONS)
    if before is not None and before.attributes.get_int("keepdims", 1) == 1 and _axes(before) == axes:
        before.attributes.add(ir.AttrInt64("keepdims", 0))
        for one in (before, contrary):
            if one is not None:
                one.outputs[0].shape = node.outputs[0].shape
        drop(node)
        return
    node.op_type = "Squeeze"
    node.attributes.clear()


def _axes(node: ir.Node) -> set[int] | None:
    """Return the axes that a reduction reduces, as numbers from 0; None if they are not constants."""
    axes, rank = ints_at(node, 1), rank_of(node.inputs[0])
    return None if not axes or rank is None else {axis % rank for axis in axes}


def _told_before(node: ir.Node) -> None:
    """Rewrite ``ReduceMax(Not(p[3]))`` to ``Not(ReduceMin(p))``."""
    contrary = sole_producer(node, 0, "Not")
    if contrary is None or not can_be_contrary(node.outputs[0]):
        return
    inner = new_node(_CONTRARY[node.op_type], [contrary.inputs[0], node.inputs[1]], node.outputs[0].shape, node)
    inner.attributes.update(node.attributes)
    node.prepend(inner)
    become(node, "Not", inner.outputs[0])


def _below(node: ir.Node, home: Home) -> None:
    """Rewrite ``Less(m, 1)`` to ``ReduceMin(Less(x[3], 1))``, where ``m`` is the largest of numbers of one sign.

    ::

        m = Min(ReduceMax(x), ReduceSum(x)), or m = Where(IsNaN(ReduceSum(x)), nan, ReduceMax(x))

    NaN is less than nothing, so that the result is false on both sides if there is one.
    """
    if scalar_at(node, 1) is None or home.graph.opset_imports.get("", 0) < _BOOLS:
        return
    largest, total = _largest_beside_sum(sole_producer(node, 0, "Min", "Where"))
    if largest is None or total is None:
        return
    source, sizes = largest.inputs[0], sizes_of(shape_at(largest, 0))
    if total.inputs[0] is not source or _axes(total) != _axes(largest) or _axes(largest) is None:
        return
    if source is None or sizes is None or not 0 < int(np.prod(sizes)) <= _FEW or not is_magnitude(source):
        return
    each = new_node(node.op_type, [source, node.inputs[1]], source.shape, node)
    each.outputs[0].type = node.outputs[0].type
    node.prepend(each)
    node.op_type = "ReduceMin"
    node.replace_input_with(0, each.outputs[0])
    node.replace_input_with(1, largest.inputs[1])
    node.attributes.update(largest.attributes)


def _largest_beside_sum(node: ir.Node | None) -> tuple[ir.Node | None, ir.Node | None]:
    """Return the reductions to the largest number and to the sum, of which a node chooses NaN or the first."""
    if node is not None and node.op_type == "Where":
        is_nan = math.isnan(scalar_at(node, 1) or 0)
        unknown = sole_producer(node, 0, "IsNaN") if is_nan else None
        return sole_producer(node, 2, "ReduceMax"), sole_producer(unknown, 0, "ReduceSum")
    if node is None or len(node.inputs) != 2:
        return None, None
    return sole_producer(node, 0, "ReduceMax"), sole_producer(node, 1, "ReduceSum")


def _magnitude(node: ir.Node, _home: Home) -> None:
    """Rewrite ``Abs(x)`` to ``x`` of numbers that have no sign, such as quotients of magnitudes."""
    source = node.inputs[0]
    made = producer_at(node, 0)
    if made is not None and standard(made) and is_magnitude(source):
        drop(node)


_REDUCTIONS = ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum")

_RULES: dict[str, Callable[[ir.Node, Home], None]] = {
    **dict.fromkeys(_REDUCTIONS, _reduced),
    "Abs": _magnitude,
    "Less": _below,
    "LessOrEqual": _below,
}

shorten_reductions = by_rules(_RULES)
"""Reduce few numbers, and their conditions, in fewer nodes. The nodes that this leaves without users stay."""
