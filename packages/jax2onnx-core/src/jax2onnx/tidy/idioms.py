"""Idioms: a few nodes together that ONNX says in one word, with the same result on every input."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.initializers import Home, constant
from jax2onnx.tidy.reshapes import drop, same_shape

if TYPE_CHECKING:
    from collections.abc import Callable


def shorten(graph: ir.Graph, home: Home) -> None:
    """Say idioms in one word. What that leaves without users is for others to remove."""
    for node in list(graph):
        rule = _RULES.get(node.op_type)
        if rule is not None and not node.domain and None not in node.inputs:
            rule(graph, node, home)


def _made(value: ir.Value | None, op_type: str, graph: ir.Graph) -> ir.Node | None:
    """Return the node of a type that makes a value for one user alone."""
    node = value.producer() if value is not None else None
    if value is None or node is None or node.op_type != op_type or node.domain or node.graph is not graph:
        return None
    return node if len(value.uses()) == 1 and not value.is_graph_output() else None


def _scalar(value: ir.Value | None) -> float | None:
    """Return the number that a value of rank 0 holds, if it is constant."""
    tensor = value.const_value if value is not None else None
    return None if tensor is None or len(tensor.shape) else float(tensor.numpy())


def _sum_of_squares(graph: ir.Graph, node: ir.Node, home: Home) -> None:
    del home
    product = _made(node.inputs[0], "Mul", graph)
    if product is not None and product.inputs[0] is product.inputs[1] and node.outputs[0].dtype == ir.DataType.FLOAT:
        node.op_type = "ReduceSumSquare"
        node.replace_input_with(0, product.inputs[0])


def _norm(graph: ir.Graph, node: ir.Node, home: Home) -> None:
    del home
    squares = _made(node.inputs[0], "ReduceSumSquare", graph)
    if squares is not None:
        squares.op_type = "ReduceL2"
        drop(graph, node, squares.outputs[0])


def _mean(graph: ir.Graph, node: ir.Node, home: Home) -> None:
    del home
    total, count = _made(node.inputs[0], "ReduceSum", graph), _scalar(node.inputs[1])
    if total is None or not count or not same_shape(total.outputs[0], node.outputs[0]):
        return
    source = total.inputs[0]
    axes = constant(total.inputs[1]) if len(total.inputs) > 1 else None
    if not axes or source is None or source.shape is None or source.dtype not in _FLOATS:
        return
    sizes = [source.shape[a] for a in axes]
    if all(isinstance(s, int) for s in sizes) and math.prod(s for s in sizes if isinstance(s, int)) == count:
        total.op_type = "ReduceMean"
        drop(graph, node, total.outputs[0])


def _is_nan(graph: ir.Graph, node: ir.Node, home: Home) -> None:
    del home
    equal = _made(node.inputs[0], "Equal", graph)
    value = equal.inputs[0] if equal is not None else None
    if equal is not None and value is not None and value is equal.inputs[1] and value.dtype in _FLOATS:
        node.op_type = "IsNaN"
        node.replace_input_with(0, value)


def _is_infinite(graph: ir.Graph, node: ir.Node, home: Home) -> None:
    del home
    for value, bound in (node.inputs, node.inputs[::-1]):
        magnitude = _made(value, "Abs", graph)
        if magnitude is None or _scalar(bound) != math.inf or not same_shape(magnitude.outputs[0], node.outputs[0]):
            continue
        if magnitude.outputs[0].dtype in _FLOATS:
            node.op_type = "IsInf"
            node.replace_input_with(0, magnitude.inputs[0])
            node.resize_inputs(1)
            return


def _between(graph: ir.Graph, node: ir.Node, home: Home) -> None:
    """Clip to an interval. Its ends are not -0 or 0, which minima and maxima order and ``Clip`` does not."""
    if len(node.inputs) != 2 or node.outputs[0].dtype != ir.DataType.FLOAT:
        return
    for value, high in (node.inputs, node.inputs[::-1]):
        most, relu, larger = _scalar(high), _made(value, "Relu", graph), _made(value, "Max", graph)
        if not most or value is None or not same_shape(value, node.outputs[0]):
            continue
        if relu is not None and most > 0:
            source, low = relu.inputs[0], home.constant(np.zeros((), np.float32))
        elif larger is not None and len(larger.inputs) == 2:
            source, low = sorted(larger.inputs, key=lambda v: _scalar(v) is not None)  # type: ignore[assignment]
            least = _scalar(low)
            if not least or least > most or source is None or not same_shape(source, value):
                continue
        else:
            continue
        node.op_type = "Clip"
        node.resize_inputs(3)
        for place, operand in enumerate((source, low, high)):
            node.replace_input_with(place, operand)
        return


def _index(graph: ir.Graph, node: ir.Node, home: Home) -> None:
    """Let indices count from the end: JAX adds the size to negative ones, ONNX's operators do that themselves."""
    wrapped, low, high = node.inputs if len(node.inputs) == 3 else (None, None, None)
    choice = wrapped.producer() if wrapped is not None else None
    top = _scalar(high)
    if wrapped is None or choice is None or choice.op_type != "Where" or _scalar(low) != 0 or top is None:
        return
    size = int(top) + 1
    negative, added, plain = choice.inputs
    below, total = _made(negative, "Less", graph), _made(added, "Add", graph)
    if below is None or total is None or below.inputs[0] is not plain or _scalar(below.inputs[1]) != 0:
        return
    if plain not in total.inputs or size not in map(_scalar, total.inputs) or plain is None:
        return
    clipped = node.outputs[0]
    tests = [u.node for u in wrapped.uses() if u.node is not node]
    if not all(t.op_type == "Equal" and {*t.inputs} == {wrapped, clipped} for t in tests):
        return
    if any(v.is_graph_output() for v in (wrapped, clipped)) or not all(
        u.node in tests or _indexes(u.node, u.idx, size) for u in clipped.uses()
    ):
        return
    for place, operand in enumerate((plain, home.constant(np.asarray(-size, np.int64), wrapped.dtype))):
        node.replace_input_with(place, operand)
    for test in tests:
        test.replace_input_with([*test.inputs].index(wrapped), plain)


def _indexes(node: ir.Node, place: int, size: int) -> bool:
    """Tell whether an operand is indices into an axis of a size."""
    data, axis = node.inputs[0] if node.inputs else None, node.attributes.get("axis")
    if node.op_type not in _INDEXED or node.domain or place != 1 or data is None or data.shape is None:
        return False
    return data.shape[axis.as_int() if axis is not None else 0] == size


_FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.DOUBLE})
_INDEXED = frozenset({"Gather", "GatherElements", "ScatterElements"})
_RULES: dict[str, Callable[[ir.Graph, ir.Node, Home], None]] = {
    "Clip": _index,
    "Div": _mean,
    "Equal": _is_infinite,
    "Min": _between,
    "Not": _is_nan,
    "ReduceSum": _sum_of_squares,
    "Sqrt": _norm,
}
