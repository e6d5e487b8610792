"""flax's own multi-head attention, exported as it is."""

from __future__ import annotations

from flax import nnx

from jax2onnx_examples._describe import MODELS, model

EXAMPLES = [
    model(
        MODELS,
        "multihead_attention",
        lambda rngs: nnx.MultiHeadAttention(num_heads=4, in_features=32, decode=False, rngs=rngs),
        [("B", 10, 32)],
        component="flax.nnx.MultiHeadAttention",
    ),
]
