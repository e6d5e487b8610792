"""Proto: from the finished model to a ``ModelProto``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx_ir as ir

if TYPE_CHECKING:
    import onnx


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """Return the model as onnx-ir serialises it; what it says of values is used up.

    onnx-ir writes the type of every value anew, which is half of its work; the values of a model share a few, and
    initializers have theirs anyhow.
    """
    told: list[tuple[str, onnx.TypeProto]] = []
    known: dict[Any, onnx.TypeProto] = {}
    for value in model.graph.initializers.values():
        if not value.is_graph_input():
            value.type = value.shape = None
    for value in (v for node in model.graph for v in node.outputs if not v.is_graph_output()):
        kind, shape = value.type, value.shape
        if not isinstance(kind, ir.TensorType) or not value.name:
            continue
        key = kind.dtype, None if shape is None else shape.dims
        if key not in known:
            known[key] = ir.to_proto(ir.Value(name=value.name, type=kind, shape=shape)).type
        told.append((value.name, known[key]))
        value.type = value.shape = None
    proto = ir.to_proto(model)
    for name, said in told:
        proto.graph.value_info.add(name=name).type.CopyFrom(said)
    return proto
