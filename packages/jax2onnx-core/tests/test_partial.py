"""The arrays in containers that a partial holds are parameters, named by path; all else that it holds is constant."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from jax2onnx import check, to_onnx

WEIGHTS = {"layer": {"w": jnp.arange(12.0).reshape(4, 3), "b": jnp.ones(3)}, "names": ["unused"]}


def linear(params, x, *, offset=0.0):
    return x @ params["layer"]["w"] + params["layer"]["b"] + offset


def held(model):
    return {t.name for t in model.graph.initializer}


@pytest.mark.parametrize("offset", [2.0, jnp.float32(2.0), np.ones(3, np.float32)])
def test_weights_are_named_by_path(offset):
    fn = functools.partial(linear, WEIGHTS, offset=offset)
    model = to_onnx(fn, [("B", 4)])
    assert {"layer.w", "layer.b"} <= held(model)
    assert [i.name for i in model.graph.input] == ["x"]
    assert model.graph.name == "linear"
    check(model, fn, [("B", 4)])


def test_paths_that_meet_keep_the_arguments_apart():
    def add(first, second, x):
        return x * first["w"] + second["w"]

    fn = functools.partial(add, {"w": jnp.arange(3.0)}, {"w": jnp.ones(3)})
    model = to_onnx(fn, [("B", 3)])
    assert held(model) == {"0.w", "1.w"}
    check(model, fn, [("B", 3)])


CLASHES = {
    "x": lambda params, x: params["x"] * x,  # an input
    "w": lambda params, x: {"w": params["w"] * x},  # an output
}


@pytest.mark.parametrize("name", CLASHES)
def test_a_weight_with_the_name_of_an_input_or_output(name):
    fn = functools.partial(CLASHES[name], {name: jnp.arange(3.0)})
    model = to_onnx(fn, [("B", 3)])
    assert name in {v.name for v in (*model.graph.input, *model.graph.output)}
    assert held(model) == {f"params.{name}"}
    check(model, fn, [("B", 3)])


def test_an_array_of_its_own_is_a_constant():
    fn = functools.partial(jnp.take, axis=0, indices=jnp.array([2, 0]))
    model = to_onnx(fn, [(4, 3)])
    check(model, fn, [(4, 3)])
