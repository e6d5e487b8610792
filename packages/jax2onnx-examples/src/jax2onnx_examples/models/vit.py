"""A Vision Transformer for images of digits, with either embedding."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from jax2onnx_examples._describe import MODELS, model
from jax2onnx_examples.models.conv_embedding import ConvEmbedding
from jax2onnx_examples.models.patch_embedding import PatchEmbedding
from jax2onnx_examples.models.transformer import stack


class VisionTransformer(nnx.Module):
    """Embed the image as tokens, put a class token before them, classify by what becomes of it."""

    def __init__(
        self,
        embedding: Callable[[jax.Array], jax.Array],
        encoder: Callable[[jax.Array], jax.Array],
        *,
        tokens: int = 49,
        width: int = 32,
        classes: int = 10,
        rngs: nnx.Rngs,
    ) -> None:
        self.embedding = embedding
        self.encoder = encoder
        self.class_token = nnx.Param(jax.random.normal(rngs.params(), (1, 1, width)))
        self.positions = nnx.Param(jax.random.normal(rngs.params(), (1, tokens + 1, width)) * 0.02)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.head = nnx.Linear(width, classes, rngs=rngs)

    def __call__(self, image: jax.Array) -> jax.Array:
        """Map (batch, 28, 28, 1) to log-probabilities (batch, classes)."""
        x = self.embedding(image)
        batch, _, width = x.shape
        class_token = jnp.broadcast_to(self.class_token[...], (batch, 1, width))
        x = jnp.concatenate([class_token, x], axis=1) + self.positions[...]
        x = self.norm(self.encoder(self.dropout(x)))
        return nnx.log_softmax(self.head(x[:, 0]))


def with_patches(rngs: nnx.Rngs) -> VisionTransformer:
    """Return a model over patches of 4 x 4 pixels."""
    return VisionTransformer(PatchEmbedding(4, 1, 32, rngs=rngs), stack(rngs), rngs=rngs)


def with_convolutions(rngs: nnx.Rngs) -> VisionTransformer:
    """Return a model over the pixels of an image halved twice."""
    return VisionTransformer(ConvEmbedding((1, 16, 32), rngs=rngs), stack(rngs), rngs=rngs)


EXAMPLES = [
    model(
        MODELS,
        "vit_patch_embedding",
        with_patches,
        [("B", 28, 28, 1)],
        component="VisionTransformer",
        operators={"LayerNormalization": 7, "Gelu": 3, "LogSoftmax": 1},
    ),
    model(
        MODELS,
        "vit_conv_embedding",
        with_convolutions,
        [("B", 28, 28, 1)],
        component="VisionTransformer",
        operators={"Conv": 2, "LayerNormalization": 9, "Gelu": 3, "LogSoftmax": 1},
    ),
]
