"""Associative scans over a dynamic axis: recurrences of state space models, gradients of cumulative products."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from jax2onnx.testing import Sized, run_sized, select

SIZES = (1, 2, 7, 16, 33)


def recurrence(one, other):
    a, b = one
    c, d = other
    return a * c, b * c + d


def states(a, b):
    """``x[t] = a[t] * x[t - 1] + b[t]``, as S5, LRU and Mamba compute it."""
    return lax.associative_scan(recurrence, (jnp.tanh(a), b))[1]


def linear_recurrent_unit(u):
    eigenvalues = jnp.exp(jnp.array([-0.1 + 0.5j, -0.2 - 1j]))
    inputs = u[..., None] * jnp.array([1.0 + 1j, 0.5])
    factors = jnp.broadcast_to(eigenvalues, inputs.shape)
    return lax.associative_scan(recurrence, (factors, inputs), axis=1)[1].real.sum(-1)


def matrices(x):
    turned = jnp.stack([jnp.stack([jnp.cos(x), -jnp.sin(x)], -1), jnp.stack([jnp.sin(x), jnp.cos(x)], -1)], -2)
    return lax.associative_scan(lambda a, b: b @ a, turned)


PROGRAMS = [
    Sized("sum", lambda x: lax.associative_scan(jnp.add, x), ["int32[N]"], sizes=SIZES),
    Sized("order", lambda x: lax.associative_scan(lambda a, b: b, x), ["int32[N,2]"], sizes=SIZES, heavy=True),
    Sized("maximum", lambda x: lax.associative_scan(jnp.maximum, x, reverse=True), [("N", 3)], sizes=SIZES),
    Sized("last_axis", lambda x: lax.associative_scan(jnp.add, x, axis=-1), ["int32[B,N]"], sizes=SIZES, heavy=True),
    Sized("states", states, [("N", 3), ("N", 3)], sizes=SIZES),
    Sized("states_of_rows", jax.vmap(states), [("B", "N", 3), ("B", "N", 3)], sizes=SIZES, heavy=True),
    Sized("linear_recurrent_unit", linear_recurrent_unit, [("B", "N")], sizes=SIZES, heavy=True),
    Sized("matrices", matrices, [("N",)], sizes=SIZES, heavy=True),
    Sized("gradient_of_states", jax.grad(lambda a, b: (states(a, b) ** 2).sum()), [("N",), ("N",)], sizes=SIZES),
    Sized("gradient_of_cumprod", jax.grad(lambda x: jnp.cumprod(jnp.tanh(x) + 1).sum()), [("N",)], sizes=SIZES),
    Sized("gradient_of_cummax", jax.grad(lambda x: lax.cummax(x).sum()), [("N",)], sizes=SIZES, heavy=True),
]


@pytest.mark.parametrize("program", select(PROGRAMS), ids=str)
def test_program(program):
    run_sized(program)
