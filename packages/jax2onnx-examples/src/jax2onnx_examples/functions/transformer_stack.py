"""A stack of transformer blocks: however deep, one ONNX function for all of its blocks."""

from __future__ import annotations

import jax
from flax import nnx

from jax2onnx import onnx_function
from jax2onnx_examples._describe import FUNCTIONS, model
from jax2onnx_examples.functions.transformer_block import TransformerBlock


@onnx_function
class TransformerStack(nnx.Module):
    """Blocks one after another; they differ in their weights only, and so share their function."""

    def __init__(self, depth: int, width: int, heads: int, *, rngs: nnx.Rngs) -> None:
        self.blocks = nnx.List([TransformerBlock(width, heads, rngs=rngs) for _ in range(depth)])

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, time, width) to the same shape."""
        for block in self.blocks:
            x = block(x)
        return x


EXAMPLES = [
    model(
        FUNCTIONS,
        "010_transformer_block",
        lambda rngs: TransformerStack(3, 32, 4, rngs=rngs),
        [("B", 10, 32)],
        component="transformer stack",
        operators={"TransformerStack": 1},
    ),
]
