"""Linear algebra: the size of the model does not grow with that of the matrix, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, to_onnx
from jax2onnx.errors import DimensionError, UnsupportedCaseError
from jax2onnx.testing import Runner, operators

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "cholesky": jnp.linalg.cholesky,
    "eig": jnp.linalg.eig,
    "eigh": lax.linalg.eigh,
    "hessenberg": lax.linalg.hessenberg,
    "inv": jnp.linalg.inv,
    "lu": lax.linalg.lu,
    "qr": jnp.linalg.qr,
    "svd": jnp.linalg.svd,
    "tridiagonal": lax.linalg.tridiagonal,
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_size_of_model_is_that_of_a_loop(name: str) -> None:
    counts = [sum(operators(to_onnx(FUNCTIONS[name], [(n, n)])).values()) for n in (100, 150)]
    assert counts[0] == counts[1]


REFUSED: dict[str, tuple[Callable[..., Any], list[Any], str]] = {
    "sorted schur": (lambda a: lax.linalg.schur(a, sort_eig_vals=True), [(3, 3)], "schur: sort_eig_vals"),
    "part of eigh": (lambda a: lax.linalg.eigh(a, subset_by_index=(0, 2)), [(3, 3)], "eigh: subset_by_index"),
    "part of svd": (lambda a: lax.linalg.svd(a, full_matrices=False, subset_by_index=(0, 2)), [(3, 3)], "svd: subset"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    function, inputs, message = REFUSED[name]
    with pytest.raises(UnsupportedCaseError, match=message):
        to_onnx(function, inputs)


def test_a_rule_that_cannot_take_a_symbolic_dim_says_so() -> None:
    with pytest.raises(DimensionError, match="svd: the rule cannot be traced with these symbolic dimensions") as raised:
        to_onnx(lambda x: jnp.linalg.svd(x, compute_uv=False), [("N", "N")])
    assert "give the dimensions it is about as ints" in str(raised.value)
    assert __file__ in str(raised.value)


def _factors(a: Any, b: Any) -> Any:
    solved = [
        lax.linalg.triangular_solve(a, b, left_side=True, lower=lower, unit_diagonal=unit)
        for lower in (True, False)
        for unit in (True, False)
    ]
    definite = a @ a.mT + 0.5 * jnp.eye(a.shape[-1])
    return lax.linalg.lu(a), lax.linalg.cholesky(definite), lax.linalg.cholesky(a), solved


@pytest.mark.parametrize(("lead", "n"), [((), 4), ((2,), 3)])
def test_small_matrices_take_no_loop(lead: tuple[int, ...], n: int) -> None:
    inputs = [(*lead, n, n), (*lead, n, 2)]
    model = to_onnx(_factors, inputs)
    assert "Loop" not in operators(model)
    a, b = (np.random.default_rng(n).normal(size=shape).astype(np.float32) for shape in inputs)
    lame = a.copy()
    lame[..., n // 2] = lame[..., 0]  # singular
    tied = np.sign(a)
    check(model, _factors, inputs, values=[[a + 3 * np.eye(n, dtype=np.float32), b], [lame, b], [tied, b]])


def _columns(kind):
    generator = np.random.default_rng(3)
    a = generator.normal(size=(2, 5, 3)).astype(np.float32)
    changed = {
        "large": lambda: a * np.float32(1e36),
        "small": lambda: a * np.float32(1e-30),
        "zero": lambda: a * np.float32([0, 1, 0]),
        "zero at first": lambda: np.where(np.arange(5)[:, None] > 0, a, 0),
        "triangular": lambda: np.triu(a),
        "triangular with zeros": lambda: np.triu(a, 1) * np.float32(-1),
    }
    return np.asarray(changed[kind](), np.float32)


@pytest.mark.parametrize("kind", ["large", "small", "zero", "zero at first", "triangular", "triangular with zeros"])
def test_reflections_of_columns_of_any_size(kind):
    """Neither squares of large or small entries, nor columns without any, make another factor than LAPACK's."""

    def factor(a):
        return jnp.linalg.qr(a, mode="raw")

    a = _columns(kind)
    actual = Runner(to_onnx(factor, [a])).run([a])
    for one, other in zip(actual, factor(jnp.asarray(a)), strict=True):
        expected = np.asarray(other)
        scale = np.max(np.abs(expected[np.isfinite(expected)]), initial=1e-38)
        np.testing.assert_allclose(one / scale, expected / scale, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [2, 3, 4, 5, 7])
@pytest.mark.parametrize("special", [0.0, 1.0])
def test_pivots_among_equal_sizes(size, special):
    """Of equal sizes the first is the pivot, and a column of zeros has none."""

    def factor(a):
        return lax.linalg.lu(a)

    generator = np.random.default_rng(size)
    a = generator.integers(-2, 3, (40, size, size)).astype(np.float32)
    a[generator.random(a.shape) < 0.15] = special
    actual = Runner(to_onnx(factor, [a])).run([a])
    for one, other in zip(actual, factor(jnp.asarray(a)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_a_row_with_nan_is_no_pivot(size):
    """NaN is not larger than any number: the last row stays the last. Of longer columns LAPACK may take others."""

    def factor(a):
        return lax.linalg.lu(a)

    a = np.random.default_rng(size).normal(size=(10, size, size)).astype(np.float32)
    a[:, -1, 0] = np.nan
    actual = Runner(to_onnx(factor, [a])).run([a])
    for one, other in zip(actual, factor(jnp.asarray(a)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
