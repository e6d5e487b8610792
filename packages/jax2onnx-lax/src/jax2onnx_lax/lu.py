"""LU factors with partial pivoting: a loop over columns, said in JAX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from jax2onnx_lax.matrices import Array, column, columns, is_complex, row, rows, steps

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundLowerings


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.via_jax({"lu": lu, "lu_pivots_to_permutation": lu_pivots_to_permutation})


def lu(a: Array) -> tuple[Array, Array, Array]:
    """Return both factors in one matrix, the row exchanged at each step, and the resulting permutation of rows."""
    m = a.shape[-2]
    count = min(m, a.shape[-1])
    i, j = rows(a), columns(a)
    order = jnp.arange(count, dtype=jnp.int32)

    def eliminate(k: Any, state: tuple[Array, Array]) -> tuple[Array, Array]:
        a, pivots = state
        candidates = column(a, k)
        size = jnp.abs(candidates.real) + jnp.abs(candidates.imag) if is_complex(a) else jnp.abs(candidates)
        chosen = jnp.argmax(jnp.where(i >= k, size, -1), axis=-2).astype(jnp.int32)
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
    i = jnp.arange(permutation_size, dtype=pivots.dtype)

    def exchange(k: Any, permutation: Array) -> Array:
        other = column(pivots, k)
        mine = column(permutation, k)
        theirs = jnp.sum(jnp.where(i == other, permutation, 0), axis=-1, keepdims=True, dtype=pivots.dtype)
        return jnp.where(i == k, theirs, jnp.where(i == other, mine, permutation))

    identity = jnp.broadcast_to(i, (*pivots.shape[:-1], permutation_size))
    return steps(pivots.shape[-1], exchange, identity)
