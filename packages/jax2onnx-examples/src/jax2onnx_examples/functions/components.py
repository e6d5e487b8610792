"""A nested ONNX function beside flax's own layers, which stay nodes."""

from __future__ import annotations

import jax
from flax import nnx

from jax2onnx import onnx_function
from jax2onnx_examples._describe import FUNCTIONS, model
from jax2onnx_examples.functions.nested import NestedBlock


@onnx_function
class BlockAndNorm(nnx.Module):
    """The nested function and a normalisation."""

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.block = NestedBlock(width, rngs=rngs)
        self.norm = nnx.LayerNorm(width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (..., width) to the same shape."""
        return self.norm(self.block(x))


@onnx_function
class BlockAndAttention(nnx.Module):
    """The nested function between two normalisations, attention and dropout."""

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.norm1 = nnx.LayerNorm(width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(num_heads=4, in_features=width, decode=False, rngs=rngs)
        self.norm2 = nnx.LayerNorm(width, rngs=rngs)
        self.block = NestedBlock(width, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, time, width) to the same shape."""
        x = x + self.attention(self.norm1(x))
        return x + self.dropout(self.block(self.norm2(x)))


EXAMPLES = [
    model(
        FUNCTIONS,
        "004_nested_function_plus_component",
        lambda rngs: BlockAndNorm(16, rngs=rngs),
        [("B", 10, 16)],
        component="nested function plus component",
        operators={"BlockAndNorm": 1},
    ),
    model(
        FUNCTIONS,
        "005_nested_function_plus_component",
        lambda rngs: BlockAndAttention(16, rngs=rngs),
        [("B", 10, 16)],
        component="nested function plus more components",
        operators={"BlockAndAttention": 1},
    ),
]
