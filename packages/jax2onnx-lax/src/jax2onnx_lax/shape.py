"""Shapes: broadcasting, reshaping, transposing, slicing, padding, joining and splitting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx.plugin import Facts, InconclusiveDimensionOperation, is_symbolic, max_dim
from jax2onnx_lax import folding

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import BoundLowerings, LoweringContext

TO_END = np.iinfo(np.int64).max
"""As the end of a ``Slice``: up to and including the last element."""

_TO_START = np.iinfo(np.int64).min
_SMALL = 256
"""Broadcast constants and ranges of up to this many elements become constants."""


FACTS = {
    "broadcast_in_dim": Facts(common=True, scalar="broadcast", fold=folding.spread),
    "concatenate": Facts(common=True, fold=lambda params, *xs: np.concatenate(xs, params["dimension"])),
    "dim_as_value": Facts(size=True),
    "expand_dims": Facts(common=True, fold=lambda params, x: np.expand_dims(x, params["dimensions"])),
    "iota": Facts(common=True, fold=folding.iota),
    "pad": Facts(common=True),
    "reshape": Facts(common=True, fold=folding.reshaped),
    "rev": Facts(fold=lambda params, x: np.flip(x, params["dimensions"])),
    "slice": Facts(common=True, fold=folding.sliced),
    "squeeze": Facts(common=True, fold=lambda _params, x: x),
    "transpose": Facts(
        common=True,
        fold=lambda params, x: x.transpose(params["permutation"]),
        permutation=lambda params: params["permutation"],
    ),
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
    """Repeat the size-1 dims of ``x`` (of shape ``old``, which may lack leading dims of ``new``) up to ``new``."""
    if tuple(old) == tuple(new):
        return x
    if 0 in new and not any(is_symbolic(d) for d in new):
        # onnxruntime infers that a dim of size 1 stays so.
        return ctx.constant(np.zeros(tuple(new), ctx.avals_in[0].dtype if x.dtype is None else x.dtype.numpy()))
    lead = len(new) - len(old)
    changed = [1 if i >= lead and old[i - lead] == d else d for i, d in enumerate(new)]
    return ctx.stamp(ctx.op.Expand(x, ctx.shape(changed)), new)


def filled(ctx: LoweringContext, value: Any, shape: Sequence[Any], dtype: Any) -> ir.Value:
    """Return an array that repeats one constant."""
    if not any(is_symbolic(d) for d in shape) and np.prod(shape, dtype=np.int64) <= _SMALL:
        return ctx.constant(np.full(shape, value, dtype))
    return expand(ctx, ctx.constant(value, dtype), (), shape)


def arange(ctx: LoweringContext, size: Any, dtype: Any) -> ir.Value:
    """Return ``0, 1, …, size - 1``."""
    if not is_symbolic(size):
        return ctx.constant(np.arange(size).astype(dtype))
    stop = ctx.op.Squeeze(ctx.dim(size), ctx.ints(0))
    counted = ctx.stamp(ctx.op.Range(np.asarray(0, np.int64), stop, np.asarray(1, np.int64)), (size,))
    return ctx.cast(counted, dtype)


def transposed(ctx: LoweringContext, x: ir.Value, shape: Sequence[Any], perm: Sequence[int]) -> ir.Value:
    """Transpose ``x`` of the given shape, unless the permutation changes nothing."""
    if list(perm) == list(range(len(perm))):
        return x
    return ctx.stamp(ctx.op.Transpose(x, perm=[int(p) for p in perm]), [shape[p] for p in perm])


def cut(ctx: LoweringContext, x: ir.Value, bounds: dict[int, tuple[Any, Any]], shape: Sequence[Any]) -> ir.Value:
    """Slice ``x`` to ``[start, end)`` on the axes given (sizes may be symbolic), the result being of ``shape``."""
    if not bounds:
        return x
    starts, ends = zip(*bounds.values(), strict=True)
    return ctx.stamp(ctx.op.Slice(x, ctx.shape(starts), ctx.shape(ends), ctx.ints(*bounds)), shape)


# -- rules -----------------------------------------------------------------------------------------------------------


def broadcast_in_dim(
    ctx: LoweringContext,
    x: ir.Value,
    *sizes: ir.Value,
    shape: Sequence[Any],
    broadcast_dimensions: Sequence[int],
) -> ir.Value:
    """Lower ``broadcast_in_dim``: give each operand dim its place, then repeat."""
    if sizes:
        raise ctx.unsupported("a shape that is computed at run time", "use symbolic dimensions in inputs=")
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


def reshape(
    ctx: LoweringContext, x: ir.Value, *sizes: ir.Value, new_sizes: Sequence[Any], dimensions: Sequence[int] | None
) -> ir.Value:
    """Lower ``reshape``."""
    if sizes:
        raise ctx.unsupported("a shape that is computed at run time", "use symbolic dimensions in inputs=")
    old = ctx.avals_in[0].shape
    if dimensions is not None:
        x = transposed(ctx, x, old, dimensions)
        old = [old[d] for d in dimensions]
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
    steps = strides or [1] * len(shape)
    cells = [
        (axis, start, TO_END if end == size else end, step)
        for axis, (size, start, end, step) in enumerate(zip(shape, start_indices, limit_indices, steps, strict=True))
        if not (start == 0 and end == size and step == 1)
    ]
    if not cells:
        return x
    axes, starts, ends, used = zip(*cells, strict=True)
    tail = [] if all(step == 1 for step in used) else [ctx.shape(used)]
    return ctx.op.Slice(x, ctx.shape(starts), ctx.shape(ends), ctx.ints(*axes), *tail)


def rev(ctx: LoweringContext, x: ir.Value, *, dimensions: Sequence[int]) -> ir.Value:
    """Lower ``rev``."""
    n = len(dimensions)
    if not n:
        return x
    return ctx.op.Slice(x, ctx.ints(*[-1] * n), ctx.ints(*[_TO_START] * n), ctx.ints(*dimensions), ctx.ints(*[-1] * n))


def pad(
    ctx: LoweringContext, x: ir.Value, value: ir.Value, *, padding_config: Sequence[tuple[Any, Any, Any]]
) -> ir.Value:
    """Lower ``pad``: interior elements first, then what is added at the edges, then what is taken away."""
    shape = list(ctx.avals_in[0].shape)
    for axis, (_, _, interior) in enumerate(padding_config):
        if interior != 0 and shape[axis] != 1:
            x = _dilated(ctx, x, value, shape, axis=axis, interior=int(interior))
            # A dilated empty axis stays empty: (n - 1) * (k + 1) + 1 holds from n = 1 only.
            n = shape[axis]
            shape[axis] = 0 if not is_symbolic(n) and n == 0 else n + (n - 1) * int(interior)
    if any(not (_at_most_zero(lo) and _at_most_zero(hi)) for lo, hi, _ in padding_config):
        amounts = [_positive_part(lo) for lo, _, _ in padding_config] + [
            _positive_part(hi) for _, hi, _ in padding_config
        ]
        # No ``axes``: onnxruntime mistakes them when it moves a transpose past the node.
        x = ctx.op.Pad(x, ctx.shape(amounts), value)
    size = ctx.aval_out.shape
    bounds = {}
    for axis, (lo, hi, _) in enumerate(padding_config):
        start = _positive_part(-lo)
        if not _at_most_zero(-hi):
            bounds[axis] = (start, start + size[axis])
        elif not _at_most_zero(-lo):
            bounds[axis] = (start, TO_END)
    return cut(ctx, x, bounds, size)


def _at_most_zero(amount: Any) -> bool:
    """Tell whether an amount is provably not positive."""
    if not is_symbolic(amount):
        return bool(amount <= 0)
    try:
        return bool(amount <= 0)
    except InconclusiveDimensionOperation:
        return False


def _positive_part(amount: Any) -> Any:
    return 0 if _at_most_zero(amount) else max_dim(amount, 0)


def _dilated(
    ctx: LoweringContext, x: ir.Value, value: ir.Value, shape: Sequence[Any], *, axis: int, interior: int
) -> ir.Value:
    """Put ``interior`` elements after each one on ``axis``, and drop those after the last."""
    between = [*shape[: axis + 1], interior, *shape[axis + 1 :]]
    holes = expand(ctx, value, (), between)
    x = ctx.op.Unsqueeze(x, ctx.ints(axis + 1))
    mixed = [*shape[: axis + 1], interior + 1, *shape[axis + 1 :]]
    x = ctx.stamp(ctx.op.Concat(x, holes, axis=axis + 1), mixed)
    x = ctx.reshape(x, mixed, [*shape[:axis], shape[axis] * (interior + 1), *shape[axis + 1 :]])
    return ctx.op.Slice(x, ctx.ints(0), ctx.ints(-interior), ctx.ints(axis))


def concatenate(ctx: LoweringContext, *xs: ir.Value, dimension: int) -> ir.Value:
    """Lower ``concatenate``, leaving out operands of no elements."""
    sizes = [a.shape[dimension] for a in ctx.avals_in]
    parts = [x for x, size in zip(xs, sizes, strict=True) if is_symbolic(size) or size] or xs[:1]
    return parts[0] if len(parts) == 1 else ctx.op.Concat(*parts, axis=int(dimension))


def stack(ctx: LoweringContext, *xs: ir.Value, axis: int) -> ir.Value:
    """Lower ``stack``."""
    parts = [ctx.op.Unsqueeze(x, ctx.ints(axis)) for x in xs]
    return parts[0] if len(parts) == 1 else ctx.op.Concat(*parts, axis=axis)


def split(ctx: LoweringContext, x: ir.Value, *, sizes: Sequence[Any], axis: int) -> list[ir.Value]:
    """Lower ``split``."""
    return _parts(ctx, x, sizes, axis)


def unstack(ctx: LoweringContext, x: ir.Value, *, axis: int) -> list[ir.Value]:
    """Lower ``unstack``."""
    parts = _parts(ctx, x, [1] * len(ctx.avals_out), axis)
    return [ctx.op.Squeeze(part, ctx.ints(axis)) for part in parts]


def _parts(ctx: LoweringContext, x: ir.Value, sizes: Sequence[Any], axis: int) -> list[ir.Value]:
    if len(sizes) <= 1:
        return [x] * len(sizes)
    shape = ctx.avals_in[0].shape
    parts = ctx.op.many("Split", x, ctx.shape(sizes), outputs=len(sizes), axis=int(axis))
    return [ctx.stamp(part, [*shape[:axis], size, *shape[axis + 1 :]]) for part, size in zip(parts, sizes, strict=True)]


def tile(ctx: LoweringContext, x: ir.Value, *, reps: Sequence[Any]) -> ir.Value:
    """Lower ``tile``."""
    return x if all(r == 1 for r in reps) else ctx.op.Tile(x, ctx.shape(reps))


def iota(ctx: LoweringContext, *sizes: ir.Value, dtype: Any, shape: Sequence[Any], dimension: int) -> ir.Value:
    """Lower ``iota``."""
    if sizes:
        raise ctx.unsupported("a shape that is computed at run time", "use symbolic dimensions in inputs=")
    size = shape[dimension]
    line = [size if d == dimension else 1 for d in range(len(shape))]
    if not any(is_symbolic(d) for d in shape):
        values = np.arange(size).astype(dtype).reshape(line)
        if np.prod(shape, dtype=np.int64) <= _SMALL:
            return ctx.constant(np.broadcast_to(values, shape).copy())
        return expand(ctx, ctx.constant(values), line, shape)
    return expand(ctx, ctx.reshape(arange(ctx, size, dtype), (size,), line), line, shape)


def dim_as_value(ctx: LoweringContext, *, dim: Any) -> ir.Value:
    """Lower ``dim_as_value``."""
    return ctx.cast(ctx.op.Squeeze(ctx.dim(dim), ctx.ints(0)), ctx.aval_out.dtype)


def dimension_size(ctx: LoweringContext, x: ir.Value, *, dimension: int) -> ir.Value:
    """Lower ``dimension_size``."""
    size = ctx.op.Shape(x, start=dimension, end=dimension + 1)
    return ctx.cast(ctx.op.Squeeze(size, ctx.ints(0)), ctx.aval_out.dtype)


def empty(ctx: LoweringContext, *, dtype: Any, shape: Sequence[Any] = (), memory_space: Any = None) -> ir.Value:
    """Lower ``empty`` and ``empty2``: JAX leaves the contents open; they are zeros here."""
    del memory_space, shape
    return filled(ctx, 0, ctx.aval_out.shape, dtype)
