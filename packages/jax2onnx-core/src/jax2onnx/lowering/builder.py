"""Build nodes: ``op.Add(a, b)`` makes a typed node in the current scope and returns its value."""

from __future__ import annotations

import functools
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx_ir.convenience import convert_attribute

from jax2onnx.errors import OpsetError
from jax2onnx.plugin.context import ir_dtype
from jax2onnx.tidy.initializers import LAZY, ORIGIN
from jax2onnx.tidy.subgraphs import stored_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_SMALL = 4096
"""Constants up to this many bytes are shared by content; larger ones by identity."""
_INLINE = 256
"""Constants up to this many bytes stand in a function's body; larger ones are passed to it."""


@dataclass(frozen=True, slots=True)
class _Signature:
    """What the builder needs of an operator's schema."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    fixed: dict[str, ir.DataType]
    attributes: dict[str, ir.AttributeType]

    def input_types(self, count: int) -> tuple[str, ...]:
        """Return the type variables of so many inputs; the last one repeats."""
        return _repeated(self.inputs, count)

    def output_types(self, count: int) -> tuple[str, ...]:
        """Return the type variables of so many outputs; the last one repeats."""
        return _repeated(self.outputs, count)


def _repeated(types: tuple[str, ...], count: int) -> tuple[str, ...]:
    return (*types, *types[-1:] * (count - len(types)))[:count]


_ARRAYS = (np.ndarray, np.generic)


@functools.cache
def _signature(op_type: str, domain: str, opset: int) -> _Signature:
    try:
        schema = onnx.defs.get_schema(op_type, max_inclusive_version=opset, domain=domain)
    except onnx.defs.SchemaError as error:
        newest = onnx.defs.get_schema(op_type, domain=domain) if onnx.defs.has(op_type, domain) else None
        needs = f"the newest form came with opset {newest.since_version}" if newest else "ONNX has no such operator"
        msg = f"operator {op_type} does not exist in opset {opset}"
        raise OpsetError(msg, remedy=f"ask for a newer opset=; {needs}") from error
    fixed = {
        c.type_param_str: _parse_type(c.allowed_type_strs[0])
        for c in schema.type_constraints
        if len(c.allowed_type_strs) == 1
    }
    for formal in (*schema.inputs, *schema.outputs):
        if formal.type_str.startswith("tensor("):
            fixed[formal.type_str] = _parse_type(formal.type_str)
    return _Signature(
        tuple(i.type_str for i in schema.inputs),
        tuple(o.type_str for o in schema.outputs),
        {k: v for k, v in fixed.items() if v != ir.DataType.UNDEFINED},
        {n: ir.AttributeType[str(a.type).rpartition(".")[2]] for n, a in schema.attributes.items()},
    )


def _parse_type(type_str: str) -> ir.DataType:
    name = type_str.removeprefix("tensor(").removesuffix(")").upper()
    return ir.DataType.__members__.get(name, ir.DataType.UNDEFINED)


@dataclass(frozen=True, slots=True)
class DimSource:
    """Where a symbol is read at run time: the size of ``value`` along ``axis`` is ``scale * symbol + offset``."""

    value: ir.Value
    axis: int
    scale: int = 1
    offset: int = 0


@dataclass(slots=True, eq=False)
class Scope:
    """One graph under construction. ``parent`` is the graph whose values it may capture; None for a root.

    A root also holds what its subgraphs share: constants, computed dimensions, and the sources of symbols; the root of
    a function also what its callers must pass besides the operands: arrays, and dimensions that no operand shows.
    """

    parent: Scope | None = None
    function: bool = False
    nodes: list[ir.Node] = field(default_factory=list)
    dims: dict[str, ir.Value] = field(default_factory=dict)
    sources: dict[str, DimSource] = field(default_factory=dict)
    constants: dict[Any, ir.Value] = field(default_factory=dict)
    initializers: list[ir.Value] = field(default_factory=list)
    names: Counter[str] = field(default_factory=Counter)
    keep: list[Any] = field(default_factory=list)
    hoisted: list[tuple[ir.Value, Any]] = field(default_factory=list)

    @property
    def root(self) -> Scope:
        """The outermost scope that this one captures from."""
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope


class Ops:
    """The node builder. Any ONNX operator is an attribute: ``op.Gather(x, i, axis=1)``.

    Inputs are ``ir.Value``, numpy arrays, ``None`` for an optional input left out, or Python scalars, which take the
    dtype of the operands they must agree with. An operator with several results: ``op.many("TopK", x, k, outputs=2)``.
    """

    def __init__(self, opset: int, scopes: list[Scope], metadata: Mapping[str, str]) -> None:
        self.opset = opset
        self._scopes = scopes
        self._metadata = metadata

    @property
    def scope(self) -> Scope:
        """The graph under construction, the innermost one."""
        return self._scopes[-1]

    def tagged(self, metadata: Mapping[str, str]) -> Ops:
        """Return a builder of the same graphs whose nodes carry ``metadata``."""
        return Ops(self.opset, self._scopes, metadata)

    @contextmanager
    def within(self, scope: Scope) -> Iterator[None]:
        """Build in another graph meanwhile."""
        self._scopes.append(scope)
        try:
            yield
        finally:
            self._scopes.pop()

    def subgraph(
        self, name: str, inputs: Sequence[ir.Value], body: Callable[[list[ir.Value]], Sequence[ir.Value]]
    ) -> ir.Graph:
        """Build a graph that may use any value of the enclosing ones; ``body`` maps its inputs to its outputs."""
        scope = Scope(parent=self.scope)
        with self.within(scope):
            outputs = self.distinct(body(list(inputs)))
        return ir.Graph(inputs, outputs, nodes=scope.nodes, name=name)

    def distinct(self, values: Sequence[ir.Value]) -> list[ir.Value]:
        """Return outputs for the current graph: distinct values, each produced by one of its own nodes."""
        own = {id(v) for n in self.scope.nodes for v in n.outputs}
        outputs: list[ir.Value] = []
        for value in values:
            if id(value) in own:
                own.discard(id(value))
                outputs.append(value)
            else:
                copy = self.emit("Identity", value)
                copy.shape = value.shape
                outputs.append(copy)
        return outputs

    def __getattr__(self, op_type: str) -> Callable[..., ir.Value]:
        if op_type.startswith("_"):
            raise AttributeError(op_type)
        return functools.partial(self.emit, op_type)

    def emit(self, op_type: str, *inputs: Any, domain: str = "", **attributes: Any) -> ir.Value:
        """Append a node with one result."""
        return self._node(op_type, inputs, 1, domain, attributes).outputs[0]

    def many(self, op_type: str, *inputs: Any, outputs: int, domain: str = "", **attributes: Any) -> list[ir.Value]:
        """Append a node with several results."""
        return list(self._node(op_type, inputs, outputs, domain, attributes).outputs)

    def call(self, domain: str, name: str, inputs: Sequence[ir.Value], outputs: int) -> list[ir.Value]:
        """Append a call of one of the model's functions; its results' types are the caller's to say."""
        node = ir.Node(domain, name, inputs, num_outputs=outputs, metadata_props=dict(self._metadata))
        self.scope.nodes.append(node)
        return list(node.outputs)

    def _node(
        self,
        op_type: str,
        inputs: Sequence[Any],
        outputs: int,
        domain: str,
        attributes: dict[str, Any],
    ) -> ir.Node:
        signature = _signature(op_type, domain, self.opset)
        types = signature.input_types(len(inputs))
        values = [self.constant(np.asarray(o)) if isinstance(o, _ARRAYS) else o for o in inputs]
        dtypes = [v.dtype if isinstance(v, ir.Value) else None for v in values]
        bound = dict(signature.fixed)
        for type_str, dtype in zip(types, dtypes, strict=True):
            if dtype is not None:
                bound.setdefault(type_str, dtype)
        if None in dtypes:
            first = next(filter(None, dtypes), None)
            values = [
                v if v is None or isinstance(v, ir.Value) else self._scalar(v, bound.get(s, first), op_type)
                for v, s in zip(values, types, strict=True)
            ]
        # onnxruntime crashes on some operators whose last optional inputs are there by an empty name.
        while values and values[-1] is None:
            values.pop()
        attrs = {
            k: v if isinstance(v, ir.Attr) else convert_attribute(k, v, signature.attributes[k])
            for k, v in attributes.items()
            if v is not None
        }
        results = [ir.Value(type=t) for t in _result_types(signature, bound, op_type, attrs, outputs)]
        node = ir.Node(domain, op_type, values, attrs.values(), outputs=results, metadata_props=dict(self._metadata))
        self.scope.nodes.append(node)
        return node

    def constant(self, array: Any) -> ir.Value:
        """Return a constant of the array's dtype and shape, shared within the model or function."""
        root = self.scope.root
        key = _constant_key(array)
        value = root.constants.get(key)
        if value is None:
            tensor = ir.Tensor(np.asarray(array), dtype=ir_dtype(array.dtype))
            if root.function and tensor.nbytes > _INLINE:
                value = ir.Value(name=f"param_{len(root.hoisted)}")
                root.hoisted.append((value, array))
            elif root.function:
                node = ir.Node("", "Constant", [], [ir.AttrTensor("value", tensor)])
                root.nodes.append(node)
                value = node.outputs[0]
                value.const_value = tensor
            else:
                value = ir.Value(name=f"const_{len(root.initializers)}", const_value=tensor)
                tensor.name = value.name
                root.initializers.append(value)
            value.dtype = tensor.dtype
            value.shape = tensor.shape
            root.constants[key] = value
            root.keep.append(array)
        return value

    def rearranged(self, source: ir.Value, shape: Sequence[int]) -> ir.Value | None:
        """Return a constant in another shape, once; None if the value is computed, or large: it might be kept twice."""
        root, tensor = self.scope.root, source.const_value
        if tensor is None or root.function or stored_bytes(tensor) > LAZY:
            return None
        key = (*shape, id(source))
        value = root.constants.get(key)
        if value is None:
            origin = source.meta.get(ORIGIN, source.name)
            array = tensor.numpy().reshape(shape)
            value = root.constants[key] = self._stored(array, tensor.dtype, f"{origin}_rearranged")
            value.meta[ORIGIN] = origin
            root.keep.append(source)
        return value

    def derived(self, what: str, sources: Sequence[ir.Value], function: Callable[..., Any]) -> ir.Value | None:
        """Return the constant that ``function`` makes of constants' arrays, once; None if one is computed.

        Its name is what the names of the sources have in common, and ``[what]``.
        """
        root = self.scope.root
        arrays = [v.const_value.numpy() for v in sources if v.const_value is not None]
        if root.function or len(arrays) < len(sources):
            return None
        key = (what, *map(id, sources))
        value = root.constants.get(key)
        if value is None:
            paths = [(v.name or "").split(".") for v in sources]
            common = [steps[0] for steps in zip(*paths, strict=False) if len(set(steps)) == 1]
            array = np.ascontiguousarray(function(*arrays))
            value = root.constants[key] = self._stored(array, ir_dtype(array.dtype), ".".join(common) + f"[{what}]")
            root.keep.append(sources)
        return value

    def _stored(self, array: np.ndarray[Any, Any], dtype: ir.DataType, wanted: str) -> ir.Value:
        """Append an initializer, with a number after the wanted name if others have that."""
        root = self.scope.root
        root.names[wanted] += 1
        name = wanted if root.names[wanted] == 1 else f"{wanted}_{root.names[wanted]}"
        tensor = ir.Tensor(array, dtype=dtype, name=name)
        value = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(dtype), const_value=tensor)
        root.initializers.append(value)
        return value

    def _scalar(self, operand: Any, dtype: ir.DataType | None, op_type: str) -> ir.Value:
        if dtype is None:
            msg = f"{op_type}: the dtype of the scalar {operand!r} does not follow from the other operands"
            raise TypeError(msg)
        # By its text, since 0.0 and -0.0, or 1 and True, are equal.
        key = (dtype, repr(operand))
        scalars = self.scope.root.constants
        if key not in scalars:
            scalars[key] = self.constant(np.asarray(operand, dtype.numpy()))
        return scalars[key]


def _result_types(
    signature: _Signature,
    bound: Mapping[str, ir.DataType],
    op_type: str,
    attributes: Mapping[str, ir.Attr],
    outputs: int,
) -> list[ir.TypeProtocol | None]:
    """Return the types of a node's results, as far as they follow from its operands and attributes."""
    if op_type in _BODIES:
        attribute, skipped = _BODIES[op_type]
        return [v.type for v in attributes[attribute].as_graph().outputs[skipped:]][:outputs]
    declared = attributes.get("to") or attributes.get("dtype")
    types: list[ir.TypeProtocol | None] = []
    for type_str in signature.output_types(outputs):
        dtype = bound.get(type_str)
        if declared is not None and type_str not in signature.inputs:
            dtype = ir.DataType(declared.as_int())
        elif dtype is None and "value" in attributes:
            dtype = attributes["value"].as_tensor().dtype
        types.append(None if dtype is None else ir.TensorType(dtype))
    return types


_BODIES = {"If": ("then_branch", 0), "Loop": ("body", 1), "Scan": ("body", 0)}
"""Operators whose results are those of a graph within, and how many of these are none of theirs."""


def _constant_key(array: Any) -> Any:
    if array.size * array.dtype.itemsize <= _SMALL:
        held = np.asarray(array)
        return (held.dtype, held.shape, held.tobytes())
    return id(array)
