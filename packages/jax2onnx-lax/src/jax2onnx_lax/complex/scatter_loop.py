"""Scatter in JAX, one window after the other, by any function of old and new values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.lax import GatherScatterMode

from jax2onnx.plugin import has_zero, other_axes

if TYPE_CHECKING:
    from jax.lax import ScatterDimensionNumbers


def one_by_one(
    operands: Sequence[jax.Array],
    indices: jax.Array,
    updates: Sequence[jax.Array],
    *,
    numbers: ScatterDimensionNumbers,
    mode: Any,
    combine: Callable[[Sequence[jax.Array], Sequence[jax.Array]], Sequence[jax.Array]],
) -> list[jax.Array]:
    """Scatter updates of one shape into operands of one shape, by ``combine(old, new)`` of their windows."""
    if has_zero(*operands[0].shape, *updates[0].shape):
        return list(operands)
    starts, axes, inserted = _starts(indices, numbers)
    count = starts.shape[0]
    window = numbers.update_window_dims
    shape = [1] * operands[0].ndim
    for d, place in zip(other_axes(operands[0].ndim, inserted), window, strict=True):
        shape[d] = updates[0].shape[place]
    order = [*other_axes(updates[0].ndim, window), *window]
    pieces = [u.transpose(order).reshape(count, *shape) for u in updates]
    limits = jnp.asarray([operands[0].shape[d] - shape[d] for d in axes], starts.dtype)

    def step(i: Any, current: list[jax.Array]) -> list[jax.Array]:
        wanted = _at(starts, i)
        start = jnp.clip(wanted, 0, limits)
        place = [start[axes.index(d)] if d in axes else jnp.zeros((), start.dtype) for d in range(len(shape))]
        old = [lax.dynamic_slice(x, place, shape) for x in current]
        new = combine(old, [_at(p, i) for p in pieces])
        if GatherScatterMode.from_any(mode) != GatherScatterMode.CLIP:
            fits = jnp.all(start == wanted)
            new = [jnp.where(fits, n, o) for n, o in zip(new, old, strict=True)]
        return [lax.dynamic_update_slice(x, n, place) for x, n in zip(current, new, strict=True)]

    result: list[jax.Array] = lax.fori_loop(0, count, step, list(operands))
    return result


def _starts(indices: jax.Array, numbers: ScatterDimensionNumbers) -> tuple[jax.Array, list[int], set[int]]:
    """Return one row per window, the operand's dims that its entries are for, and the dims that a window lacks.

    Batching dims get an entry of their own.
    """
    if np.dtype(indices.dtype).itemsize < 4:
        indices = indices.astype(np.int32)
    batching = list(numbers.operand_batching_dims)
    shape = (*indices.shape[:-1], 1)
    own = [lax.broadcasted_iota(indices.dtype, shape, d) for d in numbers.scatter_indices_batching_dims]
    indices = jnp.concatenate([*own, indices], axis=-1)
    rows = indices.reshape(math.prod(shape), indices.shape[-1])
    return rows, [*batching, *numbers.scatter_dims_to_operand_dims], {*batching, *numbers.inserted_window_dims}


def _at(x: jax.Array, i: Any) -> jax.Array:
    row: jax.Array = lax.dynamic_index_in_dim(x, i, keepdims=False)
    return row
