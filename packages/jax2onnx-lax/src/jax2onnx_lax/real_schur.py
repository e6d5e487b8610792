"""Compute Schur forms of real matrices in JAX, by the QR algorithm with two shifts at a time."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from jax import lax

from jax2onnx_lax.householder import hessenberg, householder_product
from jax2onnx_lax.matrices import Array, column, columns, eps, eye, product, reflector, row, rows, scaled, steps

__all__ = ["hessenberg_form", "real_form"]

_MOST_STEPS = 30
"""QR steps for each eigenvalue; about 2 are needed."""
_EXCEPTIONAL = 10
"""Every so many steps the shifts are others, so that an orthogonal matrix does not stay as it is."""


def hessenberg_form(a: Array) -> tuple[Array, Array]:
    """Return the Hessenberg form of matrices of size 2 or more, and the unitary matrices."""
    packed, taus = hessenberg(a)
    inner = householder_product(packed[..., 1:, :-1], taus)
    vectors = jnp.pad(inner, [(0, 0)] * (a.ndim - 2) + [(1, 0), (1, 0)])
    vectors = vectors + ((rows(a) == 0) & (columns(a) == 0)).astype(a.dtype)
    return jnp.triu(packed, -1), vectors


def real_form(a: Array) -> tuple[Array, Array]:
    """Return Schur form and vectors of finite real matrices.

    As LAPACK's, a block of two has equal numbers on its diagonal.
    """
    n = a.shape[-1]
    if n < 2:
        return a, eye(a, n)
    a, scale = scaled(a)
    form, start = hessenberg_form(a)

    def unfinished(state: tuple[Any, Array, Array]) -> Array:
        step, t, _ = state
        return jnp.logical_and(step < _MOST_STEPS * n, jnp.any(_chains(t)))

    def improve(state: tuple[Any, Array, Array]) -> tuple[Any, Array, Array]:
        step, t, z = state
        t, z = _double_step(t, z, step)
        return step + 1, _deflated(t), z

    t, z = _deflated(form), start
    if n > 2:
        _, t, z = lax.while_loop(unfinished, improve, (0, t, z))
    t, z = steps(n - 1, _split, (t, z))
    return t * scale, z


def _chains(t: Array) -> Array:
    """Return, of shape ``[..., n - 2]``, where two neighbours below the diagonal are not zero: larger blocks."""
    below = jnp.linalg.diagonal(t, offset=-1) != 0
    return below[..., :-1] & below[..., 1:]


def _deflated(t: Array) -> Array:
    """Replace negligible entries below the diagonal by zero; the largest entries of the matrix are about 1."""
    return jnp.where((rows(t) == columns(t) + 1) & (jnp.abs(t) <= eps(t)), 0, t)


def _double_step(t: Array, z: Array, step: Any) -> tuple[Array, Array]:
    """Return form and vectors after a QR step with two shifts, the eigenvalues of the last two rows of a block.

    The block is the last that is not finished. A first reflection, of three rows and columns, brings in the shifts. It
    leaves numbers below the Hessenberg form, which further reflections move down and out. The product of the shifted
    matrices is never computed: its rounding errors are large where the sizes of rows differ much. Finished matrices
    stay as they are.
    """
    n = t.shape[-1]
    i, j = rows(t), columns(t)
    below = jnp.linalg.diagonal(t, offset=-1) != 0
    chains = below[..., :-1] & below[..., 1:]
    found = jnp.any(chains, axis=-1)[..., None, None]
    last = jnp.max(jnp.where(chains, jnp.arange(2, n, dtype=jnp.int32), 2), axis=-1)[..., None, None]
    ends = jnp.where(~below, jnp.arange(1, n, dtype=jnp.int32), 0)
    first = jnp.max(jnp.where(ends < last[..., 0], ends, 0), axis=-1)[..., None, None]

    def at(row_index: Array, column_index: Array) -> Array:
        place = (i == row_index) & (j == column_index)
        return jnp.sum(jnp.where(place, t, 0), axis=(-2, -1), keepdims=True)

    corner, before = at(last, last), at(last - 1, last - 1)
    total = before + corner
    both = before * corner - at(last - 1, last) * at(last, last - 1)
    other = jnp.abs(at(last, last - 1)) + jnp.abs(at(last - 1, last - 2))
    exceptional = step % _EXCEPTIONAL == _EXCEPTIONAL - 1
    total = jnp.where(exceptional, 1.5 * other, total)
    both = jnp.where(exceptional, other * other, both)
    # The first column of (t - first shift) (t - second shift).
    top, next_row = at(first, first), at(first + 1, first)
    column_of_shifts = [
        top * (top - total) + both + at(first, first + 1) * next_row,
        next_row * (top + at(first + 1, first + 1) - total),
        next_row * at(first + 2, first + 1),
    ]
    start = sum(jnp.where(i == first + down, number, 0) for down, number in enumerate(column_of_shifts))

    def chase(k: Any, state: tuple[Array, Array]) -> tuple[Array, Array]:
        t, z = state
        in_reach = (i >= k) & (i <= k + 2) & (i <= last)
        pivot = jnp.where(k == first, start, column(t, jnp.maximum(k - 1, 0)))
        v, tau, _ = reflector(jnp.where(in_reach, pivot, 0), k)
        is_active = found & (k >= first) & (k < last)
        weighted = jnp.where(is_active, tau, 0) * v
        t = t - weighted * product(v.mT, t)
        t = t - product(t, v) * weighted.mT
        z = z - product(z, v) * weighted.mT
        is_cleared = is_active & (k > first) & (j == k - 1) & (i > k) & (i <= k + 2)
        return jnp.where(is_cleared, 0, t), z

    return steps(n - 1, chase, (t, z))


def _split(k: Any, state: tuple[Array, Array]) -> tuple[Array, Array]:
    """Rotate rows and columns ``k`` and ``k + 1``, if they are a block.

    Its entry below the diagonal becomes zero if its eigenvalues are real; else the numbers on its diagonal become
    equal.
    """
    t, z = state
    i, j = rows(t), columns(t)
    upper, lower = row(t, k), row(t, k + 1)
    a, b = column(upper, k), column(upper, k + 1)
    c, d = column(lower, k), column(lower, k + 1)
    half = (a - d) / 2
    square = half * half + b * c
    is_real = square >= 0
    root = half + jnp.where(half < 0, -1, 1) * jnp.sqrt(jnp.where(is_real, square, 0))
    length = _length(c, root)
    total = b + c
    spread = _length(total, a - d)
    is_equal = (total == 0) & (half == 0)
    cosine = jnp.where(is_equal, 1, jnp.sqrt((1 + jnp.abs(total) / spread) / 2))
    sine = -(half / (spread * cosine)) * jnp.where(total < 0, -1, 1)
    is_block = c != 0
    cosine = jnp.where(is_block, jnp.where(is_real, root / length, cosine), 1)
    sine = jnp.where(is_block, jnp.where(is_real, c / length, sine), 0)

    t = jnp.where(i == k, cosine * upper + sine * lower, jnp.where(i == k + 1, cosine * lower - sine * upper, t))
    t = _rotated_columns(t, k, cosine, sine)
    t = jnp.where((i == k + 1) & (j == k) & is_real, 0, t)
    middle = (column(row(t, k), k) + column(row(t, k + 1), k + 1)) / 2
    is_pair = is_block & ~is_real & (i == j) & ((i == k) | (i == k + 1))
    return jnp.where(is_pair, middle, t), _rotated_columns(z, k, cosine, sine)


def _rotated_columns(x: Array, k: Any, cosine: Array, sine: Array) -> Array:
    left, right = column(x, k), column(x, k + 1)
    j = columns(x)
    rotated = jnp.where(j == k + 1, cosine * right - sine * left, x)
    return jnp.where(j == k, cosine * left + sine * right, rotated)


def _length(x: Array, y: Array) -> Array:
    """Return the lengths of vectors, 1 for those of length 0."""
    largest = jnp.maximum(jnp.abs(x), jnp.abs(y))
    largest = jnp.where(largest == 0, 1, largest)
    length = largest * jnp.sqrt((x / largest) ** 2 + (y / largest) ** 2)
    return jnp.where(length == 0, 1, length)
