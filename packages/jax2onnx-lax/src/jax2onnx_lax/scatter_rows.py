"""Emit scatters that write to one place of each row, as ``x.at[i].set(u)`` does where it is mapped over rows.

No two index vectors name the same place then, so that each update is written, or combined, on its own::

    x[N, 5], i[N], u[N]:        ScatterElements(x, Unsqueeze(i, 1), Unsqueeze(u, 1), axis=1)
    x[3, 5, 4], i[3], u[3, 4]:  ScatterND(x, Concat([[0], [1], [2]], Unsqueeze(i, 1)), u)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx.plugin import is_static
from jax2onnx_lax import indexing
from jax2onnx_lax.indexing import Axes, window_axes
from jax2onnx_lax.shape import LARGEST, arange
from jax2onnx_lax.zeros import emit_select

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import LoweringContext

__all__ = ["Rows"]


@dataclass(frozen=True, slots=True)
class Rows:
    """Where a scatter writes to one place of each row.

    Attributes:
        shape: the shape of the operand.
        batch: the axes of the index vectors, each of which runs on the rows.
        batching: leading dim of the operand -> the axis of the index vectors that runs on it.
        start: the dims that the components of index vectors address, which follow those.
    """

    shape: Sequence[Any]
    batch: Axes
    batching: Mapping[int, int]
    start: Sequence[int]

    def fit(self) -> bool:
        """Return whether an operator takes index vectors for such rows."""
        count, leading = len(self.start), len(self.batching)
        if not count or not leading or sorted(self.batching) != list(range(leading)):
            return False
        if sorted(self.start) != list(range(leading, leading + count)):
            return False
        if sorted(self.batching.values()) != list(range(len(self.batch))):
            return False
        return self._is_matrix() or leading == 1 or self._is_small()

    def _is_small(self) -> bool:
        """Return whether the places of the rows are known, and few enough to be stored."""
        sizes = [*self.batch.values()]
        return is_static(*sizes) and math.prod(sizes) * len(sizes) <= LARGEST

    def _is_matrix(self) -> bool:
        """Return whether the last dim is addressed alone, and the rows are all others in their order."""
        last = len(self.shape) - 1
        return list(self.start) == [last] and all(self.batching.get(d) == d for d in range(last))

    def emit(
        self,
        ctx: LoweringContext,
        x: ir.Value,
        within: ir.Value,
        updates: tuple[ir.Value, Axes],
        *,
        reduction: str | None,
        valid: ir.Value | None,
    ) -> ir.Value:
        """Emit the scatter.

        Args:
            ctx: the context of the equation.
            x: the operand.
            within: the index vectors, in bounds; scalars if they have one component.
            updates: the updates, and their axes.
            reduction: how they are combined with what is there.
            valid: for each index vector, whether its update is not dropped; None if none is.
        """
        given, axes = updates
        end = len(self.batching) + len(self.start)
        rest = [*range(end - 1 if self._is_matrix() else end, len(self.shape))]
        wanted = {**self.batch, **window_axes([1] * end + [*self.shape[end:]], rest)}
        given = indexing.arranged(ctx, given, axes, wanted)
        given = ctx.stamp(given, [*wanted.values()])
        index = self._unsqueezed(ctx, within) if self._is_matrix() else self._vectors(ctx, within)
        if valid is not None:
            added = range(len(self.batch), len(wanted))
            valid = ctx.op.Unsqueeze(valid, ctx.ints(*added)) if added else valid
            given = emit_select(ctx, valid, given, self._left(ctx, x, index, reduction, [*wanted.values()]))
        if self._is_matrix():
            return ctx.op.ScatterElements(x, index, given, axis=len(self.shape) - 1, reduction=reduction)
        return ctx.op.ScatterND(x, index, given, reduction=reduction)

    def _left(
        self, ctx: LoweringContext, x: ir.Value, index: ir.Value, reduction: str | None, shape: Sequence[Any]
    ) -> ir.Value:
        """Return what is written in place of an update that JAX drops: what is there, or nothing to add."""
        if reduction == "add":
            assert x.dtype is not None
            return ctx.constant(-0.0 if x.dtype.is_floating_point() else 0, x.dtype.numpy())
        if self._is_matrix():
            return ctx.stamp(ctx.op.GatherElements(x, index, axis=len(self.shape) - 1), shape)
        return ctx.stamp(ctx.op.GatherND(x, index), shape)

    def _unsqueezed(self, ctx: LoweringContext, within: ir.Value) -> ir.Value:
        sizes = [*self.batch.values()]
        return ctx.stamp(ctx.op.Unsqueeze(within, ctx.ints(len(sizes))), [*sizes, 1])

    def _vectors(self, ctx: LoweringContext, within: ir.Value) -> ir.Value:
        """Return the index vectors with the places of their rows before their own components."""
        sizes, count = [*self.batch.values()], len(self.start)
        if count == 1:
            own = self._unsqueezed(ctx, within)
        else:
            own = indexing.components(ctx, within, np.argsort(self.start).tolist(), count)
        if self._is_small():
            grid = np.stack([np.indices(sizes)[self.batching[d]] for d in range(len(self.batching))], axis=-1)
            places = ctx.constant(grid, np.int64)
        else:
            places = ctx.op.Unsqueeze(arange(ctx, sizes[0], np.int64), ctx.ints(1))
        joined = ctx.op.Concat(places, ctx.cast(own, np.int64), axis=len(sizes))
        return ctx.stamp(joined, [*sizes, len(self.batching) + count])
