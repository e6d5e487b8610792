"""Examples: a solve by each solver of lineax, of one system and of batches, and a derivative."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np

from jax2onnx.plugin import Example

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_N = 4


def _dominant(a: jax.Array) -> lx.AbstractLinearOperator:
    return lx.MatrixLinearOperator(a + 8 * jnp.eye(_N, dtype=a.dtype))


def _definite(a: jax.Array) -> lx.AbstractLinearOperator:
    return lx.MatrixLinearOperator(a @ a.T + 4 * jnp.eye(_N, dtype=a.dtype), lx.positive_semidefinite_tag)


def _lower(a: jax.Array) -> lx.AbstractLinearOperator:
    return lx.MatrixLinearOperator(jnp.tril(a) + 8 * jnp.eye(_N, dtype=a.dtype), lx.lower_triangular_tag)


def _banded(a: jax.Array) -> lx.AbstractLinearOperator:
    return lx.TridiagonalLinearOperator(jnp.diag(a) + 8, jnp.diag(a, -1), jnp.diag(a, 1))


def _diagonal(a: jax.Array) -> lx.AbstractLinearOperator:
    return lx.DiagonalLinearOperator(jnp.diag(a))


def _solution(operator: Callable[..., Any], solver: Any, a: jax.Array, b: jax.Array, *, throw: bool = True) -> Any:
    return lx.linear_solve(operator(a), b, solver, throw=throw).value


def _values(*lead: int) -> Sequence[Sequence[Any]]:
    """Return two lists of systems whose numbers are neither large nor small."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Any:
        return np.asarray(rng.uniform(-1, 1, (*lead, *shape)), np.float32)

    return [[draw(_N, _N), draw(_N)] for _ in range(2)]


_SOLVERS: dict[str, tuple[Callable[..., Any], Any]] = {
    "lu": (_dominant, lx.LU()),
    "qr": (_dominant, lx.QR()),
    "svd": (_dominant, lx.SVD()),
    "cholesky": (_definite, lx.Cholesky()),
    "triangular": (_lower, lx.Triangular()),
    "tridiagonal": (_banded, lx.Tridiagonal()),
    "diagonal": (_diagonal, lx.Diagonal()),
    "cg": (_definite, lx.CG(rtol=1e-5, atol=1e-5)),
    "bicgstab": (_dominant, lx.BiCGStab(rtol=1e-3, atol=1e-3)),
    "gmres": (_dominant, lx.GMRES(rtol=1e-5, atol=1e-5)),
    "auto": (_dominant, lx.AutoLinearSolver(well_posed=True)),
}


def _example(name: str, function: Callable[..., Any], *, batch: bool = False, **more: Any) -> Example:
    lead = ("B",) if batch else ()
    return Example(
        name=name,
        context="lineax",
        component="lineax.linear_solve",
        make=lambda: jax.vmap(function) if batch else function,
        inputs=[(*lead, _N, _N), (*lead, _N)],
        values=lambda: _values(*([3] if batch else [])),
        draw=False,  # JAX raises on singular systems, and on numbers that are not finite
        **more,
    )


def _slope(a: jax.Array, b: jax.Array) -> jax.Array:
    slope: jax.Array = jax.grad(lambda a: jnp.sum(_solution(_dominant, lx.LU(), a, b, throw=False) ** 2))(a)
    return slope


ALL = [
    *[
        # BiCGStab raises where it breaks down, as it may where it has the solution.
        _example(name, functools.partial(_solution, *both, throw=name != "bicgstab"))
        for name, both in _SOLVERS.items()
    ],
    _example("lu_batch", functools.partial(_solution, *_SOLVERS["lu"]), batch=True),
    _example("cg_batch", functools.partial(_solution, *_SOLVERS["cg"]), batch=True),
    _example("lu_grad", _slope),
    _example("lu_x64", functools.partial(_solution, *_SOLVERS["lu"]), x64=True),
]
