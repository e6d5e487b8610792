"""A simple autoencoder."""

from __future__ import annotations

import jax
from flax import nnx

from jax2onnx_examples._describe import MODELS, model


class Encoder(nnx.Module):
    """Compress a vector to its code."""

    def __init__(self, width: int, code: int, *, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(width, width // 2, rngs=rngs)
        self.code = nnx.Linear(width // 2, code, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, width) to (batch, code)."""
        return self.code(nnx.relu(self.hidden(x)))


class Decoder(nnx.Module):
    """Restore a vector from its code."""

    def __init__(self, code: int, width: int, *, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(code, width // 2, rngs=rngs)
        self.restored = nnx.Linear(width // 2, width, rngs=rngs)

    def __call__(self, code: jax.Array) -> jax.Array:
        """Map (batch, code) to (batch, width)."""
        return nnx.sigmoid(self.restored(nnx.relu(self.hidden(code))))


class AutoEncoder(nnx.Module):
    """An encoder followed by its decoder."""

    def __init__(self, width: int, code: int, *, rngs: nnx.Rngs) -> None:
        self.encoder = Encoder(width, code, rngs=rngs)
        self.decoder = Decoder(code, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, width) to the same shape."""
        return self.decoder(self.encoder(x))


EXAMPLES = [
    model(
        MODELS,
        "autoencoder",
        lambda rngs: AutoEncoder(64, 8, rngs=rngs),
        [("B", 64)],
        component="AutoEncoder",
        operators={"Gemm": 4, "Relu": 2, "Sigmoid": 1},
    ),
]
