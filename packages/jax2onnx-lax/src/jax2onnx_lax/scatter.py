"""Scatter: write, or combine, windows of updates at the places that index vectors name."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.lax import GatherScatterMode

from jax2onnx.plugin import evaluate, is_symbolic, open_jaxpr
from jax2onnx_lax.complex.scatter_loop import one_by_one
from jax2onnx_lax.indexing import Label, arranged, clamped, components, in_bounds, surely_in_bounds, vectors
from jax2onnx_lax.shape import arange, cut, expand, filled, transposed

if TYPE_CHECKING:
    import onnx_ir as ir
    from jax.lax import ScatterDimensionNumbers

    from jax2onnx.plugin import BoundLowerings, LoweringContext

REDUCTIONS = {
    "scatter-add": "add",
    "scatter-sub": "add",
    "scatter-mul": "mul",
    "scatter-min": "min",
    "scatter-max": "max",
}
"""ONNX's name of what each primitive does with a value and its update."""


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.table(dict.fromkeys(REDUCTIONS, scatter_reduce))
    registry.table({"scatter": scatter})


def scatter(
    ctx: LoweringContext,
    x: ir.Value,
    indices: ir.Value,
    updates: ir.Value,
    *,
    dimension_numbers: ScatterDimensionNumbers,
    update_jaxpr: Any,
    update_consts: Sequence[Any],
    mode: Any,
    unique_indices: bool,
) -> ir.Value:
    """Lower ``scatter``: updates replace values, or the update function makes the new value of the old one."""
    mode = GatherScatterMode.from_any(mode)
    inner, consts = open_jaxpr(update_jaxpr)
    if update_jaxpr is None or inner.outvars[0] is inner.invars[1]:
        return _Scatter(ctx, dimension_numbers).emit(x, indices, updates, mode, unique=unique_indices)
    combine = functools.partial(_mapped, functools.partial(evaluate, inner, [*consts, *update_consts]))
    value: ir.Value = ctx.via_jax(
        lambda a, i, u: one_by_one([a], i, [u], numbers=dimension_numbers, mode=mode, combine=combine)[0],
        *(x, indices, updates),
    )
    return value


def _mapped(function: Callable[..., Any], *windows: Sequence[jax.Array]) -> list[jax.Array]:
    """Apply a function of scalars to all elements of windows, one array in each of ``windows``."""
    flat = jax.vmap(function)(*(w.reshape(-1) for (w,) in windows))
    return [x.reshape(windows[0][0].shape) for x in flat]


def scatter_reduce(
    ctx: LoweringContext,
    x: ir.Value,
    indices: ir.Value,
    updates: ir.Value,
    *,
    dimension_numbers: ScatterDimensionNumbers,
    update_jaxpr: Any,
    update_consts: Sequence[Any],
    mode: Any,
) -> ir.Value:
    """Lower ``scatter-add``, ``-sub``, ``-mul``, ``-min`` and ``-max``."""
    del update_jaxpr, update_consts
    dtype = ctx.aval_out.dtype
    reduction = REDUCTIONS[ctx.eqn.primitive]
    carrier = np.dtype(np.float32) if jnp.issubdtype(dtype, np.floating) and dtype.itemsize < 4 else dtype
    if dtype == np.bool_:
        carrier = np.dtype(np.int32)
    x, updates = ctx.cast(x, carrier), ctx.cast(updates, carrier)
    if ctx.eqn.primitive == "scatter-sub":
        updates = ctx.op.Sub(np.asarray(0, carrier), updates)
    plan = _Scatter(ctx, dimension_numbers)
    mode = GatherScatterMode.from_any(mode)
    value = plan.emit(x, indices, updates, mode, reduction)
    if reduction in ("min", "max") and jnp.issubdtype(carrier, np.floating):
        # A NaN wins in JAX; onnxruntime keeps whichever side the comparison leaves.
        nan, update_nan = ctx.cast(ctx.op.IsNaN(x), np.int32), ctx.cast(ctx.op.IsNaN(updates), np.int32)
        hit = ctx.cast(plan.emit(nan, indices, update_nan, mode, "max"), np.bool_)
        value = ctx.op.Where(hit, np.asarray(np.nan, carrier), value)
    return ctx.cast(value, dtype)


class _Scatter:
    """Says a scatter's dimension numbers with one linear index over the operand dims that are addressed."""

    def __init__(self, ctx: LoweringContext, numbers: ScatterDimensionNumbers) -> None:
        x, indices, updates = (a.shape for a in ctx.avals_in)
        self._ctx = ctx
        self._shape = x
        self._start = [int(d) for d in numbers.scatter_dims_to_operand_dims]
        batching = [int(d) for d in numbers.operand_batching_dims]
        self._batching = dict(zip(batching, [int(d) for d in numbers.scatter_indices_batching_dims], strict=True))
        gone = {int(d) for d in numbers.inserted_window_dims} | set(batching)
        kept = iter([d for d in range(len(x)) if d not in gone])
        batch = iter(range(len(indices) - 1))
        places = {int(d) for d in numbers.update_window_dims}
        self._update_shape = updates
        self._labels: list[Label] = [
            ("window", next(kept)) if i in places else ("batch", next(batch)) for i in range(len(updates))
        ]
        self._index_shape = indices[:-1]
        self._sizes = [1] * len(x)
        for label, size in zip(self._labels, updates, strict=True):
            if label[0] == "window":
                self._sizes[label[1]] = size
        self._limits = [x[d] - self._sizes[d] for d in self._start]
        self._addressed = [d for d in range(len(x)) if d in self._batching or self._sizes[d] != x[d]]
        self._partial = [d for d in self._addressed if self._sizes[d] != 1]

    def emit(
        self,
        x: ir.Value,
        indices: ir.Value,
        updates: ir.Value,
        mode: Any,
        reduction: str | None = None,
        *,
        unique: bool = False,
    ) -> ir.Value:
        """Scatter into ``x``; both may have another dtype than the equation's."""
        ctx = self._ctx
        if any(not is_symbolic(d) and d == 0 for d in (*self._update_shape, *self._shape)):
            return x
        indices = vectors(ctx, indices, 1)
        safe = not self._limits or surely_in_bounds(indices, self._limits)
        within = indices if safe else clamped(ctx, indices, self._limits)
        line = ctx.reshape(self._linear(within), self._points, self._points or [1])
        x, before, count, after, perm = self._merged(x)
        size = count
        if mode != GatherScatterMode.CLIP and not safe:
            # JAX drops updates that do not fit; ONNX refuses them. They go to one element more, cut off below.
            size = count + 1
            line = self._or_last(line, in_bounds(ctx, indices, within, len(self._limits)), count)
            assert x.dtype is not None
            x = ctx.op.Concat(x, filled(ctx, 0, [*before, 1, *after], x.dtype.numpy()), axis=len(before))
        total = math.prod(self._points)
        line = ctx.reshape(ctx.stamp(line, self._points or [1]), self._points or [1], (total,))
        updates = self._lined_up(updates, before, after)
        if reduction is None and unique and after and not before:
            value = ctx.op.ScatterND(x, ctx.op.Unsqueeze(line, ctx.ints(1)), updates)
        else:
            # onnxruntime's ScatterND runs in parallel, also where indices repeat: it would lose updates.
            lone = [*[1] * len(before), total, *[1] * len(after)]
            places = expand(ctx, ctx.reshape(line, (total,), lone), lone, [*before, total, *after])
            value = ctx.op.ScatterElements(x, places, updates, axis=len(before), reduction=reduction)
        value = ctx.stamp(value, [*before, size, *after])
        if size is not count:
            value = cut(ctx, value, {len(before): (0, -1)}, [*before, count, *after])
        shape = [self._shape[d] for d in perm]
        value = ctx.reshape(value, [*before, count, *after], shape)
        return transposed(ctx, value, shape, [perm.index(d) for d in range(len(perm))])

    @property
    def _points(self) -> list[Any]:
        """The shape of what has a linear index of its own: index vectors, and places in windows that are partial."""
        return [*self._index_shape, *[self._sizes[d] for d in self._partial]]

    def _or_last(self, line: ir.Value, valid: ir.Value, last: Any) -> ir.Value:
        """Replace the linear index of every point of an invalid index vector by ``last``."""
        ctx = self._ctx
        lone = range(len(self._index_shape), len(self._points) or 1)
        valid = ctx.op.Unsqueeze(valid, ctx.ints(*lone)) if lone else valid
        return ctx.op.Where(valid, line, ctx.dim(last))

    def _lined_up(self, updates: ir.Value, before: Sequence[Any], after: Sequence[Any]) -> ir.Value:
        """Bring the updates into the form (before, points, after)."""
        rest = [d for d in range(len(self._shape)) if d not in self._addressed]
        wanted: list[Label] = [("window", d) for d in rest[: len(before)]]
        wanted += [("batch", i) for i in range(len(self._index_shape))] + [("window", d) for d in self._partial]
        wanted += [("window", d) for d in rest[len(before) :]]
        updates = arranged(self._ctx, updates, self._update_shape, self._labels, wanted)
        total = math.prod(self._points)
        return self._ctx.reshape(updates, [*before, *self._points, *after], [*before, total, *after])

    def _merged(self, x: ir.Value) -> tuple[ir.Value, list[Any], Any, list[Any], list[int]]:
        """Merge the addressed dims into one; return the sizes before, of and after it, and the order of the dims."""
        ctx, addressed = self._ctx, self._addressed
        perm = list(range(len(self._shape)))
        first = addressed[0] if addressed else 0
        if addressed != list(range(first, first + len(addressed))):
            perm = [*addressed, *[d for d in perm if d not in addressed]]
            first = 0
        shape = [self._shape[d] for d in perm]
        before, middle, after = shape[:first], shape[first : first + len(addressed)], shape[first + len(addressed) :]
        x = transposed(ctx, x, self._shape, perm)
        count = math.prod(middle)
        return ctx.reshape(x, shape, [*before, count, *after]), before, count, after, perm

    def _linear(self, within: ir.Value) -> ir.Value:
        """Return the linear index, as int64, of every point of the updates."""
        ctx = self._ctx
        strides, stride = {}, 1
        for d in reversed(self._addressed):
            strides[d] = stride
            stride = stride * self._shape[d]
        axes = len(self._index_shape) + len(self._partial)
        parts: list[ir.Value] = []
        moved = [(k, d) for k, d in enumerate(self._start) if d in strides]
        if moved:
            index = ctx.cast(components(ctx, within, [k for k, _ in moved], len(self._start)), np.int64)
            if len(moved) > 1:
                scaled = ctx.op.Mul(index, ctx.shape([strides[d] for _, d in moved]))
                index = ctx.op.ReduceSum(scaled, ctx.ints(-1), keepdims=0)
            else:
                index = self._scaled(index, strides[moved[0][1]])
            lone = range(len(self._index_shape), axes)
            parts.append(ctx.op.Unsqueeze(index, ctx.ints(*lone)) if lone else index)
        lines = list(self._batching.items())
        lines += [(d, len(self._index_shape) + i) for i, d in enumerate(self._partial)]
        for d, axis in lines:
            size = self._shape[d] if d in self._batching else self._sizes[d]
            step = self._scaled(arange(ctx, size, np.int64), strides[d])
            others = [a for a in range(axes) if a != axis]
            parts.append(ctx.op.Unsqueeze(step, ctx.ints(*others)) if others else step)
        line = functools.reduce(ctx.op.Add, parts) if parts else ctx.constant(0, np.int64)
        return line if moved or not self._points else expand(ctx, line, (), self._points)

    def _scaled(self, index: ir.Value, stride: Any) -> ir.Value:
        if not is_symbolic(stride) and stride == 1:
            return index
        return self._ctx.op.Mul(index, self._ctx.shape([stride]))
