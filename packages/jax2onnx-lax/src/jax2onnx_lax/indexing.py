"""What gather and scatter share: index vectors, their bounds, and windows around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jax2onnx.plugin import InconclusiveDimensionOperation, is_symbolic
from jax2onnx_lax.shape import arange, transposed

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import LoweringContext

INT_TYPES = (np.dtype(np.int32), np.dtype(np.int64))
"""The dtypes that ONNX takes for indices."""


def as_index(ctx: LoweringContext, x: ir.Value, dtype: Any) -> ir.Value:
    """Return indices in a dtype that ONNX takes, in order and out of bounds where they were."""
    if dtype in INT_TYPES:
        return x
    if dtype == np.uint64:
        # A Cast would wrap what int64 lacks to negative numbers.
        x = ctx.op.Min(x, np.asarray(2**62, np.uint64))
    return ctx.cast(x, np.int64)


def vectors(ctx: LoweringContext, indices: ir.Value, operand: int) -> ir.Value:
    """Return the equation's index vectors in a dtype that ONNX takes; vectors of one component as scalars."""
    aval = ctx.avals_in[operand]
    value = constant(indices)
    if value is not None:
        value = value if value.dtype in INT_TYPES else np.minimum(value.astype(object), 2**62).astype(np.int64)
        return ctx.constant(value[..., 0] if aval.shape[-1] == 1 else value)
    indices = as_index(ctx, indices, aval.dtype)
    return ctx.reshape(indices, aval.shape, aval.shape[:-1]) if aval.shape[-1] == 1 else indices


def constant(x: ir.Value) -> np.ndarray[Any, Any] | None:
    """Return the value of a constant, or None."""
    node = x.producer()
    if x.const_value is None or (node is not None and node.op_type != "Constant"):
        return None
    return x.const_value.numpy()


def clamped(ctx: LoweringContext, indices: ir.Value, limits: Sequence[Any]) -> ir.Value:
    """Clamp index vectors (last axis; scalars if there is one limit) to ``[0, limit]``, component by component."""
    if not limits:
        return indices
    assert indices.dtype is not None
    dtype = indices.dtype.numpy()
    zero = np.asarray(0, dtype)
    if any(is_symbolic(limit) for limit in limits):
        upper = ctx.cast(ctx.shape(limits), dtype)
        upper = ctx.op.Squeeze(upper, ctx.ints(0)) if len(limits) == 1 else upper
    else:
        upper = ctx.constant(limits if len(set(limits)) > 1 else limits[0], dtype)
        if dtype == np.int32 and len(set(limits)) == 1:
            return ctx.op.Clip(indices, zero, upper)
    if dtype == np.int32:
        return ctx.op.Max(ctx.op.Min(indices, upper), zero)
    # onnxruntime's Min, Max and Clip of int64 are wrong beyond 31 bits.
    below = ctx.op.Where(ctx.op.Greater(indices, upper), upper, indices)
    return ctx.op.Where(ctx.op.Less(below, zero), zero, below)


def surely_in_bounds(indices: ir.Value, limits: Sequence[Any]) -> bool:
    """Tell whether index vectors are constants that all lie in ``[0, limit]``."""
    value = constant(indices)
    if value is None:
        return False
    values = value.reshape(-1, len(limits))
    return bool(np.all(values >= 0)) and all(
        at_most(int(values[:, k].max(initial=0)), limit) for k, limit in enumerate(limits)
    )


def at_most(value: int, limit: Any) -> bool:
    """Tell whether a number is provably no larger than a dimension; 0 never is, as no window is larger than its dim."""
    if not is_symbolic(limit):
        return bool(value <= limit)
    try:
        return value == 0 or bool(value <= limit)
    except InconclusiveDimensionOperation:
        return False


def in_bounds(ctx: LoweringContext, indices: ir.Value, within: ir.Value, count: int) -> ir.Value:
    """Tell of each index vector of ``count`` components whether clamping left it alone."""
    same = ctx.op.Equal(indices, within)
    if count == 1:
        return same
    return ctx.cast(ctx.op.ReduceMin(ctx.cast(same, np.int32), ctx.ints(-1), keepdims=0), np.bool_)


def components(ctx: LoweringContext, indices: ir.Value, columns: Sequence[int], count: int) -> ir.Value:
    """Return index vectors (of ``count`` components) of the given components only; scalars if there is one."""
    if list(columns) == list(range(count)):
        return indices
    if len(columns) == 1:
        return ctx.op.Gather(indices, np.asarray(columns[0], np.int64), axis=-1)
    return ctx.op.Gather(indices, ctx.ints(*columns), axis=-1)


def spread(
    ctx: LoweringContext, indices: ir.Value, rank: int, sizes: Sequence[Any], *, columns: Sequence[int], count: int
) -> ir.Value:
    """Return the index vectors of every element of the windows that start at ``indices`` (of ``rank`` axes).

    Args:
        ctx: the context.
        indices: index vectors of ``count`` components (scalars if that is 1).
        rank: the number of axes of ``indices``, that of the components not counted.
        sizes: the sizes of the window; each becomes an axis after those of ``indices``.
        columns: for each size, the component that it runs on.
        count: the number of components.
    """
    assert indices.dtype is not None
    if not sizes:
        return indices
    steps = _offsets(ctx, sizes, columns, count, indices.dtype.numpy())
    return ctx.op.Add(ctx.op.Unsqueeze(indices, ctx.ints(*range(rank, rank + len(sizes)))), steps)


def _offsets(ctx: LoweringContext, sizes: Sequence[Any], columns: Sequence[int], count: int, dtype: Any) -> ir.Value:
    """Return the index vectors inside a window: shape ``[*sizes, count]``, or ``sizes`` if ``count`` is 1."""
    if not any(is_symbolic(size) for size in sizes):
        grid = np.zeros([*sizes, count], dtype)
        for axis, (size, column) in enumerate(zip(sizes, columns, strict=True)):
            grid[..., column] = np.arange(size).reshape([-1 if a == axis else 1 for a in range(len(sizes))])
        return ctx.constant(grid[..., 0] if count == 1 else grid)
    total: ir.Value | None = None
    for axis, column in enumerate(columns):
        others = [a for a in range(len(sizes) + (count > 1)) if a != axis]
        part = arange(ctx, sizes[axis], dtype)
        part = ctx.op.Unsqueeze(part, ctx.ints(*others)) if others else part
        part = ctx.op.Mul(part, np.eye(count, dtype=dtype)[column]) if count > 1 else part
        total = part if total is None else ctx.op.Add(total, part)
    assert total is not None
    return total


Label: TypeAlias = "tuple[str, int]"
"""Names an axis: ``(\"batch\", i)`` of the index vectors, ``(\"window\", d)`` of the operand."""


def arranged(
    ctx: LoweringContext, x: ir.Value, shape: Sequence[Any], labels: Sequence[Label], wanted: Sequence[Label]
) -> ir.Value:
    """Bring the axes of ``x`` from the order ``labels`` into the order ``wanted``.

    Axes that are not wanted have size 1 and go; axes that are missing come with size 1.
    """
    gone = [i for i, label in enumerate(labels) if label not in wanted]
    if gone:
        x = ctx.op.Squeeze(x, ctx.ints(*gone))
    left = [(label, size) for label, size in zip(labels, shape, strict=True) if label in wanted]
    names = [label for label, _ in left]
    perm = [names.index(label) for label in wanted if label in names]
    x = transposed(ctx, x, [size for _, size in left], perm)
    missing = [i for i, label in enumerate(wanted) if label not in names]
    return ctx.op.Unsqueeze(x, ctx.ints(*missing)) if missing else x
