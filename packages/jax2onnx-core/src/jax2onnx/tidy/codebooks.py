"""Codebooks: weights that are looked up in a table of at most 16 numbers stay 4 bits, arranged as products read them.

Models of 4-bit NormalFloat (nf4) are such.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.affine import Affine, grown
from jax2onnx.tidy.dequantise import scales_of
from jax2onnx.tidy.initializers import ORIGIN
from jax2onnx.tidy.match_nodes import new_node, sizes_of, tensor_at
from jax2onnx.tidy.operators import RESHAPES
from jax2onnx.tidy.rules import rewrites

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jax2onnx.tidy.dequantise import Scales
    from jax2onnx.tidy.initializers import Home

__all__ = ["name_codebooks"]

_Array: TypeAlias = np.ndarray[Any, Any]

_CODES = 16
_FEW = frozenset({ir.DataType.INT4, ir.DataType.UINT4})
_WIDE = frozenset({ir.DataType.INT32, ir.DataType.INT64})
_OPSET = 21
"""The opset that brought dtypes of 4 bits."""

_ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "Clip": np.clip,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Max": np.maximum,
    "Min": np.minimum,
    "Sub": np.subtract,
    "Where": np.where,
}
"""Operators that programs apply to indices: they wrap and clip them."""


@dataclass(frozen=True, slots=True)
class _Codes:
    """Codes that are stored in an initializer.

    Attributes:
        source: the initializer.
        moves: what rearranges it, one after the other.
        transposed: whether a move changes the order of the elements.
        least: the least code that the initializer may hold.
        indices: the indices that the codes mean, from the least one on.
    """

    source: ir.Value
    moves: tuple[Callable[[Any], Any], ...]
    transposed: bool
    least: int
    indices: _Array

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape of the codes where they are looked up."""
        assert self.source.shape is not None
        array = np.broadcast_to(np.int8(0), self.source.shape.numpy())
        for move in self.moves:
            array = move(array)
        return array.shape


@rewrites("Gather")
def name_codebooks(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``Reshape(Mul(Gather(t[16], Cast(w: uint4[64, 1])), s[2, 1, 8]), [8, 8])`` and its like.

    It becomes ``Reshape(Mul(Gather(t, Cast(w_rearranged: uint4[2, 4, 8])), s), [8, 8])``: a table, codes and scales in
    the arrangement of the result, and all that is done to the codes before they are looked up is done to the table.
    """
    if home.is_function or home.graph.opset_imports.get("", 0) < _OPSET:
        return
    for node in nodes:
        _name(node, home)


def _name(node: ir.Node, home: Home) -> None:
    tensor, result = tensor_at(node, 0), node.outputs[0]
    if tensor is None or tensor.dtype != ir.DataType.FLOAT or len(tensor.shape) != 1 or not 0 < tensor.size <= _CODES:
        return
    codes = _codes(node.inputs[1], home, int(tensor.size))
    if codes is None:
        return
    if result.shape is None:
        result.shape = ir.Shape(codes.sizes)
    table = np.zeros(_CODES, np.float32)
    table[: len(codes.indices)] = tensor.numpy()[codes.indices]
    first = Affine(result, codes.source, codes.moves, transposed=codes.transposed, is_looked_up=True)
    done: set[ir.Value] = set()
    for path in grown(first, home):
        for form in reversed(path):
            scales = scales_of(form, home)
            if scales is None or len(form.sizes) < 2:
                continue
            if form.value not in done:
                _emit(form, scales, codes, home.constant(table, "codebook"), home)
            done.add(form.value)
            break


def _codes(value: ir.Value | None, home: Home, size: int) -> _Codes | None:
    """Return the codes that become the indices of a table of some size, None if there are none or some are outside."""
    moves: list[Callable[[Any], Any]] = []
    functions: list[Callable[[Any], Any]] = []
    transposed = False
    while value is not None and not home.holds(value):
        made, shape = value.producer(), sizes_of(value.shape)
        if made is None or made.domain:
            return None
        if made.op_type in RESHAPES and shape is not None:
            moves.append(_reshape(shape))
            value = made.inputs[0]
        elif made.op_type == "Transpose":
            moves.append(partial(np.transpose, axes=made.attributes["perm"].as_ints()))
            transposed, value = True, made.inputs[0]
        else:
            roots = _roots(value, home)
            if len(roots) != 1:
                return None
            (root,) = roots
            functions.append(partial(_evaluated, value, root))
            value = root
    stored = None if value is None else _stored(value, size)
    if value is None or stored is None:
        return None
    indices = np.arange(stored.start, stored.stop)
    for function in reversed(functions):
        indices = function(indices)
    if not len(indices) or indices.min() < -size or indices.max() >= size:
        return None
    return _Codes(value, tuple(reversed(moves)), transposed, stored.start, indices)


def _reshape(sizes: tuple[int, ...]) -> Callable[[Any], Any]:
    return lambda array: np.reshape(array, sizes)


def _stored(value: ir.Value, size: int) -> range | None:
    """Return which codes an initializer may hold, None if they may be more than a table has, or unknown ones."""
    if value.dtype == ir.DataType.UINT4:
        return range(_CODES)
    if value.dtype == ir.DataType.INT4:
        return range(-_CODES // 2, _CODES // 2)
    tensor = value.const_value
    if value.dtype not in _WIDE or tensor is None or tensor.size < _CODES:
        return None
    array = tensor.numpy()
    return range(size) if array.min() >= 0 and array.max() < size else None


def _roots(value: ir.Value, home: Home) -> set[ir.Value]:
    """Return the values of which another one is computed element by element, constants of one element aside.

    If there is one, it has the shape of the other.
    """
    found: set[ir.Value] = set()
    pending, seen = [value], set[ir.Value]()
    while pending:
        one = pending.pop()
        made = one.producer()
        if one in seen or _number(one) is not None:
            continue
        seen.add(one)
        computes = made is not None and not made.domain and (_is_elementwise(made) or _is_cast(made))
        if made is None or not computes or home.holds(one):
            found.add(one)
        else:
            pending += [operand for operand in made.inputs if operand is not None]
    return found - {value}


def _is_elementwise(node: ir.Node) -> bool:
    return node.op_type in _ELEMENTWISE and len(node.inputs) == (3 if node.op_type in {"Clip", "Where"} else 2)


def _is_cast(node: ir.Node) -> bool:
    """Return whether a node converts codes to integers that hold all of them."""
    source = node.inputs[0]
    return (
        node.op_type == "Cast"
        and source is not None
        and source.dtype in _FEW | _WIDE
        and node.outputs[0].dtype in _WIDE
    )


def _evaluated(value: ir.Value, root: ir.Value, numbers: _Array) -> _Array:
    """Return what a value is where its root has some numbers."""
    if value is root:
        return numbers
    number = _number(value)
    if number is not None:
        return number
    made = value.producer()
    assert made is not None
    operands = [_evaluated(one, root, numbers) for one in made.inputs if one is not None]
    found: _Array = operands[0] if made.op_type == "Cast" else _ELEMENTWISE[made.op_type](*operands)
    return found


def _number(value: ir.Value) -> _Array | None:
    tensor = ir.convenience.get_const_tensor(value)
    return tensor.numpy().reshape(()) if tensor is not None and tensor.size == 1 and len(tensor.shape) < 2 else None


def _emit(form: Affine, scales: Scales, codes: _Codes, table: ir.Value, home: Home) -> None:
    value, sizes = form.value, form.sizes
    dims, along = list(sizes), [1] * len(sizes)
    if scales.axis is not None:
        along[scales.axis] = sizes[scales.axis]
    if scales.block and scales.axis is not None:
        dims[scales.axis : scales.axis + 1] = [sizes[scales.axis] // scales.block, scales.block]
        along = [*dims]
        along[scales.axis + 1] = 1
    least = codes.least

    def arranged(array: Any) -> _Array:
        moved = form.arranged(array)
        if codes.source.dtype != ir.DataType.UINT4:
            moved = (np.asarray(moved).astype(np.int64) - least).astype(ir.DataType.UINT4.numpy())
        result: _Array = np.reshape(moved, dims)
        return result

    is_moved = codes.source.dtype == ir.DataType.UINT4
    stored = home.derive(codes.source, arranged, dims, ir.DataType.UINT4, computes=not is_moved)
    last = value.producer()
    assert last is not None
    shape = ir.Shape(dims)
    indices = new_node("Cast", [stored], shape, last)
    indices.attributes.add(ir.AttrInt64("to", int(ir.DataType.INT32)))
    nodes = [indices, new_node("Gather", [table, indices.outputs[0]], shape, last)]
    if form.scale is not None:
        array = np.reshape(scales.pick(form.scale), along).astype(np.float32)
        scale = home.constant(array, f"{codes.source.name}_scale")
        if form.scale_name is not None:
            scale.meta[ORIGIN] = form.scale_name
        nodes.append(new_node("Mul", [nodes[-1].outputs[0], scale], shape, last))
    if scales.block:
        nodes.append(new_node("Reshape", [nodes[-1].outputs[0], home.ints(sizes)], ir.Shape(sizes), last))
    for node in nodes:
        node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT if node is not indices else ir.DataType.INT32)
    last.append(nodes)
    value.replace_all_uses_with(nodes[-1].outputs[0])
