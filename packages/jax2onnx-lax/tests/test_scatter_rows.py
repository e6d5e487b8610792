"""Scatters that write to one place of each row: few nodes, and JAX's numbers wherever the places are."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators

PLACES = ([0, 4, 2], [-1, -5, 3], [5, -6, 100], [-100, 1, 4])
"""Of these, some count from the end of five elements, and some are out of bounds."""


def _written(x, i, u):
    return x.at[i].set(u)


def _changed(change, mode):
    return jax.vmap(lambda x, i, u: getattr(x.at[i], change)(u, mode=mode))


METHODS = ("set", "add", "multiply", "min", "max")


@pytest.mark.parametrize("mode", ["drop", "clip", "promise_in_bounds"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int32", "int8", "bool", "uint8"])
def test_numbers(dtype, mode):
    methods = METHODS[:1] if dtype == "bool" else METHODS
    inputs = [f"{dtype}[3,5]", "int32[3]", f"{dtype}[3]"]

    def function(x, i, u):
        return [_changed(method, mode)(x, i, u) for method in methods]

    model = to_onnx(function, inputs)
    x = np.arange(15).reshape(3, 5).astype(dtype)
    u = np.asarray([7, 0, 1]).astype(dtype)
    places = PLACES[:2] if mode == "promise_in_bounds" else PLACES
    check(model, function, inputs, values=[[x, np.asarray(place, np.int32), u] for place in places])


@pytest.mark.parametrize("method", ["set", "add", "min", "max"])
def test_signs_and_nan(method):
    inputs = [(3, 5), "int32[3]", (3,)]

    def function(x, i, u):
        return 1.0 / _changed(method, "drop")(x, i, u)

    x = np.asarray([[-0.0, 0.0, np.nan, 1.0, -1.0]] * 3, np.float32)
    values = []
    for place in ([0, 1, 2], [-5, 5, -1], [9, -9, 2]):
        values += [
            [x, np.asarray(place, np.int32), np.asarray(u, np.float32)] for u in ([-0.0, 0.0, 1.0], [np.nan] * 3)
        ]
    check(to_onnx(function, inputs), function, inputs, values=values)


def _rows(x, i, u):
    return jax.vmap(lambda x, i, u: x.at[i].set(u))(x, i, u)


def _elements(x, i, u):
    return jax.vmap(lambda x, i, u: x.at[i, -i].set(u[0]))(x, i, u)


def _transposed(x, i, u):
    return jax.vmap(lambda x, i, u: x.at[:, i].set(u[0]), in_axes=(0, 0, 0))(x, i, u)


def _twice(x, i, u):
    each = jax.vmap(lambda x, i, u: x.at[i].add(u))
    return jax.vmap(each, in_axes=(0, None, 0))(x, jnp.asarray([4, -1, 7, 0, -9]) + i[0], u)


def _windows(x, i, u):
    return jax.vmap(lambda x, i, u: lax.dynamic_update_index_in_dim(x, u, i, 0))(x, i, u)


def _last(x, i, u):
    return jax.vmap(lambda x, u: x.at[2, i[0]].set(u[0]))(x, u)


SHAPED = {
    "rows": (_rows, 9),
    "elements": (_elements, 21),
    "transposed": (_transposed, None),
    "twice": (_twice, None),
    "windows": (_windows, 8),
    "one place for all": (_last, None),
}


@pytest.mark.parametrize(("name", "rows"), [(name, 3) for name in SHAPED] + [(name, "B") for name in SHAPED])
def test_shapes(name, rows):
    function, most = SHAPED[name]
    inputs = [(rows, 5, 5), f"int32[{rows}]", (rows, 5)]
    model = to_onnx(function, inputs)
    if most is not None and rows == 3:
        assert sum(operators(model).values()) <= most, operators(model)
    generator = np.random.default_rng(0)
    x, u = (generator.normal(size=shape).astype(np.float32) for shape in ((3, 5, 5), (3, 5)))
    values = [[x, np.asarray(place, np.int32), u] for place in PLACES]
    check(model, function, inputs, values=values)


def test_places_that_are_known_to_be_in_bounds():
    """One scatter takes a node for the updates, and none for the rows before and after it."""
    inputs = [(3, 5), "int32[3]", (3,), (3, 5, 4), (3, 4)]

    def function(x, i, u, y, v):
        i = jnp.clip(i, 0, 4)
        write = jax.vmap(_written)
        return write(x, i, u), write(-x, i, u + 1), write(y, i, v), write(-y, i, v + 1)

    model = to_onnx(function, inputs)
    assert sum(operators(model).values()) <= 15, operators(model)
    check(model, function, inputs)


def test_rows_of_no_elements_and_of_one():
    def function(x, i, u):
        return jax.vmap(_written)(x, i, u)

    for shape in ((3, 1), (1, 5), (0, 5), (3, 0)):
        inputs = [shape, f"int32[{shape[0]}]", (shape[0],)]
        if shape[1]:
            check(to_onnx(function, inputs), function, inputs)
