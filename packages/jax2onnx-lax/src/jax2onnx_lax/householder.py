"""Compute QR, Hessenberg and tridiagonal form by Householder reflections, in JAX, as loops over columns."""

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
    eye,
    is_complex,
    product,
    reflector,
    rows,
    square,
    steps,
)

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundLowerings


FACTS = dict.fromkeys(
    ("geqp3", "geqrf", "hessenberg", "householder_product", "ormqr", "qr", "tridiagonal"), Facts(work=work_of_matrices)
)


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts(FACTS)
    registry.via_jax(
        {
            "geqp3": geqp3,
            "geqrf": geqrf,
            "hessenberg": hessenberg,
            "householder_product": householder_product,
            "ormqr": ormqr,
            "qr": qr,
            "tridiagonal": tridiagonal,
        }
    )


def geqrf(a: Array) -> tuple[Array, Array]:
    """Return ``r`` with the reflections' vectors below it, and their factors."""
    if is_static(*a.shape[-2:]) and 0 < min(a.shape[-2:]) <= straight.LARGEST and not is_complex(a):
        return straight.geqrf(a)
    j = columns(a)
    count = min(a.shape[-2:])
    order = jnp.arange(count)

    def reflect(k: Any, state: tuple[Array, Array]) -> tuple[Array, Array]:
        a, taus = state
        a, tau = _eliminate(a, k, j)
        return a, jnp.where(order == k, tau[..., 0], taus)

    return steps(count, reflect, (a, jnp.zeros((*a.shape[:-2], count), a.dtype)))


def _eliminate(a: Array, k: Any, j: Array) -> tuple[Array, Array]:
    """Reflect column ``k`` and those after it; keep the vector in place of the zeros."""
    x = column(a, k)
    v, tau, beta = reflector(x, k)
    reflected = a - jnp.conj(tau) * v * product(adjoint(v), a)
    i = rows(a)
    # LAPACK's layout: column k has R above the diagonal, beta on it, and v below it, whose one is not stored.
    packed = jnp.where(i > k, v, jnp.where(i == k, beta, x))
    return jnp.where(j > k, reflected, jnp.where(j == k, packed, a)), tau


def geqp3(a: Array, jpvt: Array, *, use_magma: Any = None) -> tuple[Array, Array, Array]:
    """As :func:`geqrf`, but exchange columns: first those with a nonzero ``jpvt``, then always the longest one left.

    The order of the columns counts from 1.
    """
    del use_magma
    permutation = jnp.argsort(jpvt == 0, axis=-1, stable=True).astype(jpvt.dtype)
    first = jnp.sum(jpvt != 0, axis=-1, keepdims=True)
    a = jnp.take_along_axis(a, permutation[..., None, :], axis=-1)
    a, permutation, taus = _pivoted(a, permutation, first)
    return a, permutation + 1, taus


def _pivoted(a: Array, permutation: Array, first: Any) -> tuple[Array, Array, Array]:
    i, j = rows(a), columns(a)
    count = min(a.shape[-2:])
    order = jnp.arange(count)

    def reflect(k: Any, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        a, taus, permutation = state
        left = jnp.where(i >= k, a, 0)
        sizes = jnp.sum(square(left), axis=-2)
        longest = jnp.argmax(jnp.where(j >= k, sizes, -1), axis=-1, keepdims=True).astype(jnp.int32)
        chosen = jnp.where(k < first, k, longest)
        there = j == chosen
        theirs = jnp.take_along_axis(permutation, chosen, axis=-1, mode="promise_in_bounds")
        permutation = jnp.where(j == k, theirs, jnp.where(there, column(permutation, k), permutation))
        taken = jnp.take_along_axis(a, chosen[..., None], axis=-1, mode="promise_in_bounds")
        a = jnp.where(j == k, taken, jnp.where(there[..., None, :], column(a, k), a))
        a, tau = _eliminate(a, k, j)
        return a, jnp.where(order == k, tau[..., 0], taus), permutation

    a, taus, permutation = steps(count, reflect, (a, jnp.zeros((*a.shape[:-2], count), a.dtype), permutation))
    return a, permutation, taus


def householder_product(a: Array, taus: Array) -> Array:
    """Return the first columns of the product of the packed reflections, as many as ``a`` has."""
    m, n = a.shape[-2:]
    return ormqr(a, taus, eye(a, m, n), left=True, transpose=False)


def ormqr(a: Array, taus: Array, c: Array, *, left: bool, transpose: bool) -> Array:
    """Multiply ``c`` by the product of the packed reflections or its adjoint."""
    if not left:
        return adjoint(ormqr(a, taus, adjoint(c), left=True, transpose=not transpose))
    count = taus.shape[-1]
    if is_static(count, a.shape[-2]) and 0 < count <= straight.LARGEST:
        return straight.ormqr(a, taus, c, transpose=transpose)

    def reflect(step: Any, c: Array) -> Array:
        k = step if transpose else count - 1 - step
        i = rows(a)
        v = jnp.where(i > k, column(a, k), (i == k).astype(a.dtype))  # what the packed column holds
        tau = column(taus, k)[..., None]
        return c - (jnp.conj(tau) if transpose else tau) * v * product(adjoint(v), c)

    return steps(count, reflect, c)


def qr(a: Array, *, pivoting: bool, full_matrices: bool, use_magma: Any = None) -> tuple[Array, ...]:
    """Return ``q``, ``r`` and, with pivoting, the order of the columns."""
    del use_magma
    m, n = a.shape[-2:]
    size = m if full_matrices else min(m, n)
    natural = jnp.broadcast_to(columns(a), (*a.shape[:-2], n))
    packed, *order, taus = _pivoted(a, natural, 0) if pivoting else geqrf(a)
    if m == 0:
        order = list(map(jnp.zeros_like, order))
    q = ormqr(packed, taus, eye(a, m, size), left=True, transpose=False)
    return q, jnp.triu(packed[..., :size, :]), *order


def hessenberg(a: Array) -> tuple[Array, Array]:
    """Return the Hessenberg form with the reflections' vectors below it, and their factors."""
    n = a.shape[-1]
    i, j = rows(a), columns(a)
    order = jnp.arange(max(n - 1, 0))

    def reflect(k: Any, state: tuple[Array, Array]) -> tuple[Array, Array]:
        a, taus = state
        x = column(a, k)
        v, tau, beta = reflector(x, k + 1)
        packed = jnp.where(i > k + 1, v, jnp.where(i == k + 1, beta, x))
        inner = a - jnp.conj(tau) * v * product(adjoint(v), a)
        inner = inner - tau * product(inner, v) * adjoint(v)
        return jnp.where(j > k, inner, jnp.where(j == k, packed, a)), jnp.where(order == k, tau[..., 0], taus)

    return steps(n - 1, reflect, (a, jnp.zeros((*a.shape[:-2], max(n - 1, 0)), a.dtype)))


def tridiagonal(a: Array, *, lower: bool) -> tuple[Array, Array, Array, Array]:
    """Return the tridiagonal form with the reflections' vectors beside it, both diagonals, and the factors."""
    if not lower:
        packed, d, e, taus = tridiagonal(jnp.flip(a, (-2, -1)), lower=True)
        return jnp.flip(packed, (-2, -1)), jnp.flip(d, -1), jnp.flip(e, -1), jnp.flip(taus, -1)
    below = jnp.tril(a, -1)
    diagonal = jnp.where(rows(a) == columns(a), a.real, 0)
    packed, taus = hessenberg(below + diagonal + adjoint(below))
    d = jnp.linalg.diagonal(packed).real
    e = jnp.linalg.diagonal(packed, offset=-1).real
    if jnp.iscomplexobj(packed):  # the diagonal is real, up to rounding
        packed = jnp.where(rows(a) == columns(a), packed.real, packed)
    return jnp.where(rows(a) >= columns(a), packed, a), d, e, taus
