"""Lower slices whose place is computed at run time; the start is clamped so that the whole slice fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx.plugin import has_zero, is_static, permuted
from jax2onnx_lax.indexing import as_index, clamped, counted_from_end
from jax2onnx_lax.ranges import are_within
from jax2onnx_lax.shape import TO_END, cut

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import BoundLowerings, LoweringContext

_SCATTER_OPSET = 24
"""The first opset that has ``TensorScatter``."""


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.table({"dynamic_slice": dynamic_slice, "dynamic_update_slice": dynamic_update_slice})


def dynamic_slice(ctx: LoweringContext, x: ir.Value, *starts: ir.Value, slice_sizes: Sequence[Any]) -> ir.Value:
    """Lower ``dynamic_slice``."""
    shape = list(ctx.avals_in[0].shape)
    if len(starts) != len(shape):
        raise ctx.unsupported("sizes that are computed at run time", "use symbolic dimensions in inputs=")
    fixed: dict[int, tuple[Any, Any]] = {}
    moving: list[int] = []
    for axis, size in enumerate(slice_sizes):
        start = _known_start(ctx, 1 + axis, shape[axis], size)
        if start is not None and size != shape[axis]:
            fixed[axis] = (start, start + size)
            shape[axis] = size
        elif size != shape[axis]:
            moving.append(axis)
    x = cut(ctx, x, fixed, shape)
    if not moving:
        return x
    sizes = permuted(slice_sizes, moving)
    if sizes == (1,):
        (axis,) = moving
        index = _clamped(ctx, starts[axis], 1 + axis, shape[axis], 1, counts=True)
        return ctx.op.Gather(x, ctx.reshape(index, (), (1,)), axis=axis)
    one_element = set(sizes) == {1} and moving == list(range(len(moving)))
    begin = [_start(ctx, starts[axis], 1 + axis, shape[axis], slice_sizes[axis], counts=one_element) for axis in moving]
    first = begin[0] if len(begin) == 1 else ctx.stamp(ctx.op.Concat(*begin, axis=0), (len(begin),))
    if one_element:
        return ctx.op.GatherND(x, ctx.reshape(first, (len(moving),), (*sizes, len(moving))))
    last = ctx.op.Add(first, ctx.shape(sizes))
    return ctx.op.Slice(x, first, last, ctx.ints(*moving))


def dynamic_update_slice(ctx: LoweringContext, x: ir.Value, update: ir.Value, *starts: ir.Value) -> ir.Value:
    """Lower ``dynamic_update_slice``: axis by axis, what lies before, the update, what lies after."""
    shape, part = ctx.avals_in[0].shape, ctx.avals_in[1].shape
    if has_zero(*part):
        return x
    axes = [axis for axis in range(len(shape)) if part[axis] != shape[axis]]
    if len(axes) == 1 and _can_scatter(ctx, axes[0]):
        return _scattered(ctx, x, update, starts, axes[0])
    return _updated(ctx, x, update, starts, axes)


def _can_scatter(ctx: LoweringContext, axis: int) -> bool:
    """Return whether ``TensorScatter`` writes an update; it takes an axis behind the first, and is for run time."""
    known = _known_start(ctx, 2 + axis, ctx.avals_in[0].shape[axis], ctx.avals_in[1].shape[axis])
    if ctx.opset < _SCATTER_OPSET or axis == 0 or known is not None:
        return False
    return ctx.supports("TensorScatter", ctx.aval_out.dtype)


def _scattered(
    ctx: LoweringContext,
    x: ir.Value,
    update: ir.Value,
    starts: Sequence[ir.Value],
    axis: int,
) -> ir.Value:
    """Emit ``TensorScatter(x, update, starts)``, which runtimes do in place.

    ``x = Transpose(p)`` becomes ``Transpose(TensorScatter(p, Transpose(update)))``: what is long is not rearranged.
    """
    shape, part = ctx.avals_in[0].shape, ctx.avals_in[1].shape
    start = _start(ctx, starts[axis], 2 + axis, shape[axis], part[axis])
    start = ctx.stamp(ctx.op.Expand(start, ctx.shape(shape[:1])), shape[:1])
    before = x.producer()
    order = list(range(len(shape)))
    if before is not None and not before.domain and before.op_type == "Transpose" and "perm" in before.attributes:
        order = list(before.attributes["perm"].as_ints())
    source = None if before is None else before.inputs[0]
    if order[0] != 0 or source is None or order == sorted(order):
        return ctx.op.TensorScatter(x, update, start, axis=axis)
    back = sorted(range(len(order)), key=order.__getitem__)
    turned = ctx.stamp(ctx.op.Transpose(update, perm=back), [part[i] for i in back])
    written = ctx.stamp(ctx.op.TensorScatter(source, turned, start, axis=order[axis]), [shape[i] for i in back])
    return ctx.op.Transpose(written, perm=order)


def _updated(
    ctx: LoweringContext, x: ir.Value, update: ir.Value, starts: Sequence[ir.Value], axes: Sequence[int]
) -> ir.Value:
    if not axes:
        return update
    axis, *rest = axes
    full, size = ctx.avals_in[0].shape[axis], ctx.avals_in[1].shape[axis]
    known = _known_start(ctx, 2 + axis, full, size)
    if known is not None:
        begin, end = ctx.shape([known]), ctx.shape([known + size])
    else:
        begin = _start(ctx, starts[axis], 2 + axis, full, size)
        end = ctx.op.Add(begin, ctx.dim(size))
    on = ctx.ints(axis)
    middle = _updated(ctx, ctx.op.Slice(x, begin, end, on), update, starts, rest) if rest else update
    parts = [middle]
    if known is None or known != 0:
        parts.insert(0, ctx.op.Slice(x, ctx.ints(0), begin, on))
    if known is None or known + size != full:
        parts.append(ctx.op.Slice(x, end, ctx.ints(TO_END), on))
    return ctx.op.Concat(*parts, axis=axis)


def _known_start(ctx: LoweringContext, operand: int, full: Any, size: Any) -> int | None:
    """Return a constant start, clamped; None if start or clamping depend on what is known at run time only."""
    value = ctx.known(operand)
    if value is None or not is_static(full, size):
        return None
    return int(np.clip(int(value), 0, full - size))


def _start(
    ctx: LoweringContext, start: ir.Value, operand: int, full: Any, size: Any, *, counts: bool = False
) -> ir.Value:
    """Return a clamped start as int64 of shape ``[1]``; with ``counts``, negative ones may count from the end."""
    within = _clamped(ctx, start, operand, full, size, counts=counts)
    return ctx.reshape(ctx.cast(within, np.int64), (), (1,))


def _clamped(
    ctx: LoweringContext, start: ir.Value, operand: int, full: Any, size: Any, *, counts: bool = False
) -> ir.Value:
    """Return a clamped start in a dtype that ONNX takes; with ``counts``, negative ones may count from the end."""
    index = as_index(ctx, start, ctx.avals_in[operand].dtype)
    limit = full - size
    in_bounds = are_within(ctx.ranges(operand), [limit])
    plain = counted_from_end(ctx, index, full, in_bounds=in_bounds) if counts else index
    return plain if in_bounds else clamped(ctx, plain, [limit], from_end=[plain is not index])
