"""Graphs: the questions that rewrites ask about nodes, backwards from a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

__all__ = ["NotFound", "added", "constant", "inputs_of", "made_by", "new_node", "sole_user", "through"]

RESHAPES = ("Reshape", "Squeeze", "Unsqueeze")
VIEWS = ("Cast", *RESHAPES)


class NotFound(Exception):  # noqa: N818 - not an error: a place has another form, and stays as it is
    """Something else stands at a place than what is looked for."""


def made_by(value: ir.Value | None, *op_types: str) -> ir.Node:
    """Return the node of one of some standard operators that computes a value."""
    node = None if value is None else value.producer()
    if node is None or node.domain or node.op_type not in op_types:
        raise NotFound(f"{'an input' if node is None else node.op_type} stands where {op_types[0]} is wanted")
    return node


def through(value: ir.Value | None, *op_types: str) -> ir.Value:
    """Return what a value is made of by any number of nodes of some operators, each of one operand that matters."""
    while value is not None:
        node = value.producer()
        if node is None or node.domain or node.op_type not in op_types:
            return value
        value = node.inputs[0]
    raise NotFound("an operand is left out")


def constant(value: ir.Value | None) -> np.ndarray[Any, Any] | None:
    """Return the array of a constant, None for what is computed."""
    node = None if value is None else value.producer()
    if node is not None and node.op_type == "Constant" and not node.domain and "value" in node.attributes:
        return np.asarray(node.attributes["value"].as_tensor().numpy())
    if value is None or value.const_value is None:
        return None
    return np.asarray(value.const_value.numpy())


def sole_user(value: ir.Value, *op_types: str) -> ir.Node:
    """Return the node that alone uses a value, of one of some operators."""
    uses = value.uses()
    if len(uses) != 1 or value.is_graph_output():
        raise NotFound("a value inside is used outside")
    node = next(iter(uses))[0]
    if node.domain or node.op_type not in op_types:
        raise NotFound(f"{node.op_type} stands where {op_types[0]} is wanted")
    return node


def inputs_of(node: ir.Node, count: int) -> Sequence[ir.Value]:
    """Return the first inputs of a node, all of which it has."""
    values = list(node.inputs)[:count]
    found = [value for value in values if value is not None]
    if len(found) != count:
        raise NotFound("an operand is left out")
    return found


def added(graph: ir.Graph, array: Any, name: str) -> ir.Value:
    """Return a new initializer."""
    tensor = ir.Tensor(array) if isinstance(array, np.ndarray) else array
    value = ir.Value(type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.shape), const_value=tensor)
    number = len(graph.initializers)
    while f"{name}_{number}" in graph.initializers:
        number += 1
    value.name = f"{name}_{number}"
    graph.register_initializer(value)
    return value


def new_node(
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: Sequence[ir.Attr],
    shape: Any,
    dtype: ir.DataType | None,
) -> ir.Node:
    """Return a standard node of one result."""
    result = ir.Value(type=None if dtype is None else ir.TensorType(dtype), shape=shape)
    return ir.Node("", op_type, inputs, attributes, outputs=[result])
