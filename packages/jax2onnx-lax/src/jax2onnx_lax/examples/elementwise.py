"""Examples of :mod:`jax2onnx_lax.elementwise` and :mod:`jax2onnx_lax.integer`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Example

_NAN, _INF = np.nan, np.inf
_EDGES = [0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -2.5, 0.49999997, 1e-20, -3e38, _INF, -_INF, _NAN]
_INTEGERS = [0, 1, 2, 3, 7, 31, 32, 100, -1, -2, -7, 2**31 - 1, -(2**31), 2**30 + 1]


def _example(name: str, component: str, fn: Callable[..., Any], inputs: Sequence[Any], **options: Any) -> Example:
    return Example(name=name, context="lax", component=component, make=lambda: fn, inputs=inputs, **options)


def _edges(count: int) -> Callable[[], Sequence[Sequence[Any]]]:
    """Every combination of the edge values as operands."""
    return lambda: [[a.ravel() for a in np.meshgrid(*[np.asarray(_EDGES, np.float32)] * count)]]


def _integers(count: int) -> Callable[[], Sequence[Sequence[Any]]]:
    return lambda: [[a.ravel() for a in np.meshgrid(*[np.asarray(_INTEGERS, np.int32)] * count)]]


def _floats(name: str, fn: Callable[..., Any], count: int, component: str = "") -> Example:
    """An example on all combinations of float edge values."""
    size = len(_EDGES) ** count
    return _example(name, component or f"jax.lax.{name}", fn, [(size,)] * count, values=_edges(count))


def _ints(name: str, fn: Callable[..., Any], count: int, component: str = "") -> Example:
    """An example on all combinations of int32 edge values."""
    spec = f"int32[{len(_INTEGERS) ** count}]"
    return _example(name, component or f"jax.lax.{name}", fn, [spec] * count, values=_integers(count))


def _bools(name: str, fn: Callable[..., Any], component: str) -> Example:
    return _example(name, component, fn, ["bool[B,3]", "bool[B,3]"])


def _wide(name: str, fn: Callable[..., Any], specs: Sequence[str], values: Sequence[Any], component: str) -> Example:
    return _example(name, component, fn, specs, values=lambda: [list(values)], x64=True)


def _mixed(state: Any, rotation: int) -> Any:
    """One round of Threefry."""
    x, y = state
    x = x + y
    return x, ((y << np.uint32(rotation)) | lax.shift_right_logical(y, np.uint32(32 - rotation))) ^ x


_LONG = np.asarray([2**62 + 1, -(2**63), 2**53 + 1, 7, -1, 0, 2**32 - 1, 100], np.int64)
_PAIR = [np.repeat(_LONG, len(_LONG)), np.tile(_LONG, len(_LONG))]

EXAMPLES: list[Example] = [
    _example("add", "jax.lax.add", lax.add, [("B", 3), ("B", 3)], operators={"Add": 1}),
    _example("sub_test1", "jax.lax.sub", lax.sub, [("B", 3), ("B", 3)], operators={"Sub": 1}),
    _example("sub_test2", "jax.lax.sub", lambda x: x - 1.5, [("B", 3)], operators={"Sub": 1}),
    _example("mul_test1", "jax.lax.mul", lax.mul, [(3,), (3,)], operators={"Mul": 1}),
    _example("mul_test2", "jax.lax.mul", lax.mul, [("B", 2), ("B", 2)], operators={"Mul": 1}),
    _example("div", "jax.lax.div", lax.div, [("B", 3), ("B", 3)], operators={"Div": 1}),
    _example("neg", "jax.lax.neg", lax.neg, [("B", 3)], operators={"Neg": 1}),
    _example("exp", "jax.lax.exp", lax.exp, [("B", 3)], operators={"Exp": 1}),
    _example("log", "jax.lax.log", lax.log, [("B", 3)], operators={"Log": 1}),
    _example("sqrt", "jax.lax.sqrt", lax.sqrt, [("B", 3)], operators={"Sqrt": 1}),
    _example("tanh", "jax.lax.tanh", lax.tanh, [("B", 3)], operators={"Tanh": 1}),
    _example("square", "jax.lax.square", lax.square, [("B", 3)], operators={"Mul": 1}),
    _example("integer_pow", "jax.lax.integer_pow", lambda x: lax.integer_pow(x, 3), [("B", 3)], operators={"Mul": 2}),
    _example("stop_gradient", "jax.lax.stop_gradient", lax.stop_gradient, [("B", 3)]),
    _floats("max", lax.max, 2),
    _floats("min_test1", lax.min, 2, "jax.lax.min"),
    _floats("eq", lax.eq, 2),
    _floats("ne", lax.ne, 2),
    _floats("lt", lax.lt, 2),
    _floats("gt", lax.gt, 2),
    _floats("le", lax.le, 2),
    _floats("ge", lax.ge, 2),
    _floats("rem", lax.rem, 2),
    _floats("pow", lax.pow, 2),
    _floats("nextafter", lax.nextafter, 2),
    _floats("abs", lax.abs, 1),
    _floats("sign", lax.sign, 1),
    _floats("floor", lax.floor, 1),
    _floats("ceil", lax.ceil, 1),
    _floats("is_finite", lax.is_finite, 1),
    _floats("round_away", lambda x: lax.round(x, lax.RoundingMethod.AWAY_FROM_ZERO), 1, "jax.lax.round"),
    _floats("round_even", lambda x: lax.round(x, lax.RoundingMethod.TO_NEAREST_EVEN), 1, "jax.lax.round"),
    _floats("integer_pow_negative", lambda x: lax.integer_pow(x, -3), 1, "jax.lax.integer_pow"),
    _floats("integer_pow_zero", lambda x: lax.integer_pow(x, 0), 1, "jax.lax.integer_pow"),
    _example("pow_integer", "jax.lax.pow", lax.pow, [("B", 3), "int32[B,3]"]),
    _ints("div_integer", lax.div, 2, "jax.lax.div"),
    _ints("rem_integer", lax.rem, 2, "jax.lax.rem"),
    _ints("floor_mod", lambda x: (x // 7, x % 7, x // -1), 1, "jax.numpy.floor_divide"),
    _ints("mul_wraps", lax.mul, 2, "jax.lax.mul"),
    _ints("integer_pow_wraps", lambda x: lax.integer_pow(x, 11), 1, "jax.lax.integer_pow"),
    _ints("shift_left", lax.shift_left, 2),
    _ints("shift_right_logical", lax.shift_right_logical, 2),
    _ints("shift_right_arithmetic", lax.shift_right_arithmetic, 2),
    _ints("shift_by_constant", lambda x: (x << 3, x >> 3, x >> 31), 1, "jax.numpy.left_shift"),
    _ints("population_count", lax.population_count, 1),
    _ints("clz", lax.clz, 1),
    _ints("bitwise_and", lax.bitwise_and, 2),
    _ints("bitwise_or", lax.bitwise_or, 2),
    _ints("bitwise_xor", lax.bitwise_xor, 2),
    _ints("bitwise_not", lax.bitwise_not, 1),
    _bools("logical", lambda x, y: (x & y, x | y, x ^ y, ~x), "jax.numpy.logical_and"),
    _bools("compare_bool", lambda x, y: (lax.lt(x, y), lax.ge(x, y), lax.ne(x, y)), "jax.lax.lt"),
    _bools("extrema_bool", lambda x, y: (lax.max(x, y), lax.min(x, y)), "jax.lax.max"),
    _example("neg_unsigned", "jax.lax.neg", lax.neg, ["uint32[B,3]"]),
    _wide("max_int64", lambda x, y: (lax.max(x, y), lax.min(x, y)), ["int64[64]", "int64[64]"], _PAIR, "jax.lax.max"),
    _wide("rem_int64", lambda x, y: (lax.div(x, y), lax.rem(x, y)), ["int64[64]"] * 2, _PAIR, "jax.lax.rem"),
    _wide("sign_int64", lax.sign, ["int64[8]"], [_LONG], "jax.lax.sign"),
    _example(
        "threefry_round",
        "jax.lax.shift_left",
        lambda x, y: functools.reduce(_mixed, (13, 15, 26), (x, y)),
        ["uint32[B,3]", "uint32[B,3]"],
    ),
    _example(
        "polynomial",
        "jax.lax.polynomial",
        lambda x: jax.lax.polynomial(x, (1.0, -2.0, 0.5, 3.0)),
        [("B", 3)],
        requires_jax=">=0.12",
    ),
    _example(
        "mulhi",
        "jax.lax.mulhi",
        lambda x, y: (jax.lax.mulhi(x, y), jax.lax.mulhi(x.astype(jnp.uint32), y.astype(jnp.uint32))),
        ["int32[196]", "int32[196]"],
        values=_integers(2),
        requires_jax=">=0.10.2",
    ),
]
