"""Lower ``gather``: windows of an array at the places that index vectors name."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jax.lax import GatherScatterMode

from jax2onnx.plugin import has_zero, is_static, other_axes, permuted
from jax2onnx_lax import indexing
from jax2onnx_lax.dtypes import converted, info
from jax2onnx_lax.indexing import Axes, Label, batch_axes, window_axes
from jax2onnx_lax.shape import TO_END, cut, dim_scalar, expand, filled, transposed
from jax2onnx_lax.zeros import source

if TYPE_CHECKING:
    import onnx_ir as ir
    from jax.lax import GatherDimensionNumbers

    from jax2onnx.plugin import BoundLowerings, LoweringContext


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.table({"gather": gather})


def gather(
    ctx: LoweringContext,
    x: ir.Value,
    indices: ir.Value,
    *,
    dimension_numbers: GatherDimensionNumbers,
    slice_sizes: Sequence[Any],
    mode: Any,
    fill_value: Any,
) -> ir.Value:
    """Lower ``gather`` to the simplest of Gather, GatherElements and GatherND that can express it."""
    shape, dtype = ctx.aval_out.shape, ctx.aval_out.dtype
    if has_zero(*shape):
        return filled(ctx, 0, shape, dtype)
    mode = GatherScatterMode.from_any(mode)
    if mode == GatherScatterMode.ONE_HOT:
        raise ctx.unsupported(f"mode {mode}", "use mode='clip' or mode='fill'")
    fills = mode == GatherScatterMode.FILL_OR_DROP
    x, operand_shape, dimension_numbers, slice_sizes = _of_one(ctx, x, dimension_numbers, slice_sizes)
    window = _Window(ctx, operand_shape, indices, dimension_numbers, slice_sizes, fills=fills)
    limits, columns = window.limits, window.columns
    in_int32 = fills and indexing.are_made_int32(ctx, limits, columns)
    indices = indexing.vectors(ctx, indices, columns, in_int32=in_int32)
    # ONNX refuses indices out of bounds and wraps negative ones; JAX clamps them, promised to be in bounds or not.
    indices, within, safe = indexing.bounded(ctx, indices, limits, columns, counts=window.counts())
    value, axes = window.take(x, within)
    value = indexing.arranged(ctx, ctx.stamp(value, [*axes.values()]), axes, window.wanted)
    if not fills or safe:
        return value
    valid = indexing.in_bounds(ctx, indices, within, len(window.limits))
    places = [i for i, (kind, _) in enumerate(window.wanted) if kind == "window"]
    valid = ctx.op.Unsqueeze(valid, ctx.ints(*places)) if places else valid
    return ctx.op.Where(valid, value, _fill(ctx, fill_value))


def _fill(ctx: LoweringContext, fill_value: Any) -> ir.Value:
    """Return what stands where an index is out of bounds; it may be a size, as in ``jnp.intersect1d``."""
    dtype = ctx.aval_out.dtype
    if fill_value is None:
        return ctx.constant(_default_fill(dtype), dtype)
    if not is_static(fill_value):
        return ctx.cast(dim_scalar(ctx, fill_value), dtype)
    return ctx.constant(converted(fill_value, dtype), dtype)


def _default_fill(dtype: Any) -> Any:
    if jnp.issubdtype(dtype, np.inexact):
        return np.nan
    if dtype == np.bool_:
        return True
    return info(dtype).min if jnp.issubdtype(dtype, np.signedinteger) else info(dtype).max


def _of_one(
    ctx: LoweringContext, x: ir.Value, numbers: GatherDimensionNumbers, sizes: Sequence[Any]
) -> tuple[ir.Value, Sequence[Any], GatherDimensionNumbers, Sequence[Any]]:
    """Return an operand, its shape, dimension numbers and sizes without batched dims, where it is the same along them.

    Such is the identity by which ``inv`` solves for a batch.
    """
    shape, batching = ctx.avals_in[0].shape, list(map(int, numbers.operand_batching_dims))
    known = indexing.constant(source(x, {"Expand"})) if batching else None
    if known is None:
        return x, shape, numbers, sizes
    known = known.reshape((1,) * (len(shape) - known.ndim) + known.shape)
    if any(known.shape[d] > 1 and np.any(known != known.take([0], axis=d)) for d in batching):
        return x, shape, numbers, sizes
    kept = other_axes(len(shape), batching)
    known = known[tuple(0 if d in batching else slice(None) for d in range(len(shape)))]
    if not is_static(*permuted(shape, kept)):
        return x, shape, numbers, sizes
    whole = np.broadcast_to(known, permuted(shape, kept))
    numbers = numbers._replace(
        collapsed_slice_dims=tuple(kept.index(d) for d in numbers.collapsed_slice_dims),
        start_index_map=tuple(kept.index(d) for d in numbers.start_index_map),
        operand_batching_dims=(),
        start_indices_batching_dims=(),
    )
    return ctx.constant(whole), whole.shape, numbers, permuted(sizes, kept)


class _Window:
    """A gather's dimension numbers, by axis.

    Attributes:
        columns: the components of index vectors that decide on something.
        limits: for each of these, the last start at which the window still fits.
        wanted: the axes of the result.
    """

    def __init__(
        self,
        ctx: LoweringContext,
        shape: Sequence[Any],
        indices: ir.Value,
        numbers: GatherDimensionNumbers,
        sizes: Sequence[Any],
        *,
        fills: bool,
    ) -> None:
        self._ctx = ctx
        self._shape = shape
        self._sizes = sizes
        start = list(map(int, numbers.start_index_map))
        limits = [self._shape[d] - sizes[d] for d in start]
        self.columns = indexing.deciding(ctx, indices, limits, drops=fills)
        self._start = [start[k] for k in self.columns]
        self.limits = [limits[k] for k in self.columns]
        self._batching = list(map(int, numbers.operand_batching_dims))
        self._index_batching: list[Label] = [("batch", int(i)) for i in numbers.start_indices_batching_dims]
        self._batch = batch_axes(ctx.avals_in[1].shape[:-1])
        kept = other_axes(len(self._shape), {*numbers.collapsed_slice_dims, *self._batching})
        self.wanted = indexing.labelled(len(ctx.aval_out.shape), numbers.offset_dims, kept)

    def counts(self) -> bool:
        """Return whether one element is taken along the indexed axis, by an operator that counts from the end.

        ``Slice`` does not, which serves where there is one window and the axis stays.
        """
        is_gathered = bool(self._batch) or all(("window", d) not in self.wanted for d in self._start)
        return is_gathered and all(self._sizes[d] == 1 for d in self._start)

    def take(self, x: ir.Value, indices: ir.Value) -> tuple[ir.Value, Axes]:
        """Gather; return the value and its axes, in whatever order they came out."""
        ctx, sizes = self._ctx, self._sizes
        x, shape = self._narrowed(x)
        moving = [k for k, d in enumerate(self._start) if sizes[d] != shape[d]]
        if not moving:
            return self._repeated(x, shape)
        axes = [self._start[k] for k in moving]
        partial = [d for d in axes if sizes[d] != 1]
        indices = indexing.components(ctx, indices, moving, len(self._start))
        stays = any(("window", d) in self.wanted for d in axes)
        if stays and not self._batch:
            return self._sliced(x, indices, shape, axes)
        # Dims that are cut to a part become indexed elements: a point is an index vector and a place in those parts.
        points = {**self._batch, **window_axes(sizes, partial)}
        columns = {axes.index(d): sizes[d] for d in partial}
        indices = indexing.spread(ctx, indices, len(self._batch), columns, len(axes))
        merged = self._merged(x, indices, shape, axes)
        if merged is not None and not partial:
            return merged
        if len(axes) > 1 or (self._batching and not len(points) <= len(shape) == len(self._batching) + 1):
            return self._vectors(x, indices, points, axes, shape)
        (axis,) = axes
        if self._batching:
            return self._elements(x, indices, points, axis)
        known = indexing.constant(x)
        if known is not None and axis and not partial and self._is_moved(axis):
            rest = window_axes(shape, other_axes(len(shape), [axis]))
            first = ctx.constant(np.ascontiguousarray(np.moveaxis(known, axis, 0)))
            return ctx.op.Gather(first, indices, axis=0), {**points, **rest}
        before, after = window_axes(shape, range(axis)), window_axes(shape, range(axis + 1, len(shape)))
        return ctx.op.Gather(x, indices, axis=axis), {**before, **points, **after}

    def _is_moved(self, axis: int) -> bool:
        """Return whether what is indexed stands elsewhere in the result than in the operand."""
        before = [label for label in self.wanted if label[0] == "window" and label[1] < axis]
        return bool(self._batch) and self.wanted[: len(before)] != before

    def _merged(
        self, x: ir.Value, indices: ir.Value, shape: Sequence[Any], axes: Sequence[int]
    ) -> tuple[ir.Value, Axes] | None:
        """Emit ``Gather`` along several axes merged into one, such as those of a diagonal; None where that is no gain.

        They lie next to each other, but not first, and the indices are known.
        """
        known, first, end = indexing.constant(indices), axes[0], axes[-1] + 1
        sizes = shape[first:end]
        if known is None or self._batching or first == 0 or list(axes) != list(range(first, end)) or len(axes) == 1:
            return None
        if not is_static(*sizes):
            return None
        size = math.prod(sizes)
        flat = np.ravel_multi_index(tuple(np.moveaxis(known, -1, 0)), tuple(sizes)).astype(np.int32)
        x = self._ctx.reshape(x, shape, (*shape[:first], size, *shape[end:]))
        before, after = window_axes(shape, range(first)), window_axes(shape, range(end, len(shape)))
        return self._ctx.op.Gather(x, self._ctx.constant(flat), axis=first), {**before, **self._batch, **after}

    def _narrowed(self, x: ir.Value) -> tuple[ir.Value, list[Any]]:
        """Cut the dims that no index moves to their window, which starts at 0; return the value and its shape."""
        shape = list(self._shape)
        bounds: dict[int, tuple[Any, Any]] = {}
        for d in other_axes(len(shape), [*self._start, *self._batching]):
            if self._sizes[d] != shape[d]:
                shape[d] = self._sizes[d]
                bounds[d] = (0, shape[d])
        return cut(self._ctx, x, bounds, shape), shape

    def _repeated(self, x: ir.Value, shape: Sequence[Any]) -> tuple[ir.Value, Axes]:
        """Return the same windows for every index vector, as nothing is indexed."""
        labels = dict(zip(self._batching, self._index_batching, strict=True))
        own = {labels.get(d, ("window", d)): size for d, size in enumerate(shape)}
        full = {**self._batch, **own, **self._batch}
        x = indexing.arranged(self._ctx, x, own, full)
        return expand(self._ctx, x, [own.get(label, 1) for label in full], [*full.values()]), full

    def _sliced(
        self, x: ir.Value, indices: ir.Value, shape: Sequence[Any], axes: Sequence[int]
    ) -> tuple[ir.Value, Axes]:
        """Emit ``Slice``, as there is one window; it may be empty at run time, where ``Gather`` fails."""
        ctx = self._ctx
        sizes = [self._sizes[d] for d in axes]
        out = window_axes([self._sizes[d] if d in axes else size for d, size in enumerate(shape)], range(len(shape)))
        known = indexing.constant(indices)
        if known is None:
            first = ctx.cast(indices, np.int64)
            first = ctx.reshape(first, (), (1,)) if len(axes) == 1 else first
            return ctx.op.Slice(x, first, ctx.op.Add(first, ctx.shape(sizes)), ctx.ints(*axes)), out
        bounds: dict[int, tuple[Any, Any]] = {}
        for d, start, size in zip(axes, known.reshape(-1).tolist(), sizes, strict=True):
            end = start + size
            bounds[d] = (start, TO_END if end == shape[d] else end)
        return cut(ctx, x, bounds, [*out.values()]), out

    def _elements(self, x: ir.Value, indices: ir.Value, points: Axes, axis: int) -> tuple[ir.Value, Axes]:
        """Emit ``GatherElements``, as one axis is indexed and all others are batched."""
        order = [label for _, label in sorted(zip(self._batching, self._index_batching, strict=True))]
        free = [label for label in points if label not in order]
        order.insert(axis, free[0] if free else ("window", axis))
        indices = indexing.arranged(self._ctx, indices, points, order)
        value = self._ctx.op.GatherElements(x, indices, axis=axis)
        return value, {label: points.get(label, 1) for label in order}

    def _vectors(
        self, x: ir.Value, indices: ir.Value, points: Axes, axes: Sequence[int], shape: Sequence[Any]
    ) -> tuple[ir.Value, Axes]:
        """Emit ``GatherND``, as several axes are indexed, or some are batched: batched and indexed axes first."""
        ctx = self._ctx
        rest = other_axes(len(shape), [*self._batching, *axes])
        x = transposed(ctx, x, shape, [*self._batching, *axes, *rest])
        order = {label: points[label] for label in (*self._index_batching, *points)}
        if len(axes) == 1:
            indices = ctx.op.Unsqueeze(indices, ctx.ints(-1))
        vector = {("vector", 0): len(axes)}
        indices = indexing.arranged(ctx, indices, {**points, **vector}, {**order, **vector})
        value = ctx.op.GatherND(x, ctx.cast(indices, np.int64), batch_dims=len(self._batching))
        return value, {**order, **window_axes(shape, rest)}
