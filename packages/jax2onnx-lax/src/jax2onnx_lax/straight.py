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
    left, order = a, jnp.broadcast_to(jnp.arange(m, dtype=jnp.int32), (*lead, m))
    done, pivots, orders = [], [], []
    for k in range(min(m, n)):
        rest = m - 1 - k
        if not rest:
            pivots.append(jnp.full((*lead, 1), k, jnp.int32))
            break
        places = _exchange(magnitude(lax.slice_in_dim(left, k, k + 1, axis=axis + 1)[..., 0]))
        pivots.append(places[..., :1] + k)
        # The first places are the order: there is nothing to take them from.
        order = _rows_at(order[..., None], places)[..., 0] if k else places
        first, order = lax.split(order, [1, rest], axis=axis)
        orders.append(first)
        upper, others = lax.split(_rows_at(left, places), [1, rest], axis=axis)
        done.append(upper)
        sizes = [size for size in (k, 1, n - 1 - k) if size]
        before, below, after = _three(lax.split(others, sizes, axis=axis + 1), first=k)
        _, pivot, top = _three(lax.split(upper, sizes, axis=axis + 1), first=k)
        below = below / jnp.where(pivot == 0, 1, pivot)
        inner = [one - below * other for one, other in zip(after, top, strict=True)]
        left = lax.concatenate([*before, below, *inner], axis + 1)
    done += [left] if len(done) < m else []
    orders.append(order)
    return lax.concatenate(done, axis), lax.concatenate(pivots, axis), lax.concatenate(orders, axis)


def _three(parts: Sequence[Array], *, first: int) -> tuple[Sequence[Array], Array, Sequence[Array]]:
    """Return the columns before, of and after the pivot; there may be none before and none after it."""
    place = 1 if first else 0
    return parts[:place], parts[place], parts[place + 1 :]


def _exchange(sizes: Array) -> Array:
    """Return the places of rows after the first one has been exchanged with that of the largest size."""
    count = sizes.shape[-1]
    if count == 2:
        one, other = lax.split(sizes, [1, 1], axis=sizes.ndim - 1)
        return jnp.where(other > one, np.array([1, 0], np.int32), np.array([0, 1], np.int32))
    chosen = jnp.argmax(sizes, axis=-1, keepdims=True).astype(jnp.int32)
    numbers = np.arange(1, count, dtype=np.int32)
    return lax.concatenate([chosen, jnp.where(chosen == numbers, 0, numbers)], sizes.ndim - 1)


def _rows_at(a: Array, places: Array) -> Array:
    """Return the rows of matrices at some places."""
    if a.ndim == 2:
        return jnp.take(a, places, axis=0, mode="clip")
    return jnp.take_along_axis(a, places[..., None], axis=-2, mode="promise_in_bounds")
