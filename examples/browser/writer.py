"""Let a small decoder write on in the browser: it is trained here, exported with its cache and its choice, and served.

python examples/browser/writer.py                  trains, exports, and serves the page at http://localhost:8000
python examples/browser/writer.py --build FOLDER   writes the page and its files to FOLDER, and serves nothing

A token is a character's ASCII code, and the text that it learns is the Zen of Python. Needs flax and optax, and npm,
which gets onnxruntime-web once. The page itself needs no network.
"""

from __future__ import annotations

import codecs
import contextlib
import io
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from page import main

from jax2onnx import save_onnx

CODES, LENGTH, LAYERS, HEADS, DEPTH = 128, 96, 2, 4, 16
WIDTH = HEADS * DEPTH


class Layer(nnx.Module):
    """Attention over a cache of keys and values, and two linear layers."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.before, self.between = nnx.RMSNorm(WIDTH, rngs=rngs), nnx.RMSNorm(WIDTH, rngs=rngs)
        self.qkv = nnx.Linear(WIDTH, 3 * WIDTH, use_bias=False, rngs=rngs)
        self.out = nnx.Linear(WIDTH, WIDTH, use_bias=False, rngs=rngs)
        self.up, self.down = nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs), nnx.Linear(4 * WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x: jax.Array, start: jax.Array, cache: jax.Array, seen: jax.Array) -> Any:
        """Map (tokens, width) from place ``start`` on to as much, and the cache to one that holds them too."""
        queries, *new = jnp.split(self.qkv(self.before(x)).reshape(x.shape[0], 3 * HEADS, DEPTH), 3, axis=1)
        cache = jax.lax.dynamic_update_slice(cache, jnp.stack(new), (0, start, 0, 0))
        keys, values = cache
        attended = jax.nn.dot_product_attention(queries, keys, values, mask=seen[None])
        x = x + self.out(attended.reshape(x.shape))
        return x + self.down(nnx.gelu(self.up(self.between(x)))), cache


class Writer(nnx.Module):
    """A decoder of characters, with a cache that has room for all of a text from the beginning."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.code, self.place = nnx.Embed(CODES, WIDTH, rngs=rngs), nnx.Embed(LENGTH, WIDTH, rngs=rngs)
        self.layers = nnx.List([Layer(rngs) for _ in range(LAYERS)])
        self.norm, self.head = nnx.RMSNorm(WIDTH, rngs=rngs), nnx.Linear(WIDTH, CODES, rngs=rngs)

    def scores(self, tokens: jax.Array, start: jax.Array, cache: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Map tokens from place ``start`` on to the scores of what follows each of them, and the cache to the next."""
        places = start + jnp.arange(tokens.shape[0])
        seen = jnp.arange(LENGTH) <= places[:, None]
        x, after = self.code(tokens) + self.place(places), []
        for layer, before in zip(self.layers, cache, strict=True):
            x, kept = layer(x, start, before, seen)
            after.append(kept)
        return self.head(self.norm(x)), jnp.stack(after)

    def __call__(self, tokens: jax.Array, start: jax.Array, cache: jax.Array) -> dict[str, jax.Array]:
        """Map tokens from place ``start`` on to the most probable next one, the probabilities of all, and the cache."""
        scores, after = self.scores(tokens, start, cache)
        return {"next": scores[-1].argmax(), "probabilities": jax.nn.softmax(scores[-1]), "after": after}


def empty() -> jax.Array:
    """Return a cache that holds no tokens."""
    return jnp.zeros((LAYERS, 2, LENGTH, HEADS, DEPTH))


def zen() -> np.ndarray:
    """Return the Zen of Python as ASCII codes."""
    with contextlib.redirect_stdout(io.StringIO()):  # the module prints itself
        import this  # noqa: PLC0415
    return np.frombuffer(codecs.decode(this.s, "rot13").encode(), np.uint8).astype(np.int32)


def train(steps: int = 400) -> tuple[Writer, float]:
    """Return a writer that has learnt the text, and the share of its characters that it then expects."""
    text = jnp.asarray(zen())
    graph, weights = nnx.split(Writer(nnx.Rngs(0)))
    optimiser = optax.adamw(optax.cosine_decay_schedule(3e-3, steps))
    first = jnp.int32(0)

    def scores(weights: Any, parts: jax.Array) -> jax.Array:
        return jax.vmap(lambda tokens: nnx.merge(graph, weights).scores(tokens, first, empty())[0])(parts)

    def loss(weights: Any, parts: jax.Array) -> jax.Array:
        found = scores(weights, parts[:, :-1])
        return optax.softmax_cross_entropy_with_integer_labels(found, parts[:, 1:]).mean()

    def cut(starts: jax.Array) -> jax.Array:
        return text[starts[:, None] + jnp.arange(LENGTH + 1)]

    def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        weights, state = carry
        value, slope = jax.value_and_grad(loss)(weights, cut(jax.random.randint(key, (16,), 0, text.size - LENGTH)))
        updates, state = optimiser.update(slope, state, weights)
        return (optax.apply_updates(weights, updates), state), value

    keys = jax.random.split(jax.random.key(0), steps)
    (weights, _), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, keys))((weights, optimiser.init(weights)))
    parts = cut(jnp.arange(0, text.size - LENGTH, LENGTH))
    right = scores(weights, parts[:, :-1]).argmax(-1) == parts[:, 1:]
    return nnx.merge(graph, weights), float(right.mean())


def build(folder: Path) -> Writer:
    """Train the model and write it to a folder."""
    writer, share = train()
    print(f"expects {share:.1%} of the characters of its text")
    specs = ["int32[T]", "int32[]", empty().shape]
    save_onnx(writer, specs, folder / "writer.onnx", target="web", constraints=[f"T <= {LENGTH}"])
    return writer


if __name__ == "__main__":
    main("writer", build)
