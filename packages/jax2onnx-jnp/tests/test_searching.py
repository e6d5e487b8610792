"""Searches in short arrays are comparisons, with the places that bisection finds, in arrays that are not sorted too."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators

POOL = {
    "float32": np.asarray([np.nan, -0.0, 0.0, np.inf, -np.inf, 1.5, 2.0, -3.0, 1e-30, 3e38], np.float32),
    "int32": np.asarray([0, 1, -1, 5, 2**31 - 1, -(2**31)], np.int32),
}


def _batches(dtype, count, shape):
    rng = np.random.default_rng(count)
    for number in range(6):
        x = rng.choice(POOL[dtype], count)
        yield [np.sort(x) if number % 2 else x, rng.choice(POOL[dtype], shape).reshape(shape)]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 33, 64])
@pytest.mark.parametrize("shape", [(), (9,), (2, 5)])
@pytest.mark.parametrize("dtype", POOL)
def test_places(count, shape, dtype):
    for side in ("left", "right"):
        function = functools.partial(jnp.searchsorted, side=side)
        inputs = [jax.ShapeDtypeStruct((count,), dtype), jax.ShapeDtypeStruct(shape, dtype)]
        model = to_onnx(function, inputs)
        assert not {"Loop", "Scan"} & set(operators(model))
        check(model, function, inputs, values=[*_batches(dtype, count, shape)])


def test_many_queries_of_a_dynamic_number():
    inputs = [(5,), ("B",)]
    model = to_onnx(jnp.searchsorted, inputs)
    assert len(model.graph.node) <= 9
    check(model, jnp.searchsorted, inputs)


@pytest.mark.parametrize("shape", [(65,), ("N",)])
def test_long_arrays_are_bisected(shape):
    inputs = [shape, (3,)]
    model = to_onnx(jnp.searchsorted, inputs)
    assert {"Loop", "Scan"} & set(operators(model))
    check(model, jnp.searchsorted, inputs, kinds=("ordinary",))


def test_mapped_over_arrays():
    function = jax.vmap(jnp.searchsorted)
    inputs = [(4, 5), (4, 3)]
    check(to_onnx(function, inputs), function, inputs, kinds=("ordinary", "special"))
