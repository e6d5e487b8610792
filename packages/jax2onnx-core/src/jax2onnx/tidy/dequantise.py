"""Dequantise: weights that a program stores in few bits stay so, and are named as what they are.

A runtime computes what it knows when it loads a model: ``Cast(w: int8) * s`` would be a float copy of the weights.
``DequantizeLinear`` is left alone by runtimes, or becomes part of the product.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.affine import STORED, Affine, grow, limits
from jax2onnx.tidy.biases import split_sizes
from jax2onnx.tidy.initializers import ORIGIN
from jax2onnx.tidy.match_nodes import drop, is_used_once, same_shape, sizes_of, sole_producer, tensor_at
from jax2onnx.tidy.operators import BROADCASTING
from jax2onnx.tidy.rules import rewrites

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["Scales", "name_dequantisation", "scale_weights", "scales_of"]

_Array: TypeAlias = np.ndarray[Any, Any]

_PER_AXIS, _BLOCKS = 13, 21
"""The opsets that brought scales per axis, and scales per block with dtypes of 4 bits."""
_HALF = 19
"""The opset that brought scales of float16."""

_SMALL = 4
"""Scales are stored if there are this many times fewer of them than weights; per axis they always are."""

_BYTE = 8
_SOME = 16
"""Matrices of fewer elements need not be weights."""


@dataclass(frozen=True, slots=True)
class Scales:
    """Scales as ``DequantizeLinear`` takes them.

    Attributes:
        axis: the axis along which they differ, or are blocked; None for a single one.
        block: how many elements share one; 0 where they differ along one axis only.
        pick: what takes them out of an array of the weights' shape.
    """

    axis: int | None
    block: int
    pick: Callable[[Any], Any]

    @property
    def opset(self) -> int:
        """The oldest opset that has this form."""
        return _BLOCKS if self.block else _PER_AXIS


@rewrites("Cast", "QuantizeLinear")
def name_dequantisation(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``Mul(Cast(w: int8[4, 5]), s[5])`` to ``DequantizeLinear(w, s, axis=1)``.

    ``QuantizeLinear(w: float32[4, 5], s[5])`` becomes the initializer of 8 bits that it is.
    The same for scales of a whole array and of blocks, with zero points, behind reshapes and transposes, and without
    scales: a runtime converts no weights when it loads the model.
    """
    if home.is_function:
        return
    for node in nodes:
        if node.op_type == "Cast":
            _name(node, home)
        elif node.op_type == "QuantizeLinear":
            _quantise(node, home)


@rewrites("Mul", beside=["DequantizeLinear"])
def scale_weights(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``Mul(MatMul(x[N, 4], DequantizeLinear(w[4, 5], 1)), s[5])`` to one with the scales ``s`` inside.

    The same of ``Conv``, and where a reshape splits the last dim before it is scaled.
    """
    if home.is_function:
        return
    for node in nodes:
        _scale_before(node, home)


def _name(cast: ir.Node, home: Home) -> None:
    """Emit the last forms that begin with a conversion and that ``DequantizeLinear`` can express."""
    paths = grow(cast, home)
    source = cast.inputs[0]
    is_alone = source is not None and len(source.uses()) == 1 and len(paths) == 1
    done: set[ir.Value] = set()
    for path in paths:
        for form in reversed(path):
            # The initializer is stored as a form has it only if nothing else reads it as it is.
            scales = scales_of(form, home) if is_alone or form.is_source else None
            if scales is None:
                continue
            if form.value not in done:
                _emit(form, scales, home)
            done.add(form.value)
            break


def _quantise(node: ir.Node, home: Home) -> None:
    """Replace quantised weights that are stored as floats by their integers, if nothing else reads the floats."""
    source, result = node.inputs[0], node.outputs[0]
    scale, zero = tensor_at(node, 1), tensor_at(node, 2)
    sizes = home.sizes(source)
    if sizes is None or not is_used_once(source) or scale is None or zero is None or result.is_graph_output():
        return
    dtype = zero.dtype
    if source is None or source.dtype != ir.DataType.FLOAT or dtype not in STORED or "block_size" in node.attributes:
        return
    shape = [1] * len(sizes)
    if scale.numpy().ndim:
        shape[node.attributes.get_int("axis", 1)] = -1
    scales, zeros = scale.numpy().reshape(shape), zero.numpy().astype(np.float32).reshape(shape)
    low, high = limits(dtype)

    def quantised(array: Any) -> _Array:
        with np.errstate(all="ignore"):
            rounded = np.rint(np.asarray(array, np.float32) / scales) + zeros
        integers: _Array = np.clip(np.nan_to_num(rounded), low, high).astype(dtype.numpy())
        return integers

    result.replace_all_uses_with(home.derive(source, quantised, sizes, dtype))


def scales_of(form: Affine, home: Home) -> Scales | None:
    """Return how the scales of weights are stored; None if a value is none, or if the opset lacks what it needs."""
    opset = home.graph.opset_imports.get("", 0)
    dtype = form.source.dtype
    if not _is_worth(form) or dtype is None or (dtype.bitwidth < _BYTE and opset < _BLOCKS):
        return None
    scales = _scales(form)
    return None if scales is None or scales.opset > opset else scales


def _is_worth(form: Affine) -> bool:
    """Return whether a value is weights: finite scales make it so, or that it is a matrix of some size."""
    if not form.sizes or math.prod(form.sizes) == 0 or form.value.is_graph_output():
        return False
    if form.scale is not None:
        return bool(np.all(np.isfinite(form.scale)))
    rank = len(form.sizes if form.is_looked_up else form.source.shape or ())
    return rank > 1 and math.prod(form.sizes) >= _SOME and not _is_spread(form)


def _is_spread(form: Affine) -> bool:
    """Return whether another operand has more elements than a value, as the weights have of which it is zero points."""
    return any(
        node.op_type in BROADCASTING and math.prod(sizes_of(node.outputs[0].shape) or (0,)) != math.prod(form.sizes)
        for node, _ in form.value.uses()
    )


def _emit(form: Affine, scales: Scales, home: Home) -> None:
    value, source = form.value, form.source
    assert value.dtype is not None
    dtype = source.dtype
    assert dtype is not None
    if not form.is_source:
        source = home.derive(source, form.arranged, form.sizes)
    ones = np.broadcast_to(np.float32(1), form.sizes)
    scale = scales.pick(ones if form.scale is None else form.scale)
    is_half = value.dtype == ir.DataType.FLOAT16 and home.graph.opset_imports.get("", 0) >= _HALF
    wide = ir.DataType.FLOAT16 if is_half and _fits_half(scale) else ir.DataType.FLOAT
    inputs = [source, home.constant(np.asarray(scale).astype(wide.numpy()), _name_of(form, "scale"))]
    if form.scale_name is not None:
        inputs[1].meta[ORIGIN] = form.scale_name
    if form.zero is not None:
        zero = np.asarray(scales.pick(form.zero)).astype(dtype.numpy())
        inputs.append(home.constant(zero, _name_of(form, "zero_point")))
    attributes: dict[str, Any] = {} if scales.axis is None else {"axis": scales.axis}
    if scales.block:
        attributes["block_size"] = scales.block
    last = value.producer()
    assert last is not None
    node = ir.node("DequantizeLinear", inputs, attributes, outputs=[ir.Value(type=ir.TensorType(wide))])
    node.outputs[0].shape = ir.Shape(form.sizes)
    node.metadata_props.update(last.metadata_props)
    nodes = [node]
    if wide != value.dtype:
        back = ir.node("Cast", [node.outputs[0]], {"to": int(value.dtype)})
        back.outputs[0].shape, back.outputs[0].type = ir.Shape(form.sizes), ir.TensorType(value.dtype)
        back.metadata_props.update(last.metadata_props)
        nodes.append(back)
    assert last.graph is not None
    last.append(nodes)
    value.replace_all_uses_with(nodes[-1].outputs[0])


def _fits_half(scale: Any) -> bool:
    """Return whether scales have all digits of float16 there: a product of two of them may be too small for that."""
    with np.errstate(all="ignore"):
        half = np.asarray(scale).astype(np.float16).astype(np.float64)
    return bool(np.allclose(half, scale, rtol=2**-11, atol=0))


def _name_of(form: Affine, what: str) -> str:
    return f"{form.source.name}_{what}"


def _scales(form: Affine) -> Scales | None:
    """Return how the scales and zero points of a form are stored, None if there are too many of them."""
    arrays = [array for array in (form.scale, form.zero) if array is not None]
    sizes = form.sizes
    runs = [math.gcd(size, *[_run(array, axis) for array in arrays]) for axis, size in enumerate(sizes)]
    varying = [axis for axis, run in enumerate(runs) if run < sizes[axis]]
    if not varying:
        return Scales(None, 0, lambda array: array.ravel()[0])
    if len(varying) == 1:
        (axis,) = varying
        return Scales(axis, 0, lambda array: np.moveaxis(array, axis, -1).reshape(-1, sizes[axis])[0])
    axis = max(range(len(sizes)), key=runs.__getitem__)
    block = runs[axis]
    if block < _SMALL:
        return None
    return Scales(axis, block, lambda array: np.take(array, range(0, sizes[axis], block), axis))


def _run(array: _Array, axis: int) -> int:
    """Return how many numbers in a row along an axis are equal everywhere: a divisor of the size."""
    size: int = array.shape[axis]
    if size <= 1 or array.strides[axis] == 0:
        return size
    changes = np.moveaxis(array, axis, 0)
    before, after = changes[:-1], changes[1:]
    differs = (before != after).reshape(size - 1, -1).any(axis=1)
    places = (np.flatnonzero(differs) + 1).tolist()
    return math.gcd(size, *places)


def _scale_before(node: ir.Node, home: Home) -> None:
    for place in (0, 1):
        split = sole_producer(node, place, "Reshape")
        product = sole_producer(node if split is None else split, 0 if split else place, "MatMul", "Conv")
        tensor = tensor_at(node, 1 - place)
        result = node.outputs[0].shape
        if product is None or tensor is None or result is None or not same_shape(node.inputs[place], node.outputs[0]):
            continue
        weights = sole_producer(product, 1, "DequantizeLinear")
        sizes = None if weights is None else sizes_of(weights.outputs[0].shape)
        if weights is None or sizes is None:
            continue
        given = (1,) * (len(result) - len(tensor.shape)) + tuple(tensor.shape.numpy())
        factors = _factors(product, split, sizes, given, tensor)
        if factors is not None and _multiply(weights, factors, home):
            drop(node, place)
            return


def _factors(
    product: ir.Node, split: ir.Node | None, sizes: Sequence[int], given: Sequence[int], tensor: ir.TensorProtocol
) -> _Array | None:
    """Return the factors of a product's results as factors of its weights, None if they differ along other dims."""
    is_conv = product.op_type == "Conv"
    if len(sizes) < 2 or (is_conv and split is not None):
        return None
    own = 0 if is_conv else len(sizes) - 1
    axes = range(1, 2) if is_conv else range(len(given) - 1, len(given))
    if split is not None:
        dims = split_sizes(split)
        if dims is None:
            return None
        axes = range(len(given) - len(dims), len(given))
    if any(size != 1 for place, size in enumerate(given) if place not in axes):
        return None
    factors = tensor.numpy().astype(np.float64).reshape([given[axis] for axis in axes])
    if factors.size > 1:
        result = _sizes_along(split or product, axes)
        if result is None or math.prod(result) != sizes[own]:
            return None
        factors = np.broadcast_to(factors, result)
    along = [1] * len(sizes)
    along[own] = factors.size
    return factors.reshape(along)


def _sizes_along(node: ir.Node, axes: Iterable[int]) -> tuple[int, ...] | None:
    shape = node.outputs[0].shape
    return None if shape is None else sizes_of(shape[axis] for axis in axes)


def _multiply(weights: ir.Node, factors: _Array, home: Home) -> bool:
    """Multiply the scales of a ``DequantizeLinear`` that has single ones or scales per axis; return whether it does."""
    if "block_size" in weights.attributes or weights.inputs[1] is None or len(weights.inputs) > 2:
        return False
    scale = tensor_at(weights, 1)
    sizes = sizes_of(weights.outputs[0].shape)
    if scale is None or sizes is None or not is_used_once(weights.outputs[0]):
        return False
    old = scale.numpy().astype(np.float64)
    varying = [axis for axis, size in enumerate(factors.shape) if size > 1]
    axis = weights.attributes.get_int("axis", 1) if old.ndim else (varying[0] if varying else None)
    if varying and varying != [axis]:
        return False
    with np.errstate(all="ignore"):
        exact = old * factors.ravel()
        new = exact.astype(scale.dtype.numpy())
    if not np.all(np.isfinite(new)) or np.any((new == 0) & (factors.ravel() != 0)):
        return False
    if scale.dtype == ir.DataType.FLOAT16 and not _fits_half(exact):
        return False
    name = weights.inputs[1].name or "scale"
    weights.replace_input_with(1, home.constant(new if varying or old.ndim else new.reshape(()), name))
    if axis is not None:
        weights.attributes["axis"] = ir.AttrInt64("axis", axis)
    return True
