"""Cumulative operations combine in JAX's order: it decides whether a product overflows before it meets 0."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import to_onnx
from jax2onnx.testing import Runner, x64

PARTS = (0, -0.0, 1, -1.5, 2, 1e30, -1e30, 1e-30, 1e38, np.inf, -np.inf, np.nan)
OFTEN = (0.02, 0.02, 0.3, 0.2, 0.2, 0.08, 0.05, 0.08, 0.02, 0.01, 0.01, 0.01)
SIZES = (0, 1, 2, 15, 16, 17, 48, 256, 257, 300, 1000)


def _numbers(dtype: str, shape: tuple[int, ...], seed: int = 0) -> Any:
    """Return numbers of which the product often overflows, and of which some are 0."""
    with np.errstate(over="ignore"):
        return np.random.default_rng(seed).choice(PARTS, size=shape, p=OFTEN).astype(jnp.dtype(dtype))


def _agree(function: Any, spec: str, inputs: list[Any], dtype: str) -> None:
    with x64(enabled=dtype == "float64"):
        runner = Runner(to_onnx(function, [spec]))
        for x in inputs:
            (actual,) = runner.run([x])
            expected = np.asarray(function(jnp.asarray(x)))
            assert actual.dtype == expected.dtype
            np.testing.assert_array_equal(actual.astype(np.float64), expected.astype(np.float64))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_products_of_any_number(dtype: str, reverse: bool) -> None:  # noqa: FBT001
    inputs = [_numbers(dtype, (size,), size) for size in SIZES]
    _agree(lambda x: lax.cumprod(x, reverse=reverse), f"{dtype}[N]", inputs, dtype)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_products_of_a_known_number(size: int, reverse: bool) -> None:  # noqa: FBT001
    inputs = [_numbers("float32", (2, size), seed) for seed in range(5)]
    _agree(lambda x: lax.cumprod(x, axis=1, reverse=reverse), f"float32[2,{size}]", inputs, "float32")


@pytest.mark.parametrize("function", [jnp.cumprod, jnp.nancumprod, jnp.cumulative_prod])
def test_zero_before_what_overflows(function: Any) -> None:
    x = np.array([0, 3e38, 3e38, -3e38, 3e38, np.inf, 0], np.float32)
    _agree(function, "float32[N]", [x, np.tile(x, 5), x[1:]], "float32")


def test_products_along_a_middle_axis() -> None:
    inputs = [_numbers("float32", (batch, size, 3), size) for size in (0, 1, 17, 40) for batch in (0, 1, 7)]
    _agree(lambda x: jnp.cumprod(x, 1), "float32[B,N,3]", inputs, "float32")


@pytest.mark.parametrize("function", [lax.cumprod, lax.cummax, lax.cummin])
def test_complex_numbers(function: Any) -> None:
    rng = np.random.default_rng(0)
    inputs = [(rng.choice([0, 1, -1.5, 2], (size, 2)) + rng.normal(size=(size, 2))) / 2 for size in SIZES]
    for reverse in (False, True):
        runner = Runner(to_onnx(lambda x: function(x, reverse=reverse), ["complex64[N]"]))  # noqa: B023
        for pairs in inputs:
            x = pairs.astype(np.float32)
            (actual,) = runner.run([x])
            expected = np.asarray(function(jnp.asarray(x[:, 0] + 1j * x[:, 1]), reverse=reverse))
            np.testing.assert_allclose(actual[:, 0] + 1j * actual[:, 1], expected, rtol=1e-5)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("size", ["5", "20", "N"])
@pytest.mark.parametrize("function", [lax.cumsum, lax.cumprod, lax.cummax, lax.cummin])
def test_complex_numbers_at_infinity_and_beside_nan(function: Any, size: str, *, reverse: bool) -> None:
    """JAX combines them with nothing else: infinity times 1 is not infinity, and the greater of NaN and one is one."""
    rng = np.random.default_rng(0)
    runner = Runner(to_onnx(lambda x: function(x, reverse=reverse), [f"complex64[{size}]"]))
    for count in SIZES if size == "N" else [int(size)] * 5:
        x = rng.choice([1, 2, -1, np.inf, -np.inf, np.nan, 0, 1 + 1j], count).astype(np.complex64)
        (actual,) = runner.run([np.stack([x.real, x.imag], -1)])
        expected = np.asarray(function(jnp.asarray(x), reverse=reverse))
        np.testing.assert_allclose(actual, np.stack([expected.real, expected.imag], -1), rtol=1e-5)


@pytest.mark.parametrize("reverse", [False, True])
def test_logarithms_of_sums_of_complex_exponentials_at_infinity(*, reverse: bool) -> None:
    runner = Runner(to_onnx(lambda x: lax.cumlogsumexp(x, reverse=reverse), ["complex64[7]"]))
    for row in ([1, 0, 1 + 1j, np.inf, 2, np.nan, 1], [-np.inf, 1j, -1, 0, np.inf, np.inf, 3], [1, 2, 3j, 0, 1, 2, 3]):
        x = np.asarray(row, np.complex64)
        (actual,) = runner.run([np.stack([x.real, x.imag], -1)])
        expected = np.asarray(lax.cumlogsumexp(jnp.asarray(x), reverse=reverse))
        np.testing.assert_allclose(actual, np.stack([expected.real, expected.imag], -1), rtol=1e-5, atol=1e-6)
