"""Derived initializers: weights in the form in which a runtime multiplies by them, made once for all who read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx_ir as ir

from jax2onnx._unique import free_name
from jax2onnx.tidy.subgraphs import every_node, standard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Derived", "remove_unread"]

_Array: TypeAlias = np.ndarray[Any, Any]
_SMALL = 4096
"""Elements of an array that may be stored in a wider dtype: a node less is worth that."""


class Derived:
    """The initializers of a model that were derived from others, and from which; in functions there are none."""

    def __init__(self, model: ir.Model, *, in_functions: bool = False) -> None:
        self._model = model
        self._in_functions = in_functions
        self._scalars: dict[bytes, ir.Value] = {}
        self._sources: dict[ir.Value, None] = {}
        self._successors: dict[ir.Value, ir.Value] = {}
        """Initializers -> the same numbers in another dtype."""
        self._made: dict[tuple[ir.Value, str, tuple[int, ...]], ir.Value] = {}
        self._unread: list[ir.Value] = []

    def once(
        self, source: ir.Value, suffix: str, compute: Callable[[], _Array], dtype: ir.DataType, shape: Sequence[int]
    ) -> ir.Value:
        """Return the initializer of this name that is made of another one: computed when it is written."""
        self._sources[source] = None
        key = (source, suffix, tuple(shape))
        known = self._made.get(key)
        if known is not None:
            return known
        graph = source.graph
        assert isinstance(graph, ir.Graph)
        size = ir.Shape(shape)
        tensor = ir.LazyTensor(lambda: ir.Tensor(np.ascontiguousarray(compute())), dtype=dtype, shape=size)
        name = free_name(f"{source.name}{suffix}", graph.initializers, first=2)
        value = ir.Value(name=name, shape=size, type=ir.TensorType(dtype), const_value=tensor)
        graph.register_initializer(value)
        self._made[key] = value
        return value

    def small(self, source: ir.Value, dtype: ir.DataType) -> ir.Value | None:
        """Return the initializer that holds a small one in another dtype; None if it is large, or none of the model's.

        It takes over the name if nothing reads the other any more.
        """
        tensor = source.const_value
        if tensor is None or source.graph is not self._model.graph or source.is_graph_input():
            return None
        if not source.is_initializer() or tensor.size > _SMALL:
            return None
        suffix = f"_as_{dtype.name.lower()}"
        shape = tensor.shape.numpy()
        made = self.once(source, suffix, lambda: tensor.numpy().astype(dtype.numpy()), dtype, shape)
        self._successors[source] = made
        return made

    def replaces(self, sources: Iterable[ir.Value]) -> None:
        """Note initializers that derived ones may have replaced."""
        self._sources.update(dict.fromkeys(sources))

    def may_be_unread(self, value: ir.Value) -> None:
        """Note a value that a rewrite reads no more: what computes it is removed if nothing else reads it."""
        self._unread.append(value)

    def scalar(self, node: ir.Node, number: np.generic) -> ir.Value:
        """Return a constant that a node can read: an initializer, or in a function a node before it."""
        array = np.asarray(number)
        value = ir.Value(shape=ir.Shape(()), type=ir.TensorType(ir.DataType.from_numpy(array.dtype)))
        if self._in_functions:
            node.prepend(ir.node("Constant", [], {"value": ir.Tensor(array)}, outputs=[value]))
            return value
        key = array.dtype.char.encode() + array.tobytes()
        if key not in self._scalars:
            value.name = free_name("const_legal", self._model.graph.initializers, first=2)
            value.const_value = ir.Tensor(array)
            self._model.graph.register_initializer(value)
            self._scalars[key] = value
        return self._scalars[key]

    @property
    def opset(self) -> int:
        """The opset of the model."""
        return self._model.graph.opset_imports[""]

    def use_domain(self, domain: str) -> None:
        """Import a domain of operators of the runtime."""
        self._model.graph.opset_imports.setdefault(domain, 1)

    def finish(self) -> None:
        """Remove the nodes and the initializers that nothing reads any more."""
        model = self._model
        for value in self._unread:
            self.replaces(remove_unread(value.producer()))
        if not self._sources:
            return
        for node in list(every_node(model.graph)):
            if standard(node) == "DequantizeLinear" and not node.outputs[0].uses() and node.graph is not None:
                node.graph.remove(node, safe=True)
        for value in self._sources:
            if not value.uses() and not value.is_graph_output() and value.name is not None:
                model.graph.initializers.pop(value.name, None)
                if value in self._successors:
                    self._successors[value].name = value.name


def remove_unread(node: ir.Node | None) -> list[ir.Value]:
    """Remove a node that nothing reads, and then those before it; return the initializers that they read."""
    pending: list[ir.Node | None] = [node]
    read: list[ir.Value] = []
    while pending:
        node = pending.pop()
        if node is None or node.graph is None or _is_read(node):
            continue
        before = [value for value in dict.fromkeys(node.inputs) if value is not None]
        node.graph.remove(node, safe=True)
        pending += [value.producer() for value in before]
        read += [value for value in before if value.is_initializer()]
    return read


def _is_read(node: ir.Node) -> bool:
    return any(value.uses() or value.is_graph_output() for value in node.outputs)
