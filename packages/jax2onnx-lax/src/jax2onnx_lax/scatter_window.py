"""Scatter one window at a place that is known: ``x.at[:, 5:10].set(u)`` and its like."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.lax import GatherScatterMode

from jax2onnx.plugin import is_static, other_axes
from jax2onnx_lax.indexing import constant, surely_in_bounds
from jax2onnx_lax.shape import TO_END, cut, replaced

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir
    from jax.lax import ScatterDimensionNumbers

    from jax2onnx.plugin import LoweringContext

_LARGEST_MASK = 2**16
"""Masks of up to this many elements are stored."""


def emit_window(
    ctx: LoweringContext,
    x: ir.Value,
    indices: ir.Value,
    updates: ir.Value,
    *,
    numbers: ScatterDimensionNumbers,
    mode: Any,
    combine: Callable[[jax.Array, Any], jax.Array] | None,
) -> ir.Value | None:
    """Emit a scatter of one window at a known place; None if it is none.

    ``combine`` makes the new values of the old ones and the updates; None: the updates replace the values. Both forms
    also hold where the dims that the window covers are empty at run time::

        set in one dim:  Concat(x[:start], updates, x[start + size:])
        otherwise:       Where(mask, combine(x, Pad(updates)), x)
    """
    shape = ctx.avals_in[0].shape
    sizes = _window_sizes(ctx, numbers)
    start = None if sizes is None else _start(ctx, indices, numbers, sizes, mode)
    if sizes is None or start is None:
        return None
    partial = [d for d, size in enumerate(sizes) if size != shape[d]]
    if not all(is_static(sizes[d]) for d in partial):
        return None
    scalar = _scalar(updates)
    small = is_static(*[shape[d] for d in partial]) and math.prod(shape[d] for d in partial) <= _LARGEST_MASK
    if combine is None and len(partial) == 1 and (scalar is None or not small):
        (d,) = partial
        window = ctx.reshape(updates, ctx.avals_in[2].shape, sizes)
        if not is_static(shape[d]):
            # The dim is at least 1 for JAX, and can be 0 at run time: then the window is empty too.
            window = ctx.op.Slice(window, ctx.ints(0), ctx.shape([shape[d]]), ctx.ints(d))
        return _joined(ctx, x, window, d, (start[d], start[d] + sizes[d]))
    if not small:
        return None
    combined = combine or _second
    mask = _mask(shape, sizes, start, partial)
    config = [(low, shape[d] - low - sizes[d], 0) if d in partial else (0, 0, 0) for d, low in enumerate(start)]

    adds = combine in (lax.add, lax.sub)
    outside = _neutral(ctx.avals_in[2].dtype, -0.0 if combine is lax.add else 0.0)

    def chosen(x: jax.Array, padded: Any) -> jax.Array:
        if adds and partial:  # what changes no number, and no sign of a zero, is added outside of the window
            return combined(x, jnp.where(mask, padded, outside).astype(x.dtype) if scalar is not None else padded)
        new = combined(x, padded)
        return jnp.where(mask, new, x) if partial else jnp.broadcast_to(new, x.shape)

    if scalar is not None:
        return ctx.via_jax(lambda x: chosen(x, jnp.asarray(scalar)), x, avals=ctx.avals_in[:1])  # type: ignore[no-any-return]

    def padded(x: jax.Array, updates: jax.Array) -> jax.Array:
        window = lax.reshape(updates, sizes)
        return chosen(x, lax.pad(window, outside, config) if partial else window)

    avals = [ctx.avals_in[0], ctx.avals_in[2]]
    return ctx.via_jax(padded, x, updates, avals=avals)  # type: ignore[no-any-return]


def _neutral(dtype: Any, zero: float) -> np.ndarray[Any, Any]:
    """Return a zero of a dtype with a sign; a complex one has it in both parts."""
    return np.asarray(complex(zero, zero) if np.dtype(dtype).kind == "c" else zero).astype(dtype)


def _second(_old: jax.Array, new: Any) -> Any:
    return new


def _window_sizes(ctx: LoweringContext, numbers: ScatterDimensionNumbers) -> list[Any] | None:
    """Return the size of the window in each dim; None if there are several windows."""
    x, indices, updates = (aval.shape for aval in ctx.avals_in)
    if numbers.operand_batching_dims or any(size != 1 for size in indices[:-1]):
        return None
    kept = other_axes(len(x), numbers.inserted_window_dims)
    sizes: list[Any] = [1] * len(x)
    for d, axis in zip(kept, numbers.update_window_dims, strict=True):
        sizes[d] = updates[axis]
    return sizes


def _start(
    ctx: LoweringContext,
    indices: ir.Value,
    numbers: ScatterDimensionNumbers,
    sizes: Sequence[Any],
    mode: Any,
) -> list[int] | None:
    """Return where the window begins in each dim; None if that is not known, or if it may not fit."""
    shape = ctx.avals_in[0].shape
    dims = list(map(int, numbers.scatter_dims_to_operand_dims))
    limits = [shape[d] - sizes[d] for d in dims]
    value = constant(indices)
    if value is None:
        return None
    first = value.reshape(-1).tolist()
    if mode == GatherScatterMode.CLIP and is_static(*limits):
        first = [min(max(index, 0), limit) for index, limit in zip(first, limits, strict=True)]
    elif limits and not surely_in_bounds(ctx, indices, limits, range(len(limits))):
        return None
    start = [0] * len(shape)
    for d, index in zip(dims, first, strict=True):
        start[d] = int(index)
    return start


def _scalar(updates: ir.Value) -> np.ndarray[Any, Any] | None:
    """Return the number that all updates are, or None."""
    node = updates.producer()
    if node is not None and node.op_type == "Expand":
        operand = node.inputs[0]
        value = None if operand is None else constant(operand)
    else:
        value = constant(updates)
    if value is None or value.size == 0:
        return None
    first: np.ndarray[Any, Any] = value.reshape(-1)[0]
    same = value.size == 1 or value.tobytes() == np.full_like(value, first).tobytes()
    return first if same else None


def _mask(
    shape: Sequence[Any], sizes: Sequence[Any], start: Sequence[int], partial: Sequence[int]
) -> np.ndarray[Any, Any]:
    """Return which elements the window covers, in the dims that it covers in part."""
    mask = np.zeros([size if d in partial else 1 for d, size in enumerate(shape)], np.bool_)
    covered = [slice(start[d], start[d] + sizes[d]) if d in partial else slice(None) for d in range(len(shape))]
    mask[tuple(covered)] = True
    return mask


def _joined(ctx: LoweringContext, x: ir.Value, window: ir.Value, d: int, bounds: tuple[int, int]) -> ir.Value:
    """Emit the array with a window in place of what it covers of one dim."""
    shape = ctx.avals_in[0].shape
    start, end = bounds
    parts = [window]
    if start:
        parts.insert(0, cut(ctx, x, {d: (0, start)}, replaced(shape, d, start)))
    if end != shape[d]:
        parts.append(cut(ctx, x, {d: (end, TO_END)}, replaced(shape, d, shape[d] - end)))
    return ctx.op.Concat(*parts, axis=d)
