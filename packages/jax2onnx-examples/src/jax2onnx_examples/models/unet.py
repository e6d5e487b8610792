"""One step of a diffusion: a U-Net tells the noise in an image, and a part of it is taken away."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jax2onnx.plugin import Example
from jax2onnx_examples._describe import MODELS

STEPS, WIDTH = 20, 8
BETAS = np.linspace(1e-3, 0.2, STEPS, dtype=np.float32)
ALPHAS = 1 - BETAS
KEPT = np.cumprod(ALPHAS)


class Stage(nnx.Module):
    """A normalisation and a convolution, which know the time."""

    def __init__(self, channels: int, features: int, *, rngs: nnx.Rngs) -> None:
        self.norm = nnx.GroupNorm(channels, num_groups=4, rngs=rngs)
        self.conv = nnx.Conv(channels, features, (3, 3), rngs=rngs)
        self.time = nnx.Linear(WIDTH, features, rngs=rngs)

    def __call__(self, x: jax.Array, time: jax.Array) -> jax.Array:
        """Map images (batch, height, width, channels) to images of the features."""
        return self.conv(nnx.silu(self.norm(x))) + self.time(time)[:, None, None]


class UNet(nnx.Module):
    """One stage down and one up, with a shortcut between them."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Conv(3, WIDTH, (3, 3), rngs=rngs)
        self.down = Stage(WIDTH, 2 * WIDTH, rngs=rngs)
        self.middle = Stage(2 * WIDTH, 2 * WIDTH, rngs=rngs)
        self.up = Stage(3 * WIDTH, WIDTH, rngs=rngs)
        self.out = nnx.Conv(WIDTH, 3, (1, 1), rngs=rngs)

    def __call__(self, x: jax.Array, step: jax.Array) -> jax.Array:
        """Return the noise in images (batch, height, width, 3) at steps (batch,)."""
        angles = step[:, None] * jnp.logspace(0, -2, WIDTH // 2)
        time = jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], -1)
        stem = self.stem(x)
        small = self.middle(nnx.max_pool(self.down(stem, time), (2, 2), (2, 2)), time)
        batch, height, width, _ = x.shape
        large = jax.image.resize(small, (batch, height, width, 2 * WIDTH), "nearest")
        return self.out(nnx.silu(self.up(jnp.concatenate([stem, large], -1), time)))


class Denoise(nnx.Module):
    """One step from an image to one with less noise."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.noise = UNet(rngs=rngs)

    def __call__(self, x: jax.Array, step: jax.Array, fresh: jax.Array) -> jax.Array:
        """Map images, their steps and fresh noise to the images one step before."""

        def at(table: np.ndarray[tuple[int], np.dtype[np.float32]]) -> jax.Array:
            return jnp.asarray(table)[step][:, None, None, None]

        mean = (x - at(BETAS) / jnp.sqrt(1 - at(KEPT)) * self.noise(x, step)) / jnp.sqrt(at(ALPHAS))
        last = (step == 0)[:, None, None, None]
        return jnp.where(last, mean, mean + jnp.sqrt(at(BETAS)) * fresh)


def _values() -> list[list[object]]:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 3, 8, 8, 3)).astype(np.float32)
    return [[images[0], np.array([0, 7, STEPS - 1], np.int32), images[1]]]


EXAMPLES = [
    Example(
        name="unet_diffusion_step",
        context=MODELS,
        component="UNet",
        make=lambda: Denoise(rngs=nnx.Rngs(0)),
        inputs=[("B", 8, 8, 3), "int32[B]", ("B", 8, 8, 3)],
        values=_values,
        draw=False,  # steps have bounds
    )
]
