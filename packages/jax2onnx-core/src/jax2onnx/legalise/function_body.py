"""Function bodies: the nodes by which ONNX defines an operator in terms of other operators."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir
from onnx import defs, helper, inliner

from jax2onnx.legalise.schema import dtypes_of, schema

if TYPE_CHECKING:
    from jax2onnx.legalise.schema import Call, Dtypes, Schema

__all__ = ["body", "expansion"]

_DOMAIN = "body"
"""The domain of the function in the model from which its nodes are read."""


def body(call: Call) -> list[Call] | None:
    """Return the nodes of an operator's function body, as calls in their order.

    For example, the body of ``Relu(x)`` is ``zero = Constant()``, ``like = CastLike(zero, x)`` and ``Max(x, like)``.
    The result is None if the operator has no body, or if ONNX cannot infer the dtypes in it.
    """
    if not call.schema.has_body:
        return None
    return _body(call.schema, call.inputs, _serialized(call))


def expansion(node: ir.Node, opset: int) -> tuple[ir.Graph, int] | None:
    """Return the function body of a node's operator as a graph, and the opset of its nodes; None if it has no body.

    The inputs of the graph are those that the node has, the outputs likewise.
    """
    found = schema(node.domain, node.op_type, opset)
    if found is None or not found.has_body:
        return None
    inputs = dtypes_of(node.inputs)
    call = found.call(inputs, dtypes_of(node.outputs), node.attributes.values())
    graph = _graph(found, inputs, _serialized(call))
    return None if graph is None else (graph, graph.opset_imports.get("", opset))


def _serialized(call: Call) -> bytes:
    """Return a call as a node, in bytes."""
    node = onnx.NodeProto(op_type=call.schema.name, domain=call.schema.domain)
    for index, dtype in enumerate(call.inputs):
        node.input.append("" if dtype is None else f"i{index}")
    for index in range(len(call.outputs)):
        node.output.append(f"o{index}")
    node.attribute.extend(map(ir.serde.serialize_attribute, call.attributes))
    written: bytes = node.SerializeToString(deterministic=True)
    return written


@functools.lru_cache(maxsize=1024)
def _body(found: Schema, dtypes: Dtypes, serialized: bytes) -> list[Call] | None:
    graph = _graph(found, dtypes, serialized)
    if graph is None:
        return None
    calls: list[Call] = []
    for inner in graph:
        opset = graph.opset_imports.get(inner.domain, found.opset)
        known = schema(inner.domain, inner.op_type, opset)
        if known is None or not _is_typed(inner):
            return None
        inputs = dtypes_of(inner.inputs)
        outputs = dtypes_of(inner.outputs)
        calls.append(known.call(inputs, outputs, inner.attributes.values()))
    return calls


def _graph(found: Schema, dtypes: Dtypes, serialized: bytes) -> ir.Graph | None:
    original = defs.get_schema(found.name, found.opset, found.domain)
    function = _function(original, dtypes, serialized)
    if function is None:
        return None
    if not function.opset_import:
        function.opset_import.add(domain=found.domain, version=found.opset)
    node = onnx.NodeProto.FromString(serialized)
    _add_defaults(node, function, original)
    try:
        inlined = _inline(node, function, dtypes)
        typed = onnx.shape_inference.infer_shapes(inlined)
        return ir.from_proto(typed).graph
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return None


def _function(original: Any, dtypes: Dtypes, node: bytes) -> onnx.FunctionProto | None:
    """Return the function body of an operator; that of some depends on dtypes and attributes."""
    if original.has_function:
        independent: onnx.FunctionProto = original.function_body
        return independent
    types: list[bytes] = []
    for dtype in dtypes:
        if dtype is not None:
            proto = helper.make_tensor_type_proto(dtype.value, None)
            types.append(proto.SerializeToString())
    written = original.get_context_dependent_function(node, types)
    return onnx.FunctionProto.FromString(written) if written else None


def _add_defaults(node: onnx.NodeProto, function: onnx.FunctionProto, original: defs.OpSchema) -> None:
    """Give a node the attributes that it leaves at the defaults of the schema."""
    given = {attribute.name for attribute in node.attribute}
    given.update(attribute.name for attribute in function.attribute_proto)
    for name, attribute in original.attributes.items():
        default = attribute.default_value
        if name not in given and default.type != onnx.AttributeProto.UNDEFINED:
            node.attribute.append(default)


def _inline(node: onnx.NodeProto, function: onnx.FunctionProto, dtypes: Dtypes) -> onnx.ModelProto:
    """Return a model of one node that is replaced by the nodes of its function body.

    The body becomes a function of the model. The inliner has an option for the functions of ONNX's operators, but it
    finds only those that were written for the very opset of the model.
    """
    node.domain = function.domain = _DOMAIN
    model = helper.make_model(onnx.GraphProto(name="call"), functions=[function], ir_version=10)
    del model.opset_import[:]
    model.opset_import.extend(function.opset_import)
    model.opset_import.add(domain=_DOMAIN, version=1)
    model.graph.node.append(node)
    for name, dtype in zip(node.input, dtypes, strict=True):
        if dtype is not None:
            info = helper.make_tensor_value_info(name, dtype.value, None)
            model.graph.input.append(info)
    for name in node.output:
        model.graph.output.add(name=name)
    return inliner.inline_local_functions(model)


def _is_typed(node: ir.Node) -> bool:
    return all(value is None or value.dtype is not None for value in node.inputs)
