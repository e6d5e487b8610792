"""Numbers divided by the largest of them need no choice where they are NaN when they are rounded to integers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from few_bits import EDGES, INT, RNG, rounded

from jax2onnx import to_onnx
from jax2onnx.testing import Runner, operators


def over_largest(x, axis, keep=lambda m: jnp.maximum(m / 127, 1e-9), of=None):
    return rounded(x / keep(jnp.max(jnp.abs(x if of is None else of), axis=axis, keepdims=True)))


def kept(m):
    return jnp.where(m / 127.5 < 1e-19, 1.0, m / 127.5)


def turned(x):
    parts = x.reshape(-1, 8, 8) / 2
    scale = kept(jnp.max(jnp.abs(parts), axis=2)).T[:, None, :, None]
    q = rounded(parts[None].transpose(2, 0, 1, 3) / scale)
    return q.transpose(2, 0, 1, 3).reshape(-1, 64)


BOUNDED = {
    "by rows": (lambda x: over_largest(x, 1), 1),
    "by columns": (lambda x: over_largest(x, 0), 1),
    "by all": (lambda x: over_largest(x, (0, 1)), 1),
    "as qwix": (lambda x: over_largest(x, 1, kept), 1),
    "kept before it is scaled": (lambda x: over_largest(x, 1, lambda m: jnp.maximum(m, 1e-6) * (1 / 127)), 1),
    "turned": (turned, 1),
    "of tiles": (lambda x: over_largest(x.reshape(-1, 4, 16), 2).reshape(-1, 64), 1),
    "not kept from 0": (lambda x: over_largest(x, 1, lambda m: m / 127), 0),
    "kept by too little": (lambda x: over_largest(x, 1, lambda m: jnp.maximum(m / 127, 1e-39)), 0),
    "scaled by too little": (lambda x: over_largest(x, 1, lambda m: jnp.maximum(m * 1e-38, 1e-9)), 0),
    "of other rows": (lambda x: over_largest(x, 1, of=x[::-1]), 0),
    "along another axis": (
        lambda x: rounded(x.reshape(-1, 8, 8) / kept(jnp.max(jnp.abs(x.reshape(-1, 8, 8)), axis=2))[:, None]).reshape(
            -1, 64
        ),
        0,
    ),
    "not divided": (rounded, 0),
}


def edges():
    """Yield arrays of 7 rows, some with NaN, infinities, zeros, and numbers next to the ends of float32."""
    yield RNG.normal(size=(7, 64)).astype(np.float32) * 60
    x = RNG.normal(size=(7, 64)).astype(np.float32)
    x[0, 3], x[1, 5], x[2, 7], x[3] = np.nan, np.inf, -np.inf, 0
    x[4] *= np.float32(3e37)
    x[4, 0] = -np.finfo(np.float32).max
    x[5] *= np.float32(1e-40)
    x[6, :2] = np.nan, -np.inf
    yield x
    yield np.resize(EDGES, (7, 64))
    yield np.full((7, 64), -np.inf, np.float32)


@pytest.mark.parametrize("target", ["onnxruntime", "onnxruntime-vnni", "onnxruntime>=1.20"])
@pytest.mark.parametrize("kind", BOUNDED)
def test_what_is_bounded_needs_no_choice_where_it_is_nan(kind, target):
    fn, count = BOUNDED[kind]
    identity = jnp.eye(64, dtype=jnp.int8)
    product = lambda x: jax.lax.dot(fn(x), identity, **INT)  # noqa: E731
    model = to_onnx(product, ["float32[B,64]"], target=target)
    assert operators(model)["ThresholdedRelu"] == count
    runner, plain = Runner(model), Runner(to_onnx(product, ["float32[B,64]"], target="onnx"))
    for x in edges():
        (got,), (expected,) = runner.run([x]), plain.run([x])
        np.testing.assert_array_equal(got, expected)
        if count:  # JAX takes subnormal numbers for 0, which matters if nothing keeps a scale from 0
            # A quotient that is next to a tie may be rounded either way.
            np.testing.assert_allclose(got, product(jnp.asarray(x)), rtol=0, atol=1)
