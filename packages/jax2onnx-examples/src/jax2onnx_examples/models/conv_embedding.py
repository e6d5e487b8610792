"""Image tokens by convolution: a pyramid that halves the image until each pixel is a token."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
from flax import nnx

from jax2onnx_examples._describe import MODELS, model


class Downsample(nnx.Module):
    """Halve the image: strided convolution, normalisation, ReLU."""

    def __init__(self, channels_in: int, channels_out: int, *, rngs: nnx.Rngs) -> None:
        self.conv = nnx.Conv(channels_in, channels_out, kernel_size=(3, 3), strides=2, rngs=rngs)
        self.norm = nnx.LayerNorm(channels_out, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, height, width, channels_in) to (batch, height / 2, width / 2, channels_out)."""
        return jax.nn.relu(self.norm(self.conv(x)))


class ConvEmbedding(nnx.Module):
    """Downsample step by step; the last step's pixels are the tokens."""

    def __init__(self, channels: tuple[int, ...], *, rngs: nnx.Rngs) -> None:
        self.steps = nnx.List([Downsample(a, b, rngs=rngs) for a, b in itertools.pairwise(channels)])

    def __call__(self, image: jax.Array) -> jax.Array:
        """Map (batch, height, width, channels) to (batch, tokens, features)."""
        x = image
        for step in self.steps:
            x = step(x)
        batch, _, _, features = x.shape
        return jnp.reshape(x, (batch, -1, features))


EXAMPLES = [
    model(
        MODELS,
        "mnist_conv_embedding",
        lambda rngs: ConvEmbedding((1, 16, 32), rngs=rngs),
        [("B", 28, 28, 1)],
        component="ConvEmbedding",
        operators={"Conv": 2, "LayerNormalization": 2, "Relu": 2},
    ),
]
