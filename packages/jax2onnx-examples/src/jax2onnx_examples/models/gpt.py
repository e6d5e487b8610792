"""A decoder of language as in GPT, which writes one token at a time and keeps the keys and values of those before."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from jax2onnx.plugin import Example
from jax2onnx_examples._describe import MODELS

TOKENS, WIDTH, HEADS, LAYERS, LONGEST = 50, 16, 4, 2, 8


class CachedAttention(nnx.Module):
    """Attention of one new place to itself and to all places before it."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.query_key_value = nnx.Linear(WIDTH, 3 * WIDTH, rngs=rngs)
        self.out = nnx.Linear(WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x: jax.Array, cache: jax.Array, place: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return what is attended to (batch, 1, width), and the cache (2, batch, longest, heads, width of a head)."""
        split = self.query_key_value(x).reshape(x.shape[0], 1, 3, HEADS, WIDTH // HEADS)
        query, new = split[:, :, 0], jnp.moveaxis(split[:, :, 1:], 2, 0)
        cache = lax.dynamic_update_slice(cache, new, (0, 0, place, 0, 0))
        seen = jnp.arange(LONGEST) <= place
        found = jax.nn.dot_product_attention(query, cache[0], cache[1], mask=seen[None, None, None])
        return self.out(found.reshape(x.shape)), cache


class Block(nnx.Module):
    """Attention and a perceptron, each behind a normalisation and beside a shortcut."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.norm1 = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.attention = CachedAttention(rngs=rngs)
        self.norm2 = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.up = nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs)
        self.down = nnx.Linear(4 * WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x: jax.Array, cache: jax.Array, place: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the block's result and its cache."""
        found, cache = self.attention(self.norm1(x), cache, place)
        x = x + found
        return x + self.down(nnx.gelu(self.up(self.norm2(x)))), cache


class Gpt(nnx.Module):
    """One step of the decoder: scores for the next token, and the caches with the token added."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(TOKENS, WIDTH, rngs=rngs)
        self.places = nnx.Embed(LONGEST, WIDTH, rngs=rngs)
        self.blocks = nnx.List([Block(rngs=rngs) for _ in range(LAYERS)])
        self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)

    def __call__(
        self, token: jax.Array, caches: list[jax.Array], place: jax.Array
    ) -> tuple[jax.Array, list[jax.Array]]:
        """Map tokens (batch, 1), one cache for each block and the place of the tokens to scores (batch, 1, tokens)."""
        x = self.embed(token) + self.places(place)
        after = []
        for block, cache in zip(self.blocks, caches, strict=True):
            x, new = block(x, cache, place)
            after.append(new)
        return self.embed.attend(self.norm(x)), after


def _values() -> list[list[object]]:
    rng = np.random.default_rng(0)
    shape = (2, 3, LONGEST, HEADS, WIDTH // HEADS)
    caches = [rng.normal(size=shape).astype(np.float32) for _ in range(LAYERS)]
    return [[rng.integers(0, TOKENS, (3, 1), np.int32), caches, np.int32(place)] for place in (0, 3, LONGEST - 1)]


EXAMPLES = [
    Example(
        name="gpt_step",
        context=MODELS,
        component="Gpt",
        make=lambda: Gpt(rngs=nnx.Rngs(0)),
        inputs=["int32[B,1]", ["float32[2,B,8,4,4]"] * LAYERS, "int32[]"],
        values=_values,
        draw=False,  # tokens and places have bounds
    )
]
