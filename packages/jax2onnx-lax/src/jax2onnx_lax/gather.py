"""Gather: windows of an array at the places that index vectors name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax.lax import GatherScatterMode

from jax2onnx.plugin import is_symbolic
from jax2onnx_lax.indexing import (
    Label,
    arranged,
    clamped,
    components,
    constant,
    in_bounds,
    spread,
    surely_in_bounds,
    vectors,
)
from jax2onnx_lax.shape import TO_END, cut, expand, filled, transposed

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
    """Lower ``gather`` to the plainest of Gather, GatherElements and GatherND that says it."""
    shape, dtype = ctx.aval_out.shape, ctx.aval_out.dtype
    if any(not is_symbolic(d) and d == 0 for d in shape):
        return filled(ctx, 0, shape, dtype)
    mode = GatherScatterMode.from_any(mode)
    if mode == GatherScatterMode.ONE_HOT:
        raise ctx.unsupported(f"mode {mode}", "use mode='clip' or mode='fill'")
    window = _Window(ctx, dimension_numbers, slice_sizes)
    indices = vectors(ctx, indices, 1)
    # ONNX refuses indices out of bounds and wraps negative ones; JAX clamps them, promised to be in bounds or not.
    safe = not window.limits or surely_in_bounds(indices, window.limits)
    within = indices if safe else clamped(ctx, indices, window.limits)
    value, labels, sizes = window.take(x, within)
    value = arranged(ctx, value, sizes, labels, window.wanted)
    if mode != GatherScatterMode.FILL_OR_DROP or safe:
        return value
    valid = in_bounds(ctx, indices, within, len(window.limits))
    places = [i for i, label in enumerate(window.wanted) if label[0] == "window"]
    valid = ctx.op.Unsqueeze(valid, ctx.ints(*places)) if places else valid
    fill = _default_fill(dtype) if fill_value is None else fill_value
    return ctx.op.Where(valid, value, ctx.constant(fill, dtype))


def _default_fill(dtype: Any) -> Any:
    if jnp.issubdtype(dtype, np.inexact):
        return np.nan
    if dtype == np.bool_:
        return True
    limits = ml_dtypes.iinfo(dtype)  # type: ignore[no-untyped-call]
    return limits.min if jnp.issubdtype(dtype, np.signedinteger) else limits.max


class _Window:
    """A gather's dimension numbers, said by axis: ``("batch", i)`` of the indices, ``("window", d)`` of the operand."""

    def __init__(self, ctx: LoweringContext, numbers: GatherDimensionNumbers, sizes: Sequence[Any]) -> None:
        self._ctx = ctx
        self._shape = list(ctx.avals_in[0].shape)
        self._sizes = sizes
        self._start = [int(d) for d in numbers.start_index_map]
        self._batching = [int(d) for d in numbers.operand_batching_dims]
        self._index_batching = [int(d) for d in numbers.start_indices_batching_dims]
        self._index_shape = list(ctx.avals_in[1].shape[:-1])
        rank = len(self._shape)
        gone = {int(d) for d in numbers.collapsed_slice_dims} | set(self._batching)
        kept = iter([d for d in range(rank) if d not in gone])
        batch = iter(range(len(self._index_shape)))
        offset = {int(d) for d in numbers.offset_dims}
        self.limits = [self._shape[d] - sizes[d] for d in self._start]
        """The last start, for each component of an index vector, at which the window still fits."""
        self.wanted: list[Label] = [
            ("window", next(kept)) if i in offset else ("batch", next(batch)) for i in range(len(ctx.aval_out.shape))
        ]
        """The axes of the result."""

    def take(self, x: ir.Value, indices: ir.Value) -> tuple[ir.Value, list[Label], list[Any]]:
        """Gather; return the value and its axes, with their sizes, in whatever order they came out."""
        ctx, sizes = self._ctx, self._sizes
        # A window that is not as large as its dim, and that no index moves, starts at 0.
        still = [d for d in range(len(self._shape)) if d not in self._start and d not in self._batching]
        bounds = {d: (0, sizes[d]) for d in still if sizes[d] != self._shape[d]}
        shape = [sizes[d] if d in bounds else n for d, n in enumerate(self._shape)]
        x = cut(ctx, x, bounds, shape)
        moved = [(k, d) for k, d in enumerate(self._start) if sizes[d] != shape[d]]
        axes = [d for _, d in moved]
        partial = [d for d in axes if sizes[d] != 1]
        points: dict[Label, Any] = {("batch", i): size for i, size in enumerate(self._index_shape)}
        points.update({("window", d): sizes[d] for d in partial})
        if not axes:
            return self._repeated(x, shape)
        indices = components(ctx, indices, [k for k, _ in moved], len(self._start))
        if partial and not self._index_shape:
            return self._sliced(x, indices, shape, axes)
        columns = [axes.index(d) for d in partial]
        window = [sizes[d] for d in partial]
        indices = spread(ctx, indices, len(self._index_shape), window, columns=columns, count=len(axes))
        if not self._batching and len(axes) == 1:
            axis = axes[0]
            value = ctx.op.Gather(x, indices, axis=axis)
            labels = [*_windows(range(axis)), *points, *_windows(range(axis + 1, len(shape)))]
            return value, labels, [*shape[:axis], *points.values(), *shape[axis + 1 :]]
        if len(axes) == 1 and len(shape) == len(self._batching) + 1 and len(points) <= len(shape):
            return self._elements(x, indices, points, axes[0])
        return self._vectors(x, indices, points, axes, shape)

    def _repeated(self, x: ir.Value, shape: list[Any]) -> tuple[ir.Value, list[Label], list[Any]]:
        """Nothing is indexed: every index vector gets the same windows."""
        ctx = self._ctx
        own: list[Label] = [
            ("batch", self._index_batching[self._batching.index(d)]) if d in self._batching else ("window", d)
            for d in range(len(shape))
        ]
        sizes = dict(zip(own, shape, strict=True))
        lead = [("batch", i) for i in range(len(self._index_shape))]
        order: list[Label] = [*lead, *[label for label in own if label not in lead]]
        x = arranged(ctx, x, shape, own, order)
        sizes_now = [sizes.get(label, 1) for label in order]
        full = [*self._index_shape, *sizes_now[len(lead) :]]
        return expand(ctx, x, sizes_now, full), order, full

    def _sliced(
        self, x: ir.Value, indices: ir.Value, shape: list[Any], axes: list[int]
    ) -> tuple[ir.Value, list[Label], list[Any]]:
        """There is one window: Slice."""
        ctx = self._ctx
        sizes = [self._sizes[d] for d in axes]
        known = constant(indices)
        if known is not None:
            starts = [int(start) for start in known.reshape(-1)]
            ends = [start + size for start, size in zip(starts, sizes, strict=True)]
            bounds = {
                d: (start, TO_END if end == shape[d] else end) for d, start, end in zip(axes, starts, ends, strict=True)
            }
            shape = [self._sizes[d] if d in axes else size for d, size in enumerate(shape)]
            return cut(ctx, x, bounds, shape), _windows(range(len(shape))), shape
        first = ctx.cast(indices, np.int64)
        first = ctx.reshape(first, (), (1,)) if len(axes) == 1 else first
        last = ctx.op.Add(first, ctx.shape(sizes))
        cells = dict(zip(axes, sizes, strict=True))
        return (
            ctx.op.Slice(x, first, last, ctx.ints(*axes)),
            _windows(range(len(shape))),
            [cells.get(d, size) for d, size in enumerate(shape)],
        )

    def _elements(
        self, x: ir.Value, indices: ir.Value, points: Mapping[Label, Any], axis: int
    ) -> tuple[ir.Value, list[Label], list[Any]]:
        """One axis is indexed and all others are batched: GatherElements."""
        ctx = self._ctx
        order: list[Label] = [("batch", i) for _, i in sorted(zip(self._batching, self._index_batching, strict=True))]
        free = [label for label in points if label not in order]
        order.insert(axis, free[0] if free else ("window", axis))
        indices = arranged(ctx, indices, list(points.values()), list(points), order)
        return ctx.op.GatherElements(x, indices, axis=axis), order, [points.get(label, 1) for label in order]

    def _vectors(
        self, x: ir.Value, indices: ir.Value, points: Mapping[Label, Any], axes: list[int], shape: list[Any]
    ) -> tuple[ir.Value, list[Label], list[Any]]:
        """Several axes are indexed, or some are batched: GatherND, batched and indexed axes first."""
        ctx = self._ctx
        rest = [d for d in range(len(shape)) if d not in self._batching and d not in axes]
        x = transposed(ctx, x, shape, [*self._batching, *axes, *rest])
        order: list[Label] = [("batch", i) for i in self._index_batching]
        order += [label for label in points if label not in order]
        if len(axes) == 1:
            indices = ctx.op.Unsqueeze(indices, ctx.ints(-1))
        indices = arranged(
            ctx, indices, [*points.values(), len(axes)], [*points, ("vector", 0)], [*order, ("vector", 0)]
        )
        value = ctx.op.GatherND(x, ctx.cast(indices, np.int64), batch_dims=len(self._batching))
        return value, [*order, *_windows(rest)], [*[points[label] for label in order], *[shape[d] for d in rest]]


def _windows(dims: Sequence[int]) -> list[Label]:
    return [("window", d) for d in dims]
