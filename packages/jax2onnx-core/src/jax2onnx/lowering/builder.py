"""Build nodes: ``op.Add(a, b)`` appends a typed node to the current graph and returns its result."""

from __future__ import annotations

import functools
import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from jax2onnx.lowering.attributes import attribute
from jax2onnx.lowering.constants import (
    common_path,
    computed_later,
    constant_in_function,
    constant_key,
    function_key,
    initializer,
    initializer_of,
    stored_tensor,
)
from jax2onnx.lowering.domains import Domains, normal
from jax2onnx.lowering.scope import Scope
from jax2onnx.lowering.signature import signature
from jax2onnx.plugin.context import ir_dtype
from jax2onnx.plugin.operators import Operators
from jax2onnx.tidy.initializers import LAZY, ORIGIN, UNNAMED
from jax2onnx.tidy.subgraphs import stored_bytes
from jax2onnx.weights.stored import StoredTensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from jax2onnx.lowering.signature import Signature

__all__ = ["Ops"]

_ARRAYS = (np.ndarray, np.generic)


class Ops(Operators):
    """The node builder of a model.

    Args:
        opset: the opset of the model.
        scopes: the graphs under construction, each within the one before; nodes are appended to the last one.
        metadata: what new nodes get as metadata.
        domains: the domains of the model.
        whole: whether it emits a whole function, which could be emitted as the primitives that it stands for, too.
    """

    def __init__(
        self,
        opset: int,
        scopes: list[Scope],
        metadata: Mapping[str, str],
        domains: Domains | None = None,
        *,
        whole: bool = False,
    ) -> None:
        self.opset = opset
        self.domains = Domains(opset) if domains is None else domains
        self._scopes = scopes
        self._metadata = metadata
        self._whole = whole

    @property
    def scope(self) -> Scope:
        """The graph under construction, the innermost one."""
        return self._scopes[-1]

    def tagged(self, metadata: Mapping[str, str], *, whole: bool = False) -> Ops:
        """Return a builder of the same graphs whose nodes carry ``metadata``."""
        return Ops(self.opset, self._scopes, metadata, self.domains, whole=whole)

    @contextmanager
    def within(self, scope: Scope) -> Iterator[None]:
        """Append nodes to another graph meanwhile."""
        self._scopes.append(scope)
        try:
            yield
        finally:
            self._scopes.pop()

    def subgraph(
        self,
        name: str,
        inputs: Sequence[ir.Value],
        body: Callable[[list[ir.Value]], Sequence[ir.Value]],
    ) -> ir.Graph:
        """Build a graph within the current one; it may use any value of the enclosing ones."""
        scope = Scope(parent=self.scope)
        with self.within(scope):
            outputs = self.distinct(body(list(inputs)))
        return ir.Graph(inputs, outputs, nodes=scope.nodes, name=name)

    def distinct(self, values: Sequence[ir.Value]) -> list[ir.Value]:
        """Return outputs for the current graph: distinct values, each produced by one of its own nodes."""
        own: set[ir.Value] = set()
        for node in self.scope.nodes:
            own.update(node.outputs)
        outputs: list[ir.Value] = []
        for value in values:
            if value in own:
                own.remove(value)
                outputs.append(value)
            else:
                copy = self.Identity(value)
                copy.shape = value.shape
                outputs.append(copy)
        return outputs

    def node(
        self,
        op_type: str,
        inputs: Sequence[Any],
        attributes: Mapping[str, Any],
        outputs: int,
        domain: str,
    ) -> ir.Node:
        """Append a node whose results have the types that follow from its operands and attributes."""
        domain = normal(domain)
        if domain:
            self.domains.add(domain, op_type)
        else:
            self.domains.require(op_type, whole=self._whole)
        schema = signature(op_type, domain, self.domains.version(domain))
        bound = dict(schema.fixed)
        values = self._values(schema, inputs, bound)
        converted = {}
        for name, value in attributes.items():
            if value is not None:
                converted[name] = attribute(op_type, name, value, schema.attributes)
        schema.require(len(values), converted)
        types = schema.result_types(bound, converted, outputs)
        node = ir.Node(
            domain,
            op_type,
            values,
            converted.values(),
            outputs=[ir.Value(type=t) for t in types],
            metadata_props=dict(self._metadata),
        )
        self.scope.nodes.append(node)
        return node

    def use(self, domain: str, version: int) -> None:
        """Import a version of a domain into the model."""
        self.domains.use(domain, version)

    def fixed_dtypes(self, op_type: str, domain: str, count: int) -> list[ir.DataType | None]:
        """Return, for so many inputs of an operator, the dtype of each that takes one dtype only; else None."""
        domain = normal(domain)
        schema = signature(op_type, domain, self.domains.version(domain))
        return [schema.fixed.get(variable) for variable in schema.variables(count)]

    def call(
        self,
        domain: str,
        name: str,
        inputs: Sequence[ir.Value],
        outputs: int,
    ) -> list[ir.Value]:
        """Append a call of one of the model's functions."""
        metadata = dict(self._metadata)
        node = ir.Node(domain, name, inputs, num_outputs=outputs, metadata_props=metadata)
        self.scope.nodes.append(node)
        return list(node.outputs)

    def _values(
        self,
        schema: Signature,
        operands: Sequence[Any],
        bound: dict[str, ir.DataType],
    ) -> list[ir.Value | None]:
        """Return the operands as values. Add to ``bound`` the dtypes that they give to type variables."""
        variables = schema.variables(len(operands))
        values: list[Any] = []
        scalars: list[int] = []
        first: ir.DataType | None = None
        for position, operand in enumerate(operands):
            value = operand
            if isinstance(operand, _ARRAYS):
                value = self.constant(np.asarray(operand))
            values.append(value)
            if not isinstance(value, ir.Value):
                scalars.append(position)
            elif (dtype := value.dtype) is not None:
                bound.setdefault(variables[position], dtype)
                first = first or dtype
        for position in scalars:
            scalar = values[position]
            if scalar is not None:
                dtype = bound.get(variables[position], first)
                values[position] = self._scalar(scalar, dtype, schema.op_type)
        # onnxruntime crashes on some operators whose last optional inputs are there by an empty name.
        while values and values[-1] is None:
            values.pop()
        return values

    def _scalar(self, operand: Any, dtype: ir.DataType | None, op_type: str) -> ir.Value:
        if dtype is None:
            msg = f"{op_type}: the dtype of the scalar {operand!r} does not follow from the other operands"
            raise TypeError(msg)
        # By its text, since 0.0 and -0.0, or 1 and True, are equal.
        key = (dtype, repr(operand))
        scalars = self.scope.root.constants
        if key not in scalars:
            array = np.asarray(operand, dtype.numpy())
            scalars[key] = self.constant(array)
        return scalars[key]

    def constant(self, array: Any) -> ir.Value:
        """Return a constant of the array's dtype and shape, shared within the model or function."""
        root = self.scope.root

        def make() -> ir.Value:
            ir_dtype(array.dtype)  # says which dtypes ONNX does not have
            if root.function:
                return constant_in_function(root, array)
            value = initializer(root, array, f"const_{len(root.initializers)}")
            value.meta[UNNAMED] = True
            return value

        return root.shared(constant_key(array), array, make)

    def rearranged(self, source: ir.Value, shape: Sequence[int]) -> ir.Value | None:
        """Return a constant in another shape, once; None if the value is computed, or large: it might be kept twice."""
        root = self.scope.root
        tensor = stored_tensor(source)
        if tensor is None or root.function or stored_bytes(tensor) > LAZY:
            return None
        origin = source.meta.get(ORIGIN, source.name)

        def make() -> ir.Value:
            wanted = f"{origin}_rearranged"
            value: ir.Value
            if isinstance(tensor, StoredTensor):
                value = initializer_of(root, tensor.reshaped(shape), wanted)
            else:
                value = initializer(root, tensor.numpy().reshape(shape), wanted)
            value.meta[ORIGIN] = origin
            if UNNAMED in source.meta:
                value.meta[UNNAMED] = True
            return value

        key = (*shape, id(source))
        return root.shared(key, source, make)

    def derived(
        self,
        what: str,
        sources: Sequence[ir.Value],
        function: Callable[..., np.ndarray[Any, Any]],
    ) -> ir.Value | None:
        """Return the constant that ``function`` makes of constants' arrays, once; None if one is computed.

        Two functions may make different arrays of the same sources: a constant is shared if its numbers are equal or,
        where they are not at hand, between calls with the same function.
        """
        root = self.scope.root
        tensors = [tensor for tensor in map(stored_tensor, sources) if tensor is not None]
        if root.function or len(tensors) < len(sources):
            return None
        wanted = f"{common_path(sources)}[{what}]"
        if any(isinstance(tensor, StoredTensor) for tensor in tensors):
            key = (what, *map(id, sources), function_key(function))
            later = functools.partial(computed_later, tensors, function)
            return root.shared(key, (sources, function), lambda: initializer_of(root, later(), wanted))
        array = np.ascontiguousarray(function(*[tensor.numpy() for tensor in tensors]))
        content = hashlib.sha256(array.reshape(-1).view(np.uint8)).digest()
        key = (what, *map(id, sources), array.shape, array.dtype, content)
        return root.shared(key, sources, lambda: initializer(root, array, wanted))
