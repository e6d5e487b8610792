"""Examples of ``jax.nn``."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jax2onnx.plugin import Example

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


def _example(
    name: str,
    function: Callable[..., Any],
    operators: Mapping[str, int],
    inputs: Sequence[Any] = (("B", 5),),
    *,
    component: str = "",
    options: Mapping[str, Any] | None = None,
) -> Example:
    return Example(
        name=name,
        context="nn",
        component=component or f"jax.nn.{name}",
        make=lambda: function,
        inputs=inputs,
        operators=operators,
        options=options or {},
    )


def _captured(x: jax.Array) -> jax.Array:
    return _ACT(x)


_ACT = jax.nn.gelu

EXAMPLES: tuple[Example, ...] = (
    _example("softmax", jax.nn.softmax, {"Softmax": 1}, [(3,)]),
    _example(
        "softmax_2d", functools.partial(jax.nn.softmax, axis=1), {"Softmax": 1}, [("B", 5)], component="jax.nn.softmax"
    ),
    _example(
        "softmax_3d",
        functools.partial(jax.nn.softmax, axis=2),
        {"Softmax": 1},
        [("B", 3, 4)],
        component="jax.nn.softmax",
    ),
    _example(
        "softmax_vmap",
        jax.vmap(functools.partial(jax.nn.softmax, axis=0)),
        {"Softmax": 1},
        [("B", 3, 4)],
        component="jax.nn.softmax",
    ),
    _example(
        "softmax_all_axes",
        functools.partial(jax.nn.softmax, axis=(0, 1)),
        {"Softmax": 0},
        [("B", 4)],
        component="jax.nn.softmax",
    ),
    _example("log_softmax", jax.nn.log_softmax, {"LogSoftmax": 1}),
    _example("logsumexp", functools.partial(jax.nn.logsumexp, axis=-1), {"ReduceMax": 1, "Where": 0}, [(4, 5)]),
    _example(
        "logsumexp_kept_dims",
        functools.partial(jax.nn.logsumexp, axis=(0, 2), keepdims=True),
        {"ReduceMax": 1, "Where": 0},
        [(4, 5, 3)],
        component="jax.nn.logsumexp",
    ),
    _example(
        "logsumexp_dynamic",
        functools.partial(jax.nn.logsumexp, axis=-1),
        {"ReduceMax": 1, "Where": 0},
        [("B", 5)],
        component="jax.nn.logsumexp",
    ),
    _example("gelu", jax.nn.gelu, {"Gelu": 1}),
    _example("gelu_exact", functools.partial(jax.nn.gelu, approximate=False), {"Gelu": 1}, component="jax.nn.gelu"),
    _example("gelu_captured", _captured, {"Gelu": 1}, component="jax.nn.gelu"),
    _example("gelu_vmap", jax.vmap(jax.nn.gelu), {"Gelu": 1}, component="jax.nn.gelu"),
    _example("gelu_opset_18", jax.nn.gelu, {"Gelu": 0}, component="jax.nn.gelu", options={"opset": 18}),
    _example("relu", jax.nn.relu, {"Relu": 1}),
    _example("relu6", jax.nn.relu6, {"Clip": 1}),
    _example("sigmoid", jax.nn.sigmoid, {"Sigmoid": 1}),
    _example("silu", jax.nn.silu, {"Sigmoid": 1, "Mul": 1}),
    _example("silu_opset_24", jax.nn.silu, {"Sigmoid": 1, "Mul": 1}, component="jax.nn.silu", options={"opset": 24}),
    _example("elu", jax.nn.elu, {"Elu": 1}),
    _example("elu_alpha", functools.partial(jax.nn.elu, alpha=0.25), {"Elu": 1}, component="jax.nn.elu"),
    _example("elu_alpha_input", jax.nn.elu, {"Elu": 0}, [("B", 5), ()], component="jax.nn.elu"),
    _example("celu", jax.nn.celu, {"Celu": 1}),
    _example("selu", jax.nn.selu, {"Selu": 1}),
    _example("leaky_relu", jax.nn.leaky_relu, {"LeakyRelu": 1}),
    _example(
        "leaky_relu_slope",
        functools.partial(jax.nn.leaky_relu, negative_slope=0.3),
        {"LeakyRelu": 1},
        component="jax.nn.leaky_relu",
    ),
    _example("softplus", jax.nn.softplus, {"Softplus": 1}),
    _example("mish", jax.nn.mish, {"Mish": 1}),
    _example("hard_sigmoid", jax.nn.hard_sigmoid, {"HardSigmoid": 1}),
    _example("hard_swish", jax.nn.hard_swish, {"HardSwish": 1}),
    _example("soft_sign", jax.nn.soft_sign, {"Softsign": 1}),
    *(
        _example(
            f"{name}_bfloat16",
            getattr(jax.nn, name),
            {operator: 1},
            [jax.ShapeDtypeStruct(("B", 5), jnp.bfloat16)],
            component=f"jax.nn.{name}",
        )
        for name, operator in (("softmax", "Softmax"), ("gelu", "Gelu"), ("elu", "Elu"))
    ),
)
