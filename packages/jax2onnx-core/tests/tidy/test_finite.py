"""Finite numbers: terms that are 0 are not computed."""

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


def test_numbers_that_are_not_finite_become_zero_by_a_choice():
    """``Shrink`` would do it in onnxruntime, and other runtimes refuse such a ``Shrink``."""
    model = to_onnx(_finite, [(12,)])
    assert operators(model) == {"Abs": 1, "Less": 1, "Where": 1}
    check(model, _finite, [(12,)], values=_values())


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
