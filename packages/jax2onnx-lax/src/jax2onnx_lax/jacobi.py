"""Compute eigenvalues of Hermitian matrices and singular values in JAX, by Jacobi's rotations in parallel.

A round rotates row k against row k + h for every k below h, half their number, and then moves the rows as in a
round-robin tournament; after 2 h - 1 rounds (a sweep) each pair has met once and every row is back at its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
from jax import lax

from jax2onnx.errors import UnsupportedCaseError
from jax2onnx.plugin import Facts
from jax2onnx_lax.folding import work_of_matrices
from jax2onnx_lax.householder import qr
from jax2onnx_lax.matrices import (
    Array,
    adjoint,
    columns,
    eps,
    eye,
    finite_or_zero,
    is_complex,
    nan_unless,
    product,
    rows,
    scaled,
    square,
    steps,
    tiny,
)

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundLowerings

_MOST_SWEEPS = 30


FACTS = dict.fromkeys(("eigh", "svd"), Facts(work=work_of_matrices))


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts(FACTS)
    registry.via_jax({"eigh": eigh, "svd": svd})


def eigh(
    a: Array, *, lower: bool, sort_eigenvalues: bool, subset_by_index: Any = None, algorithm: Any = None
) -> tuple[Array, Array]:
    """Return eigenvectors and ascending eigenvalues of the Hermitian matrices that one triangle of ``a`` gives."""
    del sort_eigenvalues, algorithm
    n = a.shape[-1]
    _refuse_subset("eigh", subset_by_index, n)
    part = jnp.tril(a, -1) if lower else jnp.triu(a, 1)
    diagonal = jnp.where(rows(a) == columns(a), a.real, 0)
    if n < 2:
        return eye(a, n), jnp.sum(diagonal.real, axis=-1)
    a, finite = finite_or_zero(part + adjoint(part) + diagonal)
    a, scale = scaled(a)
    w, v = _diagonalise(a)
    order = jnp.argsort(w, axis=-1)
    w = jnp.take_along_axis(w, order, axis=-1) * scale[..., 0]
    v = jnp.take_along_axis(v, order[..., None, :], axis=-1)
    v, w = nan_unless(finite, v, w)
    return v, w


def _refuse_subset(name: str, subset: Any, count: int) -> None:
    if subset not in (None, (0, count)):
        raise UnsupportedCaseError(f"{name}: subset_by_index", remedy="compute all and slice")


def _diagonalise(a: Array) -> tuple[Array, Array]:
    """Return eigenvalues and eigenvectors of Hermitian matrices of width 2 or more, whose entries are at most 1."""
    n = a.shape[-1]
    a = _even(a)
    width = a.shape[-1]
    half = width // 2
    places = jnp.arange(half) * (width + 1)

    def entries(a: Array, places: Array) -> Array:
        line = lax.reshape(a, (*a.shape[:-2], width * width))
        return line.at[..., places].get(mode="promise_in_bounds")

    def rotate(_: Any, state: tuple[Array, Array]) -> tuple[Array, Array]:
        a, v = state
        p, q, pq = [entries(a, places + start) for start in (0, half * (width + 1), half)]
        rotation = _rotation(p.real, q.real, pq)
        return _rotate(adjoint(_rotate(a, rotation)), rotation), _rotate(v, rotation)

    def sweep(state: tuple[Any, Array, Array]) -> tuple[Any, Array, Array]:
        a, v = steps(width - 1, rotate, state[1:])
        return state[0] + 1, (a + adjoint(a)) / 2, v

    # Done when what is off the diagonal is rounding of the whole matrix; its norm does not change under rotations.
    target = jnp.sqrt(jnp.sum(square(a), axis=(-2, -1))) * eps(a)

    def unfinished(state: tuple[Any, Array, Array]) -> Array:
        off = jnp.where(rows(a) == columns(a), 0, square(state[1]))
        left = jnp.sqrt(jnp.sum(off, axis=(-2, -1))) > target
        return jnp.logical_and(state[0] < _MOST_SWEEPS, jnp.any(left))

    _, a, v = lax.while_loop(unfinished, sweep, (0, a, eye(a, width)))
    return entries(a, jnp.arange(n) * (width + 1)).real, adjoint(v[..., :n, :n])


def _even(a: Array) -> Array:
    """Append a row and a column of zeros where the width is odd."""
    extra = a.shape[-1] % 2
    return jnp.pad(a, [(0, 0)] * (a.ndim - 2) + [(0, extra)] * 2) if extra else a


def _rotation(p: Array, q: Array, pq: Array) -> tuple[Array, Array, Array | None]:
    """Return the rotation that makes ``[[p, pq], [conj(pq), q]]`` diagonal.

    It is the sine, the tangent of half the angle (a cosine near 1 would have lost the angle to rounding) and, of
    complex numbers, the phase.
    """
    size = jnp.abs(pq) if is_complex(pq) else pq
    # The phase of a subnormal number would not have modulus 1.
    none = jnp.abs(size) < tiny(pq) / eps(pq)
    size = jnp.where(none, 0, size)
    phase = jnp.where(none, 1, pq / jnp.where(none, 1, size)) if is_complex(pq) else None
    gap = q - p
    length = jnp.abs(gap) + jnp.sqrt(gap * gap + 4 * size * size)
    tangent = jnp.where(gap < 0, -2, 2) * size / jnp.where(length == 0, 1, length)
    cosine = 1 / jnp.sqrt(tangent * tangent + 1)
    sine = cosine * tangent
    return sine, sine / (1 + cosine), phase


def _rotate(x: Array, rotation: tuple[Array, Array, Array | None]) -> Array:
    """Rotate row k against row k + h and move the rows: the first stays, the others go round."""
    sine, slope = rotation[0][..., None], rotation[1][..., None]
    phase = rotation[2]
    half = x.shape[-2] // 2
    upper, lower = x[..., :half, :], x[..., half:, :]
    if phase is not None:
        lower = lower * phase[..., None]
    upper, lower = upper - sine * (lower + slope * upper), lower + sine * (upper - slope * lower)
    if half == 1:
        return jnp.concatenate([upper, lower], axis=-2)
    last = half - 1
    parts = [upper[..., :1, :], lower[..., :1, :], upper[..., 1:last, :], lower[..., 1:, :], upper[..., last:, :]]
    return jnp.concatenate(parts, axis=-2)


def svd(
    a: Array, *, full_matrices: bool, compute_uv: bool, subset_by_index: Any = None, algorithm: Any = None
) -> tuple[Array, ...]:
    """Return singular values and, with ``compute_uv``, left and right singular vectors."""
    del algorithm
    m, n = a.shape[-2:]
    _refuse_subset("svd", subset_by_index, min(m, n))
    if m < n:
        s, *uv = svd(a.mT, full_matrices=full_matrices, compute_uv=compute_uv)
        return s, *[x.mT for x in reversed(uv)]
    if n == 0:
        s = jnp.zeros((*a.shape[:-1], 0), a.real.dtype)[..., 0, :] if m else jnp.zeros(a.shape[:-1], a.real.dtype)
        u = eye(a, m) if full_matrices else a
        return (s, u, jnp.zeros((*a.shape[:-2], 0, 0), a.dtype)) if compute_uv else (s,)
    a, finite = finite_or_zero(a)
    a, scale = scaled(a)
    q, r = qr(a, pivoting=False, full_matrices=full_matrices and compute_uv)
    orthogonal, v = _orthogonalise(r[..., :n, :], vectors=compute_uv)
    s = jnp.sqrt(jnp.sum(square(orthogonal), axis=-1))
    order = jnp.argsort(-s, axis=-1)
    s = jnp.take_along_axis(s, order, axis=-1) * scale[..., 0]
    if not compute_uv:
        return nan_unless(finite, s)
    orthogonal = jnp.take_along_axis(orthogonal, order[..., None], axis=-2)
    v = jnp.take_along_axis(v, order[..., None], axis=-2)
    right = _directions(adjoint(orthogonal))
    u = jnp.concatenate([product(q[..., :n], adjoint(v)), q[..., n:]], axis=-1)
    return nan_unless(finite, s, u, adjoint(right))


def _directions(a: Array) -> Array:
    """Scale orthogonal columns to length 1; reflections give orthonormal ones for those of zero, too."""
    q, r = qr(a, pivoting=False, full_matrices=False)
    signs = jnp.linalg.diagonal(r)
    return q * jnp.where(signs == 0, 1, jnp.sign(signs))[..., None, :]


def _orthogonalise(a: Array, *, vectors: bool) -> tuple[Array, Array]:
    """Return unitary matrices times square ones, such that the rows are orthogonal; and, if asked, the unitary ones."""
    n = a.shape[-1]
    start = _even(a)
    width = start.shape[-1]
    half = width // 2

    def rotate(_: Any, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        a, v, largest = state
        upper, lower = a[..., :half, :], a[..., half:, :]
        p, q = [jnp.sum(square(x), axis=-1) for x in (upper, lower)]
        pq = jnp.sum(upper * jnp.conj(lower), axis=-1)
        size = jnp.sqrt(p) * jnp.sqrt(q)
        # The cosine of the angle between both rows; the sweeps end when all rows are orthogonal.
        cosines = jnp.where(size == 0, 0, jnp.abs(pq) / jnp.where(size == 0, 1, size))
        rotation = _rotation(p, q, pq)
        v = _rotate(v, rotation) if vectors else v
        return _rotate(a, rotation), v, jnp.maximum(largest, jnp.max(cosines))

    def sweep(state: tuple[Any, Array, Array, Array]) -> tuple[Any, Array, Array, Array]:
        return state[0] + 1, *steps(width - 1, rotate, (*state[1:3], jnp.zeros_like(state[3])))

    tolerance = 4 * eps(a) * jnp.sqrt(jnp.asarray(n, a.real.dtype))

    def unfinished(state: tuple[Any, Array, Array, Array]) -> Array:
        return jnp.logical_and(state[0] < _MOST_SWEEPS, state[3] > tolerance)

    v = eye(a, width if vectors else 0)
    _, a, v, _ = lax.while_loop(unfinished, sweep, (0, start, v, jnp.asarray(1, a.real.dtype)))
    return a[..., :n, :n], v[..., :n, :n]
