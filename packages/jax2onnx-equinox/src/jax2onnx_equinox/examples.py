"""Models of equinox, each a test, a row of the coverage table and documentation."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp

from jax2onnx.plugin import Example

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def _key(seed: int = 0) -> jax.Array:
    return jax.random.key(seed)


class ConvNet(eqx.Module):
    """Two convolutions, pooling, a classifier, for one image."""

    layers: list[Any]

    def __init__(self, key: jax.Array) -> None:
        keys = jax.random.split(key, 3)
        self.layers = [
            eqx.nn.Conv2d(3, 6, 3, padding=1, key=keys[0]),
            jax.nn.relu,
            eqx.nn.MaxPool2d(2, stride=2),
            eqx.nn.Conv2d(6, 8, 3, key=keys[1]),
            jax.nn.relu,
            jnp.ravel,
            eqx.nn.Linear(8 * 6 * 6, 10, key=keys[2]),
            jax.nn.log_softmax,
        ]

    def __call__(self, image: jax.Array) -> jax.Array:
        """Map an image (3, 16, 16) to log probabilities (10,)."""
        for layer in self.layers:
            image = layer(image)
        return image


class Encoder(eqx.Module):
    """A transformer layer for one sequence, with dropout and layer norm."""

    norm: eqx.nn.LayerNorm
    attention: eqx.nn.MultiheadAttention
    mlp: eqx.nn.MLP
    dropout: eqx.nn.Dropout

    def __init__(self, size: int, heads: int, key: jax.Array) -> None:
        first, second = jax.random.split(key)
        self.norm = eqx.nn.LayerNorm(size)
        self.attention = eqx.nn.MultiheadAttention(heads, size, key=first)
        self.mlp = eqx.nn.MLP(size, size, 2 * size, depth=1, activation=jax.nn.gelu, key=second)
        self.dropout = eqx.nn.Dropout(0.1, inference=True)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (T, size) to itself."""
        y = jax.vmap(self.norm)(x)
        x = x + self.dropout(self.attention(y, y, y))
        return x + self.encode(x)

    def encode(self, x: jax.Array) -> jax.Array:
        """Map (T, size) to itself, each step on its own."""
        return jax.vmap(self.mlp)(x)


class Recurrent(eqx.Module):
    """A GRU over one sequence, the last state classified."""

    cell: eqx.nn.GRUCell
    head: eqx.nn.Linear

    def __init__(self, key: jax.Array) -> None:
        first, second = jax.random.split(key)
        self.cell = eqx.nn.GRUCell(3, 5, key=first)
        self.head = eqx.nn.Linear(5, 2, key=second)

    def __call__(self, xs: jax.Array) -> jax.Array:
        """Map (T, 3) to (2,)."""
        last, _ = jax.lax.scan(lambda h, x: (self.cell(x, h), None), jnp.zeros(5), xs)
        return self.head(last)


class Normed(eqx.Module):
    """A linear layer and batch normalisation, whose running statistics are in an ``eqx.nn.State``."""

    linear: eqx.nn.Linear
    norm: eqx.nn.BatchNorm

    def __init__(self, key: jax.Array) -> None:
        self.linear = eqx.nn.Linear(4, 3, key=key)
        self.norm = eqx.nn.BatchNorm(3, axis_name="batch", mode="batch", inference=True)

    def __call__(self, x: jax.Array, state: eqx.nn.State) -> tuple[jax.Array, eqx.nn.State]:
        """Map (4,) to (3,)."""
        return self.norm(self.linear(x), state)


def _mlp() -> eqx.nn.MLP:
    return eqx.nn.MLP(4, 2, 8, depth=2, key=_key())


def _example(name: str, component: str, make: Callable[[], Any], inputs: Sequence[Any], **more: Any) -> Example:
    return Example(name=name, context="equinox", component=f"equinox.{component}", make=make, inputs=inputs, **more)


def _partial_of_state() -> Callable[..., Any]:
    model, state = eqx.nn.make_with_state(Normed)(_key())
    return functools.partial(model, state=state)


ALL: tuple[Example, ...] = (
    _example("mlp", "nn.MLP", _mlp, [(4,)], operators={"Relu": 2}),
    _example(
        "mlp_batched", "filter_vmap", lambda: eqx.filter_vmap(_mlp()), [("B", 4)], operators={"Gemm": 3, "Transpose": 0}
    ),
    _example("mlp_vmap", "nn.MLP", lambda: jax.vmap(_mlp()), [("B", 4)]),
    _example("mlp_functions", "nn.MLP", _mlp, [(4,)], options={"functions": "modules"}),
    _example("conv_net", "nn.Conv2d", lambda: ConvNet(_key()), [(3, 16, 16)]),
    _example(
        "conv_net_batched",
        "nn.Conv2d",
        lambda: eqx.filter_vmap(ConvNet(_key())),
        [("B", 3, 16, 16)],
        operators={"Transpose": 0, "Squeeze": 0},
    ),
    _example(
        "conv_net_functions",
        "nn.Conv2d",
        lambda: eqx.filter_vmap(ConvNet(_key())),
        [("B", 3, 16, 16)],
        options={"functions": "modules"},
    ),
    _example(
        "encoder",
        "nn.MultiheadAttention",
        lambda: Encoder(8, 2, _key()),
        [("T", 8)],
        operators={"Attention": 1, "Transpose": 0},
    ),
    _example(
        "encoder_batched",
        "nn.MultiheadAttention",
        lambda: eqx.filter_vmap(Encoder(8, 2, _key())),
        [("B", "T", 8)],
        operators={"Attention": 1, "Gelu": 1, "Transpose": 0, "Reshape": 0},
    ),
    _example(
        "attention_masked",
        "nn.MultiheadAttention",
        lambda: eqx.filter_vmap(eqx.nn.MultiheadAttention(2, 6, value_size=3, vo_size=5, key=_key())),
        [("B", 4, 6), ("B", 7, 6), ("B", 7, 3), "bool[B,4,7]"],
        operators={"Softmax": 1},
    ),
    _example(
        "encoder_functions",
        "nn.MultiheadAttention",
        lambda: Encoder(8, 2, _key()),
        [(5, 8)],
        options={"functions": "modules"},
    ),
    _example("method", "Module", lambda: Encoder(8, 2, _key()).encode, [("T", 8)]),
    _example("layer_norm", "nn.LayerNorm", lambda: eqx.nn.LayerNorm(6), [(6,)], operators={"LayerNormalization": 1}),
    _example(
        "layer_norm_batched",
        "nn.LayerNorm",
        lambda: eqx.filter_vmap(eqx.nn.LayerNorm((4, 6), use_bias=False)),
        [("B", 4, 6)],
        operators={"LayerNormalization": 1},
    ),
    _example("gru", "nn.GRUCell", lambda: Recurrent(_key()), [("T", 3)]),
    _example("batch_norm", "nn.BatchNorm", _partial_of_state, [(4,)]),
)
