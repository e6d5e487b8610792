"""Emit window reductions as ONNX's pooling operators, where these do what JAX does."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jax import lax

from jax2onnx.plugin import has_zero, is_static, may_be_zero, other_axes, permuted
from jax2onnx_lax import windows
from jax2onnx_lax.convert import convert
from jax2onnx_lax.dtypes import bound, is_float, is_narrow
from jax2onnx_lax.shape import transposed
from jax2onnx_lax.zeros import source

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import LoweringContext

_DILATED_AVERAGE_OPSET = 19
"""The first opset whose ``AveragePool`` takes dilations."""

_REARRANGING = frozenset({"Cast", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_POSITIVE = frozenset({"Abs", "Exp", "Relu", "Sigmoid", "Softmax"})


def window_sum(ctx: LoweringContext, x: ir.Value, window: windows.Window) -> ir.Value | None:
    """Sum over windows by ``AveragePool``; None where that does not do it."""
    dtype = ctx.aval_out.dtype
    compute = _compute_dtype(dtype)
    pool = _plan(ctx, window) if is_float(dtype) else None
    if pool is None or not _averages(ctx, pool, compute):
        return None
    count = np.asarray(math.prod(pool.attributes["kernel_shape"]), compute)

    def emit(x: ir.Value) -> ir.Value:
        y = average_with_padding(ctx, x, pool.shape, pool.window.padding, pool.attributes)
        return ctx.op.Mul(ctx.stamp(y, pool.window.out), count)

    return convert(ctx, _pooled(ctx, convert(ctx, x, dtype, compute), pool, emit), compute, dtype)


def average_with_padding(
    ctx: LoweringContext,
    x: ir.Value,
    shape: windows.Shape,
    padding: windows.Padding,
    attributes: dict[str, Any],
) -> ir.Value:
    """Average over windows of (N, C, spatial…), padding included.

    onnxruntime 1.24 miscounts that if there are several spatial dims. So it gets an array that is padded already.
    """
    if attributes.keys().isdisjoint({"pads", "auto_pad"}):
        return windows.slid(ctx, ctx.op.AveragePool(x, **attributes), shape, attributes)
    if ctx.target is None or len(shape) == 3:
        return windows.slid(ctx, ctx.op.AveragePool(x, count_include_pad=1, **attributes), shape, attributes)
    padded, shape = windows.pad(ctx, x, shape, padding, 0.0)
    attributes = {**attributes, "pads": None, "auto_pad": None}
    return windows.slid(ctx, ctx.op.AveragePool(padded, **attributes), shape, attributes)


def _window_extremum(ctx: LoweringContext, x: ir.Value, window: windows.Window, *, is_max: bool) -> ir.Value | None:
    """Find the maximum (or minimum) of windows by ``MaxPool``; None where that does not do it."""
    dtype = ctx.aval_out.dtype
    compute = _compute_dtype(dtype)
    if not (is_max or is_float(dtype)) or not ctx.supports("MaxPool", compute):
        return None
    pool = _plan(ctx, window)
    if pool is None:
        return None

    def emit(x: ir.Value) -> ir.Value:
        if not is_max:
            x = ctx.stamp(ctx.op.Neg(x), pool.shape)
        y = ctx.stamp(
            windows.slid(ctx, ctx.op.MaxPool(x, **pool.attributes), pool.shape, pool.attributes), pool.window.out
        )
        # onnxruntime's MaxPool passes over NaN, and starts from the smallest finite number.
        if ctx.guards and is_float(dtype):
            averaging = is_max and _is_positive(x) and _averages(ctx, pool, compute)
            y = _with_nan_of_average(ctx, x, y, pool) if averaging else _exact_unless_finite(ctx, x, y, pool, compute)
            ctx.stamp(y, pool.window.out)
        return y if is_max else ctx.op.Neg(y)

    return convert(ctx, _pooled(ctx, convert(ctx, x, dtype, compute), pool, emit), compute, dtype)


window_maximum = functools.partial(_window_extremum, is_max=True)
window_minimum = functools.partial(_window_extremum, is_max=False)


def _compute_dtype(dtype: Any) -> np.dtype[Any]:
    return np.dtype(np.float32) if is_narrow(dtype) else np.dtype(dtype)


@dataclass(frozen=True, slots=True)
class _Pool:
    """Windows as ONNX's pools have them: over the last one to three dims of (N, C, spatial…).

    Attributes:
        permutation: the order of the array's dims: those that no window runs over, then the spatial ones.
        shape: the shape (N, C, spatial…).
        window: the window over that shape.
        attributes: the operator's attributes.
    """

    permutation: Sequence[int]
    shape: windows.Shape
    window: windows.Window
    attributes: dict[str, Any]


def _plan(ctx: LoweringContext, window: windows.Window) -> _Pool | None:
    """Return how a pool operator does it, if one does and onnxruntime's agrees with JAX."""
    shape = ctx.avals_in[0].shape
    others = [axis for axis in range(len(shape)) if window.is_whole(axis)]
    spatial = other_axes(len(shape), others)
    dilated = list(window.base_dilation) != [1] * len(shape)
    if not 1 <= len(spatial) <= 3 or has_zero(*shape, *window.out) or dilated:
        return None
    inner = windows.Window(
        size=[1, 1, *permuted(window.size, spatial)],
        strides=[1, 1, *permuted(window.strides, spatial)],
        padding=[(0, 0), (0, 0), *permuted(window.padding, spatial)],
        base_dilation=[1, 1, *permuted(window.base_dilation, spatial)],
        dilation=[1, 1, *permuted(window.dilation, spatial)],
        out=_merged(window.out, others, spatial),
    )
    merged = _merged(shape, others, spatial)
    attributes = _attributes(merged[2:], inner)
    return None if attributes is None else _Pool([*others, *spatial], merged, inner, attributes)


def _merged(shape: Sequence[Any], others: Sequence[int], spatial: Sequence[int]) -> windows.Shape:
    """Return a shape as (N, C, spatial…): the last of the other dims is C, those before it are one.

    onnxruntime takes no pools with C of 0, so a last dim that may be 0 at run time is one of those before.
    """
    *batch, channels = permuted(shape, others) or (1,)
    if not is_static(channels) and may_be_zero(channels):
        batch, channels = [*batch, channels], 1
    return (math.prod(batch), channels, *permuted(shape, spatial))


def _attributes(shape: Sequence[Any], window: windows.Window) -> dict[str, Any] | None:
    """Return a pool operator's attributes for a window over (N, C, spatial…); None if it cannot take that."""
    size, strides, padding, dilation = window.size[2:], window.strides[2:], window.padding[2:], window.dilation[2:]
    if not is_static(*size):
        return None
    attributes: dict[str, Any] = {"kernel_shape": size, "strides": strides}
    dilated = list(dilation) != [1] * len(size)
    if dilated:
        attributes["dilations"] = dilation
    pads = windows.flat(padding)
    if pads == [0] * len(pads):
        return attributes
    # A window that lies in the padding altogether has no value in onnxruntime.
    if dilated:
        return None
    if windows.is_same(shape, size, strides, padding):
        return {**attributes, "auto_pad": "SAME_UPPER"}
    if windows.are_inside(pads, size):
        return {**attributes, "pads": list(map(int, pads))}
    return None


def _pooled(ctx: LoweringContext, x: ir.Value, pool: _Pool, emit: Callable[[ir.Value], ir.Value]) -> ir.Value:
    """Bring the array into the form (N, C, spatial…) for ``emit``, and its result back."""
    shape, out = ctx.avals_in[0].shape, permuted(ctx.aval_out.shape, pool.permutation)
    x = transposed(ctx, x, shape, pool.permutation)
    y = ctx.stamp(emit(ctx.reshape(x, permuted(shape, pool.permutation), pool.shape)), pool.window.out)
    return transposed(ctx, ctx.reshape(y, pool.window.out, out), out, np.argsort(pool.permutation).tolist())


def _averages(ctx: LoweringContext, pool: _Pool, dtype: np.dtype[Any]) -> bool:
    """Return whether ``AveragePool`` takes the windows."""
    dilated = "dilations" in pool.attributes
    return ctx.supports("AveragePool", dtype) and (not dilated or ctx.opset >= _DILATED_AVERAGE_OPSET)


def _is_positive(x: ir.Value) -> bool:
    """Return whether all numbers of an array are known not to be negative."""
    producer = source(x, _REARRANGING).producer()
    return producer is not None and producer.op_type in _POSITIVE and not producer.domain


def _with_nan_of_average(ctx: LoweringContext, x: ir.Value, y: ir.Value, pool: _Pool) -> ir.Value:
    """Return ``y``, and NaN where a window has one: there its average is NaN, as nothing cancels an infinity."""
    mean = ctx.op.AveragePool(x, **pool.attributes)
    ctx.stamp(windows.slid(ctx, mean, pool.shape, pool.attributes), pool.window.out)
    return ctx.op.Where(ctx.stamp(ctx.op.IsNaN(mean), pool.window.out), mean, y)


def _exact_unless_finite(ctx: LoweringContext, x: ir.Value, y: ir.Value, pool: _Pool, dtype: Any) -> ir.Value:
    """Return ``y``, the maximum over windows of ``x``, computed otherwise if ``x`` is not all finite."""
    total = ctx.stamp(ctx.op.ReduceSum(x, keepdims=0), ())
    finite = ctx.stamp(ctx.op.Less(ctx.stamp(ctx.op.Abs(total), ()), np.asarray(np.inf, dtype)), ())
    operand = windows.Operand(x, windows.aval(pool.shape, dtype), ctx.constant(bound(dtype, is_max=True)))
    exact = ctx.subgraph("exact", [], lambda _: [windows.reduce_by(ctx, operand, pool.window, lax.max, lax.reduce_max)])
    pooled = ctx.subgraph("pooled", [], lambda _: [y])
    return ctx.op.emit("If", finite, then_branch=pooled, else_branch=exact)
