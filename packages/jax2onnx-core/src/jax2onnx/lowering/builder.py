"""Build nodes: ``op.Add(a, b)`` appends a typed node to the current graph and returns its result."""

from __future__ import annotations

import functools
import hashlib
import types
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from jax2onnx._unique import free_name
from jax2onnx.lowering.attributes import attribute
from jax2onnx.lowering.domains import Domains, normal
from jax2onnx.lowering.signature import signature
from jax2onnx.plugin.context import ir_dtype
from jax2onnx.plugin.operators import Operators
from jax2onnx.tidy.initializers import LAZY, ORIGIN
from jax2onnx.tidy.subgraphs import stored_bytes
from jax2onnx.weights.stored import StoredTensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from jax2onnx.lowering.signature import Signature

__all__ = ["DimSource", "Ops", "Scope"]

_SMALL = 4096
"""Constants up to this many bytes are shared by content; larger ones by identity."""

STORED = "jax2onnx.stored"
"""The key in a value's metadata of its tensor, where rules may not look at its numbers: it is large, or not there."""

_INLINE = 256
"""Constants up to this many bytes stand in a function's body; larger ones are passed to it."""

_ARRAYS = (np.ndarray, np.generic)


@dataclass(frozen=True, slots=True)
class DimSource:
    """Where a symbol is read at run time: the size of ``value`` along ``axis`` is ``scale * symbol + offset``."""

    value: ir.Value
    axis: int
    scale: int = 1
    offset: int = 0


class Scope:
    """One graph under construction.

    A graph within another (``parent``) may use the other's values. A root, which has no parent, also holds what its
    inner graphs share. The root of a function holds, besides, what its callers pass in addition to the operands.

    Attributes:
        parent: the graph around it; None for a root.
        function: whether it is the root of a function.
        nodes: the nodes so far.
        dims: computed dimensions, by their expressions.
        sources: for each symbol, where its value is read.
        constants: constants that may be used again, by keys that :meth:`shared` is given.
        initializers: the constants that the model stores.
        names: the names of these.
        hoisted: the parameters that a function's callers pass: arrays, and dimensions that no operand shows.
    """

    def __init__(self, parent: Scope | None = None, *, function: bool = False) -> None:
        self.parent = parent
        self.function = function
        self.nodes: list[ir.Node] = []
        self.dims: dict[str, ir.Value] = {}
        self.sources: dict[str, DimSource] = {}
        self.constants: dict[Any, ir.Value] = {}
        self.initializers: list[ir.Value] = []
        self.names: set[str] = set()
        self.hoisted: list[tuple[ir.Value, Any]] = []
        self._kept: list[Any] = []

    @property
    def root(self) -> Scope:
        """The outermost scope that this one captures from."""
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope

    def shared(self, key: Any, source: Any, make: Callable[[], ir.Value]) -> ir.Value:
        """Return the constant of a key; the first call makes it.

        The key may hold the id of ``source``, which therefore stays alive as long as the scope.
        """
        value = self.constants.get(key)
        if value is None:
            value = make()
            self.constants[key] = value
            self._kept.append(source)
        return value


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
                return _constant_in_function(root, array)
            return _initializer(root, array, f"const_{len(root.initializers)}")

        return root.shared(_constant_key(array), array, make)

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
                value = _initializer_of(root, tensor.reshaped(shape), wanted)
            else:
                value = _initializer(root, tensor.numpy().reshape(shape), wanted)
            value.meta[ORIGIN] = origin
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
        wanted = f"{_common_path(sources)}[{what}]"
        if any(isinstance(tensor, StoredTensor) for tensor in tensors):
            key = (what, *map(id, sources), _function_key(function))
            later = functools.partial(_computed_later, tensors, function)
            return root.shared(key, (sources, function), lambda: _initializer_of(root, later(), wanted))
        array = np.ascontiguousarray(function(*[tensor.numpy() for tensor in tensors]))
        content = hashlib.sha256(array.reshape(-1).view(np.uint8)).digest()
        key = (what, *map(id, sources), array.shape, array.dtype, content)
        return root.shared(key, sources, lambda: _initializer(root, array, wanted))


def _function_key(function: Callable[..., Any]) -> Any:
    """Return what two functions have in common only if they compute the same: the parts of partials and methods."""
    if isinstance(function, functools.partial) and not function.keywords:
        bound = [(type(each), each if isinstance(each, str | int) else id(each)) for each in function.args]
        return (_function_key(function.func), *bound)
    if isinstance(function, types.MethodType):
        return (id(function.__func__), id(function.__self__))
    return id(function)


def hold(value: ir.Value, tensor: ir.TensorProtocol) -> None:
    """Make a value a constant; rules see its numbers only if they are at hand."""
    is_known = not isinstance(tensor, ir.LazyTensor)
    if isinstance(tensor, StoredTensor):
        if not tensor.source.is_there:
            return  # nothing is known of it but its shape
        is_known = tensor.is_known
    if is_known:
        value.const_value = tensor
    else:
        value.meta[STORED] = tensor


def stored_tensor(value: ir.Value) -> ir.TensorProtocol | None:
    """Return the tensor of a constant, one whose numbers rules may not look at too; None for any other value."""
    tensor: ir.TensorProtocol | None = value.meta.get(STORED, value.const_value)
    return tensor


def _computed_later(
    tensors: Sequence[ir.TensorProtocol], function: Callable[..., np.ndarray[Any, Any]]
) -> ir.LazyTensor:
    """Return the tensor that a function makes of others, which are read when it is written."""
    alike = [np.broadcast_to(np.zeros((), tensor.dtype.numpy()), tensor.shape.numpy()) for tensor in tensors]
    result = function(*alike)

    def compute() -> ir.Tensor[Any]:
        return ir.Tensor(np.ascontiguousarray(function(*[tensor.numpy() for tensor in tensors])))

    return ir.LazyTensor(compute, ir.DataType.from_numpy(result.dtype), ir.Shape(result.shape))


def _initializer(root: Scope, array: Any, wanted: str) -> ir.Value:
    """Append an initializer; its name is the wanted one, or that with a number if another initializer has it."""
    return _initializer_of(root, ir.Tensor(np.asarray(array)), wanted)


def _initializer_of(root: Scope, tensor: ir.TensorProtocol, wanted: str) -> ir.Value:
    """Append an initializer that a tensor is; for its name as for an array's."""
    name = free_name(wanted, root.names, first=2)
    root.names.add(name)
    tensor.name = name
    value = ir.Value(name=name)
    hold(value, tensor)
    value.dtype = tensor.dtype
    value.shape = ir.Shape(tensor.shape.numpy())
    root.initializers.append(value)
    return value


def _constant_in_function(root: Scope, array: Any) -> ir.Value:
    """Append a constant to a function: a node, or if it is large, a parameter that every call passes."""
    tensor = ir.Tensor(np.asarray(array))
    if tensor.nbytes > _INLINE:
        value = ir.Value(name=f"param_{len(root.hoisted)}")
        root.hoisted.append((value, array))
    else:
        attribute = ir.AttrTensor("value", tensor)
        node = ir.Node("", "Constant", [], [attribute])
        root.nodes.append(node)
        value = node.outputs[0]
        value.const_value = tensor
    value.dtype = tensor.dtype
    value.shape = tensor.shape
    return value


def _common_path(values: Iterable[ir.Value]) -> str:
    """Return the steps that dotted names have in common: ``gru.kernel`` for ``gru.r.kernel`` and ``gru.z.kernel``."""
    paths = [(value.name or "").split(".") for value in values]
    steps = zip(*paths, strict=False)
    return ".".join(step[0] for step in steps if len(set(step)) == 1)


def _constant_key(array: Any) -> Any:
    size = array.size * array.dtype.itemsize
    if size > _SMALL:
        return id(array)
    content = np.asarray(array)
    return (content.dtype, content.shape, content.tobytes())
