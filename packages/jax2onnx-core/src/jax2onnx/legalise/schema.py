"""Operator schemas as legalising needs them: the type parameter of every input and output."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from onnx import defs

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    import onnx_ir as ir
    from onnx_ir import DataType

__all__ = ["Call", "Dtypes", "Functions", "Parameters", "Schema", "dtypes_of", "schema"]

Dtypes = tuple["DataType | None", ...]
"""The dtypes of the inputs or of the outputs of a node; None for an absent one."""
Functions = frozenset[tuple[str, str]]
"""The domains and names of the functions of a model."""
_VARIADIC = defs.OpSchema.FormalParameterOption.Variadic


@dataclass(frozen=True, slots=True)
class Parameters:
    """The type parameters of an operator's inputs, or of its outputs.

    Attributes:
        formal: type parameter of each formal input or output; None where the type is fixed or heterogeneous.
        further: type parameter of those after the formal ones; None if it is fixed, or if there are none.
    """

    formal: tuple[str | None, ...]
    further: str | None

    def of(self, count: int) -> tuple[str | None, ...]:
        """Return the type parameters of ``count`` actual inputs or outputs."""
        further = [self.further] * (count - len(self.formal))
        return (*self.formal, *further)[:count]


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """An operator at one version.

    Attributes:
        version: the opset in which this version appeared.
        opset: the opset for which the schema was asked.
        allowed: type parameter -> the names of the types that ONNX allows for it.
        variables: formal input or output -> its type parameter, for those that have one.
        has_body: whether the specification gives the operator as a function of other operators.
    """

    domain: str
    name: str
    version: int
    opset: int
    allowed: Mapping[str, frozenset[str]]
    variables: Mapping[str, str]
    has_body: bool
    inputs: Parameters
    outputs: Parameters

    def allows(self, bound: Mapping[str, DataType]) -> bool:
        """Return whether ONNX itself allows these dtypes."""
        for name, dtype in bound.items():
            type_ = f"tensor({dtype.name.lower()})"
            if type_ not in self.allowed[name]:
                return False
        return True

    def call(self, inputs: Dtypes, outputs: Dtypes, attributes: Iterable[ir.Attr] = ()) -> Call:
        """Return the call of the operator with these dtypes and attributes."""
        names = (*self.inputs.of(len(inputs)), *self.outputs.of(len(outputs)))
        bound: dict[str, DataType] = {}
        for name, dtype in zip(names, inputs + outputs, strict=True):
            if name is not None and dtype is not None:
                bound.setdefault(name, dtype)
        return Call(self, inputs, outputs, bound, tuple(attributes))


@dataclass(frozen=True, slots=True)
class Call:
    """An operator that is applied to inputs of known dtypes.

    Attributes:
        schema: the operator.
        inputs: the dtypes of the inputs.
        outputs: the dtypes of the outputs.
        bound: type parameter -> the dtype that it stands for.
        attributes: the attributes.
    """

    schema: Schema
    inputs: Dtypes
    outputs: Dtypes
    bound: Mapping[str, DataType]
    attributes: tuple[ir.Attr, ...]

    def with_inputs(self, dtypes: Mapping[str, DataType]) -> Call:
        """Return the call with other dtypes for some type parameters."""
        inputs = list(self.inputs)
        names = self.schema.inputs.of(len(inputs))
        for index, name in enumerate(names):
            if name is not None and inputs[index] is not None:
                inputs[index] = dtypes.get(name, inputs[index])
        bound = {**self.bound, **dtypes}
        return replace(self, inputs=tuple(inputs), bound=bound)


def dtypes_of(values: Sequence[ir.Value | None]) -> Dtypes:
    """Return the dtypes of the inputs or outputs of a node."""
    return tuple([None if value is None else value.dtype for value in values])


@functools.cache
def schema(domain: str, op_type: str, opset: int) -> Schema | None:
    """Return the schema of an operator at an opset, or None if ONNX does not know it."""
    try:
        found: Any = defs.get_schema(op_type, opset, domain)
    except defs.SchemaError:
        return None
    allowed: dict[str, frozenset[str]] = {}
    for constraint in found.type_constraints:
        allowed[constraint.type_param_str] = frozenset(constraint.allowed_type_strs)
    variables: dict[str, str] = {}
    for formal in (*found.inputs, *found.outputs):
        if formal.type_str in allowed:
            variables[formal.name] = formal.type_str
    return Schema(
        domain=domain,
        name=op_type,
        version=found.since_version,
        opset=opset,
        allowed=allowed,
        variables=variables,
        has_body=found.has_function or found.has_context_dependent_function,
        inputs=_parameters(found.inputs, allowed),
        outputs=_parameters(found.outputs, allowed),
    )


def _parameters(formals: Iterable[defs.OpSchema.FormalParameter], allowed: Container[str]) -> Parameters:
    names: list[str | None] = []
    further = None
    for formal in formals:
        variadic = formal.option == _VARIADIC
        heterogeneous = variadic and not formal.is_homogeneous
        has_parameter = formal.type_str in allowed and not heterogeneous
        name = formal.type_str if has_parameter else None
        names.append(name)
        # Only the last one may be variadic.
        further = name if variadic else None
    return Parameters(tuple(names), further)
