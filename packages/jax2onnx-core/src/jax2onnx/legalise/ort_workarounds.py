"""Keep nodes of float64 from onnxruntime's optimiser where that would spoil them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Collection

_NEUTRAL = {"Add": 0.0, "Sub": 0.0, "Mul": 1.0, "Div": 1.0}
_CLOSE = 1e-6
"""Nothing farther from 0 or 1 rounds to it in float32."""


def keep_near_neutral(graph: ir.Graph, node: ir.Node) -> None:
    """Say a node otherwise, in place, if it has a constant operand that is nearly neutral to it.

    The optimiser rounds a constant number to float32 before it drops an addition of 0 or a multiplication by 1:
    ``x + 1e-300`` and ``x * (1 + 1e-9)`` would be ``x``.
    """
    for place in (0, 1) if node.op_type in {"Add", "Mul"} else (1,):
        if not node.domain and node.op_type in _NEUTRAL:
            number, other = _number(node.inputs[place]), node.inputs[1 - place]
            if number is not None and other is not None and _is_near(number.item(), _NEUTRAL[node.op_type]):
                _rewrite(graph, node, place, number, other)
                return


def keep_products(graph: ir.Graph, *, function: bool, calls: Collection[tuple[str, str]]) -> None:
    """Put a node that does nothing before every operand of a float64 product that a transpose may reach.

    Otherwise the optimiser, which moves transposes down to products, makes both one ``FusedMatMul``; before 1.26
    onnxruntime has none of float64.

    Args:
        graph: changed in place; graphs within are not.
        function: whether it is a function's, which the optimiser sees in place of the calls.
        calls: the domains and names of the model's functions.
    """
    products = [n for n in graph if n.op_type == "MatMul" and n.outputs[0].dtype == ir.DataType.DOUBLE]
    if not products:
        return
    reached: set[ir.Value | None] = set(graph.inputs) if function else set()
    for node in graph:
        if node.op_type == "Transpose" or (node.domain, node.op_type) in calls or not reached.isdisjoint(node.inputs):
            reached.update(node.outputs)
    for node in products:
        for index, value in enumerate(node.inputs):
            if value is not None and value in reached:
                kept = ir.Node("", "Sum", [value], metadata_props=dict(node.metadata_props))
                kept.outputs[0].shape, kept.outputs[0].type = value.shape, value.type
                graph.insert_before(node, kept)
                node.replace_input_with(index, kept.outputs[0])


def _number(value: ir.Value | None) -> np.ndarray[Any, Any] | None:
    """Return the constant number that a float64 value is, if it is one."""
    if value is None or value.dtype != ir.DataType.DOUBLE:
        return None
    constant = ir.convenience.get_const_tensor(value)
    return constant.numpy() if constant is not None and constant.size == 1 else None


def _is_near(number: float, neutral: float) -> bool:
    return 0 < abs(number - neutral) < _CLOSE and np.float32(number) == neutral


def _rewrite(graph: ir.Graph, node: ir.Node, place: int, number: np.ndarray[Any, Any], other: ir.Value) -> None:
    if node.op_type in {"Add", "Sub"}:
        number = number if node.op_type == "Add" else -number
        node.op_type = "Sum"
    else:
        # Both factors are exact.
        number = number * 2 if node.op_type == "Mul" else number / 2
        half = ir.Node("", "Mul", [other, _constant(graph, node, np.asarray(0.5))])
        half.outputs[0].shape, half.outputs[0].type = other.shape, other.type
        graph.insert_before(node, half)
        node.replace_input_with(1 - place, half.outputs[0])
    node.replace_input_with(place, _constant(graph, node, number))


def _constant(graph: ir.Graph, before: ir.Node, number: np.ndarray[Any, Any]) -> ir.Value:
    constant = ir.Node("", "Constant", [], [ir.AttrTensor("value", ir.tensor(number))])
    constant.outputs[0].shape, constant.outputs[0].dtype = ir.Shape(number.shape), ir.DataType.DOUBLE
    graph.insert_before(before, constant)
    return constant.outputs[0]
