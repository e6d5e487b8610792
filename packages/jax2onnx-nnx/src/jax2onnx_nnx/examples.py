"""The examples of flax.nnx: layers and activations, each a test, a row of the coverage table and documentation."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jax2onnx.plugin import Example

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def _rngs() -> nnx.Rngs:
    return nnx.Rngs(0)


def _trained(module: nnx.Module) -> nnx.Module:
    """Give a module parameters and statistics that differ from one another, as after training."""
    rng = np.random.default_rng(5)

    def draw(leaf: Any) -> Any:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return jnp.asarray(0.3 + rng.random(leaf.shape), leaf.dtype)

    graph, state = nnx.split(module)
    drawn: nnx.Module = nnx.merge(graph, jax.tree.map(draw, state))
    drawn.eval()
    return drawn


def _layer(name: str, layer: Callable[..., Any], args: Sequence[Any], inputs: Sequence[Any], **options: Any) -> Example:
    """Return the example of a layer built by ``layer(*args, rngs=...)``; names that Example lacks go to the layer."""
    own = {k: options.pop(k) for k in list(options) if k not in _FIELDS}

    def make() -> Any:
        # Convolutions are compared with their initial weights: sums of positive products only grow.
        built = layer(*args, rngs=_rngs(), **own)
        return built if layer in _UNTRAINED else _trained(built)

    return Example(
        name=name, context="nnx", component=f"flax.nnx.{layer.__name__}", make=make, inputs=inputs, **options
    )


_FIELDS = frozenset({"values", "draw", "options", "operators", "x64", "requires_jax", "rtol", "atol"})
_UNTRAINED = frozenset({nnx.Conv, nnx.ConvTranspose})


def _rnn(cell: Callable[..., Any], *, activation_fn: Callable[..., Any] = nnx.tanh, **options: Any) -> nnx.RNN:
    return nnx.RNN(cell(3, 4, activation_fn=activation_fn, rngs=_rngs()), **options)


def _recurrent(
    name: str, cell: Callable[..., Any], inputs: Sequence[Any], *, operators: Mapping[str, int], **options: Any
) -> Example:
    """Return the example of a cell over sequences of three features; options go to ``nnx.RNN`` and to the cell."""
    return Example(
        name=name,
        context="nnx",
        component="flax.nnx.RNN",
        make=lambda: _trained(_rnn(cell, **options)),
        inputs=inputs,
        operators=operators,
    )


def _from_carry(rnn: Any) -> Callable[..., Any]:
    """Return a function of a sequence and the two states it starts from."""

    def call(x: Any, cell: Any, hidden: Any) -> Any:
        return rnn(x, initial_carry=(cell, hidden))

    return call


def _function(name: str, function: Callable[..., Any], inputs: Sequence[Any], **options: Any) -> Example:
    called = function.func if isinstance(function, partial) else function
    return Example(
        name=name,
        context="nnx",
        component=f"flax.nnx.{called.__name__}",
        make=lambda: function,
        inputs=inputs,
        **options,
    )


def _ids(*shape: int, size: int) -> list[list[np.ndarray[Any, Any]]]:
    rng = np.random.default_rng(9)
    return [[rng.integers(-size - 2, size + 2, shape).astype(np.int32)]]


LAYERS: tuple[Example, ...] = (
    # -- linear
    _layer("linear_2d", nnx.Linear, (4, 3), [(2, 4)], operators={"Gemm": 1}),
    _layer("linear", nnx.Linear, (30, 20), [("B", 30)], operators={"Gemm": 1}),
    _layer("linear_3d", nnx.Linear, (4, 3), [("B", 5, 4)], operators={"MatMul": 1, "Add": 1}),
    _layer("linear_no_bias", nnx.Linear, (4, 3), [("B", 4)], use_bias=False, operators={"MatMul": 1}),
    _layer("linear_general", nnx.LinearGeneral, ((8, 32), 256), [("B", 4, 8, 32)], axis=(-2, -1)),
    _layer("linear_general_2", nnx.LinearGeneral, (256, (8, 32)), [(2, 4, 256)]),
    _layer("linear_general_3", nnx.LinearGeneral, ((8, 32), 256), [(2, 4, 8, 32)], axis=(-2, -1), use_bias=False),
    _layer("linear_general_4", nnx.LinearGeneral, ((3, 4), (5, 2)), [(3, 6, 4)], axis=(0, -1)),
    _layer("einsum", nnx.Einsum, ("nta,hab->nthb", (8, 2, 4), (8, 4)), [("B", 11, 2)]),
    _layer("embed", nnx.Embed, (10, 4), ["int32[3,7]"], values=lambda: _ids(3, 7, size=10)),
    # -- convolution
    _layer("conv", nnx.Conv, (3, 4), [("B", 28, 28, 3)], kernel_size=(3, 3)),
    _layer("conv_2", nnx.Conv, (1, 32), [(2, 28, 28, 1)], kernel_size=(3, 3), strides=(2, 2), padding="SAME"),
    _layer("conv_3", nnx.Conv, (3, 6), [(1, 9, 8, 3)], kernel_size=(2, 3), padding="VALID", use_bias=False),
    _layer("conv_4", nnx.Conv, (4, 8), [(2, 10, 4)], kernel_size=(3,), padding="CAUSAL", feature_group_count=2),
    _layer("conv_transpose_valid_padding", nnx.ConvTranspose, (3, 4), [("B", 4, 3)], kernel_size=(3,), padding="VALID"),
    _layer(
        "conv_transpose_circular_padding",
        nnx.ConvTranspose,
        (3, 4),
        [(2, 5, 6, 3)],
        kernel_size=(3, 3),
        strides=(2, 2),
        padding="CIRCULAR",
    ),
    # -- normalisation
    _layer("batch_norm", nnx.BatchNorm, (64,), [("B", 64)], operators={"BatchNormalization": 1, "Transpose": 0}),
    _layer("batch_norm_2", nnx.BatchNorm, (3,), [(2, 5, 5, 3)], operators={"BatchNormalization": 1, "Transpose": 2}),
    _layer("batch_norm_3d", nnx.BatchNorm, (6,), [("B", 4, 6)], epsilon=1e-3, use_scale=False),
    _layer("batch_norm_single_batch", nnx.BatchNorm, (5,), [(1, 5)], operators={"BatchNormalization": 1}),
    _layer("batch_norm_first", nnx.BatchNorm, (4,), [("B", 4, 6)], axis=1, operators={"BatchNormalization": 1}),
    _layer(
        "batch_norm_float64",
        nnx.BatchNorm,
        (6,),
        [jax.ShapeDtypeStruct((2, 6), np.dtype(np.float64))],
        param_dtype=jnp.float64,
        x64=True,
    ),
    _layer("group_norm", nnx.GroupNorm, (64,), [("B", 7, 7, 64)], num_groups=8, operators={"InstanceNormalization": 1}),
    _layer("group_norm_2", nnx.GroupNorm, (12,), [(2, 5, 12)], num_groups=3, use_bias=False),
    _layer("layer_norm", nnx.LayerNorm, (32,), [("B", 20, 32)], operators={"LayerNormalization": 1}),
    _layer("layer_norm_multiaxis", nnx.LayerNorm, (3,), [("B", 20, 32, 3)], reduction_axes=(1, 2, 3)),
    _layer("layer_norm_no_bias", nnx.LayerNorm, (6,), [("B", 6)], use_bias=False, operators={"LayerNormalization": 1}),
    _layer("layer_norm_no_scale", nnx.LayerNorm, (6,), [("B", 6)], use_scale=False, use_fast_variance=False),
    _layer("rms_norm", nnx.RMSNorm, (6,), [("B", 11, 6)], operators={"RMSNormalization": 1}),
    _layer("rms_norm_2", nnx.RMSNorm, (6,), [(11, 6)], use_scale=False, operators={"RMSNormalization": 1}),
    # -- dropout, attention, recurrence
    _layer("dropout_inference", nnx.Dropout, (0.5,), [("B", 8)]),
    _layer(
        "multi_head_attention",
        nnx.MultiHeadAttention,
        (),
        [("B", 5, 6)],
        num_heads=2,
        in_features=6,
        decode=False,
    ),
    *(
        _recurrent(name, cell, [("B", 5, 3)], operators={op_type: 1})
        for name, cell, op_type in (
            ("rnn", nnx.GRUCell, "GRU"),
            ("rnn_lstm", nnx.LSTMCell, "LSTM"),
            ("rnn_optimized_lstm", nnx.OptimizedLSTMCell, "LSTM"),
            ("rnn_simple", nnx.SimpleCell, "RNN"),
        )
    ),
    _recurrent("rnn_sequence_length", nnx.OptimizedLSTMCell, [("B", "T", 3)], operators={"LSTM": 1}),
    _recurrent("rnn_one_sequence", nnx.GRUCell, [("T", 3)], operators={"GRU": 1}),
    _recurrent("rnn_time_major", nnx.LSTMCell, [("T", "B", 3)], operators={"LSTM": 1}, time_major=True),
    _recurrent("rnn_return_carry", nnx.LSTMCell, [("B", "T", 3)], operators={"LSTM": 1}, return_carry=True),
    _recurrent("rnn_reverse", nnx.GRUCell, [("B", "T", 3)], operators={"GRU": 1}, reverse=True, keep_order=True),
    Example(
        name="rnn_initial_carry",
        context="nnx",
        component="flax.nnx.RNN",
        make=lambda: _from_carry(_trained(_rnn(nnx.OptimizedLSTMCell, return_carry=True))),
        inputs=[("B", "T", 3), ("B", 4), ("B", 4)],
        operators={"LSTM": 1},
    ),
    # Between its bounds a relu can overflow, and from there on nothing is an ordinary number.
    _recurrent("rnn_relu", nnx.SimpleCell, [("B", 5, 3)], operators={"RNN": 0, "Scan": 1}, activation_fn=nnx.relu),
    Example(
        name="bidirectional",
        context="nnx",
        component="flax.nnx.Bidirectional",
        make=lambda: _trained(nnx.Bidirectional(_rnn(nnx.LSTMCell), _rnn(nnx.GRUCell))),
        inputs=[("B", "T", 3)],
        operators={"LSTM": 1, "GRU": 1},
    ),
)


def _attend(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    result: jax.Array = nnx.dot_product_attention(query, key, value)
    return result


FUNCTIONS: tuple[Example, ...] = (
    # -- pooling
    _function("avg_pool", partial(nnx.avg_pool, window_shape=(2, 2), strides=(2, 2)), [("B", 32, 32, 3)]),
    _function(
        "avg_pool_same_padding",
        partial(nnx.avg_pool, window_shape=(3, 3), strides=(2, 2), padding="SAME"),
        [("B", 9, 9, 3)],
    ),
    _function("avg_pool_default_padding", partial(nnx.avg_pool, window_shape=(2, 2)), [("B", 8, 8, 3)]),
    _function(
        "avg_pool_exclude_padding",
        partial(nnx.avg_pool, window_shape=(3,), padding="SAME", count_include_pad=False),
        [("B", 8, 3)],
    ),
    # On more than a few hundred windows XLA's CPU code (jax 0.10 and newer) loses NaN.
    _function("max_pool", partial(nnx.max_pool, window_shape=(2, 2), strides=(2, 2)), [("B", 8, 8, 3)]),
    _function(
        "max_pool_same_padding",
        partial(nnx.max_pool, window_shape=(3, 3), strides=(2, 2), padding="SAME"),
        [("B", 9, 9, 3)],
    ),
    # -- attention
    _function("dot_product_attention", nnx.dot_product_attention, [("B", 8, 4, 16)] * 3),
    # -- activations
    _function("elu", nnx.elu, [("B", 3)], operators={"Elu": 1}),
    _function("gelu", nnx.gelu, [("B", 3)], operators={"Gelu": 1}),
    _function("gelu_1", partial(nnx.gelu, approximate=False), [(1,)], operators={"Gelu": 1}),
    _function("gelu_2", partial(nnx.gelu, approximate=True), [(1, 10)], operators={"Gelu": 1}),
    _function("gelu_3", partial(nnx.gelu, approximate=True), [("B", 10, 4)], operators={"Gelu": 1}),
    _function("leaky_relu", nnx.leaky_relu, [("B", 3)], operators={"LeakyRelu": 1}),
    _function("log_softmax", nnx.log_softmax, [("B", 3)], operators={"LogSoftmax": 1}),
    _function("relu", nnx.relu, [("B", 3)], operators={"Relu": 1}),
    _function("relu_2", nnx.relu, [(2, 5, 3)], operators={"Relu": 1}),
    _function("sigmoid", nnx.sigmoid, [("B", 3)], operators={"Sigmoid": 1}),
    _function("softmax", nnx.softmax, [("B", 3)], operators={"Softmax": 1}),
    _function("softplus", nnx.softplus, [("B", 3)], operators={"Softplus": 1}),
    _function("tanh", nnx.tanh, [("B", 3)], operators={"Tanh": 1}),
)

ALL: tuple[Example, ...] = (*LAYERS, *FUNCTIONS)
