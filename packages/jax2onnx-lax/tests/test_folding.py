"""Facts of lax: what is known at conversion is computed at conversion, as JAX computes it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, to_onnx
from jax2onnx.plugin import loader
from jax2onnx.program import known
from jax2onnx.program.flatten import flatten
from jax2onnx.program.fold_constants import fold
from jax2onnx.program.program import Const, Program
from jax2onnx.testing import operators

if TYPE_CHECKING:
    from collections.abc import Callable

FACTS = loader.load().registry().facts

INTS = np.asarray([[3, -7, 2**31 - 1], [0, 5, -(2**31)]], np.int32)
OTHER = np.asarray([[3, 2, 1], [-1, 5, 6]], np.int32)
MASK = np.asarray([[True, False, True], [False, True, False]])

# Functions of the two integer arrays and the mask.
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": lambda x, y, m: x + y,
    "and": lambda x, y, m: (x & y, m & (x > y)),
    "broadcast_in_dim": lambda x, y, m: lax.broadcast_in_dim(x, (2, 4, 3), (0, 2)),
    "concatenate": lambda x, y, m: lax.concatenate([x, y, x], 1),
    "convert_element_type": lambda x, y, m: (x.astype(jnp.int8), x.astype(bool), m.astype(jnp.uint8)),
    "comparisons": lambda x, y, m: (x < y, x <= y, x > y, x >= y, x == y, x != y),
    "expand_dims": lambda x, y, m: lax.expand_dims(x, (0, 2)),
    "iota": lambda x, y, m: (lax.broadcasted_iota(jnp.int8, (2, 300), 1), lax.iota(jnp.uint32, 4)),
    "max_min": lambda x, y, m: (lax.max(x, y), lax.min(x, y), lax.max(m, x > y)),
    "mul_wraps": lambda x, y, m: x * y,
    "not": lambda x, y, m: (~x, ~m),
    "or": lambda x, y, m: (x | y, m | (x > y)),
    "reshape": lambda x, y, m: (x.reshape(3, 2), x.reshape(1, 6)),
    "rev": lambda x, y, m: lax.rev(x, (0, 1)),
    "select_n": lambda x, y, m: (lax.select_n(m, x, y), lax.select_n(jnp.int32(2), x, y, x - y)),
    "slice": lambda x, y, m: (lax.slice(x, (0, 1), (2, 3)), lax.slice(x, (0, 0), (2, 3), (1, 2))),
    "squeeze": lambda x, y, m: lax.squeeze(x[None], (0,)),
    "sub": lambda x, y, m: x - y,
    "transpose": lambda x, y, m: x.T,
    "bitcast_convert_type": lambda x, y, m: lax.bitcast_convert_type(x, jnp.uint32),
    "pad": lambda x, y, m: (lax.pad(x, 7, [(1, 0, 2), (0, 3, 1)]), lax.pad(m, m[0, 0], [(0, 0, 0), (2, 0, 0)])),
    "reduce_and_or": lambda x, y, m: (jnp.all(m, 1), jnp.any(m), lax.reduce_and(x, [0]), lax.reduce_or(x, [0, 1])),
    "scatter": lambda x, y, m: (x.at[1].set(y[0]), x.at[:, -1].set(9), x.at[0, 1].set(4), x.at[2].set(y[0])),
    "shifts": lambda x, y, m: [
        shift(x, by)
        for shift in (lax.shift_left, lax.shift_right_logical, lax.shift_right_arithmetic)
        for by in (jnp.full_like(x, 31), jnp.clip(y, 0, 5))
    ],
    "split": lambda x, y, m: lax.split(x, (1, 2), 1),
    "stack": lambda x, y, m: (jnp.stack([x, y], 1), jnp.stack([m])),
    "unstack": lambda x, y, m: (*jnp.unstack(x), *jnp.unstack(m, axis=1)),
    "xor": lambda x, y, m: (x ^ y, m ^ (x > y)),
}


def folded(jaxpr: Any) -> Program:
    return fold(flatten(jaxpr, FACTS))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_known_integers_are_computed_without_jax(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "_evaluate", None)  # JAX would compile each equation
    fn = FUNCTIONS[name]
    program = folded(jax.make_jaxpr(lambda: fn(jnp.asarray(INTS), jnp.asarray(OTHER), jnp.asarray(MASK)))())
    expected = jax.tree.leaves(fn(jnp.asarray(INTS), jnp.asarray(OTHER), jnp.asarray(MASK)))
    assert program.eqns == []
    for atom, want in zip(program.outputs, expected, strict=True):
        assert isinstance(atom, Const)
        value = np.asarray(atom.value)
        assert value.dtype == want.dtype == atom.aval.dtype
        np.testing.assert_array_equal(value, want)


@pytest.mark.parametrize("shape", [(), (3, 5), (0,), (2**16 + 1,)])
def test_counts_of_random_numbers_are_computed_without_jax(shape: tuple[int, ...]) -> None:
    rule = FACTS.of("iota_2x32_shape").fold
    assert rule is not None
    high, low = rule({"shape": shape})
    np.testing.assert_array_equal((high << 32) + low, np.arange(math.prod(shape)).reshape(shape))


@pytest.mark.parametrize("fn", [lambda x: x * 1 + 0, lambda x: 0 + 1 * x])
def test_adding_zero_and_multiplying_by_one_do_nothing(fn: Callable[..., Any]) -> None:
    program = folded(jax.make_jaxpr(fn)(jax.ShapeDtypeStruct((3,), jnp.int32)))
    assert program.eqns == []
    assert program.outputs == program.inputs


def test_a_scalar_unit_does_not_hide_a_broadcast() -> None:
    program = folded(jax.make_jaxpr(lambda x: x + jnp.zeros(3, jnp.int32))(jax.ShapeDtypeStruct((), jnp.int32)))
    assert program.outputs[0].aval.shape == (3,)
    assert program.eqns != []


FLOATS = np.asarray([[0.3, -2.5, np.nan], [np.inf, -0.0, 3e4], [0.0, -np.inf, 7.0]])

# Functions of two arrays of floats, one the other's transpose.
FLOAT_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs_neg": lambda x, y: (jnp.abs(x), -x),
    "add_sub_mul": lambda x, y: (x + y, x - y, x * y),
    "ceil_floor": lambda x, y: (jnp.ceil(x), jnp.floor(x)),
    "comparisons": lambda x, y: (x < y, x <= y, x > y, x >= y, x == y, x != y),
    "convert_element_type": lambda x, y: (x.astype(jnp.float16), x.astype(bool)),
    "cos_sin": lambda x, y: (jnp.cos(jnp.clip(x, -9, 9)), jnp.sin(jnp.clip(x, -9, 9))),
    "div": lambda x, y: x / y,
    "exp_log": lambda x, y: (jnp.exp(x), jnp.log(x)),
    "integer_pow": lambda x, y: (x**2, x**3, x**-1),
    "iota": lambda x, y: (lax.broadcasted_iota(jnp.float32, (2, 3), 1), lax.is_finite(x)),
    "max_min": lambda x, y: (lax.max(x, y), lax.min(x, y)),
    "pow": lambda x, y: lax.pow(x, jnp.full_like(x, 1.5)),
    "reductions": lambda x, y: (x.max(1), x.min(0), x[0, :2].sum()),
    "select_n": lambda x, y: jnp.where(x > y, x, y),
    "sign_sqrt": lambda x, y: (jnp.sign(x), jnp.sqrt(x), lax.rsqrt(x), jnp.tanh(x)),
    "to_integers": lambda x, y: lax.convert_element_type(x[0, :2], jnp.int32),
}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("name", FLOAT_FUNCTIONS)
def test_known_floats_are_computed_as_jax_does(name: str, dtype: str) -> None:
    x = jnp.asarray(FLOATS, dtype)
    fn = FLOAT_FUNCTIONS[name]
    program = folded(jax.make_jaxpr(lambda: fn(x, x.T))())
    assert program.eqns == []
    digits = {"float32": 1e-6, "float16": 2e-3, "bfloat16": 2e-2}[dtype]
    for atom, want in zip(program.outputs, jax.tree.leaves(fn(x, x.T)), strict=True):
        assert isinstance(atom, Const)
        got, expected = np.asarray(atom.value, np.float64), np.asarray(want, np.float64)
        assert atom.aval.dtype == want.dtype
        np.testing.assert_allclose(got, expected, rtol=digits)
        np.testing.assert_array_equal(np.signbit(got)[got == 0], np.signbit(expected)[got == 0])


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e9, -3e9])
def test_floats_that_fit_no_integer_become_what_jax_makes_of_them(value: float) -> None:
    def convert() -> Any:
        return lax.convert_element_type(jnp.full(2, value), jnp.int32)

    (atom,) = folded(jax.make_jaxpr(convert)()).outputs
    assert isinstance(atom, Const)
    np.testing.assert_array_equal(atom.value, convert())


def test_large_arrays_are_left_alone() -> None:
    assert folded(jax.make_jaxpr(lambda: lax.iota(jnp.int32, 100_000) * 3)()).eqns != []


def test_powers_of_one_are_one():
    def function(x):
        return lax.pow(jnp.float32(1), x) * 2.0, lax.pow(jnp.ones(3), jnp.stack([x, -x, x]))

    model = to_onnx(function, ["float32[]"])
    assert "Pow" not in operators(model)
    numbers = [0.0, -0.0, 5.0, -2.5, np.nan, np.inf, -np.inf]
    check(model, function, ["float32[]"], values=[[np.float32(x)] for x in numbers])


def test_other_powers_are_computed():
    def function(x):
        return lax.pow(jnp.asarray([1.0, 2.0]), jnp.stack([x, x])), lax.pow(x, jnp.float32(1))

    model = to_onnx(function, ["float32[]"])
    assert operators(model)["Pow"]
    check(model, function, ["float32[]"], values=[[np.float32(x)] for x in (0.0, 5.0, -2.5, np.nan, np.inf)])
