"""Emit what gather and scatter share: index vectors, their bounds, windows around them, and the order of axes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jax2onnx.plugin import is_static, other_axes
from jax2onnx_lax.ranges import are_within
from jax2onnx_lax.shape import LARGEST, arange, surely_at_most, transposed

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import LoweringContext, Range

INT_TYPES = (np.dtype(np.int32), np.dtype(np.int64))
"""The dtypes that ONNX takes for indices."""

Label: TypeAlias = tuple[str, int]
"""Names an axis: ``("batch", i)`` of the index vectors, ``("window", d)`` of the operand."""
Axes: TypeAlias = Mapping[Label, Any]
"""The axes of an array in their order, with their sizes."""


def as_index(ctx: LoweringContext, x: ir.Value, dtype: Any) -> ir.Value:
    """Return indices in a dtype that ONNX takes, in order and out of bounds where they were."""
    if dtype in INT_TYPES:
        return x
    if dtype == np.uint64:
        # A Cast would wrap what int64 lacks to negative numbers.
        x = ctx.op.Min(x, np.asarray(2**62, np.uint64))
    return ctx.cast(x, np.int64)


def _ranges(ctx: LoweringContext, columns: Sequence[int]) -> Sequence[Range]:
    """Return the ranges of some components of the second operand; one if all have the same."""
    known = ctx.ranges(1)
    return [known[k] for k in columns] if len(known) > 1 else known


def are_made_int32(ctx: LoweringContext, limits: Sequence[Any], columns: Sequence[int]) -> bool:
    """Return whether JAX, which fills in, makes int32 of the indices: larger ones wrap, and may be in bounds again."""
    sizes, indices = ctx.avals_in[0].shape, ctx.avals_in[1].dtype
    is_wider = not np.can_cast(indices, np.int32)
    return is_wider and is_static(*sizes) and max(sizes) < 2**31 and not are_within(_ranges(ctx, columns), limits)


def deciding(ctx: LoweringContext, indices: ir.Value, limits: Sequence[Any], *, drops: bool) -> list[int]:
    """Return the components of the equation's index vectors that decide where its windows are, or if they are.

    Others are in bounds at 0 only, as the window fills the dim. There JAX clamps all to 0; with ``drops`` it drops the
    window, unless it is known that they are 0.

    Args:
        ctx: the context of the equation.
        indices: the index vectors, its second operand.
        limits: for each component, the last start at which the window still fits.
        drops: whether windows are dropped, or filled, that do not fit.
    """
    value = constant(indices)

    def is_zero(k: int) -> bool:
        return are_within(_ranges(ctx, [k]), [0]) if value is None else not np.any(value[..., k])

    return [k for k, limit in enumerate(limits) if limit != 0 or (drops and not is_zero(k))]


def vectors(ctx: LoweringContext, indices: ir.Value, columns: Sequence[int], *, in_int32: bool = False) -> ir.Value:
    """Return some components of the equation's index vectors in a dtype that ONNX takes; one component as scalars."""
    aval = ctx.avals_in[1]
    is_scalar = len(columns) == 1
    value = constant(indices)
    if value is not None:
        if in_int32:
            value = value.astype(np.int32)
        value = value if value.dtype in INT_TYPES else np.minimum(value.astype(object), 2**62).astype(np.int64)
        return ctx.constant(value[..., columns[0]] if is_scalar else value[..., columns])
    count = aval.shape[-1]
    if is_scalar and count == 1:
        indices = ctx.reshape(indices, aval.shape, aval.shape[:-1])
    elif is_scalar:
        indices = _column(ctx, indices, columns[0], aval.shape)
    else:
        indices = components(ctx, indices, columns, count)
    return ctx.cast(indices, np.int32) if in_int32 else as_index(ctx, indices, aval.dtype)


def _column(ctx: LoweringContext, indices: ir.Value, column: int, shape: Sequence[Any]) -> ir.Value:
    """Return a component of index vectors of this shape as scalars; of concatenated ones that which stands there."""
    node = indices.producer()
    is_joined = node is not None and node.op_type == "Concat" and not node.domain
    parts = node.inputs if node is not None and is_joined and node.attributes["axis"].as_int() == len(shape) - 1 else ()
    first = 0
    for part in parts:
        width = part.shape[-1] if part is not None and part.shape else None
        if part is None or not isinstance(width, int):
            break
        if column == first and width == 1:
            return ctx.reshape(part, (*shape[:-1], 1), shape[:-1])
        first += width
    return components(ctx, indices, [column], shape[-1])


def constant(x: ir.Value) -> np.ndarray[Any, Any] | None:
    """Return the value of a constant, or None."""
    node = x.producer()
    if x.const_value is None or (node is not None and node.op_type != "Constant"):
        return None
    return x.const_value.numpy()


def bounded(
    ctx: LoweringContext, indices: ir.Value, limits: Sequence[Any], columns: Sequence[int], *, counts: bool
) -> tuple[ir.Value, ir.Value, bool]:
    """Return index vectors of some columns, the nearest ones in bounds, and whether they are the same for sure.

    With ``counts``, the operator that takes the components of the latter counts negative ones from the end. Then
    both are as the user wrote them, without the size that JAX adds to negative ones.
    """
    safe = not limits or surely_in_bounds(ctx, indices, limits, columns)
    plain, from_end = indices, [False] * len(limits)
    if counts and len(limits) == 1:
        plain = counted_from_end(ctx, indices, limits[0] + 1, in_bounds=safe)
        from_end = [plain is not indices]
    elif counts:
        plain, from_end = _each_counted_from_end(ctx, indices, limits, in_bounds=safe)
    if safe:
        return plain, plain, True
    return plain, clamped(ctx, plain, limits, from_end=from_end), False


def _each_counted_from_end(
    ctx: LoweringContext, indices: ir.Value, limits: Sequence[Any], *, in_bounds: bool
) -> tuple[ir.Value, list[bool]]:
    """Return index vectors with the ``i`` of each component ``Where(Less(i, 0), Add(i, size), i)``; which ones have it.

    ::

        before: Concat(Unsqueeze(Where(Less(i[4], 0), Add(i, 5), i), 1), j[4, 1], axis=1)
        after:  Concat(Unsqueeze(i, 1), j, axis=1)
    """
    shape, node = ctx.avals_in[1].shape, indices.producer()
    unchanged = indices, [False] * len(limits)
    if node is None or node.domain or node.op_type != "Concat" or not is_static(*limits):
        return unchanged
    if node.attributes["axis"].as_int() != len(shape) - 1 or len(node.inputs) != len(limits):
        return unchanged
    parts: list[ir.Value] = []
    for part, limit in zip(node.inputs, limits, strict=True):
        if part is None or part.shape is None or part.shape[-1] != 1:
            return unchanged
        counted = _past(part, wraps=in_bounds)
        plain = counted_from_end(ctx, counted, limit + 1, in_bounds=in_bounds)
        rank = -1 if plain is counted or plain.shape is None else len(plain.shape)
        if rank not in (len(shape) - 1, len(shape)):
            parts.append(part)
            continue
        plain = ctx.reshape(plain, (*shape[:-1], 1)[:rank], (*shape[:-1], 1))
        parts.append(ctx.cast(plain, part.dtype.numpy()) if part.dtype is not None else plain)
    from_end = [part is not before for part, before in zip(parts, node.inputs, strict=True)]
    if not any(from_end):
        return unchanged
    return ctx.stamp(ctx.op.Concat(*parts, axis=len(shape) - 1), (*shape[:-1], len(limits))), from_end


def clamped(
    ctx: LoweringContext, indices: ir.Value, limits: Sequence[Any], *, from_end: Sequence[bool] = ()
) -> ir.Value:
    """Clamp index vectors (last axis; scalars if there is one limit) to ``[0, limit]``, component by component.

    Those that count ``from_end`` are clamped to ``[-limit - 1, limit]``.
    """
    if not limits:
        return indices
    assert indices.dtype is not None
    dtype = indices.dtype.numpy()
    lower: Any = np.asarray(0, dtype)
    if is_static(*limits):
        counted = from_end or [False] * len(limits)
        lowest = [-limit - 1 if negative else 0 for limit, negative in zip(limits, counted, strict=True)]
        same, alike = len(set(limits)) == 1, len(set(lowest)) == 1
        upper = ctx.constant(limits[0] if same else limits, dtype)
        lower = np.asarray(lowest[0] if alike else lowest, dtype)
        if dtype == np.int32 and same and alike:
            return ctx.op.Clip(indices, lower, upper)
    else:
        upper = ctx.cast(ctx.shape(limits), dtype)
        upper = ctx.op.Squeeze(upper, ctx.ints(0)) if len(limits) == 1 and not indices.shape else upper
        if any(from_end):
            lower = ctx.op.Sub(np.asarray(-1, dtype), upper)
    if dtype == np.int32:
        return ctx.op.Max(ctx.op.Min(indices, upper), lower)
    # onnxruntime's Min, Max and Clip of int64 are wrong beyond 31 bits.
    below = ctx.op.Where(ctx.op.Greater(indices, upper), upper, indices)
    return ctx.op.Where(ctx.op.Less(below, lower), lower, below)


def surely_in_bounds(ctx: LoweringContext, indices: ir.Value, limits: Sequence[Any], columns: Sequence[int]) -> bool:
    """Return whether index vectors, some columns of the second operand, are known to lie all in ``[0, limit]``."""
    if are_within(_ranges(ctx, columns), limits):
        return True
    value = constant(indices)
    if value is None or np.any(value < 0):
        return False
    largest = value.reshape(-1, len(limits)).max(0, initial=0).tolist()
    # 0 is in bounds of any symbol, as no window is larger than its dim.
    return all(index == 0 or surely_at_most(index, limit) for index, limit in zip(largest, limits, strict=True))


def counted_from_end(ctx: LoweringContext, x: ir.Value, size: Any, *, in_bounds: bool) -> ir.Value:
    """Return ``i`` for an index ``Where(Less(i, 0), Add(i, size), i)``, else the index.

    ONNX itself counts negative ones from the end of the axis of that size. JAX makes int32 of 64-bit indices after it
    has counted. A number that this wraps may be in bounds again: ``i`` serves only if the index is ``in_bounds``.
    """
    shape, node = x.shape, _past(x, wraps=in_bounds).producer()
    if node is None or node.domain or node.op_type != "Where":
        return x
    below, total, index = node.inputs
    less, add = (None if value is None else value.producer() for value in (below, total))
    if index is None or index.shape != shape or index.dtype is None or index.dtype.numpy() not in INT_TYPES:
        return x
    zero, added = _compared(less, "Less", index), _compared(add, "Add", index)
    if zero is None or added is None or _number(zero) != 0:
        return x
    is_size = _number(added) == size if is_static(size) else _past(added, wraps=True) is ctx.dim(size)
    return index if is_size else x


_SAME_ELEMENTS = frozenset({"Cast", "Reshape", "Squeeze", "Unsqueeze"})


def _past(x: ir.Value, *, wraps: bool) -> ir.Value:
    """Return what a value has the elements of; with ``wraps``, in a wider dtype as well."""
    while True:
        node = x.producer()
        if node is None or node.domain or node.op_type not in _SAME_ELEMENTS or node.inputs[0] is None:
            return x
        if node.op_type == "Cast" and not wraps and not _holds(x, node.inputs[0]):
            return x
        x = node.inputs[0]


def _holds(x: ir.Value, other: ir.Value) -> bool:
    """Return whether the dtype of a value is known to have all numbers of the other's."""
    return x.dtype is not None and other.dtype is not None and np.can_cast(other.dtype.numpy(), x.dtype.numpy())


def _compared(node: ir.Node | None, op_type: str, value: ir.Value) -> ir.Value | None:
    """Return the second operand of an operator, if the first one is ``value``."""
    if node is None or node.domain or node.op_type != op_type or node.inputs[0] is not value:
        return None
    return node.inputs[1]


def _number(value: ir.Value) -> int | None:
    number = constant(value)
    return int(number.reshape(-1)[0]) if number is not None and number.size == 1 else None


def in_bounds(ctx: LoweringContext, indices: ir.Value, within: ir.Value, count: int) -> ir.Value:
    """Emit for each of the equation's index vectors, of ``count`` components, whether clamping left it alone."""
    same = ctx.op.Equal(indices, within)
    if count == 1:
        return same
    last = len(ctx.avals_in[1].shape) - 1
    if ctx.opset >= 20:  # since then, bools are reduced
        return ctx.op.ReduceMin(same, ctx.ints(last), keepdims=0)
    return ctx.cast(ctx.op.ReduceMin(ctx.cast(same, np.int32), ctx.ints(last), keepdims=0), np.bool_)


def components(ctx: LoweringContext, indices: ir.Value, columns: Sequence[int], count: int) -> ir.Value:
    """Return index vectors (of ``count`` components) of the given components only; scalars if there is one."""
    if list(columns) == list(range(count)):
        return indices
    if len(columns) == 1:
        return ctx.op.Gather(indices, np.asarray(columns[0], np.int64), axis=-1)
    return ctx.op.Gather(indices, ctx.ints(*columns), axis=-1)


def spread(ctx: LoweringContext, indices: ir.Value, rank: int, sizes: Mapping[int, Any], count: int) -> ir.Value:
    """Return the index vectors of every element of the windows that start at ``indices``.

    ``indices`` has ``rank`` axes of vectors of ``count`` components (scalars if that is 1). ``sizes`` are the sizes of
    the window, by the component that runs on them; each becomes an axis after those of ``indices``.
    """
    assert indices.dtype is not None
    if not sizes:
        return indices
    steps = _offsets(ctx, sizes, count, indices.dtype.numpy())
    return ctx.op.Add(ctx.op.Unsqueeze(indices, ctx.ints(*range(rank, rank + len(sizes)))), steps)


def _offsets(ctx: LoweringContext, sizes: Mapping[int, Any], count: int, dtype: Any) -> ir.Value:
    """Return the index vectors inside a window: shape ``[*sizes, count]``, or ``sizes`` if ``count`` is 1."""
    if is_static(*sizes.values()) and math.prod(sizes.values()) * count <= LARGEST:
        grid = np.zeros([*sizes.values(), count], dtype)
        for column, index in zip(sizes, np.indices([*sizes.values()], sparse=True), strict=True):
            grid[..., column] = index
        return ctx.constant(grid[..., 0] if count == 1 else grid)
    total: ir.Value | None = None
    for axis, (column, size) in enumerate(sizes.items()):
        others = other_axes(len(sizes) + (count > 1), [axis])
        part = arange(ctx, size, dtype)
        part = ctx.op.Unsqueeze(part, ctx.ints(*others)) if others else part
        part = ctx.op.Mul(part, np.eye(count, dtype=dtype)[column]) if count > 1 else part
        total = part if total is None else ctx.op.Add(total, part)
    assert total is not None
    return total


def labelled(rank: int, places: Collection[int], dims: Iterable[int]) -> list[Label]:
    """Label ``rank`` axes: those at ``places`` with the window's ``dims``, the others with the batch's axes."""
    window, batch = iter(dims), itertools.count()
    return [("window", next(window)) if i in places else ("batch", next(batch)) for i in range(rank)]


def batch_axes(sizes: Sequence[Any]) -> dict[Label, Any]:
    """Return the axes of index vectors of these sizes."""
    return {("batch", i): size for i, size in enumerate(sizes)}


def window_axes(shape: Sequence[Any], dims: Iterable[int]) -> dict[Label, Any]:
    """Return the axes that are some dims of an operand of this shape."""
    return {("window", d): shape[d] for d in dims}


def arranged(ctx: LoweringContext, x: ir.Value, axes: Axes, wanted: Collection[Label]) -> ir.Value:
    """Bring the axes of ``x`` into the order ``wanted``.

    Axes that are not wanted have size 1 and go; axes that are missing come with size 1.
    """
    kept: list[Label] = []
    squeezed: list[int] = []
    for i, label in enumerate(axes):
        if label in wanted:
            kept.append(label)
        else:
            squeezed.append(i)
    order: list[int] = []
    inserted: list[int] = []
    for i, label in enumerate(wanted):
        if label in axes:
            order.append(kept.index(label))
        else:
            inserted.append(i)
    x = ctx.op.Squeeze(x, ctx.ints(*squeezed)) if squeezed else x
    x = transposed(ctx, x, [axes[label] for label in kept], order)
    return ctx.op.Unsqueeze(x, ctx.ints(*inserted)) if inserted else x
