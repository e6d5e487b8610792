"""Initializers: fold what only rearranges them, share what is stored twice."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.subgraphs import stored_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LAZY = 1 << 16
"""Rearranged tensors of more bytes are computed when they are written, and not kept."""

_BLOCK = 1 << 24
"""How many bytes are written at once."""

ORIGIN = "jax2onnx.origin"
"""Where a rearranged initializer's value has, among its metadata, the name of the one it is made of."""


class _Rearranged(ir.Tensor[Any]):
    """A tensor whose array is a view of another one's: written in blocks, without a copy of all of it."""

    def tofile(self, file: Any) -> None:
        """Write the tensor's bytes to a file."""
        array = self.numpy()
        if array.ndim == 0 or self.dtype.bitwidth < 8 or sys.byteorder != "little":
            super().tofile(file)
            return
        rows = max(1, _BLOCK * len(array) // max(1, array.nbytes))
        for start in range(0, len(array), rows):
            file.write(np.ascontiguousarray(array[start : start + rows]).view(np.uint8).data)


@dataclass(frozen=True, slots=True)
class Home:
    """Where constants live: among a model's initializers, or as ``Constant`` nodes of a function."""

    graph: ir.Graph
    is_function: bool

    def holds(self, value: ir.Value) -> bool:
        """Tell whether a value is an initializer, so that others can be derived from it."""
        return not self.is_function and value.is_initializer() and value.const_value is not None

    def ints(self, numbers: Sequence[int]) -> ir.Value:
        """Return a new constant int64 vector."""
        return self.constant(np.asarray(numbers, np.int64))

    def constant(self, array: np.ndarray[Any, Any], dtype: ir.DataType | None = None) -> ir.Value:
        """Return a new constant, in another dtype than the array's if one is given."""
        tensor = ir.Tensor(array if dtype is None else array.astype(dtype.numpy()))
        if self.is_function:
            node = ir.Node("", "Constant", [], [ir.AttrTensor("value", tensor)])
            self.graph.insert_before(self.graph.node(0), node)
            value = node.outputs[0]
            value.const_value, value.shape, value.type = tensor, tensor.shape, ir.TensorType(tensor.dtype)
            return value
        return self._register(tensor, "const_tidy")

    def derive(
        self,
        source: ir.Value,
        function: Callable[[Any], Any],
        shape: Sequence[int],
        dtype: ir.DataType | None = None,
    ) -> ir.Value:
        """Return a new initializer of ``shape`` and ``dtype`` that holds ``function`` of another one's numpy array."""
        tensor = source.const_value
        assert tensor is not None
        to = dtype or tensor.dtype
        made: ir.TensorProtocol
        if stored_bytes(tensor) <= LAZY:
            made = ir.Tensor(function(tensor.numpy()), dtype=to)
        else:
            made = ir.LazyTensor(
                lambda: _Rearranged(function(tensor.numpy()), dtype=to),
                dtype=to,
                shape=ir.Shape(shape),
            )
        origin = source.meta.get(ORIGIN, source.name)
        value = self._register(made, f"{origin}_rearranged")
        value.meta[ORIGIN] = origin
        return value

    def _register(self, tensor: ir.TensorProtocol, wanted: str) -> ir.Value:
        name, count = wanted, 1
        while name in self.graph.initializers:
            count += 1
            name = f"{wanted}_{count}"
        tensor.name = name
        value = ir.Value(
            name=name, shape=ir.Shape(tensor.shape.numpy()), type=ir.TensorType(tensor.dtype), const_value=tensor
        )
        self.graph.register_initializer(value)
        return value


def fold(graphs: Sequence[ir.Graph], home: Home) -> None:
    """Replace the nodes that rearrange an initializer by an initializer arranged so."""
    for node in [n for g in graphs for n in g if n.op_type in _REARRANGE]:
        rearrange = _REARRANGE[node.op_type]
        source = node.inputs[0] if node.inputs else None
        if node.domain or source is None or not home.holds(source):
            continue
        out = node.outputs[0]
        function, shape = rearrange(node), out.shape
        if function is None or shape is None or not shape.is_static() or not only_here(source):
            continue
        if not out.is_graph_output():
            out.replace_all_uses_with(home.derive(source, function, shape.numpy(), out.dtype))


def restore_names(graph: ir.Graph) -> None:
    """Drop initializers that nothing uses, and let those derived from them have their names."""
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]
    for value in list(graph.initializers.values()):
        wanted = value.meta.get(ORIGIN)
        if wanted is not None and wanted not in graph.initializers:
            value.name = wanted


def share(graph: ir.Graph) -> None:
    """Let initializers that view the same memory alike be one."""
    seen: dict[Any, ir.Value] = {}
    for value in list(graph.initializers.values()):
        tensor = value.const_value
        if not value.uses() or value.is_graph_output():
            continue
        if not isinstance(tensor, ir.Tensor) or not isinstance(tensor.raw, np.ndarray):
            continue
        array = tensor.raw
        key = (array.__array_interface__["data"][0], array.shape, array.strides, tensor.dtype)
        first = seen.setdefault(key, value)
        if first is not value and array.size:
            value.replace_all_uses_with(first)


def only_here(source: ir.Value) -> bool:
    """Tell whether an initializer is small, or what is made of it takes its place."""
    tensor = source.const_value
    return tensor is not None and (stored_bytes(tensor) <= LAZY or len(source.uses()) == 1)


def constant(value: ir.Value | None) -> list[int] | None:
    """Return the integers that a value holds, if it is constant."""
    if value is None or value.const_value is None:
        return None
    return [int(i) for i in value.const_value.numpy().reshape(-1)]


def _transpose(node: ir.Node) -> Callable[[Any], Any] | None:
    perm = node.attributes["perm"].as_ints()
    return lambda a: np.transpose(a, perm)


def _reshape(node: ir.Node) -> Callable[[Any], Any] | None:
    shape = node.outputs[0].shape
    return None if shape is None or not shape.is_static() else lambda a: np.reshape(a, shape.numpy())


def _cast(node: ir.Node) -> Callable[[Any], Any] | None:
    """Cast scalars between dtypes where the result is the same everywhere."""
    source, out = node.inputs[0], node.outputs[0]
    if source is None or source.dtype is None or out.dtype is None or source.const_value is None:
        return None
    to = out.dtype.numpy()
    value = source.const_value.numpy()
    if value.size != 1 or (not np.can_cast(value.dtype, to, "same_kind") and value.dtype.kind not in "iub"):
        return None

    def cast(array: Any) -> Any:
        with np.errstate(over="ignore", invalid="ignore"):
            return array.astype(to)

    return cast


def _slice(node: ir.Node) -> Callable[[Any], Any] | None:
    parts = [constant(v) for v in node.inputs[1:]]
    if len(parts) < 3 or any(p is None for p in parts):
        return None
    starts, ends, axes, *steps = (p for p in parts if p is not None)
    strides = steps[0] if steps else [1] * len(axes)
    index = dict(zip(axes, (_index(*s) for s in zip(starts, ends, strides, strict=True)), strict=True))
    if min(axes, default=0) < 0:
        return None
    return lambda a: a[tuple(index.get(i, slice(None)) for i in range(a.ndim))]


def _index(start: int, end: int, step: int) -> slice:
    """Return ONNX's slice as Python's: there an end before the start of a negative step stops before element 0."""
    lowest = np.iinfo(np.int32).min
    return slice(start, None if step < 0 and end <= lowest else end, step)


_REARRANGE: dict[str, Callable[[ir.Node], Callable[[Any], Any] | None]] = {
    "Cast": _cast,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Squeeze": _reshape,
    "Unsqueeze": _reshape,
    "Slice": _slice,
}
