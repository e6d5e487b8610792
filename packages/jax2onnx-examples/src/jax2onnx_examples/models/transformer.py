"""The Transformer of 'Attention Is All You Need' (encoder side), normalised before each half."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import jax
from flax import nnx

from jax2onnx_examples._describe import MODELS, model
from jax2onnx_examples.models.mlp_block import MLPBlock


class TransformerBlock(nnx.Module):
    """Self-attention, then an MLP, each normalised before and added to what came in."""

    def __init__(self, width: int, heads: int, hidden: int, *, dropout: float = 0.1, rngs: nnx.Rngs) -> None:
        self.norm1 = nnx.LayerNorm(width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(num_heads=heads, in_features=width, decode=False, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)
        self.norm2 = nnx.LayerNorm(width, rngs=rngs)
        self.mlp = MLPBlock(width, hidden, dropout=dropout, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, time, width) to the same shape."""
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.mlp(self.norm2(x))


class TransformerStack(nnx.Module):
    """Blocks one after another."""

    def __init__(self, blocks: Iterable[Callable[[jax.Array], jax.Array]]) -> None:
        self.blocks = nnx.List(blocks)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, time, width) to the same shape."""
        for block in self.blocks:
            x = block(x)
        return x


def stack(rngs: nnx.Rngs) -> TransformerStack:
    """Return three blocks of four heads."""
    return TransformerStack(TransformerBlock(32, 4, 64, rngs=rngs) for _ in range(3))


EXAMPLES = [
    model(
        MODELS,
        "transformer_block",
        lambda rngs: TransformerBlock(32, 4, 64, rngs=rngs),
        [("B", 10, 32)],
        component="TransformerBlock",
        operators={"LayerNormalization": 2, "Gelu": 1},
    ),
    model(
        MODELS,
        "transformer_stack",
        stack,
        [("B", 10, 32)],
        component="TransformerStack",
        operators={"LayerNormalization": 6, "Gelu": 3},
    ),
]
