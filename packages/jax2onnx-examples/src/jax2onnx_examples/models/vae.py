"""A variational autoencoder that draws its code by a random key, an input of the model."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jax2onnx.plugin import Example
from jax2onnx_examples._describe import MODELS

WIDTH, CODE = 12, 3


class Vae(nnx.Module):
    """An encoder to a mean and a variance, a draw, and a decoder."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.encoder = nnx.Linear(WIDTH, 2 * CODE, rngs=rngs)
        self.decoder = nnx.Linear(CODE, WIDTH, rngs=rngs)

    def __call__(self, x: jax.Array, key: jax.Array) -> jax.Array:
        """Map (batch, width) and the data of a key, uint32 (2,), to the same shape."""
        mean, spread = jnp.split(self.encoder(x), 2, -1)
        noise = jax.random.normal(jax.random.wrap_key_data(key), mean.shape)
        return nnx.sigmoid(self.decoder(mean + jnp.exp(spread / 2) * noise))


EXAMPLES = [
    Example(
        name="vae_sampling",
        context=MODELS,
        component="Vae",
        make=lambda: Vae(rngs=nnx.Rngs(0)),
        inputs=[("B", WIDTH), "uint32[2]"],
        values=lambda: [[np.ones((3, WIDTH), np.float32), np.array([0, seed], np.uint32)] for seed in (0, 42)],
        draw=False,
    )
]
