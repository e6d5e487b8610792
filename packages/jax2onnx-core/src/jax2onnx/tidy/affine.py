"""Affine forms: values that are numbers of few bits, less zero points, times scales, arranged in some way."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.initializers import ORIGIN
from jax2onnx.tidy.match_nodes import sizes_of
from jax2onnx.tidy.operators import RESHAPES

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax2onnx.tidy.initializers import Home

__all__ = ["STORED", "Affine", "grow", "grown", "limits"]

_Array: TypeAlias = np.ndarray[Any, Any]

STORED = frozenset({ir.DataType.INT4, ir.DataType.UINT4, ir.DataType.INT8, ir.DataType.UINT8})
"""Dtypes of weights that are stored in few bits, and of which ``DequantizeLinear`` takes all."""

_FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16})
_CARRIED = RESHAPES | {"Cast", "Expand", "Transpose"}
"""Operators behind which a constant is known."""
_WIDER = frozenset({ir.DataType.INT16, ir.DataType.INT32, ir.DataType.INT64})
"""Integers in which the difference of two numbers of 8 bits does not wrap."""


@dataclass(frozen=True, slots=True)
class Affine:
    """A value ``(q - zero) * scale``, where ``q`` is an initializer of few bits whose elements are rearranged.

    Attributes:
        value: the value itself.
        source: the initializer.
        moves: what rearranges it, one after the other.
        transposed: whether a move changes the order of the elements.
        scale: what multiplies it, in the shape of the value (of which most is broadcast); None for 1.
        zero: what is subtracted before, likewise; None for 0.
        scale_name: the name of the initializer of the scale, if there is one.
        is_looked_up: whether ``q`` is what a table has at the initializer's numbers. Nothing is subtracted from it.
    """

    value: ir.Value
    source: ir.Value
    moves: tuple[Callable[[Any], Any], ...] = ()
    transposed: bool = False
    scale: _Array | None = None
    zero: _Array | None = None
    scale_name: str | None = None
    is_looked_up: bool = False

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape of the value."""
        assert self.value.shape is not None
        return tuple(map(int, self.value.shape.numpy()))

    @property
    def is_source(self) -> bool:
        """Whether the elements are arranged as in the initializer."""
        return not self.transposed and self.value.shape == self.source.shape

    def arranged(self, array: Any) -> Any:
        """Return the initializer's array in the arrangement of the value."""
        for move in self.moves:
            array = move(array)
        return array

    def times(self, factor: Any) -> Affine:
        """Return the same with a further factor, whose shape broadcasts to the value's."""
        with np.errstate(all="ignore"):
            scale = np.broadcast_to(np.asarray(factor, np.float32), self.sizes)
            return replace(self, scale=scale if self.scale is None else self.scale * scale)

    def arranged_by(self, move: Callable[[Any], Any], value: ir.Value, *, transposed: bool) -> Affine:
        """Return what a node makes of the value that moves its elements."""
        return replace(
            self,
            value=value,
            moves=(*self.moves, move),
            transposed=self.transposed or transposed,
            scale=None if self.scale is None else move(self.scale),
            zero=None if self.zero is None else move(self.zero),
        )


def grow(cast: ir.Node, home: Home) -> list[list[Affine]]:
    """Return the affine forms that begin with the conversion of an initializer, as paths to those at which they end.

    ``Cast(w: int8[4, 8]) -> Mul(., s[8]) -> Transpose`` is one path of three forms, each made of the one before. Where
    several nodes read a form, there are several paths.
    """
    source, result = cast.inputs[0], cast.outputs[0]
    if source is None or source.dtype not in STORED or not home.holds(source):
        return []
    return grown(Affine(result, source), home)


def grown(first: Affine, home: Home) -> list[list[Affine]]:
    """Return the affine forms that begin with a given one, as :func:`grow` does."""
    paths: list[list[Affine]] = []
    pending = [[first]]
    while pending:
        path = pending.pop()
        form = path[-1]
        if form.value.dtype not in _FLOATS | _WIDER:
            continue
        nexts = [_next(form, node, place, home) for node, place in form.value.uses()]
        pending += [[*path, further] for further in nexts if further is not None]
        if None in nexts or not nexts:
            paths.append([one for one in path if one.value.dtype in _FLOATS])
    return paths


def _next(form: Affine, node: ir.Node, place: int, home: Home) -> Affine | None:
    """Return the form of what a user of a form makes of it, None if it has none."""
    if node.domain or len(node.outputs) != 1 or sizes_of(node.outputs[0].shape) is None:
        return None
    value, result = form.value, node.outputs[0]
    if node.op_type in RESHAPES and place == 0:
        sizes = sizes_of(result.shape)
        return form.arranged_by(lambda array: np.reshape(array, sizes), result, transposed=False)
    if node.op_type == "Transpose":
        order = node.attributes["perm"].as_ints()
        return form.arranged_by(lambda array: np.transpose(array, order), result, transposed=True)
    if node.op_type == "Cast":
        return replace(form, value=result) if value.dtype in _WIDER and result.dtype in _FLOATS else None
    return _computed(form, node, place, home)


def _computed(form: Affine, node: ir.Node, place: int, home: Home) -> Affine | None:
    """Return the form of a product, a quotient or a difference of a form and constants."""
    result = node.outputs[0]
    if node.op_type not in {"Mul", "Div", "Sub", "Add"} or result.shape != form.value.shape:
        return None
    other = node.inputs[1 - place]
    number = _number(other, home)
    if number is None:
        return None
    if node.op_type == "Mul" and result.dtype in _FLOATS:
        name = None if other is None else other.meta.get(ORIGIN, other.name)
        return replace(form.times(number), value=result, scale_name=form.scale_name or name)
    if place == 1:
        return None
    if node.op_type == "Div" and result.dtype in _FLOATS:
        with np.errstate(all="ignore"):
            return replace(form.times(1 / number), value=result)
    if form.scale is not None or form.zero is not None or form.is_looked_up or node.op_type not in {"Sub", "Add"}:
        return None
    zero = number if node.op_type == "Sub" else -number
    return replace(form, value=result, zero=np.broadcast_to(zero, form.sizes)) if _is_zero(form, zero) else None


def _number(value: ir.Value | None, home: Home) -> _Array | None:
    """Return what is known of an operand, in float64: an initializer, or what conversions and moves make of one."""
    if value is None:
        return None
    if home.holds(value) and value.const_value is not None:
        return value.const_value.numpy().astype(np.float64)
    made = value.producer()
    sizes = sizes_of(value.shape)
    if made is None or made.domain or sizes is None or made.op_type not in _CARRIED:
        return None
    number = _number(made.inputs[0], home)
    if number is None or value.dtype is None or (made.op_type == "Cast" and not _holds(value.dtype, number)):
        return None
    if made.op_type == "Transpose":
        return np.transpose(number, made.attributes["perm"].as_ints())
    return np.broadcast_to(number, sizes) if made.op_type == "Expand" else number.reshape(sizes)


def _holds(dtype: ir.DataType, number: _Array) -> bool:
    """Return whether a dtype has some numbers exactly."""
    with np.errstate(all="ignore"):
        return bool(np.all(number.astype(dtype.numpy()).astype(np.float64) == number))


def _is_zero(form: Affine, zero: _Array) -> bool:
    """Return whether numbers are zero points: numbers that the dtype of the initializer has."""
    dtype = form.source.dtype
    assert dtype is not None
    low, high = limits(dtype)
    return bool(np.all((zero == np.floor(zero)) & (zero >= low) & (zero <= high)))


def limits(dtype: ir.DataType) -> tuple[int, int]:
    """Return the least and the largest number of one of the dtypes of :data:`STORED`."""
    if dtype in {ir.DataType.INT4, ir.DataType.INT8}:
        return -(2 ** (dtype.bitwidth - 1)), 2 ** (dtype.bitwidth - 1) - 1
    return 0, 2**dtype.bitwidth - 1
