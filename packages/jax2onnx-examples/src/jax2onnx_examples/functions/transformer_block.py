"""A transformer block whose halves are ONNX functions: of a class, and of a plain function."""

from __future__ import annotations

import jax
from flax import nnx

from jax2onnx import onnx_function
from jax2onnx_examples._describe import FUNCTIONS, model


@onnx_function
class FeedForward(nnx.Module):
    """The MLP; ``deterministic`` is a call parameter that may be left out."""

    def __init__(self, width: int, hidden: int, *, rngs: nnx.Rngs) -> None:
        self.up = nnx.Linear(width, hidden, rngs=rngs)
        self.down = nnx.Linear(hidden, width, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)

    def __call__(self, x: jax.Array, *, deterministic: bool | None = None) -> jax.Array:
        """Map (..., width) to the same shape."""
        return self.dropout(self.down(nnx.gelu(self.up(x))), deterministic=deterministic)


@onnx_function
class MultiHeadAttention(nnx.Module):
    """Self-attention."""

    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs) -> None:
        self.attention = nnx.MultiHeadAttention(num_heads=heads, in_features=width, decode=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, time, width) to the same shape."""
        return self.attention(x)


@onnx_function
class TransformerBlock(nnx.Module):
    """A function that calls two others, without call parameters."""

    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs) -> None:
        self.norm1 = nnx.LayerNorm(width, rngs=rngs)
        self.attention = MultiHeadAttention(width, heads, rngs=rngs)
        self.norm2 = nnx.LayerNorm(width, rngs=rngs)
        self.feed_forward = FeedForward(width, 2 * width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, time, width) to the same shape."""
        x = x + self.attention(self.norm1(x))
        return x + self.feed_forward(self.norm2(x))


@onnx_function
def attend(attention: nnx.MultiHeadAttention, x: jax.Array, *, deterministic: bool) -> jax.Array:
    """Apply flax's attention: a plain function, to which the module is an argument like another."""
    return attention(x, deterministic=deterministic)


class TransformerBlockOfBoth(nnx.Module):
    """A block of a decorated function and a decorated class, with call parameters."""

    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs) -> None:
        self.norm1 = nnx.LayerNorm(width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(num_heads=heads, in_features=width, decode=False, rngs=rngs)
        self.norm2 = nnx.LayerNorm(width, rngs=rngs)
        self.feed_forward = FeedForward(width, 2 * width, rngs=rngs)

    def __call__(self, x: jax.Array, *, deterministic: bool = True) -> jax.Array:
        """Map (batch, time, width) to the same shape."""
        x = x + attend(self.attention, self.norm1(x), deterministic=deterministic)
        return x + self.feed_forward(self.norm2(x), deterministic=deterministic)


EXAMPLES = [
    model(
        FUNCTIONS,
        "008_transformer_block",
        lambda rngs: TransformerBlock(32, 4, rngs=rngs),
        [("B", 10, 32)],
        component="transformer block with nested functions, no call parameter",
        operators={"TransformerBlock": 1},
    ),
    model(
        FUNCTIONS,
        "009_transformer_block",
        lambda rngs: TransformerBlockOfBoth(32, 4, rngs=rngs),
        [("B", 10, 32)],
        component="transformer block, a class and a function decorated",
        operators={"attend": 1, "FeedForward": 1, "LayerNormalization": 2, "Add": 2},
    ),
]
