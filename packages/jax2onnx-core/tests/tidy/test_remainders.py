"""Remainders: ``%`` of integers is one node."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import to_onnx
from jax2onnx.testing import Runner, operators


@pytest.mark.parametrize("divisor", [1, 3, 10, -3, 2**31 - 1])
@pytest.mark.parametrize("dtype", ["int16", "int32", "uint8", "float32"])
def test_remainders_have_the_sign_of_the_divisor(dtype, divisor):
    """Of positive divisors, the remainder of signed integers is one node."""
    info = np.iinfo(dtype) if dtype != "float32" else np.iinfo(np.int32)
    if not info.min <= divisor <= info.max:
        divisor = 7

    def run(i):
        return i % divisor

    i = np.array([0, 1, -1, 2, -3, 9, 10, -10, 11, info.max, info.min]).astype(dtype)
    model = to_onnx(run, [i])
    if dtype == "int32" and divisor > 0:
        assert operators(model) == {"Mod": 1}
    (actual,) = Runner(model).run([i])
    np.testing.assert_array_equal(actual, run(jnp.asarray(i)), strict=True)


@pytest.mark.parametrize("function", [lax.rem, lambda i, d: jnp.where(i < 0, lax.rem(i, d) + d, lax.rem(i, d))])
def test_other_remainders_stay(function):
    """A remainder with the sign of the dividend is no ``%``, nor is one that asks for the sign of the dividend."""

    def run(i):
        return function(i, jnp.int32(4))

    i = np.arange(-9, 9, dtype=np.int32)
    (actual,) = Runner(to_onnx(run, [i])).run([i])
    np.testing.assert_array_equal(actual, run(jnp.asarray(i)))
