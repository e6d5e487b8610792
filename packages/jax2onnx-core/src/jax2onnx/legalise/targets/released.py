"""Faults of releases of onnxruntime that are mended by version: models are made for older ones than the newest."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx.legalise.targets.fault import Fault, Span
from jax2onnx.legalise.whole_bytes import SHARED_MEMORY

__all__ = ["FAULTS"]


def _double(graph: ir.Graph, node: ir.Node) -> str | None:
    """Take the root in float64, which is the root of float32 once it is rounded.

    Rewrite ``y = Sqrt(x)`` of float32 to

        wide = Cast(x, to=float64)
        root = Sqrt(wide)
        y = Cast(root, to=float32)
    """
    x, y = node.inputs[0], node.outputs[0]
    if x is None or x.dtype != DataType.FLOAT:
        return None
    wide = ir.node("Cast", [x], {"to": int(DataType.DOUBLE)})
    wide.outputs[0].type, wide.outputs[0].shape = ir.TensorType(DataType.DOUBLE), x.shape
    result = ir.Value(type=y.type, shape=y.shape)
    y.replace_all_uses_with(result, replace_graph_outputs=True)
    result.name, y.name, y.type = y.name, None, ir.TensorType(DataType.DOUBLE)
    node.replace_input_with(0, wide.outputs[0])
    narrow = ir.node("Cast", [y], {"to": int(DataType.FLOAT)}, outputs=[result])
    for cast in (wide, narrow):
        cast.metadata_props.update(node.metadata_props)
    graph.insert_before(node, wide)
    graph.insert_after(node, narrow)
    return None


FAULTS = (
    Fault("Sqrt of float32 loses infinity and the sign of 0", ("Sqrt",), _double, Span(high="1.21")),
    Fault(SHARED_MEMORY, versions=Span(high="1.31")),
)
