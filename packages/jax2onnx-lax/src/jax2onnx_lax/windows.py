"""Cut arrays into windows, for convolutions and window reductions: padding, dilation, unfolding."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import lax

from jax2onnx.plugin import is_static, may_be_zero
from jax2onnx_lax.shape import LARGEST, TO_END, arange, dilated_size, replaced

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import LoweringContext

Shape = tuple[Any, ...]
Padding = Sequence[tuple[Any, Any]]
"""For every dim, how many elements are added before and after it; negative numbers crop."""


@dataclass(frozen=True, slots=True)
class Window:
    """A window over every dim of arrays of one shape; ``out`` is how many windows each dim has."""

    size: Sequence[Any]
    strides: Sequence[int]
    padding: Padding
    base_dilation: Sequence[int]
    dilation: Sequence[int]
    out: Shape

    def is_whole(self, axis: int) -> bool:
        """Return whether the axis is left alone: the window is one element, at every position."""
        plain = self.size[axis] == self.strides[axis] == self.base_dilation[axis] == 1
        return bool(plain and tuple(self.padding[axis]) == (0, 0))


@dataclass(frozen=True, slots=True)
class Operand:
    """An array to be cut into windows, and the scalar that stands for what lies outside of it."""

    value: ir.Value
    aval: Any
    fill: ir.Value


Reduce = Callable[[Sequence[jax.Array], Sequence[jax.Array], Sequence[int]], Sequence[jax.Array]]
"""A JAX function ``reduce(arrays, fills, axes)``."""


def aval(shape: Sequence[Any], dtype: Any) -> jax.ShapeDtypeStruct:
    """Return an abstract value, for ``ctx.via_jax``."""
    return jax.ShapeDtypeStruct(tuple(shape), dtype)


def flat(padding: Padding) -> list[Any]:
    """Return padding in ONNX's order: all that is added before a dim, then all that is added after one."""
    return [low for low, _ in padding] + [high for _, high in padding]


def are_inside(pads: Sequence[Any], window: Sequence[Any]) -> bool:
    """Return whether padding (in ONNX's order) is known and so small that no window lies in it altogether."""
    return is_static(*pads) and min(pads) >= 0 and all(map(operator.lt, pads, [*window, *window]))


def slid(
    ctx: LoweringContext,
    y: ir.Value,
    shape: Sequence[Any],
    attributes: Mapping[str, Any],
    may_lack: Callable[[Any], bool] = may_be_zero,
) -> ir.Value:
    """Return the result of an operator that slides windows over (N, C, spatial…); no window may fit at run time.

    Args:
        ctx: the context of the rule.
        y: the operator's result.
        shape: the shape of the array.
        attributes: the operator's; ``kernel_shape`` may be symbolic.
        may_lack: whether a number of positions may be 0.
    """
    sizes = shape[2:]
    reaches = _reaches(len(sizes), attributes)
    positions = [size - reach + 1 for size, reach in zip(sizes, reaches, strict=True)]
    return ctx.may_be_short(y) if any(not is_static(n) and may_lack(n) for n in positions) else y


def _reaches(rank: int, attributes: Mapping[str, Any]) -> list[Any]:
    """Return how many elements of each spatial dim a window needs, padding left out; at least 1."""
    if attributes.get("auto_pad"):
        return [1] * rank
    dilations = attributes.get("dilations") or [1] * rank
    pads = attributes.get("pads") or [0] * 2 * rank
    reaches: list[Any] = []
    for size, step, low, high in zip(attributes["kernel_shape"], dilations, pads[:rank], pads[rank:], strict=True):
        reach = (size - 1) * step + 1 - low - high
        reaches.append(max(reach, 1) if is_static(reach) else reach)
    return reaches


def pad(ctx: LoweringContext, x: ir.Value, shape: Shape, padding: Padding, fill: Any) -> tuple[ir.Value, Shape]:
    """Pad every dim; return the value and its shape.

    The padding may be symbolic. ``fill`` is a number, a scalar array of the dtype of ``x``, or a value.
    """
    amounts = flat(padding)
    if amounts == [0] * len(amounts):
        return x, shape
    new = tuple(size + low + high for size, (low, high) in zip(shape, padding, strict=True))
    return ctx.stamp(ctx.op.Pad(x, ctx.shape(amounts), fill), new), new


def dilate(
    ctx: LoweringContext, x: ir.Value, shape: Shape, *, dtype: Any, dilation: Sequence[int], fill: ir.Value
) -> tuple[ir.Value, Shape]:
    """Spread the elements of every dim ``dilation`` apart; return the value and its shape."""
    if list(dilation) == [1] * len(dilation):
        return x, shape
    config = [(0, 0, d - 1) for d in dilation]
    avals = [aval(shape, dtype), aval((), dtype)]
    value = ctx.via_jax(lambda a, b: lax.pad(a, b, config), x, fill, avals=avals)
    return value, tuple(map(dilated_size, shape, dilation))


def is_same(shape: Sequence[Any], window: Sequence[Any], strides: Sequence[int], padding: Padding) -> bool:
    """Return whether symbolic padding is JAX's ``SAME`` and ``auto_pad=SAME_UPPER`` means the same.

    The two differ where a window is smaller than its stride.
    """
    if is_static(*flat(padding)) or not is_static(*window) or any(map(operator.lt, window, strides)):
        return False
    return flat(padding) == flat(lax.padtype_to_pads(shape, window, strides, "SAME"))


def unfold(
    ctx: LoweringContext,
    x: ir.Value,
    shape: Shape,
    *,
    out: Sequence[Any],
    window: Sequence[Any],
    strides: Sequence[int],
    dilation: Sequence[int],
) -> tuple[ir.Value, Shape]:
    """Turn every dim into two: the position of a window and the place in the window; return value and shape.

    A dim whose window is 1 keeps its place and gets none for the window.
    """
    # From the last axis on, so that the axes before it keep their numbers.
    for axis in reversed(range(len(out))):
        if not _is_one(window[axis]):
            index = _positions(ctx, out[axis], strides[axis], window[axis], dilation[axis])
            shape = replaced(shape, axis, out[axis], window[axis])
            x = ctx.stamp(ctx.op.Gather(x, index, axis=axis), shape)
        elif strides[axis] != 1:
            shape = replaced(shape, axis, out[axis])
            step = ctx.ints(0), ctx.ints(TO_END), ctx.ints(axis), ctx.ints(strides[axis])
            x = ctx.stamp(ctx.op.Slice(x, *step), shape)
    return x, shape


def places(window: Sequence[Any]) -> list[int]:
    """Return the dims of an unfolded array that hold the place in the window."""
    found: list[int] = []
    for axis, size in enumerate(window):
        if not _is_one(size):
            found.append(axis + len(found) + 1)
    return found


def _is_one(size: Any) -> bool:
    return is_static(size) and bool(size == 1)


def _positions(ctx: LoweringContext, out: Any, stride: int, window: Any, dilation: int) -> ir.Value:
    """Return where every element of every window lies: int64 (out, window)."""
    if is_static(out, window) and out * window <= LARGEST:
        return ctx.constant(np.arange(out)[:, None] * stride + np.arange(window) * dilation, np.int64)
    starts = ctx.op.Unsqueeze(arange(ctx, out, np.int64, stride), ctx.ints(1))
    return ctx.stamp(ctx.op.Add(starts, arange(ctx, window, np.int64, dilation)), (out, window))


def reduce(ctx: LoweringContext, operands: Sequence[Operand], window: Window, function: Reduce) -> list[ir.Value]:
    """Give the windows dims of their own, and reduce over these by ``function``."""
    values: list[ir.Value] = []
    avals: list[jax.ShapeDtypeStruct] = []
    for operand in operands:
        x, shape = _unfold(ctx, operand, window)
        values.append(x)
        avals.append(aval(shape, operand.aval.dtype))
    for operand in operands:
        values.append(operand.fill)
        avals.append(aval((), operand.aval.dtype))
    count, axes = len(operands), places(window.size)

    def reduce_unfolded(*arrays: jax.Array) -> tuple[jax.Array, ...]:
        return tuple(function(arrays[:count], arrays[count:], axes))

    return ctx.via_jax(reduce_unfolded, *values, avals=avals)  # type: ignore[no-any-return]


_MOST_UNFOLDED = 32
"""The greatest window whose elements get a dim of their own, which takes so many times the memory."""


def reduce_by(
    ctx: LoweringContext,
    operand: Operand,
    window: Window,
    binary: Callable[..., jax.Array],
    reduction: Callable[..., jax.Array],
) -> ir.Value:
    """Reduce over windows by an operation of two numbers, of which the operand's ``fill`` is the identity.

    ``reduction`` reduces an array by it over some of its dims.
    """
    sizes = [*operand.aval.shape, *window.size, *window.out, *flat(window.padding)]
    if not is_static(*sizes) or math.prod(window.size) <= _MOST_UNFOLDED or 0 in (*operand.aval.shape, *window.out):
        return reduce(ctx, [operand], window, single(reduction))[0]
    x, shape = _extended(ctx, operand, window)

    def along_axes(a: jax.Array) -> jax.Array:
        for axis in range(a.ndim):
            a = _doubled(a, axis, window, binary)
        return a

    return ctx.via_jax(along_axes, x, avals=[aval(shape, operand.aval.dtype)])  # type: ignore[no-any-return]


def _doubled(a: jax.Array, axis: int, window: Window, binary: Callable[..., jax.Array]) -> jax.Array:
    """Reduce over windows along an axis, from windows of 1, 2, 4 ... elements: no array is greater than ``a``."""
    step, stride = window.dilation[axis], window.strides[axis]
    positions = (window.out[axis] - 1) * stride + 1
    left, covered, width = window.size[axis], 0, 1
    whole: jax.Array | None = None
    while True:
        if left & 1:
            start = covered * step
            part = lax.slice_in_dim(a, start, start + positions, axis=axis)
            whole = part if whole is None else binary(whole, part)
            covered += width
        left >>= 1
        if not left:
            assert whole is not None
            return lax.slice_in_dim(whole, 0, positions, stride, axis)
        start = width * step
        first = lax.slice_in_dim(a, 0, a.shape[axis] - start, axis=axis)
        a = binary(first, lax.slice_in_dim(a, start, None, axis=axis))
        width *= 2


def _unfold(ctx: LoweringContext, operand: Operand, window: Window) -> tuple[ir.Value, Shape]:
    x, shape = _extended(ctx, operand, window)
    return unfold(ctx, x, shape, out=window.out, window=window.size, strides=window.strides, dilation=window.dilation)


def _extended(ctx: LoweringContext, operand: Operand, window: Window) -> tuple[ir.Value, Shape]:
    """Dilate and pad an array as a window asks; return the value and its shape."""
    dtype, fill = operand.aval.dtype, operand.fill
    x, shape = dilate(ctx, operand.value, operand.aval.shape, dtype=dtype, dilation=window.base_dilation, fill=fill)
    return pad(ctx, x, shape, window.padding, fill)


def single(reduction: Callable[..., jax.Array]) -> Reduce:
    """Return the reduction of one array by a JAX function ``reduction(array, axes)``."""
    return lambda arrays, _, axes: [reduction(arrays[0], axes)]
