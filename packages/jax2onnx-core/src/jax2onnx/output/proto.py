"""Proto: the ``ModelProto`` of a finished model, first without its weights, then with them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.subgraphs import stored_bytes
from jax2onnx.weights.stored import in_memory

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

__all__ = ["add_weights", "without_initializers", "without_weights"]

_SMALL = 1024
"""Initializers of up to this many bytes are part of the model without weights: shapes and axes follow from them."""

_LARGE = 2**20
"""Tensors of more bytes than this are written only if there is memory for them."""


def without_weights(model: ir.Model) -> onnx.ModelProto:
    """Return the model as onnx-ir serialises it, with its large initializers as inputs after its own.

    onnx-ir writes the type of every value anew, which is half of its work. The values of a model share a few types:
    here each of them is written once, and then copied. Small initializers have theirs in the tensor.
    """
    graph = model.graph
    with _outlined(model):
        proto = ir.to_proto(model)
    types: dict[Any, onnx.TypeProto] = {}
    for node in graph:
        ir.serde.serialize_node_into(proto.graph.node.add(), node)
        for value in node.outputs:
            name, type_, shape = value.name, value.type, value.shape
            if not name or (type_ is None and shape is None) or value.is_graph_output():
                continue
            key: Any = value
            if isinstance(type_, ir.TensorType):
                key = (type_.dtype, None if shape is None else shape.dims)
            if key not in types:
                types[key] = ir.serde.serialize_value(value).type
            proto.graph.value_info.add(name=name).type.CopyFrom(types[key])
    for value in graph.initializers.values():
        if value.is_graph_input():
            continue
        if _is_large(value):
            ir.serde.serialize_value_into(proto.graph.input.add(), value)
        else:
            _write(value, proto)
    return proto


@contextlib.contextmanager
def _outlined(model: ir.Model) -> Iterator[None]:
    """Put a graph without nodes and initializers in the place of a model's meanwhile."""
    graph = model.graph
    outline: Any = ir.GraphView(
        graph.inputs,
        graph.outputs,
        nodes=(),
        doc_string=graph.doc_string,
        opset_imports=graph.opset_imports,
        name=graph.name,
        metadata_props=dict(graph.metadata_props),
    )
    model.graph = outline
    try:
        yield
    finally:
        model.graph = graph


def add_weights(proto: onnx.ModelProto, model: ir.Model) -> onnx.ModelProto:
    """Make of the model without weights the whole model, in place; return it."""
    small = {tensor.name: tensor for tensor in proto.graph.initializer}
    del proto.graph.input[len(model.graph.inputs) :]
    del proto.graph.initializer[:]
    for value in model.graph.initializers.values():
        if value.name in small:
            proto.graph.initializer.append(small[value.name])
        else:
            _write(value, proto)
    return proto


def _is_large(value: ir.Value) -> bool:
    tensor = value.const_value
    return tensor is not None and stored_bytes(tensor) > _SMALL


def _write(value: ir.Value, proto: onnx.ModelProto) -> None:
    """Append an initializer to the model."""
    tensor = value.const_value
    if tensor is None:
        return
    tensor.name = value.name
    _require_memory(stored_bytes(tensor))
    ir.serde.serialize_tensor_into(proto.graph.initializer.add(), in_memory(tensor))


def _require_memory(size: int) -> None:
    """Raise MemoryError if a tensor and its copy in a message cannot be had: protobuf would crash the process."""
    if size > _LARGE:
        np.empty(2 * size, np.uint8)  # it is not touched, so it takes none


@contextlib.contextmanager
def without_initializers(graph: ir.Graph) -> Iterator[None]:
    """Take the initializers out of a graph meanwhile."""
    taken = dict(graph.initializers)
    graph.initializers.clear()
    try:
        yield
    finally:
        graph.initializers.update(taken)
