"""Products of matrices and vectors: onnxruntime would multiply row by row."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import onnxruntime as ort
import pytest
from jax import lax

from jax2onnx import to_onnx

CASES = {
    "a known matrix": (
        "(float[4] v) => (float[5] y) <float[5,4] const_w> { y = MatMul(const_w, v) }",
        {"MatMul": 1, "Squeeze": 0, "Transpose": 0},
        ("v", "const_w"),
    ),
    "known matrices": (
        "(float[4] v) => (float[3,5] y) <float[3,5,4] const_w> { y = MatMul(const_w, v) }",
        {"MatMul": 1, "Squeeze": 0, "Transpose": 0},
        ("v", "const_w"),
    ),
    "few known rows": (
        "(float[4] v) => (float[4] y) <float[4,4] const_w> { y = MatMul(const_w, v) }",
        {"MatMul": 1, "Squeeze": 0},
        ("const_w", "v"),
    ),
    "a known vector": (
        "(float[6,4] x) => (float[6] y) <float[4] const_v> { y = MatMul(x, const_v) }",
        {"MatMul": 1, "Squeeze": 1, "Unsqueeze": 0},
        ("x", "const_v"),
    ),
    "rows of unknown number": (
        "(float[N,4] x, float[4] v) => (float[N] y) { y = MatMul(x, v) }",
        {"MatMul": 1, "Squeeze": 1, "Unsqueeze": 1},
        None,
    ),
    "matrices of a batch": (
        "(float[N,2,4] x, float[4] v) => (float[N,2] y) { y = MatMul(x, v) }",
        {"MatMul": 1, "Squeeze": 1, "Unsqueeze": 1},
        None,
    ),
    "few rows": (
        "(float[4,4] x, float[4] v) => (float[4] y) { y = MatMul(x, v) }",
        {"MatMul": 1, "Squeeze": 0, "Unsqueeze": 0},
        ("x", "v"),
    ),
    "a vector of unknown size": (
        "(float[5,N] x, float[N] v) => (float[5] y) { y = MatMul(x, v) }",
        {"MatMul": 1, "Squeeze": 1, "Unsqueeze": 1},
        None,
    ),
    "a vector on the left": (
        "(float[4] v, float[4,6] x) => (float[6] y) { y = MatMul(v, x) }",
        {"MatMul": 1, "Squeeze": 0},
        ("v", "x"),
    ),
    "two vectors": (
        "(float[9] v, float[9] w) => (float y) { y = MatMul(v, w) }",
        {"MatMul": 1, "Squeeze": 0},
        ("v", "w"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_products(name, graphs):
    text, expected, operands = CASES[name]
    graphs.check(text, expected)
    (product,) = (n for n in graphs.tidied(graphs.parse(text)).graph.node if n.op_type == "MatMul")
    assert operands is None or tuple(product.input) == operands


def test_no_rows(graphs):
    """No row is multiplied if there is none."""
    before = graphs.parse("(float[N,4] x, float[4] v) => (float[N] y) { y = MatMul(x, v) }")
    feeds = {"x": np.zeros((0, 4), "f4"), "v": np.ones(4, "f4")}
    (want,), (got,) = (graphs.run(model, feeds) for model in (before, graphs.tidied(before)))
    assert got.shape == want.shape == (0,)


A = np.random.default_rng(0).normal(size=(7, 7)).astype(np.float32) / 4


@pytest.mark.parametrize(
    "function",
    [
        lambda x: A @ x,
        lambda x: lax.fori_loop(0, 3, lambda i, y: jnp.tanh(A @ y) + i, x),
        lambda x: lax.scan(lambda y, row: (A @ y + row, jnp.outer(y, row) @ y), x, jnp.asarray(A)),
        lambda x: jnp.outer(x, x + 1) @ x,
        lambda x: jnp.stack([A, A.T, A + 1]) @ x,
        lambda x: jnp.outer(x, x) @ np.arange(7, dtype=np.float32),
    ],
)
def test_like_jax(function):
    """The products are JAX's, with infinities and NaN where they are."""
    x = np.linspace(-2, 2, 7, dtype=np.float32)
    odd = [[np.where(np.arange(7) == 3, value, x).astype(np.float32)] for value in (np.inf, np.nan, -0.0)]
    model = to_onnx(function, [x])
    _compare(function, model, [[x], *odd])


def _compare(function, model, values):
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    for (x,) in values:
        want = function(jnp.asarray(x))
        for one, other in zip(session.run(None, {name: x}), want if isinstance(want, tuple) else (want,), strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5)
