"""Joined: one product instead of several of the same array, with the weights side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from jax2onnx_ortgenai.graphs import NotFound, added, inputs_of, made_by, new_node

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["joined_product"]


def joined_product(arrays: Sequence[ir.Value], graph: ir.Graph) -> ir.Value:
    """Return one product instead of several with constant weights, in many bits or few.

    ``MatMul(x, q[512, 512])``, ``MatMul(x, k[512, 128])`` and ``MatMul(x, v[512, 128])`` become
    ``MatMul(x, q_joined[512, 768])``; with ``q = DequantizeLinear(w: int4[512, 512], s[16, 512], axis=0)``, the numbers
    and the scales are joined.

    Raises:
        NotFound: they are others, or of different arrays.
    """
    products = [made_by(value, "MatMul") for value in arrays]
    sources = {node.inputs[0] for node in products}
    weights = [inputs_of(node, 2)[1] for node in products]
    if len(sources) != 1 or any(len(weight.uses()) != 1 for weight in weights):
        raise NotFound("the products are of several arrays, or their weights have other uses")
    if all(weight.const_value is not None for weight in weights):
        nodes, joined = [], _joined(weights, graph)
    else:
        nodes = [_dequantised(weights, graph)]
        joined = nodes[0].outputs[0]
    shape = ir.Shape([*list(arrays[0].shape or ())[:-1], None if joined.shape is None else joined.shape[1]])
    nodes.append(new_node("MatMul", [products[0].inputs[0], joined], [], shape, arrays[0].dtype))
    # Behind the last of them all that the new one reads is computed.
    positions = {node: index for index, node in enumerate(graph)}
    max(products, key=positions.__getitem__).append(nodes)
    for node in nodes:
        node.metadata_props.update(products[0].metadata_props)
    return nodes[-1].outputs[0]


def _dequantised(weights: Sequence[ir.Value], graph: ir.Graph) -> ir.Node:
    """Return one ``DequantizeLinear`` instead of those that make weights."""
    nodes = [made_by(weight, "DequantizeLinear") for weight in weights]
    first = nodes[0]
    operands = [inputs_of(node, len(node.inputs)) for node in nodes]
    if any(value.const_value is None for values in operands for value in values):
        raise NotFound("the weights are computed")
    axis, block = first.attributes.get_int("axis", 1) % 2, first.attributes.get_int("block_size", 0)
    same = {
        (
            node.attributes.get_int("axis", 1) % 2,
            node.attributes.get_int("block_size", 0),
            tuple(value.dtype for value in values),
            len(values[1].shape or ()),
        )
        for node, values in zip(nodes, operands, strict=True)
    }
    # A scale for each column, or for each block of a column.
    if len(same) != 1 or axis != (0 if block else 1) or len(operands[0][1].shape or ()) != (2 if block else 1):
        raise NotFound("the scales of the weights are of different kinds")
    inputs = [_joined(values, graph) for values in zip(*operands, strict=True)]
    return new_node(
        "DequantizeLinear", inputs, list(first.attributes.values()), inputs[0].shape, first.outputs[0].dtype
    )


def _joined(values: Sequence[ir.Value], graph: ir.Graph) -> ir.Value:
    """Return constants side by side, joined when they are written."""
    tensors = [value.const_value for value in values if value.const_value is not None]
    sizes = [tuple(map(int, tensor.shape.numpy())) for tensor in tensors]
    dtype = tensors[0].dtype
    if {len(size) for size in sizes} - {1, 2} or len({size[:-1] for size in sizes}) != 1:
        raise NotFound("the weights have different numbers of rows")
    shape = ir.Shape([*sizes[0][:-1], sum(size[-1] for size in sizes)])

    def compute() -> ir.Tensor[Any]:
        return ir.Tensor(np.concatenate([tensor.numpy() for tensor in tensors], axis=-1), dtype=dtype)

    return added(graph, ir.LazyTensor(compute, dtype=dtype, shape=shape), f"{values[0].name}_joined")
