"""Factor small matrices, and solve by them, in JAX, without a loop.

Each step cuts the matrix that is left to eliminate, so that no step masks what is done. All functions take arrays of
shape ``(..., m, n)`` whose leading dims may be symbolic.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx_lax.matrices import Array, adjoint, columns, magnitude, nan_unless, product, rows

__all__ = ["LARGEST", "cholesky", "lu", "substitute"]

LARGEST = 8
"""Matrices of up to this many columns take fewer nodes than the iterations of a loop do."""


def cholesky(a: Array) -> Array:
    """Return the lower factors, above them what ``a`` holds there; NaN unless positive definite."""
    n = a.shape[-1]
    left, parts, pivots = a, [], []
    for rest in range(n - 1, 0, -1):
        first, others = lax.split(left, [1, rest], axis=a.ndim - 1)
        pivot, below = lax.split(first, [1, rest], axis=a.ndim - 2)
        root = jnp.sqrt(pivot.real).astype(a.dtype)
        below = below / root
        left = lax.slice_in_dim(others, 1, None, axis=a.ndim - 2) - product(below, adjoint(below))
        parts += [root, below]
        pivots.append(pivot.real)
    parts.append(jnp.sqrt(left.real).astype(a.dtype))
    every = lax.concatenate([*pivots, left.real], a.ndim - 1)
    # LAPACK goes on after NaN.
    failed = jnp.any(every <= 0, axis=(-2, -1))
    packed = lax.concatenate(parts, a.ndim - 2)
    return nan_unless(~failed, jnp.where(rows(a) >= columns(a), _unpacked(packed, n), a))[0]


def _unpacked(packed: Array, n: int) -> Array:
    """Return matrices whose lower triangles are given column by column; what is above them is any number."""
    places = np.zeros((n, n), np.int32)
    starts = np.cumsum([0, *range(n, 1, -1)])
    for column, start in enumerate(starts.tolist()):
        places[column:, column] = np.arange(start, start + n - column)
    taken = jnp.take(packed[..., 0], places, axis=-1, mode="clip")
    return taken.reshape(*packed.shape[:-2], n, n)


def substitute(a: Array, b: Array, *, lower: bool, unit_diagonal: bool) -> Array:
    """Solve ``a x = b`` of a triangle of ``a``, one row of ``x`` at a time."""
    n = a.shape[-1]
    left, solved = b, []
    for step in range(n):
        rest = n - 1 - step
        k = step if lower else rest
        bounds = (k, n) if lower else (0, k + 1)
        factors = _block(a, bounds, (k, k + 1))
        if rest:
            sizes = [1, rest] if lower else [rest, 1]
            value, others = _ordered(lax.split(left, sizes, axis=left.ndim - 2), lower=lower)
            pivot, below = _ordered(lax.split(factors, sizes, axis=a.ndim - 2), lower=lower)
        else:
            value, others, pivot, below = left, left, factors, factors
        if not unit_diagonal:
            value = value / pivot
        solved.append(value)
        if rest:
            left = others - below * value
    return lax.concatenate(solved if lower else solved[::-1], b.ndim - 2)


def _block(a: Array, of_rows: tuple[int, int], of_columns: tuple[int, int]) -> Array:
    """Return some rows and columns of matrices."""
    start, end = zip(of_rows, of_columns, strict=True)
    lead = a.shape[:-2]
    return lax.slice(a, (*[0] * len(lead), *start), (*lead, *end))


def _ordered(parts: Sequence[Array], *, lower: bool) -> Sequence[Array]:
    return parts if lower else parts[::-1]


def lu(a: Array) -> tuple[Array, Array, Array]:
    """Return both factors in one matrix, the row exchanged at each step, and the resulting permutation of rows."""
    m, n = a.shape[-2:]
    lead, axis = a.shape[:-2], a.ndim - 2
    # The first column tells where a row comes from: it is exchanged with the others, and not eliminated.
    numbers = jnp.broadcast_to(jnp.arange(m).astype(a.dtype)[:, None], (*lead, m, 1))
    left = lax.concatenate([numbers, a], axis + 1)
    done, pivots = [], []
    for k in range(min(m, n)):
        rest = m - 1 - k
        if not rest:
            pivots.append(jnp.full((*lead, 1), k, jnp.int32))
            break
        upper, others, chosen = _exchanged(left, k + 1)
        pivots.append(chosen + k)
        done.append(upper)
        right = n - 1 - k
        sizes = [k + 1, 1, right] if right else [k + 1, 1]
        before, below, *after = lax.split(others, sizes, axis=axis + 1)
        _, pivot, *top = lax.split(upper, sizes, axis=axis + 1)
        below = below / jnp.where(pivot == 0, 1, pivot)
        inner = [after[0] - below * top[0]] if right else []
        left = lax.concatenate([before, below, *inner], axis + 1)
    done += [left] if len(done) < m else []
    packed = lax.concatenate(done, axis)
    order, factors = lax.split(packed, [1, n], axis=axis + 1)
    return factors, lax.concatenate(pivots, axis), order.real.reshape(*lead, m).astype(jnp.int32)


def _exchanged(left: Array, k: int) -> tuple[Array, Array, Array]:
    """Return the row whose element in column ``k`` is the largest, all others, and where it was."""
    axis = left.ndim - 2
    rest = left.shape[-2] - 1
    sizes = magnitude(lax.slice_in_dim(left, k, k + 1, axis=axis + 1))
    first, others = lax.split(left, [1, rest], axis=axis)
    if rest == 1:
        one, other = lax.split(sizes, [1, 1], axis=axis)
        swap = other > one
        return jnp.where(swap, others, first), jnp.where(swap, first, others), swap[..., 0].astype(jnp.int32)
    chosen = jnp.argmax(sizes, axis=-2).astype(jnp.int32)
    if axis:
        upper = jnp.take_along_axis(left, chosen[..., None], axis=-2, mode="promise_in_bounds")
    else:
        upper = lax.dynamic_slice_in_dim(left, chosen[0], 1, axis=axis, allow_negative_indices=False)
    places = jnp.arange(1, rest + 1, dtype=jnp.int32)[:, None]
    return upper, jnp.where(places == chosen[..., None], first, others), chosen
