"""Factor small matrices, and solve by them, in JAX, without a loop.

No step masks what is done. All functions take arrays of
shape ``(..., m, n)`` whose leading dims may be symbolic.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx_lax.matrices import Array, adjoint, columns, is_complex, magnitude, nan, product, reflector, rows

__all__ = ["LARGEST", "cholesky", "geqrf", "lu", "ormqr", "substitute"]

LARGEST = 8
"""Matrices of up to this many columns take fewer nodes than the iterations of a loop do."""


def cholesky(a: Array) -> Array:
    """Return the lower factors, above them what ``a`` holds there; NaN unless positive definite.

    Each step takes off the whole matrix what its column explains. In rows and columns that are done, and above the
    diagonal, this leaves numbers that no later step reads.
    """
    n = a.shape[-1]
    left, parts, pivots = a, [], []
    for k in range(n):
        column_k = lax.slice_in_dim(left, k, k + 1, axis=a.ndim - 1)
        pivot = lax.slice_in_dim(column_k, k, k + 1, axis=a.ndim - 2).real
        parts.append(column_k)
        pivots.append(pivot)
        if k < n - 1:
            left = left - product(column_k / pivot.astype(a.dtype), adjoint(column_k))
    every = lax.concatenate(pivots, a.ndim - 1)
    # LAPACK goes on after NaN.
    failed = jnp.any(every <= 0, axis=(-2, -1), keepdims=True)
    factor = lax.concatenate(parts, a.ndim - 1) / jnp.sqrt(every).astype(a.dtype)
    return jnp.where(failed, nan(a), jnp.where(rows(a) >= columns(a), factor, a))


def geqrf(a: Array) -> tuple[Array, Array]:
    """Return ``r`` with the reflections' vectors below it, and their factors, of real matrices.

    Each step takes off a column and a row. A last row alone is not reflected.
    """
    m, n = a.shape[-2:]
    down, right = a.ndim - 2, a.ndim - 1
    left, finished, taus = a, [], []
    for k in range(min(m, n)):
        x, *others = lax.split(left, [size for size in (1, n - 1 - k) if size], axis=right)
        if k == m - 1:
            taus.append(jnp.zeros_like(x))
            break
        v, tau, beta = reflector(x, 0)
        taus.append(tau)
        packed = lax.concatenate([beta, lax.slice_in_dim(v, 1, m - k, axis=down)], down)
        if not others:
            left = packed
            break
        reflected = others[0] - tau * v * product(adjoint(v), others[0])
        above, left = lax.split(reflected, [1, m - 1 - k], axis=down)
        finished.append((packed, above))
    for packed, above in reversed(finished):
        left = lax.concatenate([packed, lax.concatenate([above, left], down)], right)
    return left, lax.concatenate(taus, right)[..., 0, :]


def ormqr(a: Array, taus: Array, c: Array, *, transpose: bool) -> Array:
    """Multiply ``c`` by the product of the packed reflections or its adjoint; the rows above a reflection stay."""
    count, m, down = taus.shape[-1], a.shape[-2], a.ndim - 2
    rest, finished = [c] if transpose else [lax.slice_in_dim(c, count, m, axis=down)] * (count < m), []
    for k in range(count) if transpose else range(count - 1, -1, -1):
        above = [] if transpose else [lax.slice_in_dim(c, k, k + 1, axis=down)]
        left = lax.concatenate([*above, *rest], down)
        tau = taus[..., k, None, None]
        v = [jnp.ones_like(tau)]
        if k < m - 1:
            v.append(lax.slice(a, (*[0] * down, k + 1, k), (*a.shape[:-2], m, k + 1)))
        column_k = lax.concatenate(v, down)
        left = left - (jnp.conj(tau) if transpose else tau) * column_k * product(adjoint(column_k), left)
        rest = [left]
        if transpose and k < m - 1:
            first, *rest = lax.split(left, [1, m - 1 - k], axis=down)
            finished.append(first)
    return lax.concatenate([*finished, *rest], down)


def substitute(a: Array, b: Array, *, left_side: bool, lower: bool, transpose_a: bool, unit_diagonal: bool) -> Array:
    """Solve ``op(a) x = b`` or ``x op(a) = b`` of a triangle of ``a``, one row or column of ``x`` at a time."""
    n = a.shape[-1]
    axis = b.ndim - 2 if left_side else b.ndim - 1
    ascending = (lower != transpose_a) == left_side
    order = list(range(n)) if ascending else list(range(n))[::-1]
    wanted: list[list[tuple[int, int]]] = []
    for step, k in enumerate(order):
        others = sorted(order[step + 1 :])
        wanted += [] if unit_diagonal else [[(k, k)]]
        wanted += [[(i, k) if left_side != transpose_a else (k, i) for i in others]] if others else []
    pieces = iter(_entries(a, wanted, upright=left_side))
    left, solved = b, []
    for rest in range(n - 1, -1, -1):
        value, others_ = left, left
        if rest:
            sizes = [1, rest] if ascending else [rest, 1]
            parts = lax.split(left, sizes, axis=axis)
            value, others_ = parts if ascending else parts[::-1]
        if not unit_diagonal:
            value = value / next(pieces)
        solved.append(value)
        if rest:
            factors = next(pieces)
            left = others_ - (_outer(factors, value) if left_side else _outer(value, factors))
    return lax.concatenate(solved if ascending else solved[::-1], axis)


def _outer(column: Array, row: Array) -> Array:
    """Return the product of a column and a row, such that what it is subtracted from takes no node of its own."""
    return product(column, row) if column.ndim == row.ndim == 2 and not is_complex(column) else column * row


def _entries(a: Array, wanted: Sequence[Sequence[tuple[int, int]]], *, upright: bool) -> Sequence[Array]:
    """Return some runs of entries of matrices, as columns or as rows."""
    n = a.shape[-1]
    if n <= 2:
        return [_entry(a, *place) for run in wanted for place in run]
    places = np.array([i * n + j for run in wanted for i, j in run], np.int32)
    lead = a.shape[:-2]
    axis = a.ndim - 2 if upright else a.ndim - 1
    flat = lax.reshape(a, (*lead, n * n, 1) if upright else (*lead, 1, n * n))
    taken = jnp.take(flat, places, axis=axis, mode="clip")
    return lax.split(taken, [len(run) for run in wanted], axis=axis)


def _entry(a: Array, i: int, j: int) -> Array:
    """Return one entry of matrices, of shape ``[..., 1, 1]``."""
    lead = a.shape[:-2]
    return lax.slice(a, (*[0] * len(lead), i, j), (*lead, i + 1, j + 1))


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
