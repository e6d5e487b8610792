"""Solve triangular systems, and factor by LU and Cholesky, in JAX: in loops, unless the matrices are small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from jax2onnx.plugin import Facts, is_static
from jax2onnx_lax import straight
from jax2onnx_lax.folding import work_of_matrices
from jax2onnx_lax.matrices import (
    Array,
    adjoint,
    column,
    columns,
    magnitude,
    nan_unless,
    product,
    row,
    rows,
    steps,
)

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundLowerings


FACTS = dict.fromkeys(
    ("cholesky", "cholesky_update", "lu", "symmetric_product", "triangular_solve"), Facts(work=work_of_matrices)
)


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts(FACTS)
    registry.via_jax(
        {
            "cholesky": cholesky,
            "cholesky_update": cholesky_update,
            "lu": lu,
            "lu_pivots_to_permutation": lu_pivots_to_permutation,
            "symmetric_product": symmetric_product,
            "triangular_solve": triangular_solve,
        }
    )


def triangular_solve(
    a: Array, b: Array, *, left_side: bool, lower: bool, transpose_a: bool, conjugate_a: bool, unit_diagonal: bool
) -> Array:
    """Solve ``op(a) x = b`` or ``x op(a) = b`` by substitution, one row of ``x`` at a time."""
    if conjugate_a:
        a = jnp.conj(a)
    if _is_small(a):
        form = {"left_side": left_side, "lower": lower, "transpose_a": transpose_a, "unit_diagonal": unit_diagonal}
        return straight.substitute(a, b, **form)
    if not left_side:
        b = b.mT
    if transpose_a == left_side:
        a, lower = a.mT, not lower
    x = _substitute(a, b, lower=lower, unit_diagonal=unit_diagonal)
    return x if left_side else x.mT


def _is_small(a: Array) -> bool:
    """Return whether matrices are so small that no loop is needed, and not empty."""
    m, n = a.shape[-2:]
    return is_static(m, n) and 0 < m <= straight.LARGEST and 0 < n <= straight.LARGEST


def _substitute(a: Array, b: Array, *, lower: bool, unit_diagonal: bool) -> Array:
    n = a.shape[-1]
    i, j = rows(a), columns(a)
    strict = jnp.where(i > j if lower else i < j, a, 0)

    def solve_row(step: Any, x: Array) -> Array:
        k = step if lower else n - 1 - step
        # The rows of x that this one needs are solved, and the others still zero.
        value = row(b, k) - product(row(strict, k), x)
        if not unit_diagonal:
            value = value / column(row(a, k), k)
        return jnp.where(i == k, value, x)

    return steps(n, solve_row, jnp.zeros_like(b))


def lu(a: Array) -> tuple[Array, Array, Array]:
    """Return both factors in one matrix, the row exchanged at each step, and the resulting permutation of rows."""
    if _is_small(a):
        return straight.lu(a)
    m = a.shape[-2]
    count = min(m, a.shape[-1])
    i, j = rows(a), columns(a)
    order = jnp.arange(count, dtype=jnp.int32)

    def eliminate(k: Any, state: tuple[Array, Array]) -> tuple[Array, Array]:
        a, pivots = state
        sizes = magnitude(column(a, k))
        chosen = jnp.argmax(jnp.where(i >= k, sizes, -1), axis=-2).astype(jnp.int32)
        upper = jnp.take_along_axis(a, chosen[..., None], axis=-2, mode="promise_in_bounds")
        a = jnp.where(i == k, upper, jnp.where(i == chosen[..., None], row(a, k), a))
        pivot = column(upper, k)
        below = column(a, k) / jnp.where(pivot == 0, 1, pivot)
        inner = jnp.where(j > k, a - below * upper, jnp.where(j == k, below, a))
        return jnp.where(i > k, inner, a), jnp.where(order == k, chosen, pivots)

    a, pivots = steps(count, eliminate, (a, jnp.zeros((*a.shape[:-2], count), jnp.int32)))
    return a, pivots, lu_pivots_to_permutation(pivots, permutation_size=m)


def lu_pivots_to_permutation(pivots: Array, *, permutation_size: int) -> Array:
    """Return the permutation that exchanging row k with row ``pivots[k]``, for each k in turn, amounts to."""
    if is_static(pivots.shape[-1]) and 0 < pivots.shape[-1] <= permutation_size <= straight.LARGEST:
        return straight.order_after(pivots, permutation_size)
    i = jnp.arange(permutation_size, dtype=pivots.dtype)

    def exchange(k: Any, permutation: Array) -> Array:
        other = column(pivots, k)
        mine = column(permutation, k)
        theirs = jnp.sum(jnp.where(i == other, permutation, 0), axis=-1, keepdims=True, dtype=pivots.dtype)
        return jnp.where(i == k, theirs, jnp.where(i == other, mine, permutation))

    identity = jnp.broadcast_to(i, (*pivots.shape[:-1], permutation_size))
    return steps(pivots.shape[-1], exchange, identity)


def cholesky(a: Array) -> Array:
    """Return the lower factors, column by column, above them what ``a`` holds there; NaN unless positive definite."""
    if _is_small(a):
        return straight.cholesky(a)
    i, j = rows(a), columns(a)

    def add_column(k: Any, state: tuple[Array, Array]) -> tuple[Array, Array]:
        factor, failed = state
        left = column(a, k) - product(factor, adjoint(row(factor, k)))
        pivot = row(left, k).real
        below = jnp.where(i >= k, left / jnp.sqrt(pivot).astype(a.dtype), 0)
        # LAPACK goes on after NaN.
        return jnp.where(j == k, below, factor), failed | (pivot <= 0)

    start = jnp.zeros_like(a), jnp.zeros((*a.shape[:-2], 1, 1), bool)
    factor, failed = steps(a.shape[-1], add_column, start)
    return nan_unless(~failed[..., 0, 0], jnp.where(i >= j, factor, a))[0]


def cholesky_update(factor: Array, vector: Array) -> Array:
    """Return the upper factor of ``factor^T factor + vector vector^T`` by one rotation per row."""
    i = rows(factor)

    def rotate(k: Any, state: tuple[Array, Array]) -> tuple[Array, Array]:
        factor, z = state
        top = row(factor, k)
        x, y = column(top, k), column(z, k)
        size = jnp.maximum(jnp.abs(x), jnp.abs(y))
        size = jnp.where(y == 0, 1, size)
        length = jnp.sqrt((x / size) ** 2 + (y / size) ** 2)
        c = jnp.where(y == 0, 1, x / size / jnp.where(y == 0, 1, length))
        s = jnp.where(y == 0, 0, y / size / jnp.where(y == 0, 1, length))
        return jnp.where(i == k, c * top + s * z, factor), c * z - s * top

    return steps(factor.shape[-1], rotate, (factor, vector[None, :]))[0]


def symmetric_product(a: Array, c: Array, *, alpha: Any, beta: Any) -> Array:
    """Return ``alpha a a^T + beta c``."""
    return jnp.add(alpha * product(a, a.mT), beta * c)
