"""Factor small matrices, and solve by them, in JAX, without a loop.

No step masks what is done. All functions take arrays of
shape ``(..., m, n)`` whose leading dims may be symbolic.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx_lax.matrices import (
    Array,
    adjoint,
    columns,
    first_reflector,
    is_complex,
    magnitude,
    nan,
    product,
    rows,
)

__all__ = ["LARGEST", "cholesky", "geqrf", "lu", "order_after", "ormqr", "substitute"]

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
        alpha, below = lax.split(x, [1, m - 1 - k], axis=down)
        below, tau, beta = first_reflector(alpha, below)
        taus.append(tau)
        packed = lax.concatenate([beta, below], down)
        if not others:
            left = packed
            break
        above, left = lax.split(_reflected(others[0], below, tau), [1, m - 1 - k], axis=down)
        finished.append((packed, above))
    for packed, above in reversed(finished):
        left = lax.concatenate([packed, lax.concatenate([above, left], down)], right)
    return left, lax.concatenate(taus, right)[..., 0, :]


def _reflected(c: Array, below: Array | None, tau: Array) -> Array:
    """Return ``c`` after the reflection whose vector has these entries below its one, or none."""
    one = jnp.ones_like(tau)
    v = one if below is None else lax.concatenate([one, below], c.ndim - 2)
    return c - _outer(tau * v, product(adjoint(v), c))


def ormqr(a: Array, taus: Array, c: Array, *, transpose: bool) -> Array:
    """Multiply ``c`` by the product of the packed reflections or its adjoint; the rows above a reflection stay."""
    count, m, down = taus.shape[-1], a.shape[-2], a.ndim - 2
    rest, finished = [c] if transpose else [lax.slice_in_dim(c, count, m, axis=down)] * (count < m), []
    factors = lax.expand_dims(jnp.conj(taus) if transpose else taus, [down])
    for k in range(count) if transpose else range(count - 1, -1, -1):
        above = [] if transpose else [lax.slice_in_dim(c, k, k + 1, axis=down)]
        left = lax.concatenate([*above, *rest], down)
        below = lax.slice(a, (*[0] * down, k + 1, k), (*a.shape[:-2], m, k + 1)) if k < m - 1 else None
        left = _reflected(left, below, lax.slice_in_dim(factors, k, k + 1, axis=down + 1))
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
    """Return both factors in one matrix, the row exchanged at each step, and the resulting permutation of rows.

    The entries that a step needs lie in one vector. One gather exchanges the rows and lays out what is multiplied
    entry by entry: where each entry comes from is a row of a table, which the place of the pivot chooses. Of more than
    two steps, a dim of size 1 is before the entries, so that places of pivots are joined as they are.
    """
    m, n = a.shape[-2:]
    lead = (*a.shape[:-2], 1) if m > _FEW_ROWS else a.shape[:-2]
    axis = len(lead)
    left = newest = lax.reshape(a, (*lead, m * n))
    places = {(i, j): i * n + j for i in range(m) for j in range(n)}
    pieces, finished, chosen, limits = [], [], [], []
    for k in range(min(m, n)):
        below, after = range(k + 1, m), range(k + 1, n)
        if not below:
            break
        # The entries lie row by row as they are given, and then column by column.
        column_k = lax.slice_in_dim(left, 0, m * n, n, axis=axis) if k == 0 else newest
        if column_k.shape[axis] > _MOST_SIZES:
            column_k = lax.slice_in_dim(column_k, 0, m - k, axis=axis)
        place = _largest(magnitude(column_k), m - k)
        limits.append(column_k.shape[axis])
        chosen.append(place)
        inner = [(i, j) for j in after for i in below]
        # The pivot, its column and row for each entry of the remainder, the remainder, and the factors so far.
        wanted = [
            [(k, k)],
            [(i, k) for i, _ in inner] or [(i, k) for i in below],
            [(k, j) for _, j in inner],
            inner,
            [(i, j) for j in range(k) for i in below],
            [(k, j) for j in range(k)],
        ]
        wanted = [run for run in wanted if run]
        pivot, column_k, *others = lax.split(
            _chosen_at(left, place, _exchanges(k, m, places, [label for run in wanted for label in run], limits[-1])),
            [len(run) for run in wanted],
            axis=axis,
        )
        factors = column_k / jnp.where(pivot == 0, 1, pivot)
        pieces.append(pivot)
        finished.append(wanted[0])
        parts, labels = [], []
        if inner:
            row_k, rest, *others = others
            pieces.append(row_k)
            finished.append(wanted[2])
            parts.append(rest - factors * row_k)
            labels += inner
        if k:
            before, done = others
            pieces.append(done)
            finished.append(wanted[-1])
            parts.append(before)
            labels += wanted[-2]
        newest = parts[0] if parts else factors
        left = lax.concatenate([*parts, factors], axis)
        places = _first_places([*labels, *wanted[1]])
    every = _first_places([label for run in finished for label in run])
    start = sum(map(len, finished))
    every |= {label: start + place for label, place in places.items()}
    packed = lax.concatenate([*pieces, left], axis) if pieces else left
    order = np.array([[every[i, j] for j in range(n)] for i in range(m)], np.int32)
    factored = jnp.take(packed, order if lead == a.shape[:-2] else order.ravel(), axis=axis)
    if m > _FEW_ROWS:
        return lax.reshape(factored, a.shape), *_orders(chosen, m, min(m, n), a.shape[:-2])
    return lax.reshape(factored, a.shape), *_few_orders(chosen, limits, m, min(m, n), a.shape[:-2])


def _first_places(labels: Sequence[tuple[int, int]]) -> dict[tuple[int, int], int]:
    """Return where each label is first."""
    return {label: place for place, label in reversed(list(enumerate(labels)))}


def _largest(sizes: Array, count: int) -> Array:
    """Return the first place of the largest of the first sizes, as LAPACK: NaN is the largest if it is the first one.

    Elsewhere it is none. The first sizes are compared with infinity, and the others with what none of them reaches.
    """
    most, instead = np.full(sizes.shape[-1:], np.inf, sizes.dtype), np.full(sizes.shape[-1:], -1, sizes.dtype)
    most[count:] = -1
    instead[0] = np.inf
    return jnp.argmax(jnp.where(sizes <= most, sizes, instead), axis=-1).astype(jnp.int32)


def _exchanges(
    k: int, m: int, places: Mapping[tuple[int, int], int], wanted: Sequence[tuple[int, int]], limit: int
) -> Any:
    """Return, for each row that may be exchanged with row ``k``, where the wanted entries are before that.

    Rows of zeros follow up to a limit, which is that of a place as far as it is known without looking at numbers.
    """
    rows_ = [{k: chosen, chosen: k} for chosen in range(k, m)]
    table = np.zeros((limit, len(wanted)), np.int32)
    table[: m - k] = [[places[moved.get(i, i), j] for i, j in wanted] for moved in rows_]
    return table


def _chosen_at(a: Array, place: Array, table: Any) -> Array:
    """Return the entries of vectors at the places that a row of a table holds."""
    axis = a.ndim - 1
    lead = tuple(range(axis))
    numbers = lax.GatherDimensionNumbers(
        offset_dims=(),
        collapsed_slice_dims=(axis,),
        start_index_map=(axis,),
        operand_batching_dims=lead,
        start_indices_batching_dims=lead,
    )
    indices = _row_of(table, place)
    return lax.gather(a, indices[..., None], numbers, (1,) * a.ndim, mode="promise_in_bounds")


_FEW_ROWS = 3
"""Of up to so many rows there are few orders, which no more than two exchanges decide."""
_MOST_SIZES = 16
"""Among up to so many entries the largest of the first ones is found without cutting these off."""
_MOST_ORDERS = 2000
"""A table of orders has at most about as many rows."""


def _few_orders(
    chosen: Sequence[Array], limits: Sequence[int], m: int, count: int, lead: Sequence[Any]
) -> tuple[Array, Array]:
    """Return the exchanged rows, and the order of rows that all exchanges result in, each as a row of a table."""
    if not chosen:
        return jnp.full((*lead, count), count - 1, jnp.int32), jnp.zeros((*lead, m), jnp.int32)
    number, end = chosen[0], limits[0] - 1
    for k, (place, limit) in enumerate(zip(chosen[1:], limits[1:], strict=True), 1):
        number, end = number * (m - k) + place, end * (m - k) + limit - 1
    pivots, orders = np.zeros((end + 1, count), np.int32), np.zeros((end + 1, m), np.int32)
    for row_, exchanged in enumerate(itertools.product(*_digits(m, 0, len(chosen)))):
        pivots[row_] = [*exchanged, *range(len(chosen), count)]
        orders[row_] = _exchanged(range(m), dict(enumerate(exchanged)))
    return _row_of(pivots, number), _row_of(orders, number)


def _digits(m: int, start: int, end: int) -> list[range]:
    """Return, for some steps, the rows that may be exchanged."""
    return [range(k, m) for k in range(start, end)]


def _orders(chosen: Sequence[Array], m: int, count: int, lead: Sequence[Any]) -> tuple[Array, Array]:
    """Return the exchanged rows, and the order of rows that all exchanges result in.

    Exchanges are the digits of a number, and orders the rows of a table that it chooses from.
    """
    padding = [jnp.zeros_like(chosen[0])] * (count - len(chosen))
    digits = lax.concatenate([*chosen, *padding], len(lead))
    order, start = None, 0
    while start < len(chosen):
        weights, end, size = np.zeros(count, np.int32), start, 1
        while end < len(chosen) and size * (m - end) <= _MOST_ORDERS:
            size *= m - end
            end += 1
        weights[start:end] = [math.prod(range(m - end + 1, m - k)) for k in range(start, end)]
        every = itertools.product(*_digits(m, start, end))
        orders = np.array([_exchanged(range(m), dict(enumerate(rows_, start))) for rows_ in every], np.int32)
        number = digits @ weights
        order = _row_of(orders, number) if order is None else _chosen_at(order, number, orders)
        start = end
    assert order is not None
    return digits + np.arange(count, dtype=np.int32), order


def _row_of(table: Any, number: Array) -> Array:
    """Return the rows of a table that have these numbers, which are in bounds."""
    numbers = lax.GatherDimensionNumbers(offset_dims=(number.ndim,), collapsed_slice_dims=(0,), start_index_map=(0,))
    sizes = (1, table.shape[1])
    return lax.gather(jnp.asarray(table), number[..., None], numbers, sizes, mode="promise_in_bounds")


def order_after(pivots: Array, m: int) -> Array:
    """Return the order of ``m`` rows after each row k in turn has been exchanged with row ``pivots[k]``."""
    count, axis = pivots.shape[-1], pivots.ndim - 1
    first, last = (np.asarray(bound, pivots.dtype) for bound in (0, m - 1))
    places = lax.split(lax.clamp(first, pivots, last), [1] * count, axis=axis)
    order = None
    for k, place in enumerate(places):
        table = np.array([_exchanged(range(m), {k: other}) for other in range(m)], pivots.dtype)
        order = jnp.take(table, place, axis=0, mode="clip") if order is None else _chosen_at(order, place, table)
    assert order is not None
    return lax.squeeze(order, [axis])


def _exchanged(order: Iterable[int], places: Mapping[int, int]) -> list[int]:
    """Return an order after each of some places, one after the other, has been exchanged with another one."""
    rows_ = list(order)
    for k, place in places.items():
        rows_[k], rows_[place] = rows_[place], rows_[k]
    return rows_
