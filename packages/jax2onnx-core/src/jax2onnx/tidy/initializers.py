"""Initializers: derive constants from others, share what is stored twice."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx_ir as ir

from jax2onnx._unique import free_name
from jax2onnx.tidy.subgraphs import held_array, stored_bytes
from jax2onnx.weights.stored import StoredTensor

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "LAZY",
    "ORIGIN",
    "UNNAMED",
    "Home",
    "Rearrangement",
    "is_parameter",
    "restore_names",
    "share",
    "stored_once",
]

Rearrangement: TypeAlias = Callable[[Any], Any]

LAZY = 1 << 16
"""Rearranged tensors of more bytes are computed when they are written, and not kept."""

UNNAMED = "jax2onnx.unnamed"
"""The key in the metadata of a value that is no parameter of the user's, whatever its name is."""

_SMALL = 2**10
"""Constants of up to so many bytes are looked for among those that there are."""

ORIGIN = "jax2onnx.origin"
"""The key in a value's metadata of the name of the initializer that it is derived from."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where constants live: among a model's initializers, or as ``Constant`` nodes of a function."""

    graph: ir.Graph
    is_function: bool
    _small: dict[Hashable, ir.Value] = field(default_factory=dict)

    def holds(self, value: ir.Value | None) -> bool:
        """Return whether a value is an initializer, so that others can be derived from it."""
        return self.sizes(value) is not None

    def is_parameter(self, value: ir.Value) -> bool:
        """Return whether a value is an initializer that has a name of the user's."""
        return is_parameter(value)

    def sizes(self, value: ir.Value | None) -> Sequence[int] | None:
        """Return the sizes of an initializer from which others can be derived, None for any other value."""
        if value is None or self.is_function or not value.is_initializer():
            return None
        return None if value.const_value is None else value.const_value.shape.numpy()

    def ints(self, numbers: Sequence[int]) -> ir.Value:
        """Return a new constant int64 vector."""
        return self.constant(np.asarray(numbers, np.int64))

    def constant(self, array: np.ndarray[Any, Any], name: str = "const_tidy") -> ir.Value:
        """Return a constant, with a name like the given one if it is a new one; small ones are made once."""
        tensor = ir.Tensor(array)
        if not self.is_function:
            return self._unnamed(tensor, name) if array.nbytes > _SMALL else self._shared(tensor, array, name)
        value = _value_of(tensor)
        # A tensor of its own: a value gives its name to the tensor that it holds.
        attribute = ir.AttrTensor("value", ir.Tensor(array))
        node = ir.Node("", "Constant", [], [attribute], outputs=[value])
        first = self.graph.node(0)
        first.prepend(node)
        return value

    def derive(
        self,
        source: ir.Value | None,
        function: Rearrangement,
        shape: Sequence[int],
        dtype: ir.DataType | None = None,
        *,
        computes: bool = False,
    ) -> ir.Value:
        """Return a new initializer of ``shape`` and ``dtype`` that holds ``function`` of another one's numpy array.

        Args:
            source: the other one.
            function: it only moves elements, unless it ``computes``.
            shape: the shape of its result.
            dtype: the dtype of its result, if it is another one.
            computes: whether it does arithmetic.
        """
        assert source is not None
        tensor = source.const_value
        assert tensor is not None
        to = dtype or tensor.dtype

        def compute() -> ir.Tensor[Any]:
            return ir.Tensor(function(tensor.numpy()), dtype=to)

        derived: ir.TensorProtocol
        if isinstance(tensor, StoredTensor) and not computes:
            derived = tensor.rearranged(function, shape, to)
        elif isinstance(tensor, StoredTensor) or stored_bytes(tensor) > LAZY:
            derived = ir.LazyTensor(compute, dtype=to, shape=ir.Shape(shape))
        else:
            derived = compute()
        return self._of(source, derived)

    def reshaped(self, source: ir.Value | None, shape: Sequence[int]) -> ir.Value:
        """Return a new initializer that holds another one in this shape: what is in a file stays there."""
        if source is not None and isinstance(source.const_value, StoredTensor):
            return self._of(source, source.const_value.reshaped(shape))
        return self.derive(source, lambda array: np.reshape(array, shape), shape)

    def rows(self, source: ir.Value, start: int, stop: int) -> ir.Value:
        """Return a new initializer that is a part of the first axis of another one: what is in a file stays there."""
        tensor = source.const_value
        assert tensor is not None
        if isinstance(tensor, StoredTensor):
            return self._of(source, tensor.rows(start, stop))
        return self.derive(source, lambda array: array[start:stop], (stop - start, *tensor.shape.numpy()[1:]))

    def name_alone(self, value: ir.Value, wanted: str) -> None:
        """Give an initializer a name that is not the one of what it is derived from."""
        value.meta.pop(ORIGIN, None)
        value.name = free_name(wanted, self.graph.initializers)

    def _shared(self, tensor: ir.Tensor[Any], array: np.ndarray[Any, Any], name: str) -> ir.Value:
        """Return the initializer that holds a small array, a new one only if there is none: nodes of it are equal."""
        if not self._small:
            self._small.update(_small_ones(self.graph))
        key = _content(array, tensor.dtype)
        value = self._small.get(key)
        if value is None or self.graph.initializers.get(value.name or "") is not value:
            value = self._small[key] = self._unnamed(tensor, name)
        return value

    def _unnamed(self, tensor: ir.TensorProtocol, wanted: str) -> ir.Value:
        value = self._register(tensor, wanted)
        value.meta[UNNAMED] = True
        return value

    def _of(self, source: ir.Value, derived: ir.TensorProtocol) -> ir.Value:
        """Return a new initializer that is derived from another one."""
        origin = source.meta.get(ORIGIN, source.name)
        value = self._register(derived, f"{origin}_rearranged")
        value.meta[ORIGIN] = origin
        if UNNAMED in source.meta:
            value.meta[UNNAMED] = True
        return value

    def _register(self, tensor: ir.TensorProtocol, wanted: str) -> ir.Value:
        value = _value_of(tensor)
        value.name = free_name(wanted, self.graph.initializers, first=2)
        self.graph.register_initializer(value)
        return value


def _small_ones(graph: ir.Graph) -> Iterator[tuple[Hashable, ir.Value]]:
    """Yield the small initializers of a graph by what they hold, but for those that have a name of the user's."""
    for value in graph.initializers.values():
        if UNNAMED not in value.meta:
            continue
        tensor = value.const_value
        array = held_array(tensor)
        if tensor is not None and array is not None and array.nbytes <= _SMALL:
            yield _content(array, tensor.dtype), value


def _content(array: np.ndarray[Any, Any], dtype: ir.DataType) -> Hashable:
    return dtype, array.shape, array.tobytes()


def _value_of(tensor: ir.TensorProtocol) -> ir.Value:
    """Return a new value that holds a tensor."""
    shape = ir.Shape(tensor.shape.numpy())
    dtype = ir.TensorType(tensor.dtype)
    return ir.Value(shape=shape, type=dtype, const_value=tensor)


def share(graph: ir.Graph) -> None:
    """Replace initializers that view the same memory in the same way by the first of them."""
    seen: dict[Any, ir.Value] = {}
    for value in list(graph.initializers.values()):
        tensor = value.const_value
        array = held_array(tensor)
        if tensor is None or array is None:
            continue
        if not value.uses() or value.is_graph_output():
            continue
        address = array.__array_interface__["data"][0]
        view = (address, array.shape, array.strides, tensor.dtype)
        first = seen.setdefault(view, value)
        # Arrays without elements may share an address by chance.
        if first is not value and array.size:
            value.replace_all_uses_with(first)


def is_parameter(value: ir.Value | None) -> bool:
    """Return whether a value is an initializer that has a name of the user's."""
    return value is not None and value.is_initializer() and UNNAMED not in value.meta


def restore_names(graph: ir.Graph) -> None:
    """Drop initializers that nothing uses, and give their names to those derived from them."""
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]
    for value in list(graph.initializers.values()):
        wanted = value.meta.get(ORIGIN)
        if wanted is not None and wanted not in graph.initializers:
            value.name = wanted


def stored_once(source: ir.Value | None) -> bool:
    """Return whether an initializer is small, or used once, so that what is derived from it takes its place."""
    if source is None or source.const_value is None:
        return False
    if len(source.uses()) == 1:
        return True
    return stored_bytes(source.const_value) <= LAZY
