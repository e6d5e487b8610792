"""Finite numbers: what is 0 where numbers are not finite, and terms that are 0, in fewer and shorter nodes."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators

SPECIAL = np.asarray([np.nan, np.inf, -np.inf, -0.0, 0.0, 1.0, -1.0, 0.5, -3.0, 3e38, -3e38, 1.0000001], np.float32)


def _finite(x):
    return jnp.where(jnp.isfinite(x), x, 0.0)


def _values(count=1):
    rng = np.random.default_rng(0)
    return [[rng.permutation(SPECIAL) for _ in range(count)] for _ in range(10)]


def test_numbers_that_are_not_finite_become_zero_without_a_choice():
    model = to_onnx(_finite, [(12,)])
    assert operators(model) == {"Mul": 1, "Add": 1, "Shrink": 1}
    check(model, _finite, [(12,)], values=_values())


def test_signs_of_zeros_stay():
    def reciprocals(x):
        return 1 / _finite(x)

    check(to_onnx(reciprocals, [(12,)]), reciprocals, [(12,)], values=_values())


def _other_number(x):
    return jnp.where(jnp.isfinite(x), x, 2.0)


def _minus_zero(x):
    return 1 / jnp.where(jnp.isfinite(x), x, -0.0)


def _other_array(x):
    return jnp.where(jnp.isfinite(x), x[::-1], 0.0)


def _tested_only(x):
    return _finite(x), jnp.isfinite(x)


@pytest.mark.parametrize("function", [_other_number, _minus_zero, _other_array, _tested_only])
def test_other_choices_stay(function):
    model = to_onnx(function, [(12,)])
    assert "Shrink" not in operators(model)
    check(model, function, [(12,)], values=_values())


def test_choices_of_many_numbers_stay():
    assert operators(to_onnx(_finite, [(5000,)]))["Where"] == 1


def _weighted(x, y):
    """Take the whole of a new value, and nothing of the old one."""
    return 0.0 * _finite(x) + (jnp.full(12, 2.0) - y)


def test_terms_that_are_zero_are_not_computed():
    inputs = [(12,), (12,)]
    model = to_onnx(_weighted, inputs)
    assert operators(model) == {"Sub": 1}
    check(model, _weighted, inputs, values=[*_values(2), [SPECIAL, np.full(12, 2, np.float32)]])


def _of_any_number(x, y):
    return 0.0 * x + (2.0 - y)


def _beside_minus_zero(x, y):
    return 1 / (0.0 * _finite(x) + -y)


def _of_rows(x, y):
    return 0.0 * _finite(x)[:, None] + (2.0 - y)


@pytest.mark.parametrize("function", [_of_any_number, _beside_minus_zero, _of_rows])
def test_terms_that_may_matter_are_computed(function):
    inputs = [(12,), (12,)]
    model = to_onnx(function, inputs)
    assert operators(model)["Mul"]
    check(model, function, inputs, values=_values(2))
