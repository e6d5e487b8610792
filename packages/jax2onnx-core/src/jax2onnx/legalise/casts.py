"""Casts: the nodes that put a value into its carrier, and bring it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx.legalise.carriers import FLOAT8, Encoding

if TYPE_CHECKING:
    from jax2onnx.legalise.carriers import Carrier

__all__ = ["carry_operand", "carry_result", "encode", "like", "narrow", "retype"]


def encode(value: ir.Value, carrier: Carrier) -> list[ir.Node]:
    """Return the nodes that put a value into its carrier; the last one gives it."""
    cast = _cast(value, like(value, carrier.dtype))
    if carrier.encoding is Encoding.VALUE:
        return [cast]
    return [cast, *_shift(cast.outputs[0])]


def narrow(value: ir.Value, carrier: Carrier) -> list[ir.Node]:
    """Turn the result of a node into its carrier, and return the nodes that bring it back; the last one gives it.

    The value that is brought back takes over the name and the users: ``y: bfloat16[3]`` becomes
    ``y_as_float: float32[3]``, from which ``y = Cast(y_as_float, to=bfloat16)``.
    """
    assert value.dtype is not None
    result = like(value, value.dtype)
    value.replace_all_uses_with(result, replace_graph_outputs=True)
    value.type = ir.TensorType(carrier.dtype)
    if value.name is not None:
        result.name = value.name
        value.name = f"{value.name}_as_{carrier.dtype.name.lower()}"
    if carrier.encoding is Encoding.VALUE:
        return [_cast(value, result)]
    shift = _shift(value)
    return [*shift, _cast(shift[-1].outputs[0], result)]


def carry_operand(node: ir.Node, index: int, carrier: Carrier) -> None:
    """Give a node the carrier of an operand, which is cast before the node."""
    value = node.inputs[index]
    assert value is not None
    casts = _of(node, encode(value, carrier))
    _graph(node).insert_before(node, casts)
    node.replace_input_with(index, casts[-1].outputs[0])


def carry_result(node: ir.Node, index: int, carrier: Carrier) -> None:
    """Make a node compute a result in its carrier, which is cast back after the node."""
    casts = _of(node, narrow(node.outputs[index], carrier))
    _graph(node).insert_after(node, casts)


def _of(node: ir.Node, casts: list[ir.Node]) -> list[ir.Node]:
    """Give casts the metadata of the node that they are made for."""
    for cast in casts:
        cast.metadata_props.update(node.metadata_props)
    return casts


def _graph(node: ir.Node) -> ir.Graph:
    assert isinstance(node.graph, ir.Graph)
    return node.graph


def retype(node: ir.Node, dtype: DataType) -> None:
    """Change the dtype that a node's attributes ask for."""
    if "dtype" in node.attributes:
        node.attributes["dtype"] = ir.AttrInt64("dtype", int(dtype))
    elif node.op_type == "ConstantOfShape":
        fill = node.attributes["value"].as_tensor().numpy()
        node.attributes["value"] = ir.AttrTensor("value", ir.tensor(fill.astype(dtype.numpy())))


def like(value: ir.Value, dtype: DataType) -> ir.Value:
    """Return a new value of the same shape as another."""
    return ir.Value(shape=value.shape, type=ir.TensorType(dtype))


def _cast(value: ir.Value, result: ir.Value) -> ir.Node:
    assert result.dtype is not None
    attributes = {"to": int(result.dtype)}
    if result.dtype in FLOAT8:
        # JAX gives NaN or infinity beyond the largest number, ONNX the largest number itself unless ``saturate`` is 0.
        attributes["saturate"] = 0
    return ir.node("Cast", [value], attributes, outputs=[result])


def _shift(value: ir.Value) -> list[ir.Node]:
    """Add 2**63, modulo 2**64, which is its own inverse."""
    constant = ir.node("Constant", [], {"value_int": -(2**63)})
    sign = constant.outputs[0]
    sign.dtype = DataType.INT64
    sign.shape = ir.Shape([])
    return [constant, ir.node("Add", [value, sign], outputs=[like(value, DataType.INT64)])]
