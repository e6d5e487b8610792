"""Models as one writes them with flax.nnx today, a short file each."""

from __future__ import annotations

from jax2onnx.plugin import Example
from jax2onnx_examples.models import (
    autoencoder,
    cnn,
    conv_embedding,
    mlp,
    mlp_block,
    multihead_attention,
    patch_embedding,
    transformer,
    vit,
)

ALL: tuple[Example, ...] = (
    *autoencoder.EXAMPLES,
    *cnn.EXAMPLES,
    *conv_embedding.EXAMPLES,
    *mlp.EXAMPLES,
    *mlp_block.EXAMPLES,
    *multihead_attention.EXAMPLES,
    *patch_embedding.EXAMPLES,
    *transformer.EXAMPLES,
    *vit.EXAMPLES,
)
