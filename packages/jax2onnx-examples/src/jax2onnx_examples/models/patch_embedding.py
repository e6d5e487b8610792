"""Image tokens by patches: cut the image into squares and embed each linearly."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jax2onnx_examples._describe import MODELS, model


class PatchEmbedding(nnx.Module):
    """Cut into patches, flatten each, embed it."""

    def __init__(self, patch: int, channels: int, features: int, *, rngs: nnx.Rngs) -> None:
        self.patch = patch
        self.embed = nnx.Linear(patch * patch * channels, features, rngs=rngs)

    def __call__(self, image: jax.Array) -> jax.Array:
        """Map (batch, height, width, channels) to (batch, tokens, features)."""
        batch, height, width, channels = image.shape
        rows, columns = height // self.patch, width // self.patch
        x = jnp.reshape(image, (batch, rows, self.patch, columns, self.patch, channels))
        x = jnp.transpose(x, (0, 1, 3, 2, 4, 5))
        return self.embed(jnp.reshape(x, (batch, rows * columns, -1)))


EXAMPLES = [
    model(
        MODELS,
        "patch_embedding",
        lambda rngs: PatchEmbedding(4, 1, 32, rngs=rngs),
        [("B", 28, 28, 1)],
        component="PatchEmbedding",
        operators={"Transpose": 1, "Reshape": 2, "MatMul": 1},
    ),
]
