"""Examples of the linear algebra of ``jax.numpy.linalg`` and ``jax.scipy.linalg``, and of its derivatives."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
from jax import lax

from jax2onnx_lax.examples.linalg import adjoint, definite, example, hermitian, random

_F64, _C128 = np.float64, np.complex128
_SINGULAR = np.stack([np.ones((4, 4)), np.zeros((4, 4)), np.diag([1.0, 2.0, 0.0, 3.0])]).astype(np.float32)
_ROTATION = np.asarray([[0, -1, 0], [1, 0, 0], [0, 0, 2]], np.float64)


def _eigen(a: jax.Array) -> Any:
    """Return what does not depend on the order of the eigenvalues and the phases of the eigenvectors."""
    w, left, right = lax.linalg.eig(a, compute_left_eigenvectors=True, compute_right_eigenvectors=True)
    # Left and right eigenvectors are orthogonal, but for those of one eigenvalue.
    weights = w / jnp.sum(left.conj() * right, axis=-2)
    again = jnp.matmul(right * weights[..., None, :], adjoint(left))
    lengths = [jnp.sum(jnp.abs(v) ** 2, axis=-2) for v in (left, right)]
    return jnp.sort(jnp.abs(w)), again, *lengths


def _schur(a: jax.Array) -> Any:
    t, z = jsl.schur(a, output="complex")
    below = jnp.tril(t, -1)
    return jnp.matmul(jnp.matmul(z, t), adjoint(z)), jnp.matmul(z, adjoint(z)), below


GENERAL = [
    *[example(f"eig_{n}", "jax.lax.linalg.eig", _eigen, [random(n, n, dtype=_F64)]) for n in (1, 2, 3, 16)],
    example("eig_batched", "jax.lax.linalg.eig", _eigen, [random(3, 5, 5, dtype=_F64)], dynamic=True),
    example("eig_complex", "jax.lax.linalg.eig", _eigen, [random(2, 5, 5, dtype=_C128)]),
    example("eig_normal", "jax.lax.linalg.eig", _eigen, [_ROTATION], [np.eye(3)], [np.zeros((3, 3))]),
    example("eig_empty", "jax.lax.linalg.eig", lax.linalg.eig, [random(0, 0)]),
    example(
        "eig_nan",
        "jax.lax.linalg.eig",
        jnp.linalg.eigvals,
        [np.where(np.eye(3) == 1, np.nan, random(3, 3))],
    ),
    example("schur", "jax.lax.linalg.schur", _schur, [random(6, 6, dtype=_C128)], [random(6, 6, dtype=_F64) + 0j]),
    example(
        "ormqr",
        "jax.lax.linalg.ormqr",
        lambda a, taus, c: lax.linalg.ormqr(a, taus, c, left=False, transpose=True),
        [random(3, 5, 4), random(3, 4, seed=1), random(3, 2, 5, seed=2)],
        dynamic=True,
        requires_jax=">=0.10",
    ),
]

_BATCH, _RIGHT = random(3, 4, 4), random(3, 4, 2, seed=1)
_TALL, _WIDE = random(3, 6, 4), random(3, 4, 6)

NUMPY = [
    example("linalg_solve", "jax.numpy.linalg.solve", jnp.linalg.solve, [_BATCH, _RIGHT], dynamic=True),
    example("linalg_solve_singular", "jax.numpy.linalg.solve", jnp.linalg.solve, [_SINGULAR, _RIGHT]),
    example(
        "linalg_solve_complex",
        "jax.numpy.linalg.solve",
        jnp.linalg.solve,
        [random(4, 4, dtype=_C128), random(4, 2, dtype=_C128)],
    ),
    example(
        "linalg_solve_large",
        "jax.numpy.linalg.solve",
        jnp.linalg.solve,
        [random(200, 200, dtype=_F64), random(200, dtype=_F64)],
    ),
    *[
        example(f"linalg_det_{n}", "jax.numpy.linalg.det", jnp.linalg.det, [random(3, n, n)], dynamic=True)
        for n in (1, 2, 3, 5)
    ],
    example("linalg_det_singular", "jax.numpy.linalg.det", jnp.linalg.det, [_SINGULAR]),
    example("linalg_slogdet", "jax.numpy.linalg.slogdet", jnp.linalg.slogdet, [_BATCH], [_SINGULAR], dynamic=True),
    example("linalg_inv", "jax.numpy.linalg.inv", jnp.linalg.inv, [_BATCH], dynamic=True),
    example(
        "linalg_lstsq",
        "jax.numpy.linalg.lstsq",
        jnp.linalg.lstsq,
        [random(6, 4), random(6, 2, seed=1)],
        [np.ones((6, 4), np.float32), random(6, 2, seed=1)],
    ),
    example("linalg_pinv_tall", "jax.numpy.linalg.pinv", jnp.linalg.pinv, [_TALL], dynamic=True),
    example("linalg_pinv_wide", "jax.numpy.linalg.pinv", jnp.linalg.pinv, [_WIDE], dynamic=True),
    example(
        "linalg_matrix_rank",
        "jax.numpy.linalg.matrix_rank",
        jnp.linalg.matrix_rank,
        [_BATCH],
        [_SINGULAR],
        dynamic=True,
    ),
    example("linalg_cond", "jax.numpy.linalg.cond", jnp.linalg.cond, [_BATCH], dynamic=True),
    *[
        example(
            f"linalg_norm_{name}",
            "jax.numpy.linalg.norm",
            lambda a, order=order: jnp.linalg.norm(a, order, axis=(-2, -1)),
            [_TALL],
            dynamic=True,
        )
        for name, order in (("two", 2), ("nuclear", "nuc"), ("frobenius", "fro"), ("one", 1))
    ],
    example(
        "linalg_matrix_power",
        "jax.numpy.linalg.matrix_power",
        lambda a: jnp.linalg.matrix_power(a, -3),
        [_BATCH],
        dynamic=True,
    ),
    example("linalg_eigvalsh", "jax.numpy.linalg.eigvalsh", jnp.linalg.eigvalsh, [hermitian(3, 4, 4)], dynamic=True),
]

_SPD = definite(4, 4)

SCIPY = [
    example("scipy_expm", "jax.scipy.linalg.expm", jsl.expm, [_BATCH], [100 * _BATCH], dynamic=True),
    example(
        "scipy_cho_solve",
        "jax.scipy.linalg.cho_solve",
        lambda a, b: jsl.cho_solve(jsl.cho_factor(a), b),
        [_SPD, _RIGHT[0]],
    ),
    example("scipy_lu", "jax.scipy.linalg.lu", jsl.lu, [random(5, 3)]),
    example(
        "scipy_lu_solve",
        "jax.scipy.linalg.lu_solve",
        lambda a, b: jsl.lu_solve(jsl.lu_factor(a), b, trans=1),
        [_SPD, _RIGHT[0]],
    ),
    example(
        "scipy_solve_triangular",
        "jax.scipy.linalg.solve_triangular",
        lambda a, b: jsl.solve_triangular(a, b, lower=True, trans=1),
        [_SPD, _RIGHT[0]],
    ),
    example(
        "scipy_eigh_tridiagonal",
        "jax.scipy.linalg.eigh_tridiagonal",
        lambda d, e: jsl.eigh_tridiagonal(d, e, eigvals_only=True),
        [random(6), random(5, seed=1)],
    ),
    example(
        "scipy_eigh_tridiagonal_vectors",
        "jax.scipy.linalg.eigh_tridiagonal",
        jsl.eigh_tridiagonal,
        [random(6), random(5, seed=1)],
        requires_jax=">=0.11",
    ),
    example("scipy_sqrtm", "jax.scipy.linalg.sqrtm", jsl.sqrtm, [_SPD]),
    example("scipy_polar", "jax.scipy.linalg.polar", jsl.polar, [_BATCH[0]]),
]


def _gradient(function: Any) -> Any:
    return jax.grad(lambda *operands: jnp.sum(function(*operands) ** 2))


DERIVATIVES = [
    example("solve_gradient", "jax.numpy.linalg.solve", _gradient(jnp.linalg.solve), [_BATCH, _RIGHT], dynamic=True),
    example("cholesky_gradient", "jax.numpy.linalg.cholesky", _gradient(jnp.linalg.cholesky), [definite(3, 4, 4)]),
    example("eigvalsh_gradient", "jax.numpy.linalg.eigvalsh", _gradient(jnp.linalg.eigvalsh), [hermitian(3, 4, 4)]),
    example("svdvals_gradient", "jax.numpy.linalg.svdvals", _gradient(jnp.linalg.svdvals), [_TALL]),
]

EXAMPLES = [*GENERAL, *NUMPY, *SCIPY, *DERIVATIVES]
