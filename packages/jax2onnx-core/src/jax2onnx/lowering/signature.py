"""The types of a node's results, as far as the operator's schema derives them from its operands and attributes."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import onnx_ir as ir

from jax2onnx._printable import counted
from jax2onnx.errors import InvalidModelError
from jax2onnx.lowering.domains import find_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Signature", "signature"]

_Variables: TypeAlias = tuple[str, ...]
"""Type variables of a schema, ``("T", "Tind")``; a type as ``tensor(int64)`` where the schema gives no variable."""

_BODIES = {
    "If": ("then_branch", 0),
    "Loop": ("body", 1),
    "Scan": ("body", 0),
}
"""Operators whose results are those of a graph within: the attribute that has it, and how many results come before."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What the builder needs of an operator's schema.

    Attributes:
        op_type: the operator.
        domain: its domain.
        inputs: the type variables of the inputs.
        outputs: the type variables of the outputs.
        fixed: the dtypes of those variables that allow one dtype only.
        attributes: the types of the attributes; None if nobody knows the operator.
        required: the attributes that every node has.
        least: the least number of inputs.
    """

    op_type: str
    domain: str
    inputs: _Variables
    outputs: _Variables
    fixed: Mapping[str, ir.DataType]
    attributes: Mapping[str, ir.AttributeType] | None
    required: frozenset[str] = frozenset()
    least: int = 0

    def require(self, inputs: int, attributes: Mapping[str, ir.Attr]) -> None:
        """Raise InvalidModelError unless a node has what every one of the operator has: later stages rely on it."""
        missing = self.required - attributes.keys() if self.required else None
        if missing:
            raise self._invalid(f"it has no attribute {min(missing)!r}, which the operator needs")
        if inputs < self.least:
            raise self._invalid(f"it has {counted(inputs, 'input')}, and the operator needs {self.least}")

    def _invalid(self, what: str) -> InvalidModelError:
        return InvalidModelError(f"{self.op_type}: the model that was made is not valid ONNX: {what}")

    def variables(self, count: int) -> _Variables:
        """Return the type variables of so many operands."""
        return _repeated(self.inputs, count)

    def result_types(
        self,
        bound: Mapping[str, ir.DataType],
        attributes: Mapping[str, ir.Attr],
        count: int,
    ) -> list[ir.TypeProtocol | None]:
        """Return the types of so many results; None where they do not follow.

        Args:
            bound: the dtypes that the operands give to type variables.
            attributes: the attributes of the node.
            count: the number of results.
        """
        if self.attributes is None:
            return [None] * count
        if self.op_type in _BODIES and not self.domain:
            attribute, skipped = _BODIES[self.op_type]
            body = attributes[attribute].as_graph()
            results = body.outputs[skipped:]
            return [value.type for value in results[:count]]
        types: list[ir.TypeProtocol | None] = []
        for variable in _repeated(self.outputs, count):
            dtype = self._result_dtype(variable, bound, attributes)
            types.append(None if dtype is None else ir.TensorType(dtype))
        return types

    def _result_dtype(
        self,
        variable: str,
        bound: Mapping[str, ir.DataType],
        attributes: Mapping[str, ir.Attr],
    ) -> ir.DataType | None:
        if not attributes:
            return bound.get(variable)
        declared = attributes.get("to") or attributes.get("dtype")
        if declared is not None and variable not in self.inputs:
            return ir.DataType(declared.as_int())
        if variable not in bound and "value" in attributes:
            return attributes["value"].as_tensor().dtype
        return bound.get(variable)


def _repeated(variables: _Variables, count: int) -> _Variables:
    """Return the first ``count`` variables. The last variable repeats, since its parameter may be variadic."""
    if count <= len(variables):
        return variables[:count]
    last = variables[-1:]
    return variables + last * (count - len(variables))


@functools.cache
def signature(op_type: str, domain: str, version: int) -> Signature:
    """Return the signature of an operator; one that allows anything if nobody knows its domain.

    Raises:
        OpsetError: the domain is known, and has no such operator at this version.
    """
    schema = find_schema(op_type, domain, version)
    if schema is None:
        return Signature(op_type, domain, ("",), (), {}, None)
    inputs = _variables(schema.inputs)
    outputs = _variables(schema.outputs)
    allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
    fixed = {}
    for variable in (*inputs, *outputs):
        types = allowed.get(variable, [variable])
        dtype = _dtype(types[0])
        if len(types) == 1 and dtype is not None:
            fixed[variable] = dtype
    attributes = {}
    for name, attribute in schema.attributes.items():
        kind = str(attribute.type).rpartition(".")[2]
        attributes[name] = ir.AttributeType[kind]
    required = frozenset(name for name, attribute in schema.attributes.items() if attribute.required)
    return Signature(op_type, domain, inputs, outputs, fixed, attributes, required, schema.min_input)


def _variables(formals: Iterable[Any]) -> _Variables:
    """Return the types of formal parameters, whose classes in onnx and in onnxruntime name them differently."""
    return tuple(formal.type_str if hasattr(formal, "type_str") else formal.typeStr for formal in formals)


def _dtype(type_str: str) -> ir.DataType | None:
    """Return the dtype of ``tensor(int64)``; None for a sequence, an optional or a type variable."""
    name = type_str.removeprefix("tensor(").removesuffix(")")
    return ir.DataType.__members__.get(name.upper())
