"""The models that are measured: flax.nnx modules in evaluation mode and one plain function, with random weights.

Weights come from numpy, by the variables' names and shapes, so that two environments measure the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

Shape = tuple[int, ...]


class MLP(nnx.Module):
    """Three dense layers, with the first one's batch normalisation and dropout."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(784, 512, rngs=rngs)
        self.norm = nnx.BatchNorm(512, rngs=rngs)
        self.dropout = nnx.Dropout(0.1)
        self.second, self.third = nnx.Linear(512, 256, rngs=rngs), nnx.Linear(256, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, 784) to (batch, 10)."""
        x = nnx.gelu(self.dropout(self.norm(self.first(x))))
        return nnx.softmax(self.third(nnx.relu(self.second(x))))


class CNN(nnx.Module):
    """Two convolutions with pooling, then two dense layers."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Conv(1, 32, (3, 3), rngs=rngs)
        self.second = nnx.Conv(32, 64, (3, 3), rngs=rngs)
        self.dense, self.head = nnx.Linear(3136, 256, rngs=rngs), nnx.Linear(256, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, 28, 28, 1) to (batch, 10)."""
        x = nnx.avg_pool(nnx.relu(self.first(x)), window_shape=(2, 2), strides=(2, 2))
        x = nnx.avg_pool(nnx.relu(self.second(x)), window_shape=(2, 2), strides=(2, 2))
        return self.head(nnx.relu(self.dense(x.reshape(x.shape[0], -1))))


class Bottleneck(nnx.Module):
    """ResNet's block of three convolutions and a residual."""

    def __init__(self, inputs: int, width: int, stride: int, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(inputs, width, (1, 1), use_bias=False, rngs=rngs)
        self.norm1 = nnx.BatchNorm(width, rngs=rngs)
        self.conv2 = nnx.Conv(width, width, (3, 3), strides=(stride, stride), use_bias=False, rngs=rngs)
        self.norm2 = nnx.BatchNorm(width, rngs=rngs)
        self.conv3 = nnx.Conv(width, 4 * width, (1, 1), use_bias=False, rngs=rngs)
        self.norm3 = nnx.BatchNorm(4 * width, rngs=rngs)
        self.project = inputs != 4 * width
        if self.project:
            self.conv4 = nnx.Conv(inputs, 4 * width, (1, 1), strides=(stride, stride), use_bias=False, rngs=rngs)
            self.norm4 = nnx.BatchNorm(4 * width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, height, width, inputs) to 4 * width channels."""
        y = nnx.relu(self.norm1(self.conv1(x)))
        y = nnx.relu(self.norm2(self.conv2(y)))
        y = self.norm3(self.conv3(y))
        return nnx.relu(y + (self.norm4(self.conv4(x)) if self.project else x))


class ResNet50(nnx.Module):
    """ResNet-50: 16 bottlenecks in four stages."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Conv(3, 64, (7, 7), strides=(2, 2), use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(64, rngs=rngs)
        blocks, inputs = [], 64
        for stage, count in enumerate((3, 4, 6, 3)):
            for i in range(count):
                blocks.append(Bottleneck(inputs, 64 << stage, 2 if stage and i == 0 else 1, rngs))
                inputs = 256 << stage
        self.blocks = nnx.List(blocks)
        self.head = nnx.Linear(2048, 1000, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, 224, 224, 3) to (batch, 1000)."""
        x = nnx.relu(self.norm(self.stem(x)))
        x = nnx.max_pool(x, window_shape=(3, 3), strides=(2, 2), padding="SAME")
        for block in self.blocks:
            x = block(x)
        return self.head(x.mean((1, 2)))


class Block(nnx.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int, rngs: nnx.Rngs) -> None:
        self.norm1, self.norm2 = nnx.LayerNorm(width, rngs=rngs), nnx.LayerNorm(width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(num_heads=heads, in_features=width, decode=False, rngs=rngs)
        self.up, self.down = nnx.Linear(width, 4 * width, rngs=rngs), nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, time, width) to the same shape."""
        x = x + self.attention(self.norm1(x))
        return x + self.down(nnx.gelu(self.up(self.norm2(x))))


class Transformer(nnx.Module):
    """A stack of blocks."""

    def __init__(self, depth: int, width: int, heads: int, rngs: nnx.Rngs) -> None:
        self.blocks = nnx.List([Block(width, heads, rngs) for _ in range(depth)])

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, time, width) to the same shape."""
        for block in self.blocks:
            x = block(x)
        return x


class ViT(nnx.Module):
    """ViT-B/16: patches, a class token, 12 blocks."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.patches = nnx.Conv(3, 768, (16, 16), strides=(16, 16), padding="VALID", rngs=rngs)
        self.token = nnx.Param(jnp.zeros((1, 1, 768)))
        self.positions = nnx.Param(jnp.zeros((1, 197, 768)))
        self.body = Transformer(12, 768, 12, rngs)
        self.norm, self.head = nnx.LayerNorm(768, rngs=rngs), nnx.Linear(768, 1000, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, 224, 224, 3) to (batch, 1000)."""
        x = self.patches(x)
        x = x.reshape(x.shape[0], -1, x.shape[-1])
        token = jnp.broadcast_to(self.token[...], (x.shape[0], 1, x.shape[-1]))
        x = jnp.concatenate([token, x], axis=1) + self.positions[...]
        return self.head(self.norm(self.body(x))[:, 0])


class LSTM(nnx.Module):
    """A recurrent layer and a dense one on its last state."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.rnn = nnx.RNN(nnx.LSTMCell(64, 128, keep_rngs=False, rngs=rngs))
        self.head = nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, time, 64) to (batch, 10)."""
        zeros = jnp.zeros((x.shape[0], 128), x.dtype)
        return self.head(self.rnn(x, initial_carry=(zeros, zeros))[:, -1])


class Residual(nnx.Module):
    """Two normalised convolutions and a residual."""

    def __init__(self, inputs: int, width: int, rngs: nnx.Rngs) -> None:
        self.norm1, self.norm2 = nnx.GroupNorm(inputs, 8, rngs=rngs), nnx.GroupNorm(width, 8, rngs=rngs)
        self.conv1 = nnx.Conv(inputs, width, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(width, width, (3, 3), rngs=rngs)
        self.skip = nnx.Conv(inputs, width, (1, 1), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, height, width, inputs) to ``width`` channels."""
        y = self.conv1(nnx.silu(self.norm1(x)))
        return self.conv2(nnx.silu(self.norm2(y))) + self.skip(x)


class UNet(nnx.Module):
    """Down twice and up twice, with the skips concatenated."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.stem = nnx.Conv(3, 32, (3, 3), rngs=rngs)
        self.down1, self.down2 = Residual(32, 32, rngs), Residual(32, 64, rngs)
        self.middle = Residual(64, 128, rngs)
        self.up2 = nnx.ConvTranspose(128, 64, (2, 2), strides=(2, 2), rngs=rngs)
        self.merge2 = Residual(128, 64, rngs)
        self.up1 = nnx.ConvTranspose(64, 32, (2, 2), strides=(2, 2), rngs=rngs)
        self.merge1 = Residual(64, 32, rngs)
        self.head = nnx.Conv(32, 3, (1, 1), rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, height, width, 3) to the same shape."""
        first = self.down1(self.stem(x))
        second = self.down2(nnx.max_pool(first, window_shape=(2, 2), strides=(2, 2)))
        x = self.middle(nnx.max_pool(second, window_shape=(2, 2), strides=(2, 2)))
        x = self.merge2(jnp.concatenate([self.up2(x), second], axis=-1))
        x = self.merge1(jnp.concatenate([self.up1(x), first], axis=-1))
        return self.head(x)


def unrolled(x: jax.Array) -> jax.Array:
    """Iterate a recurrence without inputs over (batch, 64), unrolled: 10 000 equations."""
    weights = np.random.default_rng(0).standard_normal((64, 64), np.float32) / 8
    for _ in range(2000):
        x = x + 0.1 * (jnp.tanh(x @ weights) - x)
    return x


@dataclass(frozen=True)
class Case:
    """What is measured: a module or a function, and the shape of its float32 input."""

    shape: Shape
    module: Callable[[nnx.Rngs], nnx.Module] | None = None
    function: Callable[[jax.Array], jax.Array] | None = None
    pure: bool = False  # the module cannot be traced as it is: its variables would change


def transformer(depth: int) -> Case:
    """Return a transformer small enough that exporting it is not about weights."""
    return Case((2, 32, 64), lambda rngs: Transformer(depth, 64, 4, rngs))


CASES = {
    "mlp": Case((32, 784), MLP),
    "cnn": Case((8, 28, 28, 1), CNN),
    "lstm": Case((8, 32, 64), LSTM, pure=True),
    "unet": Case((1, 64, 64, 3), UNet),
    "resnet50": Case((1, 224, 224, 3), ResNet50),
    "vit_b": Case((1, 224, 224, 3), ViT),
    "transformer_12": transformer(12),
    "transformer_48": transformer(48),
    "transformer_96": transformer(96),
    "unrolled_10k": Case((8, 64), function=unrolled),
}
GROWING = {f"depth_{depth}": transformer(depth) for depth in (13, 30, 60, 120, 240, 480)}


def _value(name: str, spec: Any, rng: np.random.Generator) -> Any:
    """Draw what a variable of this name plausibly holds after training."""
    if jnp.issubdtype(spec.dtype, jax.dtypes.prng_key):
        return jax.random.key(0)
    if name in {"scale", "var"}:
        drawn = rng.uniform(0.5, 1.5, spec.shape)
    elif name in {"bias", "mean", "token", "positions"}:
        drawn = rng.normal(0, 0.1, spec.shape)
    else:
        drawn = rng.standard_normal(spec.shape, np.float32) / np.sqrt(np.prod(spec.shape[:-1]))
    return jnp.asarray(drawn, spec.dtype)


def build(case: Case) -> Any:
    """Return the case's function, or its module in evaluation mode with random weights."""
    make = case.module
    if make is None:
        return case.function
    model = nnx.eval_shape(lambda: make(nnx.Rngs(0)))
    rng = np.random.default_rng(0)
    state = nnx.state(model)
    for path, variable in nnx.to_flat_state(state):
        variable.set_value(_value(str(path[-1]), variable.get_value(), rng))
    nnx.update(model, state)
    model.eval()
    return model


def split(model: Any) -> tuple[Callable[[Any, jax.Array], jax.Array], Any]:
    """Return a pure function of the model's variables and the input, and the variables."""
    if not isinstance(model, nnx.Module):
        return lambda _, x: model(x), ()
    graph, state = nnx.split(model)
    return lambda state, x: nnx.merge(graph, state, copy=True)(x), state


def exported(case: Case) -> Any:
    """Return what the converters get: the module itself wherever it can be traced."""
    model = build(case)
    if not case.pure:
        return model
    function, state = split(model)
    return lambda x: function(state, x)


def draw(case: Case) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return an input."""
    return np.random.default_rng(1).standard_normal(case.shape, np.float32)
