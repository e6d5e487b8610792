"""Lower scatters: write, or combine, windows of updates at the places that index vectors name."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax.lax import GatherScatterMode

from jax2onnx.plugin import Facts, evaluate, has_zero, is_symbolic, may_be_zero, open_jaxpr, other_axes, permuted
from jax2onnx_lax import indexing
from jax2onnx_lax.branches import choose
from jax2onnx_lax.complex.scatter_loop import one_by_one
from jax2onnx_lax.dtypes import is_float, is_narrow
from jax2onnx_lax.indexing import batch_axes, window_axes
from jax2onnx_lax.scatter_chosen import is_chosen, write
from jax2onnx_lax.scatter_rows import Rows
from jax2onnx_lax.scatter_window import emit_window
from jax2onnx_lax.shape import arange, cut, expand, filled, transposed
from jax2onnx_lax.zeros import emit_select

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


_COMBINE: dict[str, Callable[[jax.Array, Any], jax.Array]] = {
    "scatter-add": jax.lax.add,
    "scatter-sub": jax.lax.sub,
    "scatter-mul": jax.lax.mul,
    "scatter-min": jax.lax.min,
    "scatter-max": jax.lax.max,
}
"""What each primitive does with a value and its update."""


def overwritten(params: Mapping[str, Any], x: Any, indices: Any, updates: Any) -> Any:
    """Compute ``scatter`` of one window with numpy; None for several, and where a function makes the new values."""
    numbers, mode = params["dimension_numbers"], GatherScatterMode.from_any(params["mode"])
    if indices.ndim != 1 or numbers.operand_batching_dims or not _replaces(params["update_jaxpr"]):
        return None
    window = np.expand_dims(updates, numbers.inserted_window_dims)
    starts, last = np.zeros(x.ndim, np.int64), np.subtract(x.shape, window.shape)
    starts[list(numbers.scatter_dims_to_operand_dims)] = indices
    if np.any((starts < 0) | (starts > last)):
        return x if mode == GatherScatterMode.FILL_OR_DROP else None
    result = x.copy()
    result[tuple(map(slice, starts, starts + window.shape))] = window
    return result


FACTS = {"scatter": Facts(fold=overwritten)}


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts(FACTS)
    registry.table(dict.fromkeys(REDUCTIONS, scatter_reduce))
    registry.table({"scatter": scatter})


def _replaces(update_jaxpr: Any) -> bool:
    """Return whether updates take the places of values as they are."""
    inner, _ = open_jaxpr(update_jaxpr)
    return update_jaxpr is None or inner.outvars[0] is inner.invars[1]


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
    if _replaces(update_jaxpr):
        window = emit_window(ctx, x, indices, updates, numbers=dimension_numbers, mode=mode, combine=None)
        if window is not None:
            return window
        return _Scatter(ctx, indices, dimension_numbers, mode).emit(x, updates, unique=unique_indices)
    combine = functools.partial(_mapped, functools.partial(evaluate, inner, [*consts, *update_consts]))

    def scattered(x: jax.Array, indices: jax.Array, updates: jax.Array) -> jax.Array:
        return one_by_one([x], indices, [updates], numbers=dimension_numbers, mode=mode, combine=combine)[0]

    return ctx.via_jax(scattered, x, indices, updates)  # type: ignore[no-any-return]


def _mapped(function: Callable[..., Any], *windows: Sequence[jax.Array]) -> list[jax.Array]:
    """Apply a function of scalars to all elements of windows, one array in each of ``windows``."""
    flat = [window.reshape(-1) for (window,) in windows]
    return [x.reshape(windows[0][0].shape) for x in jax.vmap(function)(*flat)]


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
    mode = GatherScatterMode.from_any(mode)
    if dtype != np.bool_:
        combine = _COMBINE[ctx.eqn.primitive]
        window = emit_window(ctx, x, indices, updates, numbers=dimension_numbers, mode=mode, combine=combine)
        if window is not None:
            return window
    reduction = REDUCTIONS[ctx.eqn.primitive]
    carrier = np.dtype(np.float32) if is_narrow(dtype) else dtype
    if dtype == np.bool_:
        carrier = np.dtype(np.int32)
    x, updates = ctx.cast(x, carrier), ctx.cast(updates, carrier)
    if ctx.eqn.primitive == "scatter-sub":
        updates = ctx.op.Sub(np.asarray(0, carrier), updates)
    plan = _Scatter(ctx, indices, dimension_numbers, mode)
    value = plan.emit(x, updates, reduction)
    if reduction in ("min", "max") and is_float(carrier):
        # A NaN wins in JAX; onnxruntime keeps whichever side the comparison leaves.
        nan, update_nan = ctx.cast(ctx.op.IsNaN(x), np.int32), ctx.cast(ctx.op.IsNaN(updates), np.int32)
        hit = ctx.cast(plan.emit(nan, update_nan, "max"), np.bool_)
        value = ctx.op.Where(hit, np.asarray(np.nan, carrier), value)
    return ctx.cast(value, dtype)


class _Scatter:
    """A scatter's dimension numbers, expressed by one linear index over the operand dims that are addressed.

    A dim is addressed if it is batched, or if the window is smaller than it. A point is what has a linear index of its
    own: an index vector together with a place in the window's dims that are partial, neither whole nor of size 1.
    """

    def __init__(
        self, ctx: LoweringContext, indices: ir.Value, numbers: ScatterDimensionNumbers, mode: GatherScatterMode
    ) -> None:
        self._ctx = ctx
        self._indices = indices
        self._clips = mode == GatherScatterMode.CLIP
        self._shape, vectors, updates = (aval.shape for aval in ctx.avals_in)
        rank = len(self._shape)
        self._batching = dict(zip(numbers.operand_batching_dims, numbers.scatter_indices_batching_dims, strict=True))
        kept = other_axes(rank, {*numbers.inserted_window_dims, *self._batching})
        labels = indexing.labelled(len(updates), numbers.update_window_dims, kept)
        self._update_axes = dict(zip(labels, updates, strict=True))
        self._sizes = [self._update_axes.get(("window", d), 1) for d in range(rank)]
        start = list(map(int, numbers.scatter_dims_to_operand_dims))
        limits = [self._shape[d] - self._sizes[d] for d in start]
        self._columns = indexing.deciding(ctx, indices, limits, drops=not self._clips)
        self._start = [start[k] for k in self._columns]
        self._limits = [limits[k] for k in self._columns]
        self._addressed = [d for d in range(rank) if d in self._batching or self._sizes[d] != self._shape[d]]
        self._partial = [d for d in self._addressed if self._sizes[d] != 1]
        self._batch = batch_axes(vectors[:-1])
        self._points = {**self._batch, **window_axes(self._sizes, self._partial)}
        rows = Rows(self._shape, self._batch, self._batching, self._start)
        is_row = not self._partial and len(self._addressed) == len(self._batching) + len(self._start)
        self._rows = rows if is_row and rows.fit() else None

    def emit(self, x: ir.Value, updates: ir.Value, reduction: str | None = None, *, unique: bool = False) -> ir.Value:
        """Scatter into ``x``; both may have another dtype than the equation's."""
        ctx = self._ctx
        if has_zero(*self._update_axes.values(), *self._shape):
            return x
        indices = indexing.vectors(ctx, self._indices, self._columns)
        all_fit = self._clips or indexing.surely_in_bounds(ctx, indices, self._limits, self._columns)
        may_drop = all_fit or reduction in {None, "add"}
        is_one_place = self._is_one_place() and may_drop
        full = functools.partial(
            self._emit, x, updates, reduction, indices=indices, all_fit=all_fit, one_place=is_one_place, unique=unique
        )
        if self._rows is not None and may_drop and not is_one_place:
            full = functools.partial(self._at_rows, self._rows, x, updates, reduction, indices, all_fit=all_fit)
        dims = self._may_be_missing() if all_fit or is_one_place else []
        if not dims:
            return full()
        assert x.dtype is not None
        aval = jax.ShapeDtypeStruct(tuple(self._shape), x.dtype.numpy())
        least = ctx.dim(dims[0]) if len(dims) == 1 else ctx.op.ReduceMin(ctx.shape(dims), keepdims=1)
        empty = ctx.op.LessOrEqual(ctx.op.Squeeze(least, ctx.ints(0)), 0)
        (result,) = choose(ctx, empty, lambda: [x], lambda: [full()], avals=[aval])
        return result

    def _may_be_missing(self) -> list[Any]:
        """Return the sizes that may be 0 where there are updates nevertheless, which JAX drops.

        No index of such a dim is in bounds then, though JAX takes each symbol for at least 1. It refuses a lone index.
        """
        points = list(self._points.values())
        if not self._batch:
            return []
        dims = dict.fromkeys(self._shape[d] for d in self._addressed if d not in self._batching)
        return [dim for dim in dims if is_symbolic(dim) and may_be_zero(dim) and dim not in points]

    def _emit(
        self,
        x: ir.Value,
        updates: ir.Value,
        reduction: str | None,
        *,
        indices: ir.Value,
        all_fit: bool,
        one_place: bool,
        unique: bool,
    ) -> ir.Value:
        ctx = self._ctx
        limits, columns = self._limits, self._columns
        # A linear index does not count from the end of its dim, unless this is the only one.
        counts = sorted(self._start) == self._addressed and (one_place or (all_fit and len(self._start) == 1))
        counts = counts and all(self._sizes[d] == 1 for d in self._start)
        given = indices
        indices, within, safe = indexing.bounded(ctx, given, limits, columns, counts=counts)
        dims = self._shape[: len(self._start)]
        # Only a lone index is compared with places that are counted from the end, too.
        is_compared = one_place and not all_fit and reduction is None and (len(dims) == 1 or indices is given)
        if is_compared and is_chosen(ctx, x, self._shape, self._start):
            return write(ctx, x, given, self._flattened(updates, (), self._shape[len(dims) :]), dims)
        if one_place:
            valid = None if all_fit else self._in_bounds(indices, within)
            return self._at_one_place(x, within, updates, reduction, valid)
        points = list(self._points.values())
        line = ctx.reshape(self._linear(within), points, points or [1])
        x, before, count, after, perm = self._merged(x)
        size = count
        if not self._clips and not safe:
            # JAX drops updates that do not fit; ONNX refuses them. They go to one element more, cut off below.
            size = count + 1
            line = self._or_last(line, self._in_bounds(indices, within), count)
            assert x.dtype is not None
            x = ctx.op.Concat(x, filled(ctx, 0, [*before, 1, *after], x.dtype.numpy()), axis=len(before))
        line = ctx.reshape(ctx.stamp(line, points or [1]), points or [1], (math.prod(points),))
        updates = self._flattened(updates, before, after)
        if reduction is None and unique and after and not before:
            value = ctx.op.ScatterND(x, ctx.op.Unsqueeze(line, ctx.ints(1)), updates)
        else:
            # onnxruntime's ScatterND runs in parallel, also where indices repeat: it would lose updates.
            total = math.prod(points)
            alone = [*[1] * len(before), total, *[1] * len(after)]
            places = expand(ctx, ctx.reshape(line, (total,), alone), alone, [*before, total, *after])
            value = ctx.op.ScatterElements(x, places, updates, axis=len(before), reduction=reduction)
        value = ctx.stamp(value, [*before, size, *after])
        if size is not count:
            value = cut(ctx, value, {len(before): (0, -1)}, [*before, count, *after])
        shape = permuted(self._shape, perm)
        value = ctx.reshape(value, [*before, count, *after], shape)
        return transposed(ctx, value, shape, np.argsort(perm).tolist())

    def _at_rows(
        self, rows: Rows, x: ir.Value, updates: ir.Value, reduction: str | None, indices: ir.Value, *, all_fit: bool
    ) -> ir.Value:
        """Emit a scatter that writes to one place of each row."""
        counts = all(self._sizes[d] == 1 for d in self._start)
        indices, within, _ = indexing.bounded(self._ctx, indices, self._limits, self._columns, counts=counts)
        valid = None if all_fit else self._in_bounds(indices, within)
        return rows.emit(self._ctx, x, within, (updates, self._update_axes), reduction=reduction, valid=valid)

    def _is_one_place(self) -> bool:
        """Return whether there is one index vector, of the places in the first dims."""
        first = list(range(len(self._addressed)))
        is_one = all(size == 1 for size in self._points.values()) and not self._batching and not self._partial
        return is_one and bool(first) and self._addressed == first and set(first) <= set(self._start)

    def _in_bounds(self, indices: ir.Value, within: ir.Value) -> ir.Value:
        return indexing.in_bounds(self._ctx, indices, within, len(self._limits))

    def _at_one_place(
        self, x: ir.Value, within: ir.Value, updates: ir.Value, reduction: str | None, valid: ir.Value | None
    ) -> ir.Value:
        """Emit a scatter with the index vector as it is: ``ScatterElements`` if a number is written to a vector.

        JAX drops an update that is not ``valid``. What the array has there is written, or nothing added.
        """
        ctx, count = self._ctx, len(self._addressed)
        index = indexing.components(ctx, within, [self._start.index(d) for d in self._addressed], len(self._start))
        batch = [*self._batch.values()]
        shape = [*batch, count] if len(self._start) > 1 and count > 1 else batch
        rest = self._shape[count:]
        is_vector = len(self._shape) == 1
        index = ctx.reshape(index, shape, (1,) if is_vector else (count,))
        updates = self._flattened(updates, (), rest)
        if not is_vector:
            # Without an axis of index vectors: what is written is one row, or one number.
            index, updates = ctx.cast(index, np.int64), ctx.reshape(updates, (1, *rest), rest)
        window = (1,) if is_vector else rest
        if valid is not None:
            valid = ctx.reshape(valid, batch, (1,) * len(window))
            if reduction == "add":
                assert x.dtype is not None
                other = ctx.constant(-0.0 if x.dtype.is_floating_point() else 0, x.dtype.numpy())
            else:
                other = ctx.stamp(ctx.op.Gather(x, index) if is_vector else ctx.op.GatherND(x, index), window)
            updates = emit_select(ctx, valid, updates, other)
        if is_vector:
            return ctx.op.ScatterElements(x, index, updates, axis=0, reduction=reduction)
        return ctx.op.ScatterND(x, index, updates, reduction=reduction)

    def _or_last(self, line: ir.Value, valid: ir.Value, last: Any) -> ir.Value:
        """Replace the linear index of every point of an invalid index vector by ``last``."""
        rank = max(len(self._points), 1)  # the index of a lone point is a vector, too
        valid = self._unsqueezed(valid, other_axes(rank, range(len(self._batch))))
        return self._ctx.op.Where(valid, line, self._ctx.dim(last))

    def _unsqueezed(self, x: ir.Value, axes: Sequence[int]) -> ir.Value:
        return self._ctx.op.Unsqueeze(x, self._ctx.ints(*axes)) if axes else x

    def _flattened(self, updates: ir.Value, before: Sequence[Any], after: Sequence[Any]) -> ir.Value:
        """Bring the updates into the form (before, points, after)."""
        rest = other_axes(len(self._shape), self._addressed)
        first, last = window_axes(self._shape, rest[: len(before)]), window_axes(self._shape, rest[len(before) :])
        updates = indexing.arranged(self._ctx, updates, self._update_axes, {**first, **self._points, **last})
        points = self._points.values()
        return self._ctx.reshape(updates, [*before, *points, *after], [*before, math.prod(points), *after])

    def _merged(self, x: ir.Value) -> tuple[ir.Value, Sequence[Any], Any, Sequence[Any], list[int]]:
        """Merge the addressed dims into one; return the sizes before, of and after it, and the order of the dims."""
        ctx, addressed = self._ctx, self._addressed
        perm = list(range(len(self._shape)))
        first = addressed[0] if addressed else 0
        end = first + len(addressed)
        if addressed != perm[first:end]:
            perm = [*addressed, *other_axes(len(perm), addressed)]
            first, end = 0, len(addressed)
        shape = permuted(self._shape, perm)
        before, after, count = shape[:first], shape[end:], math.prod(shape[first:end])
        x = transposed(ctx, x, self._shape, perm)
        return ctx.reshape(x, shape, [*before, count, *after]), before, count, after, perm

    def _linear(self, within: ir.Value) -> ir.Value:
        """Return the linear index, as int64, of every point of the updates."""
        ctx = self._ctx
        strides: dict[int, Any] = {}
        stride = 1
        for d in reversed(self._addressed):
            strides[d] = stride
            stride = stride * self._shape[d]
        rank, batch_rank = len(self._points), len(self._batch)
        parts: list[ir.Value] = []
        moving = [k for k, d in enumerate(self._start) if d in strides]
        if moving:
            index = ctx.cast(indexing.components(ctx, within, moving, len(self._start)), np.int64)
            index = self._weighted(index, [strides[self._start[k]] for k in moving])
            parts.append(self._unsqueezed(index, range(batch_rank, rank)))
        # Along these axes of the points, the index grows by the stride of a dim.
        axes = self._batching | {d: batch_rank + i for i, d in enumerate(self._partial)}
        for d, axis in axes.items():
            size = self._shape[d] if d in self._batching else self._sizes[d]
            step = self._weighted(arange(ctx, size, np.int64), [strides[d]])
            parts.append(self._unsqueezed(step, other_axes(rank, [axis])))
        line = functools.reduce(ctx.op.Add, parts) if parts else ctx.constant(0, np.int64)
        return line if moving or not self._points else expand(ctx, line, (), [*self._points.values()])

    def _weighted(self, indices: ir.Value, strides: Sequence[Any]) -> ir.Value:
        """Return the sum of the components of index vectors (scalars if there is one), each times its stride."""
        ctx = self._ctx
        if len(strides) == 1 and strides[0] == 1:
            return indices
        scaled = ctx.op.Mul(indices, ctx.shape(strides))
        return ctx.op.ReduceSum(scaled, ctx.ints(len(self._batch)), keepdims=0) if len(strides) > 1 else scaled
