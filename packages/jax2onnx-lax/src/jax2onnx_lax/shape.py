"""Lower what changes shapes: broadcasting, reshaping, transposing, slicing, padding, joining and splitting."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx.plugin import (
    Facts,
    InconclusiveDimensionOperation,
    has_zero,
    is_static,
    is_symbolic,
    is_transposed,
    max_dim,
    may_be_zero,
    permuted,
)
from jax2onnx_lax import folding

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import BoundLowerings, LoweringContext

TO_END = np.iinfo(np.int64).max
"""As the end of a ``Slice``: up to and including the last element."""

_TO_START = np.iinfo(np.int64).min
_SMALL = 256
"""Broadcast constants and ranges of up to this many elements become constants."""
LARGEST = 2**16
"""Numbers in a row, and positions, of up to this many elements become constants; the model computes longer ones."""


FACTS = {
    "broadcast_in_dim": Facts(common=True, scalar="broadcast", fold=folding.spread),
    "concatenate": Facts(common=True, fold=lambda params, *xs: np.concatenate(xs, params["dimension"])),
    "dim_as_value": Facts(size=True),
    "expand_dims": Facts(common=True, fold=lambda params, x: np.expand_dims(x, params["dimensions"])),
    "iota": Facts(common=True, fold=folding.iota),
    "pad": Facts(common=True, fold=folding.padded),
    "reshape": Facts(common=True, fold=folding.reshaped),
    "rev": Facts(fold=lambda params, x: np.flip(x, params["dimensions"])),
    "slice": Facts(common=True, fold=folding.sliced),
    "split": Facts(fold=folding.cut),
    "squeeze": Facts(common=True, fold=lambda _params, x: x),
    "stack": Facts(fold=lambda params, *xs: np.stack(xs, params["axis"])),
    "transpose": Facts(
        common=True,
        fold=lambda params, x: x.transpose(params["permutation"]),
        permutation=lambda params: params["permutation"],
    ),
    "unstack": Facts(fold=folding.taken_apart),
}


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts(FACTS)
    registry.table(
        {
            "broadcast_in_dim": broadcast_in_dim,
            "concatenate": concatenate,
            "dim_as_value": dim_as_value,
            "dimension_size": dimension_size,
            "empty": empty,
            "empty2": empty,
            "iota": iota,
            "pad": pad,
            "reshape": reshape,
            "rev": rev,
            "slice": slice_,
            "split": split,
            "squeeze": squeeze,
            "stack": stack,
            "tile": tile,
            "transpose": transpose,
            "unstack": unstack,
        }
    )


# -- shared with the other families ----------------------------------------------------------------------------------


def expand(ctx: LoweringContext, x: ir.Value, old: Sequence[Any], new: Sequence[Any]) -> ir.Value:
    """Repeat the dims of size 1 of ``x`` (of shape ``old``, which may lack leading dims of ``new``) up to ``new``."""
    if tuple(old) == tuple(new):
        return x
    if has_zero(*new) and (old or is_static(*new)):
        # onnxruntime infers that a dim of size 1 stays so, if the others are 1 or kept.
        dtype = ctx.avals_in[0].dtype if x.dtype is None else x.dtype.numpy()
        return filled(ctx, 0, new, dtype)
    target = list(new)
    for axis, size in enumerate(old, len(new) - len(old)):
        if size == new[axis]:
            target[axis] = 1  # Expand keeps the dim, and a symbol need not be computed
    return ctx.stamp(ctx.op.Expand(x, none_negative(ctx, target)), new)


def none_negative(ctx: LoweringContext, sizes: Sequence[Any]) -> ir.Value:
    """Return sizes as a vector, 0 for ``B - 1`` of no rows at all: JAX takes every symbol to be at least 1."""
    vector = ctx.shape(sizes)
    return ctx.op.Max(vector, ctx.ints(0)) if any(map(may_be_negative, sizes)) else vector


def may_be_negative(size: Any) -> bool:
    """Return whether a size is less than 0 where symbols are 0; the array itself has no elements there."""
    return is_symbolic(size) and may_be_zero(size + 1)


def filled(ctx: LoweringContext, value: Any, shape: Sequence[Any], dtype: Any) -> ir.Value:
    """Return an array that repeats one constant."""
    if is_static(*shape) and math.prod(shape) <= _SMALL:
        return ctx.constant(np.full(shape, value, dtype))
    return expand(ctx, ctx.constant(value, dtype), (), shape)


def dim_scalar(ctx: LoweringContext, dim: Any) -> ir.Value:
    """Return a dim as an int64 scalar."""
    return ctx.op.Squeeze(ctx.dim(dim), ctx.ints(0))


def arange(ctx: LoweringContext, size: Any, dtype: Any, step: int = 1) -> ir.Value:
    """Return ``0, step, …, (size - 1) * step``."""
    if is_static(size) and size <= LARGEST:
        return ctx.constant((np.arange(size) * step).astype(dtype))
    end = ctx.constant(size, np.int64) if is_static(size) else dim_scalar(ctx, size)
    numbers = ctx.op.Range(np.asarray(0, np.int64), end, np.asarray(1, np.int64))
    ctx.stamp(numbers, (size,))
    if step != 1:
        numbers = ctx.stamp(ctx.op.Mul(numbers, np.asarray(step, np.int64)), (size,))
    return ctx.cast(numbers, dtype)


def transposed(ctx: LoweringContext, x: ir.Value, shape: Sequence[Any], perm: Sequence[int]) -> ir.Value:
    """Transpose ``x`` of the given shape, unless the permutation changes nothing."""
    if list(perm) == list(range(len(perm))):
        return x
    return ctx.stamp(ctx.op.Transpose(x, perm=[int(p) for p in perm]), permuted(shape, perm))


def cut(ctx: LoweringContext, x: ir.Value, bounds: dict[int, tuple[Any, Any]], shape: Sequence[Any]) -> ir.Value:
    """Slice ``x`` to ``[start, end)`` on the axes given (sizes may be symbolic), the result being of ``shape``."""
    if not bounds:
        return x
    starts, ends = zip(*bounds.values(), strict=True)
    return ctx.stamp(ctx.op.Slice(x, ctx.shape(starts), ctx.shape(ends), ctx.ints(*bounds)), shape)


def flip(ctx: LoweringContext, x: ir.Value, axes: Sequence[int]) -> ir.Value:
    """Reverse the order of the elements along the axes."""
    count = len(axes)
    backwards = ctx.ints(*[-1] * count)
    return ctx.op.Slice(x, backwards, ctx.ints(*[_TO_START] * count), ctx.ints(*axes), backwards)


def surely_at_most(amount: Any, limit: Any) -> bool:
    """Return whether an amount is provably no larger than a limit; both may be symbolic."""
    try:
        return bool(amount <= limit)
    except InconclusiveDimensionOperation:
        return False


def replaced(shape: Sequence[Any], axis: int, *dims: Any) -> tuple[Any, ...]:
    """Return the shape with one dim replaced by others."""
    return (*shape[:axis], *dims, *shape[axis + 1 :])


def dilated_size(size: Any, dilation: int) -> Any:
    """Return the size of a dim whose elements are spread ``dilation`` apart; an empty one stays empty."""
    return size if has_zero(size) else (size - 1) * dilation + 1


# -- rules -----------------------------------------------------------------------------------------------------------


def broadcast_in_dim(
    ctx: LoweringContext,
    x: ir.Value,
    *sizes: ir.Value,
    shape: Sequence[Any],
    broadcast_dimensions: Sequence[int],
) -> ir.Value:
    """Lower ``broadcast_in_dim``: give each operand dim its place, then repeat."""
    _refuse_computed_shape(ctx, sizes)
    old = ctx.avals_in[0].shape
    value = ctx.known(0)
    if value is not None and value.ndim == 0:
        return filled(ctx, value, shape, ctx.aval_out.dtype)
    aligned: list[Any] = [1] * len(shape)
    for source, place in zip(old, broadcast_dimensions, strict=True):
        aligned[place] = source
    # Expand aligns dims at the end, as numpy does.
    lead = len(shape) - len(old)
    if aligned == list(shape) or list(broadcast_dimensions) != list(range(lead, len(shape))):
        x, old = ctx.reshape(x, old, aligned), aligned
    return expand(ctx, x, old, shape)


def _refuse_computed_shape(ctx: LoweringContext, sizes: Sequence[ir.Value]) -> None:
    if sizes:
        raise ctx.unsupported("a shape that is computed at run time", "use symbolic dimensions in inputs=")


def reshape(
    ctx: LoweringContext, x: ir.Value, *sizes: ir.Value, new_sizes: Sequence[Any], dimensions: Sequence[int] | None
) -> ir.Value:
    """Lower ``reshape``."""
    _refuse_computed_shape(ctx, sizes)
    old = ctx.avals_in[0].shape
    if dimensions is not None:
        x = transposed(ctx, x, old, dimensions)
        old = permuted(old, dimensions)
    return ctx.reshape(x, old, new_sizes)


def squeeze(ctx: LoweringContext, x: ir.Value, *, dimensions: Sequence[int]) -> ir.Value:
    """Lower ``squeeze``."""
    return ctx.op.Squeeze(x, ctx.ints(*dimensions)) if dimensions else x


def transpose(ctx: LoweringContext, x: ir.Value, *, permutation: Sequence[int]) -> ir.Value:
    """Lower ``transpose``."""
    return transposed(ctx, x, ctx.avals_in[0].shape, permutation)


def slice_(
    ctx: LoweringContext,
    x: ir.Value,
    *,
    start_indices: Sequence[Any],
    limit_indices: Sequence[Any],
    strides: Sequence[int] | None,
) -> ir.Value:
    """Lower ``slice``: name only the axes that lose elements."""
    shape = ctx.avals_in[0].shape
    bounds: dict[int, tuple[Any, Any]] = {}
    steps: list[int] = []
    for axis, size in enumerate(shape):
        start, end = start_indices[axis], limit_indices[axis]
        step = strides[axis] if strides else 1
        if not (start == 0 and end == size and step == 1):
            bounds[axis] = (_from_the_end(start, size), TO_END if end == size else _from_the_end(end, size))
            steps.append(step)
    if steps == [1] * len(steps):
        return cut(ctx, x, bounds, ctx.aval_out.shape)
    every = ctx.shape(steps)
    starts, ends = zip(*bounds.values(), strict=True)
    return ctx.op.Slice(x, ctx.shape(starts), ctx.shape(ends), ctx.ints(*bounds), every)


def _from_the_end(bound: Any, size: Any) -> Any:
    """Return a bound as ONNX counts from the end of an axis, ``-1`` for ``N - 1``: no node computes it."""
    if is_static(bound) or is_static(size):
        return bound
    distance = bound - size
    return int(distance) if is_static(distance) and distance < 0 else bound


def rev(ctx: LoweringContext, x: ir.Value, *, dimensions: Sequence[int]) -> ir.Value:
    """Lower ``rev``."""
    return flip(ctx, x, dimensions) if dimensions else x


def pad(
    ctx: LoweringContext, x: ir.Value, value: ir.Value, *, padding_config: Sequence[tuple[Any, Any, Any]]
) -> ir.Value:
    """Lower ``pad``: interior elements first, then what is added at the edges, then what is taken away."""
    shape = list(ctx.avals_in[0].shape)
    for axis, (_, _, interior) in enumerate(padding_config):
        if interior != 0 and shape[axis] != 1:
            x = _dilated(ctx, x, value, shape, axis=axis, interior=int(interior))
            shape[axis] = dilated_size(shape[axis], int(interior) + 1)
    lows = [_positive_part(low) for low, _, _ in padding_config]
    highs = [_positive_part(high) for _, high, _ in padding_config]
    if any(amount != 0 for amount in (*lows, *highs)):
        # No ``axes``: onnxruntime mistakes them when it moves a transpose past the node.
        x = ctx.op.Pad(x, none_negative(ctx, [*lows, *highs]), value)
    size = ctx.aval_out.shape
    bounds: dict[int, tuple[Any, Any]] = {}
    for axis, (low, high, _) in enumerate(padding_config):
        start = _positive_part(-low)
        if not surely_at_most(-high, 0):
            bounds[axis] = (start, start + size[axis])
        elif start != 0:
            bounds[axis] = (start, TO_END)
        elif may_be_negative(ctx.avals_in[0].shape[axis]) and is_transposed(ctx.eqn.source):
            # The gradient of ``x[1:]`` pads B - 1 elements by one: where B is 0, x has none.
            bounds[axis] = (0, size[axis])
    return cut(ctx, x, bounds, size)


def _positive_part(amount: Any) -> Any:
    return 0 if surely_at_most(amount, 0) else max_dim(amount, 0)


def _dilated(
    ctx: LoweringContext, x: ir.Value, value: ir.Value, shape: Sequence[Any], *, axis: int, interior: int
) -> ir.Value:
    """Put ``interior`` elements after each one on ``axis``, and drop those after the last."""
    size = shape[axis]
    holes = expand(ctx, value, (), replaced(shape, axis, size, interior))
    x = ctx.op.Unsqueeze(x, ctx.ints(axis + 1))
    mixed = replaced(shape, axis, size, interior + 1)
    x = ctx.stamp(ctx.op.Concat(x, holes, axis=axis + 1), mixed)
    x = ctx.reshape(x, mixed, replaced(shape, axis, size * (interior + 1)))
    return ctx.op.Slice(x, ctx.ints(0), ctx.ints(-interior), ctx.ints(axis))


def concatenate(ctx: LoweringContext, *xs: ir.Value, dimension: int) -> ir.Value:
    """Lower ``concatenate``, leaving out operands of no elements."""
    parts = [x for x, aval in zip(xs, ctx.avals_in, strict=True) if not has_zero(aval.shape[dimension])]
    return _joined(ctx, parts or xs[:1], int(dimension))


def stack(ctx: LoweringContext, *xs: ir.Value, axis: int) -> ir.Value:
    """Lower ``stack``."""
    short = ctx.avals_in[0].shape
    return _joined(ctx, [ctx.reshape(x, short, (*short[:axis], 1, *short[axis:])) for x in xs], axis)


def _joined(ctx: LoweringContext, parts: Sequence[ir.Value], axis: int) -> ir.Value:
    return parts[0] if len(parts) == 1 else ctx.op.Concat(*parts, axis=axis)


def split(ctx: LoweringContext, x: ir.Value, *, sizes: Sequence[Any], axis: int) -> list[ir.Value]:
    """Lower ``split``."""
    if len(sizes) <= 1:
        return [x] * len(sizes)
    if any(map(may_be_negative, sizes)):
        # Parts of sizes 1 and B - 1: of no rows at all, a slice takes none, and Split would be an error.
        shape = ctx.avals_in[0].shape
        ends = [sum(sizes[: place + 1]) for place in range(len(sizes))]
        spans = zip([0, *ends], ends, sizes, strict=False)
        return [cut(ctx, x, {axis: (start, end)}, replaced(shape, axis, size)) for start, end, size in spans]
    parts = ctx.op.many("Split", x, ctx.shape(sizes), outputs=len(sizes), axis=int(axis))
    for part, size in zip(parts, sizes, strict=True):
        ctx.stamp(part, replaced(ctx.avals_in[0].shape, axis, size))
    return parts


def unstack(ctx: LoweringContext, x: ir.Value, *, axis: int) -> list[ir.Value]:
    """Lower ``unstack``."""
    parts = split(ctx, x, sizes=[1] * len(ctx.avals_out), axis=axis)
    return [ctx.op.Squeeze(part, ctx.ints(axis)) for part in parts]


def tile(ctx: LoweringContext, x: ir.Value, *, reps: Sequence[Any]) -> ir.Value:
    """Lower ``tile``."""
    return x if list(reps) == [1] * len(reps) else ctx.op.Tile(x, ctx.shape(reps))


def iota(ctx: LoweringContext, *sizes: ir.Value, dtype: Any, shape: Sequence[Any], dimension: int) -> ir.Value:
    """Lower ``iota``."""
    _refuse_computed_shape(ctx, sizes)
    line = [1] * len(shape)
    line[dimension] = size = shape[dimension]
    if is_static(*shape) and math.prod(shape) <= _SMALL:
        values = np.arange(size).astype(dtype).reshape(line)
        return ctx.constant(np.broadcast_to(values, shape).copy())
    return expand(ctx, ctx.reshape(arange(ctx, size, dtype), (size,), line), line, shape)


def dim_as_value(ctx: LoweringContext, *, dim: Any) -> ir.Value:
    """Lower ``dim_as_value``."""
    return ctx.cast(dim_scalar(ctx, dim), ctx.aval_out.dtype)


def dimension_size(ctx: LoweringContext, x: ir.Value, *, dimension: int) -> ir.Value:
    """Lower ``dimension_size``."""
    size = ctx.op.Shape(x, start=dimension, end=dimension + 1)
    return ctx.cast(ctx.op.Squeeze(size, ctx.ints(0)), ctx.aval_out.dtype)


def empty(ctx: LoweringContext, *, dtype: Any, shape: Sequence[Any] = (), memory_space: Any = None) -> ir.Value:
    """Lower ``empty`` and ``empty2``: JAX leaves the contents open; they are zeros here."""
    del memory_space, shape
    return filled(ctx, 0, ctx.aval_out.shape, dtype)
