"""Compute in JAX what the rules of linear algebra share: rows, columns and reflections of batches of matrices.

All functions take arrays of shape ``(..., m, n)`` whose leading dims may be symbolic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Array: TypeAlias = jax.Array
State = TypeVar("State")


def rows(a: Array) -> Array:
    """Return the row indices, of shape ``[m, 1]``."""
    return jnp.arange(a.shape[-2], dtype=jnp.int32)[:, None]


def columns(a: Array) -> Array:
    """Return the column indices, of shape ``[n]``."""
    return jnp.arange(a.shape[-1], dtype=jnp.int32)


def row(a: Array, k: Any) -> Array:
    """Return row ``k``, of shape ``[..., 1, n]``."""
    return lax.dynamic_slice_in_dim(a, k, 1, axis=a.ndim - 2, allow_negative_indices=False)


def column(a: Array, k: Any) -> Array:
    """Return column ``k``, of shape ``[..., m, 1]``."""
    return lax.dynamic_slice_in_dim(a, k, 1, axis=a.ndim - 1, allow_negative_indices=False)


def adjoint(a: Array) -> Array:
    """Return the conjugate transposed matrices."""
    return jnp.conj(a).mT


def is_complex(a: Array) -> bool:
    """Return whether an array is complex."""
    return jnp.issubdtype(a.dtype, jnp.complexfloating)


def square(a: Array) -> Array:
    """Return the squares of the absolute values, as real numbers."""
    return (a * jnp.conj(a)).real


def magnitude(a: Array) -> Array:
    """Return a cheap size of each number: of a complex one, the sum of the sizes of its parts."""
    return jnp.abs(a.real) + jnp.abs(a.imag) if is_complex(a) else jnp.abs(a)


def product(a: Array, b: Array) -> Array:
    """Return the matrix product, as precise as the dtype."""
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def eye(a: Array, n: int, m: int | None = None) -> Array:
    """Return identity matrices of height ``n``, one for each matrix of ``a``; of a width ``m``, their first columns.

    The columns that are not wanted are never made: of a tall matrix they would be its height squared.
    """
    width = n if m is None else m
    return jnp.broadcast_to(jnp.eye(n, width, dtype=a.dtype), (*a.shape[:-2], n, width))


def steps(n: int, body: Callable[[Any, State], State], init: State) -> State:
    """Return ``init`` after ``body(k, state)`` for each k below ``n``; the loop stays a loop."""
    if n == 0:
        return init
    result: State = lax.fori_loop(0, n, body, init)
    return result


def eps(a: Array) -> float:
    """Return the distance of 1 to the next number of the dtype."""
    return float(jnp.finfo(a.dtype).eps)  # type: ignore[no-untyped-call]


def tiny(a: Array) -> float:
    """Return the smallest normal number of the dtype."""
    return float(jnp.finfo(a.dtype).tiny)  # type: ignore[no-untyped-call]


def _largest(a: Array) -> float:
    """Return the largest number of the dtype."""
    return float(jnp.finfo(a.dtype).max)  # type: ignore[no-untyped-call]


def nan(a: Array) -> Array:
    """Return NaN in the dtype of an array; a complex one in both parts."""
    return jnp.asarray(complex(jnp.nan, jnp.nan) if is_complex(a) else jnp.nan, a.dtype)


def nan_unless(ok: Array, *arrays: Array) -> tuple[Array, ...]:
    """Replace whole matrices or vectors by NaN where ``ok``, of the leading dims, is false."""
    return tuple(jnp.where(lax.expand_dims(ok, range(ok.ndim, x.ndim)), x, nan(x)) for x in arrays)


def finite_or_zero(a: Array) -> tuple[Array, Array]:
    """Return the matrices, zero where one is not finite, and which are."""
    finite = jnp.all(jnp.isfinite(a), axis=(-2, -1))
    return jnp.where(finite[..., None, None], a, 0), finite


def scaled(a: Array) -> tuple[Array, Array]:
    """Return the matrices, each divided by the size of its largest entry, and that size, of shape ``[..., 1, 1]``."""
    size = jnp.max(jnp.abs(a), axis=(-2, -1), keepdims=True)
    size = jnp.where(size > 0, size, 1)
    return a / size, size


def first_reflector(alpha: Array, below: Array) -> tuple[Array, Array, Array]:
    """Return the reflection of a real column ``[alpha, below]`` that leaves its first entry, as :func:`reflector` does.

    Returns:
        what ``v`` holds below its one, ``tau`` and ``beta``.
    """
    x = lax.concatenate([alpha, below], below.ndim - 2)
    m = x.shape[-2]
    # The mean of the sizes is 0, infinite or NaN only if the largest one is. A scale makes no difference then.
    scale = jnp.clip(product(jnp.full((1, m), 1 / m, x.dtype), jnp.abs(x)), tiny(x), _largest(x))
    norm = scale * jnp.sqrt(jnp.sum(square(x / scale), axis=-2, keepdims=True))
    done = jnp.all(below == 0, axis=-2, keepdims=True)
    beta = norm * jnp.where(alpha >= 0, np.asarray(-1, x.dtype), np.asarray(1, x.dtype))
    # Where ``beta`` is 0, so are all entries.
    tau = jnp.where(done, 0, (beta - alpha) / beta)
    return below / jnp.where(done, 1, alpha - beta), tau, jnp.where(done, alpha, beta)


def reflector(x: Array, k: Any) -> tuple[Array, Array, Array]:
    """Return the reflection that leaves only entry ``k`` of a column and those above it, which it does not change.

    Returns:
        ``v`` of shape ``[..., m, 1]``, zero above ``k`` and one at ``k``; ``tau`` and ``beta`` of shape
        ``[..., 1, 1]``, such that ``(1 - conj(tau) v v^H) x`` is ``beta`` at ``k`` and zero below. The signs are
        LAPACK's.
    """
    i = rows(x)
    alpha = row(x, k)
    below = jnp.where(i > k, x, 0)
    active = jnp.where(i >= k, x, 0)
    largest = jnp.max(jnp.abs(active), axis=-2, keepdims=True)
    scale = jnp.where((largest > 0) & (largest < jnp.inf), largest, 1)
    norm = scale * jnp.sqrt(jnp.sum(square(active / scale), axis=-2, keepdims=True))
    done = jnp.all(below == 0, axis=-2, keepdims=True)
    if is_complex(x):
        done = done & (alpha.imag == 0)
    beta = jnp.where(alpha.real >= 0, -norm, norm).astype(x.dtype)
    tau = jnp.where(done, 0, (beta - alpha) / jnp.where(done, 1, beta))
    v = jnp.where(i == k, 1, below / jnp.where(done, 1, alpha - beta))
    return v, tau, jnp.where(done, alpha, beta)
