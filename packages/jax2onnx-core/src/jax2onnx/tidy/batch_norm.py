"""Folding: normalisation by statistics that are known, in the weights of the product or convolution before it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx.tidy.reshapes import drop

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.tidy.initializers import Home

_FEATURES = {"Conv": 0, "Gemm": 1}
"""The axis of the weights that the results' features are on."""


def fold_batch_norms(graph: ir.Graph, home: Home) -> None:
    """Let the weights before each ``BatchNormalization`` do its work; results change by rounding."""
    for node in list(graph):
        statistics = [v for v in node.inputs[1:] if v is not None and home.holds(v)]
        source = _source(node, graph)
        if source is None or len(statistics) != 4 or node.domain:
            continue
        weight, bias = source.inputs[1], source.inputs[2] if len(source.inputs) > 2 else None
        if (
            weight is None
            or weight.const_value is None
            or not home.holds(weight)
            or (bias is not None and not home.holds(bias))
        ):
            continue
        scale, offset, mean, variance = (_wide(v) for v in statistics)
        epsilon = node.attributes.get("epsilon")
        factor = scale / np.sqrt(variance + (1e-5 if epsilon is None else epsilon.as_float()))
        moved = (0.0 if bias is None else _wide(bias)) - mean
        axis, rank = _FEATURES[source.op_type], len(weight.const_value.shape)
        along = factor.reshape([-1 if i == axis else 1 for i in range(rank)])
        scaled = home.derive(weight, functools.partial(_scaled, by=along), weight.const_value.shape.numpy())
        total = offset + moved * factor
        added = home.derive(statistics[1], functools.partial(_replaced, by=total), total.shape)
        source.resize_inputs(3)
        source.replace_input_with(1, scaled)
        source.replace_input_with(2, added)
        drop(graph, node, source.outputs[0])


def _source(node: ir.Node, graph: ir.Graph) -> ir.Node | None:
    """Return the product or convolution that a normalisation alone uses."""
    value = node.inputs[0] if node.op_type == "BatchNormalization" else None
    producer = value.producer() if value is not None else None
    if value is None or producer is None or producer.op_type not in _FEATURES or producer.graph is not graph:
        return None
    changed = producer.op_type == "Gemm" and producer.attributes
    return None if producer.domain or changed or len(value.uses()) != 1 or value.is_graph_output() else producer


def _scaled(array: Any, *, by: Any) -> Any:
    return (array * by).astype(array.dtype)


def _replaced(array: Any, *, by: Any) -> Any:
    return by.astype(array.dtype)


def _wide(value: ir.Value) -> Any:
    assert value.const_value is not None
    return np.asarray(value.const_value.numpy(), np.float64)
