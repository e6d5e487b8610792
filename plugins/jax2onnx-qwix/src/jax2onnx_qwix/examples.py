"""Examples: models quantised by each rule of qwix that runs on a CPU."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
import qwix
from flax import nnx

from jax2onnx.plugin import Example

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_FEATURES, _WORDS = 64, 32


class MLP(nnx.Module):
    """Two dense layers."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Draw the weights."""
        self.up = nnx.Linear(_FEATURES, 2 * _FEATURES, rngs=rngs)
        self.down = nnx.Linear(2 * _FEATURES, _FEATURES, use_bias=False, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        """Apply the layers."""
        return self.down(nnx.relu(self.up(x)))


class ConvNet(nnx.Module):
    """Two convolutions and a dense layer."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Draw the weights."""
        self.first = nnx.Conv(3, 16, (3, 3), rngs=rngs)
        self.second = nnx.Conv(16, 16, (3, 3), strides=2, rngs=rngs)
        self.last = nnx.Linear(16, 10, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        """Return logits."""
        return self.last(self.second(nnx.relu(self.first(x))).mean((1, 2)))


class Decoder(nnx.Module):
    """A block of a decoder, with embeddings that the logits use too."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        """Draw the weights."""
        self.embed = nnx.Embed(_WORDS, _FEATURES, rngs=rngs)
        self.norm = nnx.RMSNorm(_FEATURES, rngs=rngs)
        self.query = nnx.Einsum("btd,dnh->btnh", (_FEATURES, 4, 16), rngs=rngs)
        self.out = nnx.Einsum("btnh,nhd->btd", (4, 16, _FEATURES), rngs=rngs)
        self.attend = nnx.MultiHeadAttention(4, _FEATURES, decode=False, rngs=rngs)
        self.mlp = MLP(rngs)
        self.head = nnx.Linear(_FEATURES, _WORDS, use_bias=False, rngs=rngs)

    def __call__(self, tokens: Any) -> Any:
        """Return logits."""
        x = self.embed(tokens)
        x = x + self.attend(self.norm(x))
        x = x + self.out(nnx.silu(self.query(x)))
        return self.head(x + self.mlp(x))


RULES: Mapping[str, Mapping[str, Any]] = {
    "int8": {"weight_qtype": jnp.int8},
    "int4": {"weight_qtype": jnp.int4},
    "int4_tiles": {"weight_qtype": jnp.int4, "tile_size": 16},
    "nf4": {"weight_qtype": "nf4", "tile_size": 16},
    "w8a8": {"weight_qtype": jnp.int8, "act_qtype": jnp.int8},
    "w4a8": {"weight_qtype": jnp.int4, "act_qtype": jnp.int8},
}
"""Name -> the options of a rule for all layers."""


def quantised(model: Callable[[nnx.Rngs], nnx.Module], rule: Mapping[str, Any], given: Any) -> nnx.Module:
    """Return a model with random weights, quantised by a rule."""
    full = model(nnx.Rngs(0))
    full.eval()
    every = qwix.QuantizationRule(module_path=".*", op_names=("dot_general", "conv_general_dilated", "einsum"), **rule)
    result: nnx.Module = qwix.quantize_model(full, qwix.PtqProvider([every]), given)
    return result


def _values(*shape: int) -> Sequence[Sequence[Any]]:
    """Return inputs of which no quotient by a scale lies at a tie, so that no result depends on how JAX is compiled.

    The scale is the largest magnitude over 127.5. If that number is negative, its quotient lies at the tie of -127.5:
    compiled, JAX multiplies by the reciprocal of 127.5, and rounds it to -127 or -128 by chance.
    """
    rng = np.random.default_rng(0)
    return [[np.asarray(rng.random((3, *shape)), np.float32)] for _ in range(2)]


def _example(name: str, model: Callable[[nnx.Rngs], nnx.Module], given: Any, inputs: Any, **more: Any) -> Example:
    rule = RULES[name.partition("_of_")[0]]
    return Example(
        name=name,
        context="qwix",
        component="qwix.quantize_model",
        make=functools.partial(quantised, model, rule, given),
        inputs=[inputs],
        **more,
    )


def _all() -> list[Example]:
    found = []
    for name, rule in RULES.items():
        # A quotient near a tie may be rounded to the next integer if a sum before it was rounded otherwise.
        more = {} if "act_qtype" not in rule else {"draw": False}
        values = {"values": lambda: _values(_FEATURES)} if more else {}
        mlp = _example(f"{name}_of_mlp", MLP, jnp.ones((1, _FEATURES)), ("B", _FEATURES), **more, **values)
        found.append(mlp)
        if "act_qtype" not in rule:
            tokens = jnp.zeros((1, 5), jnp.int32)
            found.append(_example(f"{name}_of_decoder", Decoder, tokens, "int32[B,5]"))
    images = {"draw": False, "values": lambda: _values(12, 12, 3)}
    found.append(_example("w8a8_of_convnet", ConvNet, jnp.ones((1, 12, 12, 3)), ("B", 12, 12, 3), **images))
    return found


ALL = _all()
