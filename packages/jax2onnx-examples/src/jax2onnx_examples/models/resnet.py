"""A residual network for images."""

from __future__ import annotations

import jax
from flax import nnx

from jax2onnx_examples._describe import MODELS, model, normal


class ConvNorm(nnx.Module):
    """A convolution and a normalisation over the batch."""

    def __init__(self, channels: int, features: int, size: int, stride: int, *, rngs: nnx.Rngs) -> None:
        self.conv = nnx.Conv(channels, features, (size, size), strides=stride, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(features, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images to images of the features."""
        return self.norm(self.conv(x))


class Residual(nnx.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, channels: int, features: int, stride: int, *, rngs: nnx.Rngs) -> None:
        self.first = ConvNorm(channels, features, 3, stride, rngs=rngs)
        self.second = ConvNorm(features, features, 3, 1, rngs=rngs)
        self.shortcut = ConvNorm(channels, features, 1, stride, rngs=rngs) if channels != features else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images to images of the features."""
        y = self.second(nnx.relu(self.first(x)))
        return nnx.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(nnx.Module):
    """A stem, stages of residual blocks, a mean over the image and a linear layer."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.stem = ConvNorm(3, 8, 3, 1, rngs=rngs)
        widths = [(8, 8, 1), (8, 16, 2)]
        self.blocks = nnx.List([Residual(*width, rngs=rngs) for width in widths])
        self.head = nnx.Linear(16, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map images (batch, height, width, 3) to scores (batch, 10)."""
        x = nnx.relu(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((1, 2)))


EXAMPLES = [
    model(
        MODELS,
        "resnet",
        lambda rngs: ResNet(rngs=rngs),
        [("B", 16, 16, 3)],
        component="ResNet",
        values=normal(3, 16, 16, 3),
    ),
]
