"""Proto: the ``ModelProto`` of a finished model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx_ir as ir

if TYPE_CHECKING:
    import onnx

__all__ = ["to_proto"]


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """Return the model as onnx-ir serialises it; the types of its values are removed on the way.

    onnx-ir writes the type of every value anew, which is half of its work. The values of a model share a few types:
    here each of them is written once, and then copied. Initializers have theirs in the tensor.
    """
    for value in model.graph.initializers.values():
        if not value.is_graph_input():
            value.type = value.shape = None
    types = _take_types(model.graph)
    proto = ir.to_proto(model)
    for name, written in types.items():
        proto.graph.value_info.add(name=name).type.CopyFrom(written)
    return proto


def _take_types(graph: ir.Graph) -> dict[str, onnx.TypeProto]:
    """Remove the types of the values inside a graph; return name -> type."""
    types: dict[str, onnx.TypeProto] = {}
    shared: dict[Any, onnx.TypeProto] = {}
    for node in graph:
        for value in node.outputs:
            if value.is_graph_output() or not value.name or not isinstance(value.type, ir.TensorType):
                continue
            key = (value.type.dtype, None if value.shape is None else value.shape.dims)
            if key not in shared:
                alike = ir.Value(name=value.name, type=value.type, shape=value.shape)
                shared[key] = ir.to_proto(alike).type
            types[value.name] = shared[key]
            value.type = value.shape = None
    return types
