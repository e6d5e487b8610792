"""Operator schemas as legalising needs them: which type parameter each input and output has."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir
from onnx import defs, helper

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MANY = defs.OpSchema.FormalParameterOption.Variadic


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """An operator at one version.

    Attributes:
        version: the opset in which this version appeared.
        allowed: type parameter -> the names of the types that ONNX allows for it.
        parameters: formal parameter -> its type parameter, for the parameters that have one.
        has_body: whether the specification gives the operator as a function of other operators.
        formal_inputs: type parameter of each formal input; None where the type is fixed or heterogeneous.
        formal_outputs: the same of the outputs.
        variadic_input: whether the last formal input stands for many.
        variadic_output: whether the last formal output stands for many.
    """

    domain: str
    name: str
    version: int
    opset: int
    allowed: Mapping[str, frozenset[str]]
    parameters: Mapping[str, str]
    has_body: bool
    formal_inputs: tuple[str | None, ...]
    formal_outputs: tuple[str | None, ...]
    variadic_input: bool
    variadic_output: bool

    def inputs(self, count: int) -> tuple[str | None, ...]:
        """Return the type parameters of ``count`` actual inputs."""
        return _stretch(self.formal_inputs, count, self.variadic_input)

    def outputs(self, count: int) -> tuple[str | None, ...]:
        """Return the type parameters of ``count`` actual outputs."""
        return _stretch(self.formal_outputs, count, self.variadic_output)

    def allows(self, bound: Mapping[str, ir.DataType]) -> bool:
        """Tell whether ONNX itself allows these dtypes."""
        return all(f"tensor({dtype.name.lower()})" in self.allowed[name] for name, dtype in bound.items())

    def bind(
        self, inputs: Sequence[ir.DataType | None], outputs: Sequence[ir.DataType | None]
    ) -> dict[str, ir.DataType]:
        """Return the dtype of each type parameter, given those of the actual inputs and outputs."""
        bound: dict[str, ir.DataType] = {}
        for names, dtypes in ((self.inputs(len(inputs)), inputs), (self.outputs(len(outputs)), outputs)):
            for name, dtype in zip(names, dtypes, strict=True):
                if name is not None and dtype is not None:
                    bound.setdefault(name, dtype)
        return bound


def _stretch(formal: tuple[str | None, ...], count: int, variadic: bool) -> tuple[str | None, ...]:  # noqa: FBT001
    if count <= len(formal):
        return formal[:count]
    return formal + ((formal[-1] if variadic else None),) * (count - len(formal))


@functools.cache
def schema(domain: str, op_type: str, opset: int) -> Schema | None:
    """Return the schema of an operator at an opset, or None if ONNX does not know it."""
    try:
        found = defs.get_schema(op_type, opset, domain)
    except defs.SchemaError:
        return None
    variables = {c.type_param_str for c in found.type_constraints}

    def parameter(formal: defs.OpSchema.FormalParameter) -> str | None:
        mixed = formal.option == _MANY and not formal.is_homogeneous
        return formal.type_str if formal.type_str in variables and not mixed else None

    return Schema(
        domain,
        op_type,
        found.since_version,
        opset,
        {c.type_param_str: frozenset(c.allowed_type_strs) for c in found.type_constraints},
        {p.name: p.type_str for p in (*found.inputs, *found.outputs) if p.type_str in variables},
        _has_body(found),
        tuple(parameter(p) for p in found.inputs),
        tuple(parameter(p) for p in found.outputs),
        bool(found.inputs) and found.inputs[-1].option == _MANY,
        bool(found.outputs) and found.outputs[-1].option == _MANY,
    )


def _has_body(original: Any) -> bool:
    return bool(original.has_function or original.has_context_dependent_function)


BodyNode = tuple[Schema, "dict[str, ir.DataType]", "tuple[ir.DataType | None, ...]", "ir.Node"]


def body(found: Schema, dtypes: tuple[ir.DataType | None, ...], node: ir.Node | None) -> list[BodyNode] | None:
    """Return the nodes of an operator's function body with their dtypes; None if they cannot be told.

    Args:
        found: the operator.
        dtypes: dtypes of the inputs; None for an absent one.
        node: the node, for its attributes; None for a node without.
    """
    proto = helper.make_node(
        found.name,
        [f"i{k}" if dtype is not None else "" for k, dtype in enumerate(dtypes)],
        [f"o{k}" for k in range(len(found.formal_outputs if node is None else node.outputs))],
        domain=found.domain,
    )
    if node is not None:
        proto.attribute.extend(ir.serde.serialize_attribute(a) for a in node.attributes.values())
    return _body(found, dtypes, proto.SerializeToString(deterministic=True))


@functools.lru_cache(maxsize=1024)
def _body(found: Schema, dtypes: tuple[ir.DataType | None, ...], serialized: bytes) -> list[BodyNode] | None:
    function = _function(found, dtypes, serialized)
    if function is None:
        return None
    model = _as_model(function, found, dtypes, onnx.NodeProto.FromString(serialized))
    try:
        typed = ir.from_proto(onnx.shape_inference.infer_shapes(model, strict_mode=False))
    except (onnx.shape_inference.InferenceError, ValueError):
        return None
    opsets = typed.graph.opset_imports
    nodes: list[BodyNode] = []
    for node in typed.graph:
        inner = schema(node.domain, node.op_type, opsets.get(node.domain, found.opset))
        types = tuple(None if v is None else v.dtype for v in node.inputs)
        if inner is None or any(v is not None and v.dtype is None for v in node.inputs):
            return None
        nodes.append((inner, inner.bind(types, tuple(v.dtype for v in node.outputs)), types, node))
    return nodes


def _function(found: Schema, dtypes: tuple[ir.DataType | None, ...], serialized: bytes) -> onnx.FunctionProto | None:
    original: Any = defs.get_schema(found.name, found.opset, found.domain)
    if original.has_function:
        body_of_all: onnx.FunctionProto = original.function_body
        return body_of_all
    types = [helper.make_tensor_type_proto(d.value, None).SerializeToString() for d in dtypes if d is not None]
    written = original.get_context_dependent_function(serialized, types)
    return onnx.FunctionProto.FromString(written) if written else None


def _as_model(
    function: onnx.FunctionProto, found: Schema, dtypes: tuple[ir.DataType | None, ...], call: onnx.NodeProto
) -> onnx.ModelProto:
    """Return a model whose graph is a function's body, its attributes taken from the call."""
    given = {a.name: a for a in call.attribute}
    given |= {a.name: a for a in function.attribute_proto if a.name not in given}
    original = defs.get_schema(found.name, found.opset, found.domain)
    given |= {
        name: a.default_value
        for name, a in original.attributes.items()
        if name not in given and a.default_value.type != onnx.AttributeProto.UNDEFINED
    }
    present = {name for name, dtype in zip(function.input, dtypes, strict=False) if dtype is not None}
    nodes = []
    for node in function.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        del copy.attribute[:]
        for attribute in node.attribute:
            value = given.get(attribute.ref_attr_name) if attribute.ref_attr_name else attribute
            if value is not None:
                copy.attribute.add().CopyFrom(value)
                copy.attribute[-1].name = attribute.name
        copy.input[:] = [n if n not in function.input or n in present else "" for n in copy.input]
        nodes.append(copy)
    # The body of an operator with optional outputs lacks what the call does not ask for.
    produced = {name for node in nodes for name in node.output}
    graph = helper.make_graph(
        nodes,
        "body",
        [
            helper.make_tensor_value_info(name, dtype.value, None)
            for name, dtype in zip(function.input, dtypes, strict=False)
            if dtype is not None
        ],
        [onnx.ValueInfoProto(name=name) for name in function.output if name in produced],
    )
    opsets = list(function.opset_import) or [helper.make_opsetid(found.domain, found.opset)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)
