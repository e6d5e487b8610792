"""Emit one element of each row, ``x[jnp.arange(x.shape[0]), i]``, by indices into rows, where JAX makes pairs.

So people take the value of the action that was chosen, the score of a label, or the last state of each sequence, and
write what belongs to the position of each sequence.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from jax2onnx.plugin import Decline, Fusion, has_zero, is_static
from jax2onnx_jnp.padding import DTYPES
from jax2onnx_lax.indexing import clamped

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import LoweringContext

_LARGE = 2
_SHAPES = ("B,3", "B,N", "B,3,4", "B,N,4", "5,3", "5,N", "5,3,4", "5,N,4", "B,3,4,5", "B,N,4,5")
"""Arrays for the structures: what JAX traces depends on which of the first two dims are symbols.

The last ``_LARGE`` are for one index of each row only, as in caches of several heads.
"""


def _of_rows(x: jax.Array, i: jax.Array) -> jax.Array:
    return x[jnp.arange(x.shape[0]), i]


def _several_of_rows(x: jax.Array, i: jax.Array) -> jax.Array:
    return x[jnp.arange(x.shape[0])[:, None], i]


def _set_in_rows(x: jax.Array, i: jax.Array, new: jax.Array) -> jax.Array:
    return x.at[jnp.arange(x.shape[0]), i].set(new)


def _added_to_rows(x: jax.Array, i: jax.Array, new: jax.Array) -> jax.Array:
    return x.at[jnp.arange(x.shape[0]), i].add(new)


def _within(ctx: LoweringContext, i: ir.Value) -> ir.Value:
    """Emit the nearest indices that are in bounds; those before 0 are counted from the end, as ONNX does."""
    size = ctx.avals_in[0].shape[1]
    if has_zero(size):
        raise Decline("the rows have no elements")
    return clamped(ctx, i, [size - 1], from_end=[True])


def _emit_of_rows(ctx: LoweringContext, x: ir.Value, i: ir.Value) -> ir.Value:
    """Emit ``GatherElements``, or ``GatherND`` of rows that have further dims."""
    op = ctx.op
    column = op.Unsqueeze(_within(ctx, i), ctx.ints(1))
    if len(ctx.avals_in[0].shape) == 2:
        return op.Squeeze(op.GatherElements(x, column, axis=1), ctx.ints(1))
    return op.GatherND(x, ctx.cast(column, np.int64), batch_dims=1)


def _emit_several_of_rows(ctx: LoweringContext, x: ir.Value, i: ir.Value) -> ir.Value:
    """Emit ``GatherElements``, or ``GatherND`` of rows that have further dims."""
    op, within = ctx.op, _within(ctx, i)
    if len(ctx.avals_in[0].shape) == 2:
        return op.GatherElements(x, within, axis=1)
    return op.GatherND(x, ctx.cast(op.Unsqueeze(within, ctx.ints(2)), np.int64), batch_dims=1)


def _emit_in_rows(ctx: LoweringContext, x: ir.Value, i: ir.Value, new: ir.Value, *, adds: bool) -> ir.Value:
    """Emit ``ScatterElements``; a row whose index is out of bounds stays as it is, by writing what it has."""
    op, (_, _, *rest) = ctx.op, ctx.avals_in[0].shape
    if not is_static(*rest):
        raise Decline("the indices of rows are repeated for each element, of which the number is not known")
    if ctx.target is not None and ctx.sign_of_zero_matters():
        raise Decline("onnxruntime's Where makes 0 of -0")
    within = _within(ctx, i)
    added = ctx.ints(*range(1, 2 + len(rest)))
    places, valid = op.Unsqueeze(within, added), op.Unsqueeze(op.Equal(i, within), added)
    if rest:
        places = op.Expand(places, ctx.ints(1, 1, *rest))
    old = op.GatherElements(x, places, axis=1)
    written = op.Unsqueeze(new, ctx.ints(1))
    written = op.Add(old, written) if adds else written
    return op.ScatterElements(x, places, op.Where(valid, written, old), axis=1)


def _examples(number: str = "", *, updates: bool = False) -> list[list[Any]]:
    """Return examples of the inputs, with one index of each row or with a number of them."""
    examples = []
    for shape in _SHAPES[:-_LARGE] if number else _SHAPES:
        *dims, several = export.symbolic_shape(f"{shape},{number or 1}")
        indices = jax.ShapeDtypeStruct((dims[0], several) if number else (dims[0],), np.int32)
        examples.append([tuple(dims), indices, *([(dims[0], *dims[2:])] if updates else [])])
    return examples


def _taken(name: str, reference: Any, emit: Any, examples: list[list[Any]]) -> Fusion:
    return Fusion(
        name=f"jax.numpy.ndarray.__getitem__({name})",
        reference=reference,
        examples=examples,
        emit={18: emit},
        dtypes=DTYPES,
        primitives=frozenset({"gather", "iota", "concatenate"}),
    )


def _update(name: str, reference: Any, *, adds: bool) -> Fusion:
    return Fusion(
        name=f"jax.numpy.ndarray.at[arange, i].{name}",
        reference=reference,
        examples=_examples(updates=True),
        emit={18: functools.partial(_emit_in_rows, adds=adds)},
        dtypes=DTYPES - {"bool"} if adds else DTYPES,
        primitives=frozenset({"scatter-add" if adds else "scatter", "iota", "concatenate"}),
    )


FUSIONS = (
    _taken("arange, i", _of_rows, _emit_of_rows, _examples()),
    _taken("arange[:, None], i", _several_of_rows, _emit_several_of_rows, [*_examples("4"), *_examples("K")]),
    _update("set", _set_in_rows, adds=False),
    _update("add", _added_to_rows, adds=True),
)
