"""Sums: 0 is added where the sign of a zero matters, or where the 0 is a parameter of the user's, and nowhere else."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators

ZEROS = np.asarray([-0.0, 0.0, np.nan, np.inf, -np.inf, 1.5], np.float32)


def _plain(x):
    return jnp.exp(x + jnp.zeros(6))


def _other_side(x):
    return jnp.exp(jnp.zeros((7, 6)) + x)


def _sum_in_python(x):
    return jnp.sin(sum(x[i] for i in range(6)))


@pytest.mark.parametrize(("function", "shape"), [(_plain, (6,)), (_other_side, (7, 6)), (_sum_in_python, (6,))])
def test_nothing_is_added(function, shape):
    model = to_onnx(function, [shape])
    assert operators(model)["Add"] == (5 if function is _sum_in_python else 0)
    check(model, function, [shape], values=[[np.broadcast_to(ZEROS, shape)]])


def _divides(x):
    return 1 / (x + jnp.zeros(6))


def _divides_in_a_loop(x):
    return jax.lax.scan(lambda total, y: (total + jnp.zeros(()), 1 / total + y), x[0], x)[1]


def _broadcasts(x):
    return jnp.exp(x[:1] + jnp.zeros(6))


@pytest.mark.parametrize("function", [_divides, _divides_in_a_loop, _broadcasts])
def test_sums_that_matter_stay(function):
    check(to_onnx(function, [(6,)]), function, [(6,)], values=[[ZEROS], [ZEROS[::-1].copy()]])


def _of_squares(x):
    return 1 / (0.0 + x @ x)


def _of_magnitudes(x, y):
    return 1 / jnp.maximum(jnp.max(jnp.abs(x)), jnp.max(jnp.abs(y)))


@pytest.mark.parametrize(("function", "count"), [(_of_squares, 1), (_of_magnitudes, 2)])
def test_what_has_no_minus_zero_needs_no_guard(function, count):
    model = to_onnx(function, [(6,)] * count)
    assert not {"Sum", "Where"} & operators(model).keys(), operators(model)
    zeros = np.asarray([-0.0, 0.0, -0.0, 0.0, -0.0, 0.0], np.float32)
    minus = np.full(6, -0.0, np.float32)
    values = [[zeros, minus], [minus, minus], [ZEROS, minus], [minus, ZEROS], [1e20 * np.ones(6, np.float32), zeros]]
    check(model, function, [(6,)] * count, values=[one[:count] for one in values])


def test_a_bias_of_zeros_is_a_parameter():
    """It may be given other numbers in the model."""
    layer = nnx.Linear(6, 6, rngs=nnx.Rngs(0))
    model = to_onnx(lambda x: jnp.exp(layer(x)), [(2, 6)])
    assert any(not onnx_numbers(i).any() for i in model.graph.initializer if list(i.dims) == [6])


def onnx_numbers(tensor):
    import onnx

    return onnx.numpy_helper.to_array(tensor)
