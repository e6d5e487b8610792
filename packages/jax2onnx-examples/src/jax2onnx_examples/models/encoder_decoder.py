"""A transformer that reads one sequence and writes another, as for translation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jax2onnx.plugin import Example
from jax2onnx_examples._describe import MODELS

TOKENS, WIDTH, HEADS = 30, 16, 4


class Layer(nnx.Module):
    """Attention to oneself, in a decoder also to the encoder's results, then a perceptron."""

    def __init__(self, *, decodes: bool, rngs: nnx.Rngs) -> None:
        self.itself = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=rngs)
        self.other = nnx.MultiHeadAttention(HEADS, WIDTH, decode=False, rngs=rngs) if decodes else None
        self.norms = nnx.List([nnx.LayerNorm(WIDTH, rngs=rngs) for _ in range(3 if decodes else 2)])
        self.up = nnx.Linear(WIDTH, 2 * WIDTH, rngs=rngs)
        self.down = nnx.Linear(2 * WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x: jax.Array, read: jax.Array | None = None) -> jax.Array:
        """Map (batch, length, width) to the same shape; ``read`` is what the encoder made of the other sequence."""
        mask = None if self.other is None else nnx.make_causal_mask(x[..., 0])
        x = self.norms[0](x + self.itself(x, mask=mask))
        if self.other is not None:
            x = self.norms[2](x + self.other(x, read))
        return self.norms[1](x + self.down(nnx.relu(self.up(x))))


class EncoderDecoder(nnx.Module):
    """One encoding and one decoding layer."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(TOKENS, WIDTH, rngs=rngs)
        self.encoder = Layer(decodes=False, rngs=rngs)
        self.decoder = Layer(decodes=True, rngs=rngs)
        self.head = nnx.Linear(WIDTH, TOKENS, rngs=rngs)

    def __call__(self, source: jax.Array, target: jax.Array) -> jax.Array:
        """Map tokens (batch, source) and (batch, target) to scores (batch, target, tokens)."""
        read = self.encoder(self._placed(source))
        return self.head(self.decoder(self._placed(target), read))

    def _placed(self, tokens: jax.Array) -> jax.Array:
        """Embed tokens, and add sines of their places."""
        places = jnp.arange(tokens.shape[1], dtype=jnp.float32)[:, None]
        return self.embed(tokens) + jnp.sin(places * jnp.logspace(0, -2, WIDTH))


EXAMPLES = [
    Example(
        name="encoder_decoder",
        context=MODELS,
        component="EncoderDecoder",
        make=lambda: EncoderDecoder(rngs=nnx.Rngs(0)),
        inputs=["int32[B,S]", "int32[B,T]"],
        values=lambda: [list(np.random.default_rng(0).integers(0, TOKENS, (2, 3, 3), np.int32))],
        draw=False,  # tokens have bounds
    )
]
