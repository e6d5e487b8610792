"""Examples of linear algebra: :mod:`jax2onnx_lax.triangular`, ``householder`` and ``jacobi``.

Vectors that are free up to a sign or a phase are compared by what they make up again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Example

Array = np.ndarray[Any, Any]


def random(*shape: int, dtype: Any = np.float32, seed: int = 0) -> Array:
    """Return normal numbers, the same ones for the same arguments."""
    generator = np.random.default_rng(seed)
    array = generator.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        array = array + 1j * generator.standard_normal(shape)
    return np.asarray(array, dtype)


def adjoint(a: Any) -> Any:
    """Return the conjugate transposed matrices."""
    return a.conj().swapaxes(-1, -2)


def definite(*shape: int, dtype: Any = np.float32) -> Array:
    """Return Hermitian matrices whose eigenvalues are at least 1."""
    a = random(*shape, dtype=dtype)
    return np.asarray(a @ adjoint(a) + np.eye(shape[-1]), dtype)


def hermitian(*shape: int, dtype: Any = np.float32) -> Array:
    """Return Hermitian matrices."""
    a = random(*shape, dtype=dtype)
    return np.asarray((a + adjoint(a)) / 2, dtype)


def triangular(*shape: int, dtype: Any = np.float32) -> Array:
    """Return matrices both of whose triangles, with the diagonal, are well conditioned."""
    return (random(*shape, dtype=dtype) / shape[-1] + 2 * np.eye(shape[-1])).astype(dtype)


def example(
    name: str, component: str, fn: Callable[..., Any], *batches: Sequence[Array], dynamic: bool = False, **rest: Any
) -> Example:
    """Return an example compared on ``batches`` of arrays; with ``dynamic``, the leading dim of each is symbolic."""
    return Example(
        name=name,
        context="lax",
        component=component,
        make=lambda: fn,
        inputs=[_spec(array, dynamic=dynamic) for array in batches[0]],
        values=lambda: [list(b) for b in batches],
        draw=False,
        x64=any(a.dtype in (np.float64, np.complex128) for b in batches for a in b),
        **rest,
    )


def _spec(array: Array, *, dynamic: bool) -> Any:
    if not dynamic:
        return jax.ShapeDtypeStruct(array.shape, array.dtype)
    return f"{array.dtype.name}[{','.join(['B', *map(str, array.shape[1:])])}]"


def _special(a: Array, *places: tuple[tuple[int, ...], float]) -> Array:
    """Return a copy with some elements replaced."""
    a = a.copy()
    for place, value in places:
        a[place] = value
    return a


def _solve(**options: Any) -> Callable[..., Any]:
    full = {"left_side": True, "lower": False, "transpose_a": False, "conjugate_a": False, "unit_diagonal": False}
    return lambda a, b: lax.linalg.triangular_solve(a, b, **{**full, **options})


def _qr(**options: Any) -> Callable[..., Any]:
    return lambda a: lax.linalg.qr(a, **{"full_matrices": False, **options})


_ROWS = [[0, 1, 2, 3, 4, 5], [0, 1, 0, 1, 0, 1], [1, 2, 3, 4, 5, 0]]
"""Diagonals of a matrix that elimination without exchanges of rows would fail on."""

_SINGULAR = np.zeros((3, 3, 6), np.float32)
"""Diagonals of three matrices (the first axis is the diagonal): zero, of rank 1, and with rows of other sizes."""
_SINGULAR[1, 1] = [1, 0, 0, 0, 0, 0]
_SINGULAR[:, 2] = [[0, 2, 1e-30, 4, 1, 1], [1e-30, 2, 1, 1e-20, 2, 2], [3, 1, 1e-10, 2, 1, 0]]

_C64, _C128, _F64 = np.complex64, np.complex128, np.float64

SOLVE = [
    *[
        example(
            f"triangular_solve_{'left' if left else 'right'}_{'lower' if lower else 'upper'}"
            f"{'_transposed' if transposed else ''}",
            "jax.lax.linalg.triangular_solve",
            _solve(left_side=left, lower=lower, transpose_a=transposed),
            [triangular(3, 4, 4), random(3, 4, 2) if left else random(3, 2, 4)],
            dynamic=True,
        )
        for left in (True, False)
        for lower in (True, False)
        for transposed in (True, False)
    ],
    example(
        "triangular_solve_unit_diagonal",
        "jax.lax.linalg.triangular_solve",
        _solve(unit_diagonal=True),
        [_special(triangular(16, 16), ((3, 3), np.nan), ((5, 2), np.inf)), random(16, 3)],
    ),
    example(
        "triangular_solve_complex",
        "jax.lax.linalg.triangular_solve",
        _solve(lower=True, transpose_a=True, conjugate_a=True),
        [triangular(2, 5, 5, dtype=_C64), random(2, 5, 3, dtype=_C64)],
    ),
    example(
        "triangular_solve_singular",
        "jax.lax.linalg.triangular_solve",
        _solve(lower=True),
        [_special(triangular(4, 4), ((3, 3), 0)), random(4, 1)],
    ),
    example(
        "triangular_solve_large",
        "jax.lax.linalg.triangular_solve",
        _solve(lower=True),
        [triangular(200, 200, dtype=_F64), random(200, 2, dtype=_F64)],
    ),
    example(
        "triangular_solve_empty",
        "jax.lax.linalg.triangular_solve",
        _solve(lower=True),
        [random(2, 0, 0), random(2, 0, 3)],
    ),
    example(
        "tridiagonal_solve",
        "jax.lax.linalg.tridiagonal_solve",
        lax.linalg.tridiagonal_solve,
        [random(3, 6, seed=1), random(3, 6, seed=2), random(3, 6, seed=3), random(3, 6, 2)],
        [*[np.asarray([x] * 3, np.float32) for x in _ROWS], random(3, 6, 2)],
        dynamic=True,
    ),
    example(
        "tridiagonal_solve_perturbed",
        "jax.lax.linalg.tridiagonal_solve",
        lambda *operands: lax.linalg.tridiagonal_solve(*operands, perturb_singular=True),
        [random(3, 6, seed=1), random(3, 6, seed=2), random(3, 6, seed=3), random(3, 6, 2)],
        [*_SINGULAR, random(3, 6, 2)],
        dynamic=True,
        requires_jax=">=0.11",
    ),
    example(
        "tridiagonal_solve_single",
        "jax.lax.linalg.tridiagonal_solve",
        lax.linalg.tridiagonal_solve,
        [random(1, seed=1), random(1, seed=2), random(1, seed=3), random(1, 2)],
    ),
    example(
        "tridiagonal_solve_large",
        "jax.lax.linalg.tridiagonal_solve",
        lax.linalg.tridiagonal_solve,
        [*[random(200, dtype=_F64, seed=k) for k in (1, 2, 3)], random(200, 2, dtype=_F64)],
    ),
]

FACTORS = [
    *[
        example(f"cholesky_{n}", "jax.lax.linalg.cholesky", lax.linalg.cholesky, [definite(3, n, n)], dynamic=True)
        for n in (1, 2, 5)
    ],
    example("cholesky_complex", "jax.lax.linalg.cholesky", lax.linalg.cholesky, [definite(2, 4, 4, dtype=_C64)]),
    example("cholesky_large", "jax.lax.linalg.cholesky", lax.linalg.cholesky, [definite(200, 200, dtype=_F64)]),
    example("cholesky_empty", "jax.lax.linalg.cholesky", lax.linalg.cholesky, [random(2, 0, 0)]),
    example(
        "cholesky_not_definite",
        "jax.lax.linalg.cholesky",
        lambda a: lax.linalg.cholesky(a, symmetrize_input=False),
        [
            np.stack(
                [
                    definite(4, 4),
                    -definite(4, 4),
                    hermitian(4, 4),
                    np.zeros((4, 4), np.float32),
                    _special(definite(4, 4), ((2, 2), np.nan)),
                    _special(definite(4, 4), ((0, 3), np.nan)),
                ]
            )
        ],
    ),
    example(
        "cholesky_update",
        "jax.lax.linalg.cholesky_update",
        lax.linalg.cholesky_update,
        [np.triu(triangular(5, 5)), random(5)],
        [np.triu(triangular(5, 5)), np.zeros(5, np.float32)],
    ),
    example(
        "symmetric_product",
        "jax.lax.linalg.symmetric_product",
        lambda a, c: lax.linalg.symmetric_product(a, c, alpha=2.0, beta=0.5, symmetrize_output=True),
        [random(4, 3), hermitian(4, 4)],
    ),
    *[
        example(
            f"lu_{m}x{n}",
            "jax.lax.linalg.lu",
            lax.linalg.lu,
            [random(3, m, n)],
            [np.ones((3, m, n), np.float32)],
            [np.zeros((3, m, n), np.float32)],
            dynamic=True,
        )
        for m, n in ((1, 1), (3, 3), (5, 3), (3, 5))
    ],
    example("lu_complex", "jax.lax.linalg.lu", lax.linalg.lu, [random(2, 4, 4, dtype=_C64)]),
    example("lu_large", "jax.lax.linalg.lu", lax.linalg.lu, [random(200, 200, dtype=_F64)]),
    example("lu_empty", "jax.lax.linalg.lu", lax.linalg.lu, [random(2, 3, 0)]),
    example(
        "lu_pivots_to_permutation",
        "jax.lax.linalg.lu_pivots_to_permutation",
        lambda pivots: lax.linalg.lu_pivots_to_permutation(pivots, 6),
        [np.asarray([[3, 1, 5, 3], [0, 1, 2, 3], [5, 5, 5, 5]], np.int32)],
        dynamic=True,
    ),
    *[
        example(
            f"qr_{m}x{n}{'_full' if full else ''}",
            "jax.lax.linalg.qr",
            _qr(full_matrices=full),
            [random(3, m, n)],
            [np.zeros((3, m, n), np.float32)],
            dynamic=True,
        )
        for m, n in ((1, 1), (3, 3), (6, 3), (3, 6))
        for full in (False, True)
    ],
    *[
        example(f"qr_pivoting_{m}x{n}", "jax.lax.linalg.qr", _qr(pivoting=True), [random(2, m, n)])
        for m, n in ((4, 4), (6, 3), (3, 6))
    ],
    example("qr_raw", "jax.numpy.linalg.qr", lambda a: jnp.linalg.qr(a, mode="raw"), [random(2, 5, 3)]),
    example("qr_complex", "jax.lax.linalg.qr", _qr(full_matrices=True), [random(2, 5, 3, dtype=_C64)]),
    example("qr_large", "jax.lax.linalg.qr", _qr(), [random(200, 64, dtype=_F64)]),
    example("qr_empty", "jax.lax.linalg.qr", _qr(full_matrices=True), [random(2, 3, 0)]),
    example(
        "householder_product",
        "jax.lax.linalg.householder_product",
        lax.linalg.householder_product,
        [random(3, 5, 4), random(3, 2, seed=1)],
        dynamic=True,
    ),
    example("hessenberg", "jax.lax.linalg.hessenberg", lax.linalg.hessenberg, [random(3, 5, 5)], dynamic=True),
    example("hessenberg_complex", "jax.lax.linalg.hessenberg", lax.linalg.hessenberg, [random(4, 4, dtype=_C64)]),
    *[
        example(
            f"tridiagonal_{'lower' if lower else 'upper'}",
            "jax.lax.linalg.tridiagonal",
            functools.partial(lax.linalg.tridiagonal, lower=lower),
            [hermitian(3, 5, 5)],
            dynamic=True,
        )
        for lower in (True, False)
    ],
    example("tridiagonal_complex", "jax.lax.linalg.tridiagonal", lax.linalg.tridiagonal, [hermitian(4, 4, dtype=_C64)]),
]


def eigenvalues_and_product(a: jax.Array) -> Any:
    """Return what does not depend on the phases of the eigenvectors."""
    v, w = lax.linalg.eigh(a)
    return w, jnp.matmul(v * w[..., None, :], adjoint(v)), jnp.matmul(adjoint(v), v)


def _singular(*, full_matrices: bool) -> Callable[..., Any]:
    def function(a: jax.Array) -> Any:
        u, s, v = jnp.linalg.svd(a, full_matrices=full_matrices)
        k = s.shape[-1]
        product = jnp.matmul(u[..., :k] * s[..., None, :], v[..., :k, :])
        return s, product, jnp.matmul(adjoint(u), u), jnp.matmul(v, adjoint(v))

    return function


_RANK_ONE = np.stack([np.ones((5, 5)), np.diag([1, 1, 1, 2, 2]), np.zeros((5, 5))]).astype(_F64)

SPECTRA = [
    *[
        example(f"eigh_{n}", "jax.lax.linalg.eigh", eigenvalues_and_product, [hermitian(3, n, n)], dynamic=True)
        for n in (1, 2, 3, 16)
    ],
    example("eigh_repeated", "jax.lax.linalg.eigh", eigenvalues_and_product, [_RANK_ONE]),
    example("eigh_complex", "jax.lax.linalg.eigh", eigenvalues_and_product, [hermitian(2, 6, 6, dtype=_C128)]),
    example("eigh_large", "jax.lax.linalg.eigh", eigenvalues_and_product, [hermitian(200, 200, dtype=_F64)]),
    example("eigh_empty", "jax.lax.linalg.eigh", lax.linalg.eigh, [random(2, 0, 0)]),
    example(
        "eigh_nan",
        "jax.lax.linalg.eigh",
        lambda a: lax.linalg.eigh(a)[1],
        [np.stack([hermitian(3, 3), _special(hermitian(3, 3), ((1, 1), np.nan))])],
    ),
    *[
        example(
            f"svd_{m}x{n}{'_full' if full else ''}",
            "jax.lax.linalg.svd",
            _singular(full_matrices=full),
            [random(3, m, n)],
            dynamic=True,
        )
        for m, n in ((1, 1), (3, 3), (6, 3), (3, 6))
        for full in (False, True)
    ],
    example("svd_values", "jax.lax.linalg.svd", jnp.linalg.svdvals, [random(3, 5, 4)], dynamic=True),
    example("svd_rank_deficient", "jax.lax.linalg.svd", _singular(full_matrices=True), [_RANK_ONE]),
    example("svd_complex", "jax.lax.linalg.svd", _singular(full_matrices=False), [random(2, 4, 3, dtype=_C128)]),
    example("svd_large", "jax.lax.linalg.svd", _singular(full_matrices=False), [random(200, 64, dtype=_F64)]),
    example("svd_empty", "jax.lax.linalg.svd", _singular(full_matrices=True), [random(2, 3, 0)]),
]

EXAMPLES = [*SOLVE, *FACTORS, *SPECTRA]
