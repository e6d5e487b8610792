"""A simple convolutional network for images of digits."""

from __future__ import annotations

from functools import partial

import jax
from flax import nnx
from jax import lax

from jax2onnx_examples._describe import MODELS, model


class CNN(nnx.Module):
    """Two convolutions with average pooling, then two linear layers."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(1, 32, kernel_size=(3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(32, 64, kernel_size=(3, 3), rngs=rngs)
        self.linear1 = nnx.Linear(7 * 7 * 64, 256, rngs=rngs)
        self.linear2 = nnx.Linear(256, 10, rngs=rngs)
        self.pool = partial(nnx.avg_pool, window_shape=(2, 2), strides=(2, 2))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images (batch, 28, 28, 1) to scores (batch, 10)."""
        x = self.pool(nnx.relu(self.conv1(x)))
        x = self.pool(nnx.relu(self.conv2(x)))
        x = lax.reshape(x, (x.shape[0], 7 * 7 * 64))
        return self.linear2(nnx.relu(self.linear1(x)))


EXAMPLES = [
    model(
        MODELS,
        "cnn",
        lambda rngs: CNN(rngs=rngs),
        [("B", 28, 28, 1)],
        component="CNN",
        operators={"Conv": 2, "AveragePool": 2, "Relu": 3, "Gemm": 2},
    ),
]
