"""Unsigned integers: OpenVINO computes uint32 as int32, and clamps constants that int32 does not hold."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx_openvino.nodes import standard

__all__ = ["as_signed"]


def as_signed(model: ir.Model) -> None:
    """Make every uint32 within a model the int32 of the same bits, which is what OpenVINO computes with.

    Rewrite ``z = Mul(x, 3e9)`` of uint32 to

        x_bits = Cast(x, to=int32)
        z_bits = Mul(x_bits, -1294967296)
        z = Cast(z_bits, to=uint32)

    What OpenVINO computes of a uint32 otherwise than of an int32 of the same bits, the target has no kernel for.
    """
    graph = model.graph
    for value in list(graph.inputs):
        if value.dtype == _UNSIGNED and value.uses():
            _read_as_signed(graph, value)
    _give_as_unsigned(graph)
    border = {*graph.inputs, *graph.outputs}
    for one in (graph, *graph.subgraphs()):
        for value in _values(one):
            if value.dtype == _UNSIGNED and value not in border:
                value.dtype = _SIGNED
                if value.const_value is not None:
                    value.const_value = _signed(value.const_value)
        for node in list(one):
            _retype(one, node)


_UNSIGNED, _SIGNED = DataType.UINT32, DataType.INT32


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    yield from graph.inputs
    yield from graph.initializers.values()
    for node in graph:
        yield from node.outputs


def _signed(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    return ir.tensor(tensor.numpy().astype(np.int32), name=tensor.name)  # which wraps


def _read_as_signed(graph: ir.Graph, value: ir.Value) -> None:
    """Put a cast behind an input, for all who read it."""
    node = ir.node("Cast", [value], {"to": int(_SIGNED)})
    result = node.outputs[0]
    result.dtype, result.shape = _SIGNED, value.shape
    for user, index in list(value.uses()):
        if user is not node:
            user.replace_input_with(index, result)
    if len(graph):
        graph.insert_before(graph[0], node)
    else:
        graph.append(node)


def _give_as_unsigned(graph: ir.Graph) -> None:
    """Put casts in front of the outputs that nodes compute; the outputs keep their names."""
    given: dict[ir.Value, ir.Value] = {}
    for index, value in enumerate(list(graph.outputs)):
        if value.dtype != _UNSIGNED or value.producer() is None:
            continue
        if value not in given:
            node = ir.node("Cast", [value], {"to": int(_UNSIGNED)})
            result = given[value] = node.outputs[0]
            result.dtype, result.shape = _UNSIGNED, value.shape
            name, value.name = value.name, f"{value.name}_bits"
            result.name = name
            graph.append(node)
        graph.outputs[index] = given[value]


def _retype(graph: ir.Graph, node: ir.Node) -> None:
    """Change a node that makes uint32 within the model to one that makes int32."""
    if not node.outputs or node.outputs[0].dtype != _SIGNED:
        return
    attributes = node.attributes
    operator = standard(node)
    if operator == "Cast":
        attributes["to"] = ir.AttrInt64("to", int(_SIGNED))
        operand = node.inputs[0]
        if operand is not None and operand.dtype == _SIGNED and not node.outputs[0].is_graph_output():
            node.outputs[0].replace_all_uses_with(operand)
            graph.remove(node, safe=True)
    elif "value" in attributes and attributes["value"].type == ir.AttributeType.TENSOR:
        tensor = attributes["value"].as_tensor()
        if tensor.dtype == _UNSIGNED:
            attributes["value"] = ir.AttrTensor("value", _signed(tensor))
    elif attributes.get_int("dtype", 0) == _UNSIGNED:
        attributes["dtype"] = ir.AttrInt64("dtype", int(_SIGNED))
