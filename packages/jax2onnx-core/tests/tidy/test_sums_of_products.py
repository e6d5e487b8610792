"""Sums of products of elements of two vectors are one product and one sum, where the sign of a zero is free."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators

SPECIAL = np.asarray([np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0, -1.0, 0.5, -3.0, 1e30, -1e-30, 2.5], np.float32)


def _quaternions(u, v):
    """Return the product of quaternions."""
    return jnp.stack(
        [
            u[0] * v[0] - u[1] * v[1] - u[2] * v[2] - u[3] * v[3],
            u[0] * v[1] + u[1] * v[0] + u[2] * v[3] - u[3] * v[2],
            u[0] * v[2] - u[1] * v[3] + u[2] * v[0] + u[3] * v[1],
            u[0] * v[3] + u[1] * v[2] - u[2] * v[1] + u[3] * v[0],
        ]
    )


def _by_constants(u):
    return _quaternions(u, np.asarray([0.5, -2.0, 0.0, 3.0], np.float32))


def _mixed(x):
    """Add rows of a constant matrix, each times an element."""
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    return x[0:1] * rows[0] - x[1:2] * rows[1] + x[2:3] * rows[2]


CASES = {
    "quaternions": (_quaternions, [(4,), (4,)], 1),
    "batches": (jax.vmap(_quaternions), [(7, 4), (7, 4)], 1),
    "one of a batch": (jax.vmap(_quaternions, (None, 0)), [(4,), (7, 4)], 0),
    "constants": (_by_constants, [(4,)], 1),
    "rows": (_mixed, [(3,)], 1),
    "a chain": (lambda u, v: _quaternions(_quaternions(u, v), u), [(4,), (4,)], 2),
    "two products": (lambda u, v: u[:2] * v[:2] + u[2:] * v[2:], [(4,), (4,)], 0),
    "other vectors": (lambda u, v, w: u[:2] * v[:2] + u[2:] * w[2:] + u[:2] * w[:2], [(4,), (4,), (4,)], 0),
    "factors beside both": (lambda u, v: 2 * u[:2] * v[:2] + u[2:] * v[2:] - 3 * u[1:3] * v[:2], [(4,), (4,)], 0),
    "factors beside factors": (
        lambda u: (u[:2] * 3e30) * 3e-30 + (u[1:3] * 3e30) * 2e-30 - (u[2:] * 1e30) * 1e-30,
        [(4,)],
        0,
    ),
    "many": (lambda u: u[:, :3] * 2.0 + u[:, 3:6] * 3.0 + u[:, 6:] * 4.0, [(500, 9)], 0),
    "integers": (_quaternions, [jax.ShapeDtypeStruct((4,), jnp.int32)] * 2, 0),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_products_are_added_at_once(case):
    function, inputs, sums = case
    model = to_onnx(function, inputs)
    assert operators(model)["ReduceSum"] == sums, operators(model)
    check(model, function, inputs)


@pytest.mark.parametrize("function", [_quaternions, lambda u, v: 1 / _quaternions(u, v)])
def test_special_numbers(function):
    """Where the sign of a zero changes a number, zeros are added one by one."""
    inputs = [(4,), (4,)]
    rng = np.random.default_rng(0)
    values = [[rng.choice(SPECIAL, 4) for _ in range(2)] for _ in range(30)]
    values += [[np.full(4, -0.0, np.float32), np.ones(4, np.float32)]]
    check(to_onnx(function, inputs), function, inputs, values=values)


def test_quaternions_take_few_nodes():
    model = to_onnx(_quaternions, [(4,), (4,)])
    assert sum(operators(model).values()) == 5


def test_a_parameter_of_the_user_stays():
    weights = {"rows": jnp.ones((3, 4))}

    def function(params, x):
        return x[0:1] * params["rows"][0] + x[1:2] * params["rows"][1] + x[2:3] * params["rows"][2]

    model = to_onnx(lambda x: function(weights, x), [(3,)])
    check(model, lambda x: function(weights, x), [(3,)])
