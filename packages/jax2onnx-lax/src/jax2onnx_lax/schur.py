"""Compute eigenvalues of general matrices in JAX, by the QR algorithm on complex Hessenberg matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
from jax import lax

from jax2onnx.errors import UnsupportedCaseError
from jax2onnx.plugin import Facts
from jax2onnx_lax.folding import work_of_matrices
from jax2onnx_lax.matrices import (
    Array,
    adjoint,
    column,
    columns,
    eps,
    eye,
    finite_or_zero,
    is_complex,
    nan_unless,
    product,
    row,
    rows,
    scaled,
    steps,
    tiny,
)
from jax2onnx_lax.real_schur import hessenberg_form, real_form

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundLowerings

_MOST_STEPS = 30
"""QR steps for each eigenvalue; about 2 are needed."""
_EXCEPTIONAL = 10
"""Every so many steps the shift is another one, so that a symmetric matrix does not cycle."""


FACTS = dict.fromkeys(("eig", "schur"), Facts(work=work_of_matrices))


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts(FACTS)
    registry.via_jax({"eig": eig, "schur": schur})


def schur(a: Array, *, compute_schur_vectors: bool, sort_eig_vals: bool, select_callable: Any = None) -> Any:
    """Return the Schur forms of matrices and, if asked, the unitary matrices.

    The form of complex matrices is triangular. That of real ones has blocks of two on the diagonal, one for each pair
    of complex eigenvalues.
    """
    del select_callable
    if sort_eig_vals:
        # JAX has no kernel for it either, on any platform.
        raise UnsupportedCaseError("schur: sort_eig_vals, which JAX does not compute", remedy="leave it at False")
    a, finite = finite_or_zero(a)
    t, z = _triangular(a) if is_complex(a) else real_form(a)
    return nan_unless(finite, t, z) if compute_schur_vectors else nan_unless(finite, t)


def eig(
    a: Array,
    *,
    compute_left_eigenvectors: bool,
    compute_right_eigenvectors: bool,
    enable_eigvec_derivs: Any = None,
    implementation: Any = None,
) -> tuple[Array, ...]:
    """Return eigenvalues and, if asked, left and right eigenvectors of length 1."""
    del enable_eigvec_derivs, implementation
    a, finite = finite_or_zero(a)
    whole = a if is_complex(a) else lax.complex(a, jnp.zeros_like(a))
    if a.shape[-1] == 0:
        vectors = [whole] * (compute_left_eigenvectors + compute_right_eigenvectors)
        return jnp.sum(whole, axis=-1), *vectors
    t, z = _triangular(whole)
    w = jnp.linalg.diagonal(t)
    on_axis = _on_axis(a, w)
    results = [lax.complex(w.real, jnp.where(on_axis, 0, w.imag))]
    if compute_left_eigenvectors:
        flipped = jnp.flip(adjoint(t), (-2, -1))
        left = jnp.flip(_null_vectors(flipped), (-2, -1))
        results.append(_normalise(product(z, left), on_axis))
    if compute_right_eigenvectors:
        results.append(_normalise(product(z, _null_vectors(t)), on_axis))
    return nan_unless(finite, *results)


def _on_axis(a: Array, w: Array) -> Array:
    """Return which eigenvalues of real matrices are real, but for rounding."""
    if is_complex(a):
        return jnp.zeros(w.shape, bool)
    size = jnp.sqrt(jnp.sum(a * a, axis=(-2, -1)))[..., None]
    return jnp.abs(w.imag) <= 10 * eps(a) * size


def _triangular(a: Array) -> tuple[Array, Array]:
    """Return Schur form and vectors of finite complex matrices."""
    n = a.shape[-1]
    if n < 2:
        return a, eye(a, n)
    a, scale = scaled(a)
    form, start = hessenberg_form(a)
    form = _deflated(form)

    def unfinished(state: tuple[Any, Array, Array]) -> Array:
        step, t, _ = state
        return jnp.logical_and(step < _MOST_STEPS * n, jnp.any(jnp.linalg.diagonal(t, offset=-1) != 0))

    def improve(state: tuple[Any, Array, Array]) -> tuple[Any, Array, Array]:
        step, t, z = state
        # A QR step: t - shift = q r is followed by q^H t q, which stays a Hessenberg matrix.
        left = _rotations(t - _shift(t, step)[..., None] * jnp.eye(n, dtype=t.dtype))
        q = adjoint(left)
        return step + 1, _deflated(jnp.triu(product(product(left, t), q), -1)), product(z, q)

    _, t, z = lax.while_loop(unfinished, improve, (0, form, start))
    return jnp.triu(t) * scale, z


def _deflated(t: Array) -> Array:
    """Replace negligible entries below the diagonal by zero; the largest entries are about 1."""
    sizes = jnp.abs(jnp.linalg.diagonal(t))
    limits = eps(t) * jnp.maximum(sizes[..., 1:] + sizes[..., :-1], eps(t))
    # The limit of each entry (k + 1, k), in row k + 1.
    limits = jnp.pad(limits, [(0, 0)] * (limits.ndim - 1) + [(1, 0)])[..., None]
    return jnp.where((rows(t) == columns(t) + 1) & (jnp.abs(t) <= limits), 0, t)


def _shift(t: Array, step: Any) -> Array:
    """Return the eigenvalue, of shape ``[..., 1]``, nearest to the corner of the last block not yet triangular."""
    n = t.shape[-1]
    diagonal, above, below = [jnp.linalg.diagonal(t, offset=k) for k in (0, 1, -1)]
    last = jnp.max(jnp.where(below != 0, jnp.arange(1, n, dtype=jnp.int32), 0), axis=-1, keepdims=True)
    before = jnp.maximum(last - 1, 0)

    def at(x: Array, index: Array) -> Array:
        return jnp.take_along_axis(x, index, axis=-1, mode="promise_in_bounds")

    corner = at(diagonal, last)
    off = at(below, before)
    half = (at(diagonal, before) - corner) / 2
    both = off * at(above, before)
    root = jnp.sqrt(half * half + both)
    root = jnp.where((half * jnp.conj(root)).real < 0, -root, root)
    far = half + root
    nearest = corner - jnp.where(far == 0, root, both / jnp.where(far == 0, 1, far))
    exceptional = corner + jnp.abs(off)
    shift = jnp.where(step % _EXCEPTIONAL == _EXCEPTIONAL - 1, exceptional, nearest)
    return jnp.where(last == 0, 0, shift)


def _rotations(t: Array) -> Array:
    """Return unitary matrices whose products with Hessenberg matrices are triangular."""
    n = t.shape[-1]
    wide = jnp.moveaxis(jnp.concatenate([t, eye(t, n)], axis=-1), -2, 0)

    def rotate(upper: Array, xs: tuple[Array, Array]) -> tuple[Array, Array]:
        k, lower = xs
        x, y = column(upper, k), column(lower, k)
        a, b = jnp.abs(x), jnp.abs(y)
        largest = jnp.maximum(a, b)
        largest = jnp.where(b == 0, 1, largest)
        length = jnp.sqrt((a / largest) ** 2 + (b / largest) ** 2)
        length = largest * jnp.where(b == 0, 1, length)
        c = jnp.where(b == 0, 1, x / length)
        s = jnp.where(b == 0, 0, y / length)
        return c * lower - s * upper, jnp.conj(c) * upper + jnp.conj(s) * lower

    last, others = lax.scan(rotate, wide[0], (jnp.arange(n - 1, dtype=jnp.int32), wide[1:]))
    return jnp.moveaxis(jnp.concatenate([others, last[None]]), 0, -2)[..., n:]


def _null_vectors(t: Array) -> Array:
    """Return in column k what ``t - t[k, k]``, upper triangular, maps to zero, for every k."""
    n = t.shape[-1]
    i, j = rows(t), columns(t)
    w = jnp.linalg.diagonal(t)[..., None, :]
    sizes = jnp.max(jnp.abs(t), axis=(-2, -1), keepdims=True)
    least = jnp.maximum(eps(t) * sizes, tiny(t))
    strict = jnp.where(i < j, t, 0)

    def add_row(step: Any, x: Array) -> Array:
        k = n - 1 - step
        gap = column(w, k) - w
        gap = jnp.where(jnp.abs(gap) < least, least.astype(t.dtype), gap)
        entry = -product(row(strict, k), x) / gap
        x = jnp.where(i == k, jnp.where(j > k, entry, (j == k).astype(t.dtype)), x)
        # A defective matrix makes them grow without bound.
        size = jnp.abs(row(x, k))
        return x / jnp.where(size > 1 / eps(t), size, 1)

    return steps(n, add_row, jnp.zeros_like(t))


def _normalise(v: Array, on_axis: Array) -> Array:
    """Scale columns to length 1 and turn their largest entries real; those ``on_axis`` become real."""
    sizes = jnp.abs(v)
    largest = jnp.max(sizes, axis=-2, keepdims=True)
    v = v / largest
    sizes = jnp.abs(v)
    length = jnp.sqrt(jnp.sum(sizes * sizes, axis=-2, keepdims=True))
    place = jnp.argmax(sizes, axis=-2, keepdims=True).astype(jnp.int32)
    turn = jnp.conj(jnp.take_along_axis(v, place, axis=-2, mode="promise_in_bounds"))
    v = v * (turn / jnp.abs(turn)) / length
    return lax.complex(v.real, jnp.where((rows(v) == place) | on_axis[..., None, :], 0, v.imag))
