"""Writes to one place of a small array that may be out of bounds: a choice, without a look at what is there."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators

PLACES = (0, 1, 4, 5, -1, -5, -6, 100, -100, 2**31 - 1, -(2**31))
SHAPES = [((5,), ()), ((5, 4), (4,)), ((5, 4), ()), ((5, 3, 4), (3, 4)), ((5, 3, 4), (1, 4))]


def _written(x, i, u):
    return x.at[i].set(u)


@pytest.mark.parametrize(("shape", "given"), SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "int32", "bool", "uint8", "float16", "int8"])
def test_one_index(shape, given, dtype):
    inputs = [jax.ShapeDtypeStruct(shape, dtype), "int32[]", jax.ShapeDtypeStruct(given, dtype)]
    model = to_onnx(_written, inputs)
    if dtype in {"float32", "int32", "uint8"}:
        assert not operators(model).keys() & {"Clip", "GatherND", "Gather", "ScatterND", "ScatterElements"}
    x, u = np.arange(np.prod(shape)).reshape(shape).astype(dtype), np.full(given, 7).astype(dtype)
    check(model, _written, inputs, values=[[x, np.int32(i), u] for i in PLACES])


@pytest.mark.parametrize("rest", [(), (2,)])
def test_two_indices(rest):
    def function(x, i, j, u):
        return x.at[i, j].set(u), x.at[jnp.abs(i), jnp.abs(j)].set(u)

    inputs = [(5, 4, *rest), "int32[]", "int32[]", rest]
    x, u = np.arange(20 * 2 ** len(rest), dtype=np.float32).reshape(5, 4, *rest), np.full(rest, np.nan, np.float32)
    values = [[x, np.int32(i), np.int32(j), u] for i in PLACES for j in (0, 3, -1, 4, -4, -5)]
    check(to_onnx(function, inputs), function, inputs, values=values)


def test_two_indices_that_are_not_counted_from_the_end():
    def function(x, ij, u):
        dims = lax.ScatterDimensionNumbers((), (0, 1), (0, 1))
        return lax.scatter(x, ij, u, dims, mode=lax.GatherScatterMode.FILL_OR_DROP)

    inputs = [(3, 5), "int32[2]", ()]
    model = to_onnx(function, inputs)
    assert operators(model) == {"Equal": 1, "ReduceMin": 1, "Reshape": 1, "Where": 1}
    x = np.arange(15, dtype=np.float32).reshape(3, 5)
    places = [(0, 0), (2, 4), (3, 0), (0, 5), (-1, 2), (1, -1), (2**31 - 1, -(2**31))]
    check(model, function, inputs, values=[[x, np.asarray(ij, np.int32), np.float32(7)] for ij in places])


def test_an_array_of_many_numbers_is_written_to():
    model = to_onnx(_written, [(5000,), "int32[]", ()])
    assert operators(model)["ScatterElements"] == 1


def test_signs_of_zeros_and_nan():
    def function(x, i, u):
        return 1 / x.at[i].set(u)

    x = np.asarray([-0.0, 0.0, np.nan, 1.0, -np.inf], np.float32)
    values = [[x, np.int32(i), np.float32(u)] for i in PLACES for u in (-0.0, 0.0, np.nan, np.inf)]
    check(to_onnx(function, [(5,), "int32[]", ()]), function, [(5,), "int32[]", ()], values=values)


def test_a_loop_that_may_write_beyond_the_end():
    def function(x, n):
        def body(state):
            i, errors = state
            return i + 1, errors.at[i // 10].set(jnp.sum(x) + i)

        return lax.while_loop(lambda state: state[0] < n, body, (0, jnp.full(2, -1.0)))

    model = to_onnx(function, [(3,), "int32[]"])
    assert not operators(model).keys() & {"ScatterElements", "Gather"}
    values = [[np.ones(3, np.float32), np.int32(n)] for n in (0, 1, 15, 35)]
    check(model, function, [(3,), "int32[]"], values=values)
