"""Draw a digit in the browser: a model is trained here, exported with all that it does to the drawing, and served.

python examples/browser/digits.py                  trains, exports, and serves the page at http://localhost:8000
python examples/browser/digits.py --build FOLDER   writes the page and its files to FOLDER, and serves nothing

Needs flax, optax and scikit-learn, whose digits it learns, and npm, which gets onnxruntime-web once. The page itself
needs no network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from page import main
from sklearn.datasets import load_digits

from jax2onnx import save_onnx

SIDE = 160
"""Pixels of a side of the canvas."""
BOX = 7.5
"""How many of the 8 pixels of a side a digit fills."""


class Network(nnx.Module):
    """Two convolutions and two linear layers, for images of 8 by 8 pixels."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(1, 16, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(16, 32, (3, 3), rngs=rngs)
        self.hidden = nnx.Linear(32 * 16, 64, rngs=rngs)
        self.out = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images (batch, 8, 8) of ink from 0 to 1 to scores (batch, 10)."""
        x = nnx.relu(self.conv1(x[..., None]))
        x = nnx.max_pool(nnx.relu(self.conv2(x)), (2, 2), strides=(2, 2))
        return self.out(nnx.relu(self.hidden(x.reshape(x.shape[0], -1))))


def as_digit(pixels: jax.Array) -> jax.Array:
    """Return the drawing of a canvas (height, width, RGBA) as an image of 8 by 8 pixels, the digit in its middle."""
    ink = pixels[..., 3].astype(jnp.float32) / 255
    rows, columns = ink.max(1) > 0, ink.max(0) > 0
    edges = []
    for line in (rows, columns):
        place = jnp.arange(line.size)
        edges.append((jnp.where(line, place, line.size).min(), jnp.where(line, place, -1).max() + 1))
    (top, bottom), (left, right) = edges
    size = jnp.maximum(bottom - top, right - left)
    scale = BOX / jnp.maximum(size, SIDE // 16)
    middle = jnp.stack([top + bottom, left + right]) / 2
    image = jax.image.scale_and_translate(ink, (8, 8), (0, 1), jnp.stack([scale, scale]), 4 - scale * middle, "linear")
    return jnp.clip(image * 1.5, 0, 1)


class Reader(nnx.Module):
    """What the page runs: from the bytes of a canvas to probabilities, and to the image that the network sees."""

    def __init__(self, network: Network) -> None:
        self.network = network

    def __call__(self, pixels: jax.Array) -> dict[str, jax.Array]:
        """Map the bytes of a canvas to probabilities of the ten digits."""
        image = as_digit(pixels)
        return {"probabilities": jax.nn.softmax(self.network(image[None])[0]), "seen": image}


def varied(key: jax.Array, images: jax.Array) -> jax.Array:
    """Return images a little larger or smaller, elsewhere and darker or brighter, as people draw them."""
    keys = jax.random.split(key, 3)
    scales = jax.random.uniform(keys[0], (len(images), 2), minval=0.8, maxval=1.1)
    shifts = 4 - 4 * scales + jax.random.uniform(keys[1], (len(images), 2), minval=-0.7, maxval=0.7)
    move = jax.vmap(lambda x, s, t: jax.image.scale_and_translate(x, (8, 8), (0, 1), s, t, "linear"))
    ink = jax.random.uniform(keys[2], (len(images), 1, 1), minval=0.8, maxval=1.5)
    return jnp.clip(move(images, scales, shifts) * ink, 0, 1)


def train(steps: int = 600) -> tuple[Network, float]:
    """Return a network that has learnt scikit-learn's digits, and the share of others that it reads right."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    images, labels = jnp.asarray(digits.images[order] / 16, jnp.float32), jnp.asarray(digits.target[order])
    held = len(labels) // 5
    graph, weights = nnx.split(Network(nnx.Rngs(0)))
    optimiser = optax.adamw(optax.cosine_decay_schedule(3e-3, steps))

    def loss(weights: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        scores = nnx.merge(graph, weights)(x)
        return optax.softmax_cross_entropy_with_integer_labels(scores, y).mean()

    @jax.jit
    def step(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        weights, state = carry
        keys = jax.random.split(key)
        chosen = jax.random.randint(keys[0], (64,), held, len(labels))
        value, slope = jax.value_and_grad(loss)(weights, varied(keys[1], images[chosen]), labels[chosen])
        updates, state = optimiser.update(slope, state, weights)
        return (optax.apply_updates(weights, updates), state), value

    keys = jax.random.split(jax.random.key(0), steps)
    (weights, _), _ = jax.lax.scan(step, (weights, optimiser.init(weights)), keys)
    network = nnx.merge(graph, weights)
    return network, float((network(images[:held]).argmax(1) == labels[:held]).mean())


def build(folder: Path) -> Reader:
    """Train the model and write it to a folder."""
    network, share = train()
    print(f"reads {share:.1%} of the digits right that it has not learnt")
    reader = Reader(network)
    save_onnx(reader, [f"uint8[{SIDE},{SIDE},4]"], folder / "digits.onnx", target="web", input_names=["pixels"])
    return reader


if __name__ == "__main__":
    main("digits", build)
