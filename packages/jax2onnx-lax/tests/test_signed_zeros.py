"""The sign of a zero, wherever it makes a number: one over each result is JAX's, to the sign of infinity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import to_onnx
from jax2onnx.testing import Runner, operators, x64

if TYPE_CHECKING:
    from collections.abc import Callable

VALUES = [-0.0, 0.0, -1.0, 1.0, -0.3, 0.5, -2.5, np.inf, -np.inf, np.nan]
DTYPES = ["float16", "bfloat16", "float32", "float64"]
AWAY, EVEN = lax.RoundingMethod.AWAY_FROM_ZERO, lax.RoundingMethod.TO_NEAREST_EVEN


def _even(x: Any) -> Any:
    return jnp.arange(x.shape[0]) % 2 == 0


def _chosen(x: Any) -> Any:
    """Return the same, by a choice in which onnxruntime makes 0 of -0."""
    return jnp.where(x < 5, x, 2 * x)


def _goes_on(state: tuple[Any, Any]) -> Any:
    """Return whether a loop goes on, which it does for three steps while the first element is -0."""
    count, x = state
    return (count < 3) & (1 / x[0] < 0)


UNARY: dict[str, Callable[[Any], Any]] = {
    "abs": lax.abs,
    "add_counter": lambda x: lax.fori_loop(0, 1, lambda n, y: y + 2 * n.astype(y.dtype), x * 1),
    "add_zero": lambda x: (x * 1) + 0.0,
    "asin": lax.asin,
    "asinh": lax.asinh,
    "atan": lax.atan,
    "atanh": lax.atanh,
    "cbrt": lax.cbrt,
    "ceil": lax.ceil,
    "chosen_in_steps": lambda x: lax.fori_loop(0, 2, lambda n, y: lax.cond(n > 0, _chosen, lambda z: z, y), x),
    "clamp_from_zero": lambda x: lax.clamp(np.asarray(0, x.dtype), x, np.asarray(1, x.dtype)),
    "clamp_to_minus_zero": lambda x: lax.clamp(np.asarray(-1, x.dtype), x, np.asarray(-0.0, x.dtype)),
    "clip": lambda x: jnp.clip(x, 0.0, 1.0),
    "clip_as_relu6": lambda x: jnp.clip(x, 0, 6),
    "cummax": lambda x: lax.cummax(x[:6]),
    "cummin": lambda x: lax.cummin(x[:6]),
    "cumprod": lambda x: lax.cumprod(x[:6]),
    "cumsum": lambda x: lax.cumsum(x[:6]),
    "erf": lax.erf,
    "erf_inv": lax.erf_inv,
    "expm1": lax.expm1,
    "floor": lax.floor,
    "from_bits": lambda x: lax.bitcast_convert_type(_bits(x), x.dtype),
    "function": jax.jit(lambda y: jnp.where(_even(y), y, 0)),
    "handed_down": lambda x: lax.fori_loop(0, 9, lambda _, y: (_chosen(y[0]), *y[:-1]), (x,) * 8)[-1],
    "handed_on_by_turns": lambda x: lax.fori_loop(0, 3, lambda _, y: (y[1], _chosen(y[0])), (x, 2 * x))[0],
    "loop": lambda x: lax.fori_loop(0, 3, lambda _, y: jnp.where(_even(y), y, 1), x),
    "loop_until": lambda x: (3 - lax.while_loop(_goes_on, lambda y: (y[0] + 1, _chosen(y[1])), (0, x * 1))[0]) * x,
    "max_of_bound": lambda x: lax.max(_chosen(x), np.asarray(0, x.dtype)),
    "max_of_lower_bound": lambda x: lax.max(_chosen(x), np.asarray(-0.0, x.dtype)),
    "min_of_bound": lambda x: lax.min(_chosen(x), np.asarray(-0.0, x.dtype)),
    "min_of_upper_bound": lambda x: lax.min(_chosen(x), np.asarray(0, x.dtype)),
    "nan_to_num": lambda x: jnp.nan_to_num(x, posinf=2.0, neginf=-2.0),
    "neg": lax.neg,
    "pow": lambda x: lax.integer_pow(x, 3),
    "reduce_max": lambda x: jnp.stack([x[:1].max(), x[:2].max(), x[:3:2].max(), x[2:0:-1].max()]),
    "reduce_min": lambda x: jnp.stack([x[:1].min(), x[:2].min(), x[1:4:2].min(), x[1::-1].min()]),
    "reduce_precision": lambda x: lax.reduce_precision(x, 4, 3),
    "relu": jax.nn.relu,
    "subtract_counter": lambda x: lax.fori_loop(0, 1, lambda n, y: y - -n.astype(y.dtype), x * 1),
    "relu6": jax.nn.relu6,
    "round_away": lambda x: lax.round(x, AWAY),
    "round_even": lambda x: lax.round(x, EVEN),
    "sign": lax.sign,
    "sin": lax.sin,
    "sinh": lax.sinh,
    "sort": lax.sort,
    "sqrt": lax.sqrt,
    "square": lambda x: _chosen(x) * _chosen(x),
    "stacked": lambda x: lax.scan(lambda y, z: (_chosen(z), 1 * y), x[0], x)[1],
    "subtract_minus_zero": lambda x: (x * 1) - (-0.0),
    "switched_on": lambda x: lax.cond(x[3] > 0, lambda y: jnp.where(_even(y), y, 1), lambda y: y, x),
    "tan": lax.tan,
    "tanh": lax.tanh,
    "top_k": lambda x: lax.top_k(x, 5)[0],
    "trunc": jnp.trunc,
}
BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "add": lax.add,
    "atan2": lax.atan2,
    "copysign": jnp.copysign,
    "div": lax.div,
    "fmax": jnp.fmax,
    "max": lax.max,
    "min": lax.min,
    "mul": lax.mul,
    "rem": lax.rem,
    "select": lambda x, y: jnp.where(_even(x), x, y),
    "select_constant": lambda x, y: jnp.where(y < 1, x, 0.0),
    "select_first_constant": lambda x, y: jnp.where(y < 1, 0.0, x),
    "select_n": lambda x, y: lax.select_n(jnp.arange(x.shape[0]) % 3, x, y, -x),
    "select_negated": lambda x, y: jnp.where(~_even(x), x, y),
    "select_scalar": lambda x, y: jnp.where(y[0] <= 0, x, y),
    "sub": lax.sub,
}


def _bits(x: Any) -> Any:
    return lax.bitcast_convert_type(x, f"uint{8 * x.dtype.itemsize}")


def _compare(function: Callable[..., Any], *arrays: Any) -> None:
    def inverse(*operands: Any) -> Any:
        return 1 / function(*operands)

    (actual,) = Runner(to_onnx(inverse, list(arrays))).run([np.asarray(a) for a in arrays])
    expected = np.asarray(inverse(*arrays), np.float64)
    infinite = np.isinf(expected)
    assert infinite.any()
    np.testing.assert_array_equal(np.isnan(actual), np.isnan(expected))
    np.testing.assert_array_equal(actual.astype(np.float64)[infinite], expected[infinite])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNARY)
def test_one_operand(name: str, dtype: str) -> None:
    with x64(enabled=dtype == "float64"):
        _compare(UNARY[name], jnp.asarray(VALUES, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BINARY)
def test_two_operands(name: str, dtype: str) -> None:
    with x64(enabled=dtype == "float64"):
        first, second = np.meshgrid(VALUES, VALUES)
        _compare(BINARY[name], jnp.asarray(first.ravel(), dtype), jnp.asarray(second.ravel(), dtype))


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "celu": jax.nn.celu,
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "hard_swish": jax.nn.hard_swish,
    "hard_tanh": jax.nn.hard_tanh,
    "leaky_relu": jax.nn.leaky_relu,
    "mish": jax.nn.mish,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "selu": jax.nn.selu,
    "silu": jax.nn.silu,
    "soft_sign": jax.nn.soft_sign,
    "sparse_plus": jax.nn.sparse_plus,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str) -> None:
    x = jnp.asarray([-0.0, 0.0, -1e-8, 1e-8, -1.0, 1.0, 7.0])

    def angle(x: Any) -> Any:
        return jnp.arctan2(ACTIVATIONS[name](x), -1.0)

    (actual,) = Runner(to_onnx(angle, [x])).run([np.asarray(x)])
    np.testing.assert_allclose(actual, angle(x), rtol=1e-6)


ORDINARY: dict[str, tuple[Callable[..., Any], dict[str, int]]] = {
    "choice": (lambda x, y: jnp.where(x < y, x, y), {"Less": 1, "Where": 1}),
    "softmax": (lambda x, y: jax.nn.softmax(jnp.where(y > 0, x, -jnp.inf)), {"Greater": 1, "Where": 1, "Softmax": 1}),
    "divided": (lambda x, y: x / jnp.where(y == 0, 1.0, y), {"Equal": 1, "Where": 1, "Div": 1}),
    "relu": (lambda x, y: jax.nn.relu(x) @ y.T, {"Relu": 1, "MatMul": 1, "Transpose": 1}),
    "bounded": (lambda x, y: x / jnp.maximum(y, 1e-6), {"Max": 1, "Div": 1}),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_code_pays_nothing(name: str) -> None:
    function, expected = ORDINARY[name]
    assert operators(to_onnx(function, [(3, 4), (3, 4)])) == expected
