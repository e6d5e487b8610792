"""Models of flax.linen, each a test, a row of the coverage table and documentation."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jax2onnx.plugin import Example

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class MLP(nn.Module):
    """Two dense layers with dropout between."""

    hidden: int
    out: int

    @nn.compact
    def __call__(self, x: jax.Array, *, deterministic: bool = True) -> jax.Array:
        """Map (B, in) to (B, out)."""
        x = nn.gelu(nn.Dense(self.hidden)(x))
        x = nn.Dropout(0.1, deterministic=deterministic)(x)
        return nn.Dense(self.out)(x)


class ResidualBlock(nn.Module):
    """Two convolutions, and a projection where the shape changes."""

    features: int
    strides: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Map (B, H, W, C) to (B, H / strides, W / strides, features)."""
        norm = functools.partial(nn.BatchNorm, use_running_average=not train)
        y = nn.Conv(self.features, (3, 3), self.strides, use_bias=False)(x)
        y = nn.relu(norm()(y))
        y = nn.Conv(self.features, (3, 3), use_bias=False)(y)
        y = norm(scale_init=nn.initializers.constant(0.5))(y)
        if x.shape != y.shape:
            x = nn.Conv(self.features, (1, 1), self.strides, use_bias=False, name="projection")(x)
            x = norm(name="norm_projection")(x)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """A small residual network: a stem, one block per entry of ``widths``, a classifier."""

    widths: Sequence[int] = (8, 16)
    classes: int = 10

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Map images (B, H, W, 3) to logits (B, classes)."""
        x = nn.Conv(self.widths[0], (7, 7), 2, use_bias=False, name="stem")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, name="norm_stem")(x))
        x = nn.max_pool(x, (3, 3), strides=(2, 2), padding="SAME")
        for i, width in enumerate(self.widths):
            x = ResidualBlock(width, strides=1 if i == 0 else 2)(x, train=train)
        return nn.Dense(self.classes)(x.mean(axis=(1, 2)))


class LSTMTagger(nn.Module):
    """Embeds tokens, reads them with an LSTM, and scores each."""

    vocabulary: int = 20
    features: int = 8
    tags: int = 4

    @nn.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        """Map tokens (B, T) to scores (B, T, tags)."""
        x = nn.Embed(self.vocabulary, self.features)(tokens)
        x = nn.RNN(nn.OptimizedLSTMCell(self.features))(x)
        return nn.Dense(self.tags)(x)


class EncoderLayer(nn.Module):
    """A pre-norm transformer layer, with the signature that ``nn.scan`` wants."""

    heads: int = 2

    @nn.compact
    def __call__(self, x: jax.Array, _: None = None) -> tuple[jax.Array, None]:
        """Map (B, T, D) to itself."""
        x = x + nn.MultiHeadDotProductAttention(self.heads)(nn.LayerNorm()(x))
        y = nn.gelu(nn.Dense(2 * x.shape[-1])(nn.LayerNorm()(x)))
        return x + nn.Dense(x.shape[-1])(y), None


class ScannedEncoder(nn.Module):
    """Layers stacked by ``nn.scan`` (their parameters in one array each), rematerialised in training."""

    layers: int = 3

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (B, T, D) to itself."""
        layer = nn.scan(
            nn.remat(EncoderLayer),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=self.layers,
        )
        x, _ = layer(name="layers")(x, None)
        return x


def _initialised(module: nn.Module, *inputs: jax.Array) -> tuple[nn.Module, Mapping[str, Any]]:
    """Return a module and variables as they might be after training; to compile ``init`` takes longer than the rest."""
    rng = np.random.default_rng(3)

    def draw(path: Sequence[Any], variable: jax.ShapeDtypeStruct) -> jax.Array:
        name, shape = path[-1].key, variable.shape
        if name in {"scale", "var"}:
            drawn = rng.uniform(0.5, 1.5, shape)
        else:
            drawn = rng.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[:-1])))
        return jnp.asarray(drawn, variable.dtype)

    shapes = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    return module, dict(jax.tree_util.tree_map_with_path(draw, shapes))


def _model(
    name: str, module: nn.Module, shape: Sequence[int], inputs: Sequence[Any], *, dtype: Any = jnp.float32, **more: Any
) -> Example:
    """Return the example of a module initialised on zeros of a shape."""

    def make() -> Any:
        return _initialised(module, jnp.zeros(shape, dtype))

    return Example(
        name=name, context="linen", component=f"flax.linen.{_described(module)}", make=make, inputs=inputs, **more
    )


def _described(module: nn.Module) -> str:
    own = type(module).__module__ == __name__
    return "Module" if own else type(module).__name__


def _bound() -> Callable[..., Any]:
    module, variables = _initialised(MLP(8, 3), jnp.zeros((1, 5)))
    return module.bind(variables)


def _partial() -> Callable[..., Any]:
    module, variables = _initialised(ResidualBlock(4), jnp.zeros((1, 6, 6, 4)))
    return functools.partial(module.apply, variables, train=False)


def _tokens() -> list[list[np.ndarray[Any, Any]]]:
    return [[np.random.default_rng(9).integers(0, 20, (3, 6)).astype(np.int32)]]


ALL: tuple[Example, ...] = (
    _model("mlp", MLP(8, 3), (1, 5), [("B", 5)], operators={"Gemm": 2, "Gelu": 1}),
    _model("resnet", ResNet(), (1, 16, 16, 3), [("B", 16, 16, 3)], operators={"MaxPool": 1, "Gemm": 1}),
    _model(
        "resnet_functions", ResNet(widths=(4,)), (1, 16, 16, 3), [("B", 16, 16, 3)], options={"functions": "modules"}
    ),
    _model("lstm", LSTMTagger(), (1, 6), ["int32[3,6]"], dtype=jnp.int32, values=_tokens, operators={"LSTM": 1}),
    _model("lstm_functions", nn.RNN(nn.LSTMCell(4)), (1, 6, 3), [("B", 6, 3)], options={"functions": "modules"}),
    _model("gru", nn.RNN(nn.GRUCell(4), reverse=True), (1, 6, 3), [("B", 6, 3)], operators={"GRU": 1}),
    _model(
        "gru_beside_lstm",
        nn.Bidirectional(nn.RNN(nn.GRUCell(4)), nn.RNN(nn.LSTMCell(4))),
        (1, 6, 3),
        [("B", 6, 3)],
        operators={"GRU": 1, "LSTM": 1},
    ),
    _model("rnn_lstm", nn.RNN(nn.LSTMCell(4)), (1, 6, 3), [("B", "T", 3)], operators={"LSTM": 1}),
    _model("rnn_simple", nn.RNN(nn.SimpleCell(4)), (1, 6, 3), [("B", "T", 3)], operators={"RNN": 1}),
    _model(
        "scan_of_layers",
        ScannedEncoder(),
        (1, 5, 8),
        [(2, 5, 8)],
        operators={"Scan": 1, "LayerNormalization": 2, "Attention": 1, "Transpose": 0},
    ),
    _model(
        "attention",
        nn.MultiHeadDotProductAttention(2, out_features=5),
        (1, 5, 8),
        [("B", "T", 8)],
        operators={"Attention": 1, "Transpose": 0, "Reshape": 0},
    ),
    _model("scan_of_layers_functions", ScannedEncoder(), (1, 5, 8), [(2, 5, 8)], options={"functions": "modules"}),
    _model("conv", nn.Conv(4, (3, 3), 2), (1, 9, 9, 3), [("B", 9, 9, 3)], operators={"Conv": 1}),
    _model("layer_norm", nn.LayerNorm(), (1, 6), [("B", 6)], operators={"LayerNormalization": 1}),
    _model("rms_norm", nn.RMSNorm(), (1, 5, 6), [(2, 5, 6)], operators={"RMSNormalization": 1}),
    _model(
        "batch_norm",
        nn.BatchNorm(use_running_average=True),
        (1, 6),
        [("B", 6)],
        operators={"BatchNormalization": 1, "Transpose": 0},
    ),
    _model("group_norm", nn.GroupNorm(2), (1, 5, 5, 4), [(2, 5, 5, 4)], operators={"InstanceNormalization": 1}),
    Example(name="bound", context="linen", component="flax.linen.Module.bind", make=_bound, inputs=[("B", 5)]),
    Example(
        name="apply_partial", context="linen", component="flax.linen.Module.apply", make=_partial, inputs=[(2, 6, 6, 4)]
    ),
)
