"""Real Schur forms: orthogonal, similar to the matrix, and with blocks of two for complex eigenvalues only."""

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
import pytest

from jax2onnx import check, to_onnx
from jax2onnx_lax.real_schur import real_form

FORM = jax.jit(real_form)


def families(n):
    """Yield matrices of many kinds, hard ones among them."""
    rng = np.random.default_rng(n)
    general = rng.standard_normal((4, n, n))
    yield general
    yield np.round(general)
    yield general + general.swapaxes(1, 2)
    yield general - general.swapaxes(1, 2)
    yield np.linalg.qr(general)[0]
    many = rng.standard_normal((100, n, n))
    yield many * 10.0 ** rng.uniform(-5, 5, (100, n, 1))
    yield many * 10.0 ** rng.uniform(-5, 5, (100, 1, n))
    jordan = np.diag(np.ones(n - 1), 1) + 2 * np.eye(n)
    yield np.stack([jordan, jordan.T, np.roll(np.eye(n), 1, 0), np.zeros((n, n))])
    yield np.stack([np.eye(n), np.eye(n)[::-1], np.ones((n, n)), np.triu(general[0])])


@pytest.mark.parametrize("n", [2, 3, 4, 9])
def test_form(n):
    for matrices in families(n):
        a = matrices.astype(np.float32)
        t, z = map(np.asarray, FORM(jnp.asarray(a)))
        bound = 8 * n * np.finfo(np.float32).eps
        wide_t, wide_z = t.astype(np.float64), z.astype(np.float64)
        rest = np.linalg.norm(wide_z @ wide_t @ wide_z.swapaxes(-1, -2) - a, axis=(-2, -1))
        assert np.all(rest <= bound * np.linalg.norm(a, axis=(-2, -1)))
        assert np.all(np.abs(z @ z.swapaxes(-1, -2) - np.eye(n)) <= bound)
        assert not np.tril(t, -2).any()
        below = np.diagonal(t, -1, -2, -1)
        assert not np.any((below[:, :-1] != 0) & (below[:, 1:] != 0))
        for matrix, k in zip(*np.nonzero(below), strict=True):
            block = t[matrix, k : k + 2, k : k + 2]
            assert block[0, 0] == block[1, 1]
            assert block[0, 1] * block[1, 0] < 0


def test_one_and_none():
    for n in (0, 1):
        t, z = real_form(jnp.full((2, n, n), 3.0))
        np.testing.assert_array_equal(t, np.full((2, n, n), 3.0))
        np.testing.assert_array_equal(z, np.ones((2, n, n)))


def rebuilt(a):
    t, z = jsl.schur(a)
    return jnp.matmul(jnp.matmul(z, t), z.mT), jnp.matmul(z, z.mT), jnp.tril(t, -2)


def test_export():
    a = np.random.default_rng(0).standard_normal((5, 5)).astype(np.float32)
    model = to_onnx(rebuilt, [(5, 5)])
    check(model, rebuilt, [(5, 5)], values=[[a], [a + a.T], [np.roll(np.eye(5, dtype=np.float32), 1, 0)]])


def test_functions_of_matrices():
    def exponential(a):
        return jsl.funm(a, jnp.exp)

    a = np.random.default_rng(0).standard_normal((3, 3)).astype(np.float32)
    check(to_onnx(exponential, [(3, 3)]), exponential, [(3, 3)], values=[[a]])
