"""A Gaussian process: the mean and the variance of what it predicts, given some observations."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np

from jax2onnx.plugin import Example
from jax2onnx_examples._describe import PROGRAMS, normal

SEEN = np.linspace(-2, 2, 9, dtype=np.float32)[:, None]
OBSERVED = np.sin(2 * SEEN[:, 0])
NOISE = 0.01


def kernel(x: jax.Array, y: jax.Array) -> jax.Array:
    """Return how much the function at points (n, dims) and at points (m, dims) is alike, (n, m)."""
    return jnp.exp(-((x[:, None] - y[None]) ** 2).sum(-1) / 2)


def predict(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Map points (batch, 1) to means and variances (batch,)."""
    seen = jnp.asarray(SEEN)
    factor = jsl.cho_factor(kernel(seen, seen) + NOISE * jnp.eye(len(SEEN)), lower=True)
    near = kernel(x, seen)
    mean = near @ jsl.cho_solve(factor, OBSERVED)
    explained = (near * jsl.cho_solve(factor, near.T).T).sum(-1)
    return mean, 1 + NOISE - explained


EXAMPLES = [
    Example(
        name="gaussian_process",
        context=PROGRAMS,
        component="jax.scipy.linalg.cho_solve",
        make=lambda: predict,
        inputs=[("B", 1)],
        values=normal(3, 1),
        draw=False,
    )
]
