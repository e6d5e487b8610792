"""ONNX's pooling operators, for the windows that they cover."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jax import lax

from jax2onnx_lax import windows
from jax2onnx_lax.dtypes import info, is_float, is_integer, is_narrow

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

    return ctx.cast(_pooled(ctx, ctx.cast(x, compute), pool, emit), dtype)


def average_with_padding(
    ctx: LoweringContext,
    x: ir.Value,
    shape: windows.Shape,
    padding: Sequence[tuple[Any, Any]],
    attributes: dict[str, Any],
) -> ir.Value:
    """Average over windows of (N, C, spatial…), what is padded included.

    onnxruntime 1.24 miscounts that if there are several spatial dims: what it averages is padded already.
    """
    if not {"pads", "auto_pad"} & attributes.keys():
        return ctx.op.AveragePool(x, **attributes)
    if ctx.target is None or len(shape) == 3:
        return ctx.op.AveragePool(x, count_include_pad=1, **attributes)
    padded, _ = windows.pad(ctx, x, shape, padding, 0.0)
    return ctx.op.AveragePool(padded, **{k: v for k, v in attributes.items() if k not in {"pads", "auto_pad"}})


def window_extremum(ctx: LoweringContext, x: ir.Value, window: windows.Window, *, is_max: bool) -> ir.Value | None:
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
        y = ctx.stamp(ctx.op.MaxPool(x, **pool.attributes), pool.window.out)
        # onnxruntime's MaxPool passes over NaN, and starts from the smallest finite number.
        if ctx.target is not None and is_float(dtype):
            guard = _poisoned if is_max and _is_positive(x) and _averages(ctx, pool, compute) else _guarded
            y = ctx.stamp(guard(ctx, x, y, pool, compute), pool.window.out)
        return y if is_max else ctx.op.Neg(y)

    return ctx.cast(_pooled(ctx, ctx.cast(x, compute), pool, emit), dtype)


def bound(dtype: Any, *, is_max: bool) -> np.ndarray[Any, Any]:
    """Return what never wins a maximum (or minimum), as a scalar array."""
    if dtype == np.bool_:
        return np.asarray(not is_max)
    if is_integer(dtype):
        return np.asarray(info(dtype).min if is_max else info(dtype).max, dtype)
    return np.asarray(-np.inf if is_max else np.inf, dtype)


def _compute_dtype(dtype: Any) -> np.dtype[Any]:
    return np.dtype(np.float32) if is_narrow(dtype) else np.dtype(dtype)


@dataclass(frozen=True, slots=True)
class _Pool:
    """Windows as ONNX's pools have them: over the last one to three dims of (N, C, spatial…)."""

    permutation: Sequence[int]
    shape: windows.Shape
    window: windows.Window
    attributes: dict[str, Any]


def _plan(ctx: LoweringContext, window: windows.Window) -> _Pool | None:
    """Return how a pool operator does it, if one does and onnxruntime's agrees with JAX."""
    shape = ctx.avals_in[0].shape
    spatial = [a for a in range(len(shape)) if not window.is_whole(a)]
    others = [a for a in range(len(shape)) if a not in spatial]
    sizes = [d for d in (*shape, *window.out) if windows.known(d)]
    if not 1 <= len(spatial) <= 3 or 0 in sizes or any(d != 1 for d in window.base_dilation):
        return None
    inner = _along(window, spatial)
    attributes = _attributes([shape[a] for a in spatial], inner)
    if attributes is None:
        return None

    def outer(values: Sequence[Any]) -> windows.Shape:
        kept = [values[a] for a in others]
        return (math.prod(kept[:-1]), kept[-1] if kept else 1, *(values[a] for a in spatial))

    moved = windows.Window(
        [1, 1, *inner.size],
        [1, 1, *inner.strides],
        [(0, 0), (0, 0), *inner.padding],
        [1, 1, *inner.base_dilation],
        [1, 1, *inner.dilation],
        outer(window.out),
    )
    return _Pool([*others, *spatial], outer(shape), moved, attributes)


def _along(window: windows.Window, axes: Sequence[int]) -> windows.Window:
    """Return the window along some of its axes."""
    fields: tuple[Any, ...] = (window.size, window.strides, window.padding, window.base_dilation, window.dilation)
    size, strides, padding, base_dilation, dilation = ([values[a] for a in axes] for values in fields)
    return windows.Window(size, strides, padding, base_dilation, dilation, tuple(window.out[a] for a in axes))


def _attributes(shape: Sequence[Any], window: windows.Window) -> dict[str, Any] | None:
    """Return a pool operator's attributes for a window over spatial dims; None if it cannot take that."""
    attributes: dict[str, Any] = {"kernel_shape": window.size, "strides": window.strides}
    if not windows.known(*window.size):
        return None
    dilated = any(d != 1 for d in window.dilation)
    if dilated:
        attributes["dilations"] = window.dilation
    if all(p == 0 for pair in window.padding for p in pair):
        return attributes
    # A window that lies in the padding altogether has no value in onnxruntime.
    if dilated:
        return None
    if windows.is_same(shape, window.size, window.strides, window.padding):
        return {**attributes, "auto_pad": "SAME_UPPER"}
    pairs = zip(window.padding, window.size, strict=True)
    if all(windows.known(p) and 0 <= p < s for pair, s in pairs for p in pair):
        return {**attributes, "pads": windows.onnx_pads(window.padding)}
    return None


def _pooled(ctx: LoweringContext, x: ir.Value, pool: _Pool, emit: Callable[[ir.Value], ir.Value]) -> ir.Value:
    """Bring the array into the form (N, C, spatial…) for ``emit``, and its result back."""
    x, shape = windows.transpose(ctx, x, ctx.avals_in[0].shape, pool.permutation)
    y = ctx.stamp(emit(ctx.reshape(x, shape, pool.shape)), pool.window.out)
    permuted = tuple(ctx.aval_out.shape[a] for a in pool.permutation)
    inverse = [pool.permutation.index(a) for a in range(len(permuted))]
    return windows.transpose(ctx, ctx.reshape(y, pool.window.out, permuted), permuted, inverse)[0]


def _averages(ctx: LoweringContext, pool: _Pool, dtype: np.dtype[Any]) -> bool:
    """Tell whether ``AveragePool`` takes the windows."""
    dilated = "dilations" in pool.attributes
    return ctx.supports("AveragePool", dtype) and (not dilated or ctx.opset >= _DILATED_AVERAGE_OPSET)


def _is_positive(x: ir.Value) -> bool:
    """Tell whether all numbers of an array are known not to be negative."""
    producer = x.producer()
    while producer is not None and producer.op_type in _REARRANGING and producer.inputs[0] is not None:
        producer = producer.inputs[0].producer()
    return producer is not None and producer.op_type in _POSITIVE and not producer.domain


def _poisoned(ctx: LoweringContext, x: ir.Value, y: ir.Value, pool: _Pool, dtype: Any) -> ir.Value:
    """Return ``y``, and NaN where a window has one: there its average is NaN, as nothing cancels an infinity."""
    del dtype
    mean = ctx.stamp(ctx.op.AveragePool(x, **pool.attributes), pool.window.out)
    return ctx.op.Where(ctx.stamp(ctx.op.IsNaN(mean), pool.window.out), mean, y)


def _guarded(ctx: LoweringContext, x: ir.Value, y: ir.Value, pool: _Pool, dtype: Any) -> ir.Value:
    """Return ``y``, the maximum over windows of ``x``, computed otherwise if ``x`` is not all finite."""
    total = ctx.stamp(ctx.op.ReduceSum(x, keepdims=0), ())
    finite = ctx.stamp(ctx.op.Less(ctx.stamp(ctx.op.Abs(total), ()), np.asarray(np.inf, dtype)), ())
    operand = windows.Operand(x, windows.aval(pool.shape, dtype), ctx.constant(bound(dtype, is_max=True)))
    exact = ctx.subgraph(
        "exact", [], lambda _: windows.reduce(ctx, [operand], pool.window, windows.single(lax.reduce_max))
    )
    pooled = ctx.subgraph("pooled", [], lambda _: [y])
    return ctx.op.emit("If", finite, then_branch=pooled, else_branch=exact)
