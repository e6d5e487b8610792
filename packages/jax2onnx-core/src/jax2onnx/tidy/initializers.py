"""Initializers: derive constants from others, fold what only rearranges them, share what is stored twice."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx_ir as ir

from jax2onnx._unique import free_name
from jax2onnx.tidy.match_nodes import (
    ints_at,
    is_transpose,
    permutation,
    shape_at,
    sizes_of,
    slice_steps,
    tensor_at,
)
from jax2onnx.tidy.operators import RESHAPES
from jax2onnx.tidy.subgraphs import held_array, stored_bytes
from jax2onnx.weights.blocks import blocks
from jax2onnx.weights.stored import StoredTensor

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LAZY", "ORIGIN", "Home", "fold", "restore_names", "share", "stored_once"]

_Rearrangement: TypeAlias = Callable[[Any], Any]

LAZY = 1 << 16
"""Rearranged tensors of more bytes are computed when they are written, and not kept."""

ORIGIN = "jax2onnx.origin"
"""The key in a value's metadata of the name of the initializer that it is derived from."""


class _Rearranged(ir.Tensor[Any]):
    """A tensor whose array is a view of another one's: written in blocks, without a copy of all of it."""

    def tofile(self, file: Any) -> None:
        """Write the tensor's bytes to a file."""
        array = self.numpy()
        if array.ndim == 0 or self.dtype.bitwidth < 8 or sys.byteorder != "little":
            super().tofile(file)
            return
        for block in blocks(array):
            file.write(block.data)


@dataclass(frozen=True, slots=True)
class Home:
    """Where constants live: among a model's initializers, or as ``Constant`` nodes of a function."""

    graph: ir.Graph
    is_function: bool

    def holds(self, value: ir.Value | None) -> bool:
        """Return whether a value is an initializer, so that others can be derived from it."""
        return self.sizes(value) is not None

    def sizes(self, value: ir.Value | None) -> Sequence[int] | None:
        """Return the sizes of an initializer from which others can be derived, None for any other value."""
        if value is None or self.is_function or not value.is_initializer():
            return None
        return None if value.const_value is None else value.const_value.shape.numpy()

    def ints(self, numbers: Sequence[int]) -> ir.Value:
        """Return a new constant int64 vector."""
        return self.constant(np.asarray(numbers, np.int64))

    def constant(self, array: np.ndarray[Any, Any], name: str = "const_tidy") -> ir.Value:
        """Return a new constant, with a name like the given one."""
        tensor = ir.Tensor(array)
        if not self.is_function:
            return self._register(tensor, name)
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
        function: _Rearrangement,
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
            return _Rearranged(function(tensor.numpy()), dtype=to)

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

    def _of(self, source: ir.Value, derived: ir.TensorProtocol) -> ir.Value:
        """Return a new initializer that is derived from another one."""
        origin = source.meta.get(ORIGIN, source.name)
        value = self._register(derived, f"{origin}_rearranged")
        value.meta[ORIGIN] = origin
        return value

    def _register(self, tensor: ir.TensorProtocol, wanted: str) -> ir.Value:
        value = _value_of(tensor)
        value.name = free_name(wanted, self.graph.initializers, first=2)
        self.graph.register_initializer(value)
        return value


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


def fold(graph: ir.Graph, home: Home) -> None:
    """Rewrite ``MatMul(x, Transpose(w[5, 4], [1, 0]))`` to ``MatMul(x, w_rearranged[4, 5])``.

    The same is done for casts of scalars, reshapes and slices. The nodes are left without users.
    """
    for node in graph:
        find = _REARRANGE.get(node.op_type)
        if (find is None and node.op_type not in RESHAPES) or node.domain or not node.inputs:
            continue
        source = node.inputs[0]
        result = node.outputs[0]
        if not home.holds(source) or not stored_once(source) or result.is_graph_output():
            continue
        shape = sizes_of(result.shape)
        if shape is None:
            continue
        if _keeps_order(node):
            result.replace_all_uses_with(home.reshaped(source, shape))
        elif find is not None and (function := find(node)) is not None:
            result.replace_all_uses_with(home.derive(source, function, shape, result.dtype))


def _keeps_order(node: ir.Node) -> bool:
    """Return whether a node gives an array another shape, and no element another place among all."""
    if not is_transpose(node):
        return node.op_type in RESHAPES
    sizes = shape_at(node, 0)
    moved = [axis for axis in permutation(node) if sizes is None or sizes[axis] != 1]
    return moved == sorted(moved)


def _transpose(node: ir.Node) -> _Rearrangement | None:
    perm = node.attributes["perm"].as_ints()
    return lambda array: np.transpose(array, perm)


def _cast(node: ir.Node) -> _Rearrangement | None:
    """Cast scalars between dtypes where the result is the same everywhere."""
    tensor = tensor_at(node, 0)
    dtype = node.outputs[0].dtype
    if tensor is None or tensor.size != 1 or dtype is None:
        return None
    to = dtype.numpy()
    given = tensor.numpy().dtype
    # Floats that an integer cannot hold are converted by each runtime in its own way.
    if given.kind not in "iub" and not np.can_cast(given, to, "same_kind"):
        return None

    def cast(array: Any) -> Any:
        with np.errstate(over="ignore", invalid="ignore"):
            return array.astype(to)

    return cast


def _slice(node: ir.Node) -> _Rearrangement | None:
    starts = ints_at(node, 1)
    ends = ints_at(node, 2)
    axes = ints_at(node, 3)
    steps = slice_steps(node)
    if starts is None or ends is None or axes is None or steps is None:
        return None
    if min(axes, default=0) < 0:
        return None
    index = [slice(None)] * (max(axes, default=-1) + 1)
    for axis, start, end, step in itertools.zip_longest(axes, starts, ends, steps, fillvalue=1):
        # A slice that steps down to element 0 ends at the least number in ONNX, and at None in Python.
        to_first = step < 0 and end <= np.iinfo(np.int32).min
        index[axis] = slice(start, None if to_first else end, step)
    return lambda array: array[tuple(index)]


_REARRANGE: dict[str, Callable[[ir.Node], _Rearrangement | None]] = {
    "Cast": _cast,
    "Transpose": _transpose,
    "Slice": _slice,
}
