"""Small results that become large: what divides by an activation, takes its logarithm or orders by it is JAX's.

In relative terms: below an absolute tolerance, every wrong number hides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from jax2onnx import to_onnx
from jax2onnx.testing import Runner, operators, x64

if TYPE_CHECKING:
    from collections.abc import Callable

Function: TypeAlias = "Callable[[Any], Any]"
X = np.array([-60.0, -30, -20, -17.5, -9, -5, -2.998, -1e-8, 0.5, 3, 30, 100, -np.inf, np.inf])
RTOL = {"float32": 1e-4, "float64": 1e-9, "bfloat16": 0.1, "float16": 4e-3}
"""JAX rounds ``exp`` within ``sigmoid`` to bfloat16, three digits; the logarithm of a number near 1 has one left."""
sigmoid = jax.nn.sigmoid


def _carried(x: Any) -> Any:
    def step(carry: Any, _: Any) -> Any:
        return carry * sigmoid(x), jnp.log(carry)

    return lax.scan(step, jnp.ones_like(x), None, length=3)


def _asked_for_by_the_condition(x: Any) -> Any:
    def condition(state: Any) -> Any:
        return jnp.log(state[0][0]) > -70

    return lax.while_loop(condition, lambda s: (s[0] * sigmoid(x - 10), s[1] + 1), (sigmoid(x), 0))[1]


SINKS: dict[str, Function] = {
    "log": lambda x: jnp.log(sigmoid(x)),
    "log_of_a_sum": lambda x: jnp.log(sigmoid(x) + 1e-7),
    "log_of_a_clipped": lambda x: jnp.log(jnp.clip(sigmoid(x), 1e-7, 1.0)),
    "log2": lambda x: jnp.log2(jnp.maximum(sigmoid(x), 1e-9)),
    "reciprocal": lambda x: 1 / sigmoid(x),
    "quotient": lambda x: sigmoid(x - 1) / sigmoid(x),
    "rsqrt": lambda x: lax.rsqrt(sigmoid(x)),
    "power": lambda x: sigmoid(x) ** 0.3,
    "negative_power": lambda x: sigmoid(x) ** -2,
    "root": lambda x: jnp.sqrt(sigmoid(x)),
    "cube_root": lambda x: jnp.cbrt(sigmoid(x)),
    "share": lambda x: sigmoid(x[:4]) / (sigmoid(x[:4]).sum() + 1e-20),
    "norm": lambda x: sigmoid(x[:4]) / jnp.linalg.norm(sigmoid(x[:4])),
    "product": lambda x: jnp.log((sigmoid(x[:4]) * 3) @ jnp.ones((4, 2), x.dtype)),
    "positive": lambda x: (sigmoid(x) > 0) | (sigmoid(x).astype(bool)),
    "ceil": lambda x: jnp.ceil(sigmoid(x)),
    "order": lambda x: jnp.argsort(sigmoid(x[:8])),
    "largest": lambda x: (jnp.argmax(sigmoid(x[:3])), lax.top_k(sigmoid(x[:3]), 2)[1]),
    "gamma": lambda x: jax.scipy.special.gammaln(sigmoid(x[:8])),
    "angle": lambda x: jnp.arctan2(sigmoid(x[:8]), sigmoid(x[:8] - 1)),
    "branch": lambda x: jnp.log(lax.cond(x[0] < 0, sigmoid, jnp.abs, x)),
    "scan": _carried,
    "while": _asked_for_by_the_condition,
    "grown_in_a_loop": lambda x: jnp.log(lax.fori_loop(0, 8, lambda _, c: c * 10 + sigmoid(x), 0 * sigmoid(x)) + 0.5),
    "jit": lambda x: jnp.log(jax.jit(sigmoid)(x)),
    "layout": lambda x: jnp.log(jnp.concatenate([sigmoid(x), x[:2] * 0 + 1]).reshape(4, 4).T[1:]),
    "select": lambda x: 1 / jnp.where(x < 0, sigmoid(x), 1.0),
    "bernoulli_loss": lambda x: -(0.3 * jnp.log(sigmoid(x)) + 0.7 * jnp.log(sigmoid(-x))),
}
FACTORS: dict[str, Function] = {
    "constant": lambda x: sigmoid(x) * 1e8,
    "constants": lambda x: sigmoid(x) * 1e2 * 1e2 * 1e2 * 1e2,
    "small_divisor": lambda x: sigmoid(x) / 1e-8,
    "exp": lambda x: sigmoid(x[:12]) * jnp.exp(-x[:12]),
    "exp2": lambda x: jnp.exp2(-x[:12]) * sigmoid(x[:12]),
    "expm1": lambda x: sigmoid(x[:12]) * jnp.expm1(-x[:12]),
    "reciprocal": lambda x: sigmoid(x[:11]) * (1 / jnp.exp(x[:11])),
    "sinh": lambda x: sigmoid(x[:11]) * jnp.sinh(x[:11]),
    "cosh": lambda x: sigmoid(x[:11]) * jnp.cosh(x[:11]),
    "power": lambda x: sigmoid(x[:11]) * x[:11] ** 9,
    "silu": lambda x: jax.nn.silu(x[:11]) * jnp.exp(-x[:11]),
    "gelu": lambda x: jax.nn.gelu(x[4:9], approximate=False) * jnp.exp(x[4:9] ** 2 / 2),
    "elu": lambda x: jax.nn.elu(x[4:9]) * 1e10,
    "selu": lambda x: jax.nn.selu(x[4:9]) * 1e10,
    "celu": lambda x: jax.nn.celu(x[4:9]) * 1e10,
    "mish": lambda x: jax.nn.mish(x[:11]) * jnp.exp(-x[:11]),
    "derivative": lambda x: jax.vmap(jax.grad(sigmoid))(x[:9]) * jnp.exp(-x[:9]),
    "dot": lambda x: sigmoid(x[:9]) @ jnp.exp(-x[:9]),
    "arranged": lambda x: sigmoid(x[:6]).reshape(2, 3).T * jnp.exp(-x[:6]).reshape(2, 3).T,
    "beside_a_bound": lambda x: jnp.cos(sigmoid(x[:11]) * jnp.exp(-x[:11])),
    "branch": lambda x: lax.cond(x[0] < 0, jnp.exp, jnp.cos, -x[:11]) * sigmoid(x[:11]),
    "scan": lambda x: lax.scan(lambda e, s: (e, e * sigmoid(s)), jnp.exp(9.0 - x[1]), x[:3])[1],
    "grown_in_a_loop": lambda x: lax.fori_loop(0, 2, lambda _, c: jnp.exp(c), -1.5 - x[5]) * sigmoid(x[:3] + 10),
    "exponent": lambda x: jnp.float_power(x[:11], sigmoid(x[:11])),
    "exponent_of_zero": lambda x: jnp.power(0.0 * x[:11], sigmoid(x[:11])),
}
"""Not ``x[11:]`` where a product of 0 and infinity would hide the digits."""
ACTIVATIONS: dict[str, Function] = {
    "silu": lambda x: 1 / jax.nn.silu(x[:8]),
    "gelu": lambda x: 1 / jax.nn.gelu(jnp.maximum(x[:8], -8.0), approximate=False),
    "hard_sigmoid": lambda x: jnp.log(jax.nn.hard_sigmoid(x[6:])),
    "hard_swish": lambda x: 1 / jax.nn.hard_swish(x[6:8]),
    "elu": lambda x: 1 / jax.nn.elu(x[4:9]),
    "selu": lambda x: 1 / jax.nn.selu(x[4:9]),
    "celu": lambda x: 1 / jax.nn.celu(x[4:9]),
    "mish": lambda x: 1 / jax.nn.mish(x[:9]),
    "softplus": lambda x: jnp.log(jax.nn.softplus(x)),
    "softmax": lambda x: jnp.log(jax.nn.softmax(x[1:11])),
    "log_softmax": lambda x: 1 / jax.nn.log_softmax(x[:8]),
    "soft_sign": lambda x: 1 / jax.nn.soft_sign(x[:12]),
    "tanh": lambda x: 1 / jnp.tanh(x * 1e-6),
    "erf": lambda x: 1 / jax.scipy.special.erf(x * 1e-6),
    "erfc": lambda x: 1 / jax.scipy.special.erfc(-x[3:8] / 3),
    "expm1": lambda x: 1 / jnp.expm1(x * 1e-6),
    "log1p": lambda x: 1 / jnp.log1p(x[:12] * 1e-6),
    "exp": lambda x: 1 / jnp.exp(x[:11]),
    "glu": lambda x: 1 / jax.nn.glu(x),
}


def _normal(array: Any) -> Any:
    """Flush subnormal numbers, as JAX does."""
    wide = np.asarray(array).astype(np.float64)
    if np.asarray(array).dtype.kind in "biu":
        return wide
    return np.where(np.abs(wide) < float(jnp.finfo(array.dtype).tiny), 0, wide)


def _agrees(function: Function, dtype: str) -> None:
    with x64(enabled=dtype == "float64"):
        x = jnp.asarray(X, dtype)
        got = Runner(to_onnx(function, [x])).run([np.asarray(x)])
        # XLA would keep the digits of a narrow dtype between two operations.
        run = jax.jit(function) if dtype == "float32" else function
        for one, want in zip(got, jax.tree.leaves(run(x)), strict=True):
            np.testing.assert_allclose(_normal(one), _normal(want), rtol=RTOL[dtype], atol=0)


@pytest.mark.parametrize("name", SINKS)
def test_what_makes_a_small_result_large(name: str) -> None:
    _agrees(SINKS[name], "float32")


@pytest.mark.parametrize("name", FACTORS)
def test_beside_a_large_factor(name: str) -> None:
    _agrees(FACTORS[name], "float32")


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
@pytest.mark.parametrize("name", ["log", "reciprocal", "power", "scan"])
def test_in_every_dtype(name: str, dtype: str) -> None:
    _agrees(SINKS[name], dtype)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str) -> None:
    _agrees(ACTIVATIONS[name], "float32")


def _normalised(x: Any) -> Any:
    return (x - x.mean()) / jnp.sqrt(x.var() + 1e-6)


def _softmax(x: Any) -> Any:
    e = jnp.exp(x - lax.stop_gradient(jnp.maximum(x.max(-1, keepdims=True), 0)))
    return e / e.sum(-1, keepdims=True)


def _to_unit_length(x: Any) -> Any:
    return x / jnp.linalg.norm(x)


def _carried_on(x: Any) -> Any:
    """What the logarithm needs is known of the last of three carried values after two looks at the loop."""

    def step(_: Any, state: Any) -> Any:
        first, second, _ = state
        return first + second, second + state[2], sigmoid(x)

    return jnp.log(lax.fori_loop(0, 4, step, (jnp.zeros_like(x),) * 3)[0] + 0.1)


WEIGHTS = np.ones((14, 3), np.float32)
NETWORKS: dict[str, tuple[Function, str]] = {
    "sigmoid": (sigmoid, "Sigmoid"),
    "gate": (lambda x: x * sigmoid(x + 1), "Sigmoid"),
    "gated_linear_unit": (lambda x: (jax.nn.silu(x) * (x * 3)) @ WEIGHTS, "Sigmoid"),
    "scaled": (lambda x: sigmoid(x) * 255, "Sigmoid"),
    "of_large_results": (lambda x: 1e5 * (jax.nn.gelu(x) @ WEIGHTS) + 3e5, "Gelu"),
    "temperature": (lambda x: jnp.exp(x[0]) * (jax.nn.gelu(x) @ WEIGHTS), "Gelu"),
    "gated_norm": (lambda x: sigmoid(x) * _normalised(x), "Sigmoid"),
    "gated_softmax": (lambda x: sigmoid(x) * _softmax(x), "Sigmoid"),
    "gated_attention": (lambda x: sigmoid(x) * jax.nn.softmax(x), "Sigmoid"),
    "normalised": (lambda x: _normalised(jax.nn.silu(x)), "Sigmoid"),
    "attention": (lambda x: jax.nn.softmax(jax.nn.gelu(x) @ WEIGHTS), "Gelu"),
    "leaky_relu": (lambda x: jax.nn.leaky_relu(jax.nn.silu(x) @ WEIGHTS), "Sigmoid"),
    "unit_length": (lambda x: _to_unit_length(jax.nn.gelu(x) @ WEIGHTS), "Gelu"),
    "threshold": (lambda x: sigmoid(x) > 0.5, "Sigmoid"),
    "log_of_one_more": (lambda x: jnp.log(1 + sigmoid(x)), "Sigmoid"),
    "log_softmax": (lambda x: jax.nn.log_softmax(jax.nn.silu(x)), "Sigmoid"),
    "epsilon_after_a_loop": (_carried_on, "Sigmoid"),
    "residual": (lambda x: _normalised(x + jax.nn.gelu(x)), "Gelu"),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_keep_the_operator(name: str) -> None:
    function, operator = NETWORKS[name]
    assert operator in operators(to_onnx(function, [(14,)]))


def test_the_gates_of_an_lstm() -> None:
    lstm = nnx.RNN(nnx.LSTMCell(2, 3, rngs=nnx.Rngs(0)))
    assert "LSTM" in operators(to_onnx(lstm, [(1, 4, 2)]))

    def small(x: Any) -> Any:
        return jnp.log(jnp.abs(lstm(x)))

    model = to_onnx(small, [(1, 4, 2)])
    assert "LSTM" not in operators(model)
    x = np.random.default_rng(0).uniform(-60, 60, (1, 4, 2)).astype(np.float32)
    np.testing.assert_allclose(Runner(model).run([x])[0], small(jnp.asarray(x)), rtol=1e-3)
