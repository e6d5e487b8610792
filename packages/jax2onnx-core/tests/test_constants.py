"""What is known at conversion is computed at conversion, as JAX computes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx._constants import fold
from jax2onnx.flatten import flatten
from jax2onnx.program import Const, Program

if TYPE_CHECKING:
    from collections.abc import Callable

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
}


def folded(jaxpr: Any) -> Program:
    return fold(flatten(jaxpr))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_known_integers_are_computed(name: str) -> None:
    fn = FUNCTIONS[name]
    program = folded(jax.make_jaxpr(lambda: fn(jnp.asarray(INTS), jnp.asarray(OTHER), jnp.asarray(MASK)))())
    expected = jax.tree.leaves(fn(jnp.asarray(INTS), jnp.asarray(OTHER), jnp.asarray(MASK)))
    assert program.eqns == []
    for atom, want in zip(program.outputs, expected, strict=True):
        assert isinstance(atom, Const)
        value = np.asarray(atom.value)
        assert value.dtype == want.dtype == atom.aval.dtype
        np.testing.assert_array_equal(value, want)


@pytest.mark.parametrize("fn", [lambda x: x * 1 + 0, lambda x: 0 + 1 * x])
def test_adding_zero_and_multiplying_by_one_do_nothing(fn: Callable[..., Any]) -> None:
    program = folded(jax.make_jaxpr(fn)(jax.ShapeDtypeStruct((3,), jnp.int32)))
    assert program.eqns == []
    assert program.outputs == program.inputs


def test_a_scalar_unit_does_not_hide_a_broadcast() -> None:
    program = folded(jax.make_jaxpr(lambda x: x + jnp.zeros(3, jnp.int32))(jax.ShapeDtypeStruct((), jnp.int32)))
    assert program.outputs[0].aval.shape == (3,)
    assert program.eqns != []


@pytest.mark.parametrize("fn", [lambda: jnp.float32(1) + 2, lambda: lax.iota(jnp.int32, 100_000)])
def test_floats_and_large_arrays_are_left_alone(fn: Callable[..., Any]) -> None:
    assert folded(jax.make_jaxpr(lambda: fn() * 3)()).eqns != []
