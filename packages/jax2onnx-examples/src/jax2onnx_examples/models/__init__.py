"""Models as one writes them with flax.nnx today, a short file each."""

from __future__ import annotations

from jax2onnx.plugin import Example
from jax2onnx_examples.models import (
    autoencoder,
    cnn,
    conv_embedding,
    encoder_decoder,
    gpt,
    mlp,
    mlp_block,
    multihead_attention,
    patch_embedding,
    policy,
    resnet,
    state_space,
    training_step,
    transformer,
    unet,
    vae,
    vit,
)

ALL: tuple[Example, ...] = (
    *autoencoder.EXAMPLES,
    *cnn.EXAMPLES,
    *conv_embedding.EXAMPLES,
    *encoder_decoder.EXAMPLES,
    *gpt.EXAMPLES,
    *mlp.EXAMPLES,
    *mlp_block.EXAMPLES,
    *multihead_attention.EXAMPLES,
    *patch_embedding.EXAMPLES,
    *policy.EXAMPLES,
    *resnet.EXAMPLES,
    *state_space.EXAMPLES,
    *training_step.EXAMPLES,
    *transformer.EXAMPLES,
    *unet.EXAMPLES,
    *vae.EXAMPLES,
    *vit.EXAMPLES,
)
