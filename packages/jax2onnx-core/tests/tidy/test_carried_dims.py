"""Carried dims: loops carry values with the dims that their bodies add, so that no iteration adds or removes them."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.nn import logsumexp

from jax2onnx import check, to_onnx

RESHAPES = {"Reshape", "Squeeze", "Unsqueeze"}


def _bodies(graph):
    """Return the bodies of the loops in a graph."""
    inner = [a.g for node in graph.node for a in node.attribute if a.g.node]
    return inner + [body for one in inner for body in _bodies(one)]


def _reshapes(model):
    return [n.op_type for body in _bodies(model.graph) for n in body.node if n.op_type in RESHAPES]


def _potentials(cost, f, g):
    """Balance rows and columns in turn: each potential is added along the other's axis."""

    def step(state, _):
        _, g = state
        f = -logsumexp(g[None, :] - cost, axis=1)
        return (f, -logsumexp(f[:, None] - cost, axis=0)), None

    return lax.scan(step, (f, g), None, length=20)[0]


def _averaged(cost, f, g):
    """Compute with the old potential as well, without the dim."""

    def step(state, _):
        f, g = state
        g = 0.5 * g - jnp.tanh(logsumexp(f[:, None] + cost, axis=0) - g)
        return (jnp.cos(logsumexp(g[None, :] * cost, axis=1)) + 0.1 * f, g), None

    return lax.scan(step, (f, g), None, length=20)[0]


def _until(cost, f, g):
    """Carry in a loop of unknown length, in which another one runs."""

    def step(state):
        i, f, g = state
        return (i + 1, *_averaged(cost, f, g))

    return lax.while_loop(lambda state: (state[0] < 4) & (jnp.abs(state[2][0]) < 10.0), step, (0, f, g))


@pytest.mark.parametrize("function", [_potentials, _averaged, _until])
def test_dims_are_carried(function):
    inputs = [(4, 5), (4,), (5,)]
    model = to_onnx(function, inputs)
    check(model, function, inputs, kinds=("ordinary", "special"))
    if function is not _until:
        assert not _reshapes(model)


def test_a_carried_vector_that_is_an_output_keeps_its_name_and_shape():
    model = to_onnx(_potentials, [(4, 5), (4,), (5,)], output_names=["rows", "columns"])
    shapes = {o.name: [d.dim_value for d in o.type.tensor_type.shape.dim] for o in model.graph.output}
    assert shapes == {"rows": [4], "columns": [5]}


def test_rows_that_are_stacked_stay_as_they_are():
    def function(cost, g):
        def step(g, _):
            f = -logsumexp(g[None, :] - cost, axis=1)
            g = -logsumexp(f[:, None] - cost, axis=0)
            return g, g

        return lax.scan(step, g, None, length=20)

    inputs = [(4, 5), (5,)]
    check(to_onnx(function, inputs), function, inputs, kinds=("ordinary", "special"))


def test_a_vector_that_is_read_whole():
    def function(cost, g):
        def step(g, row):
            g = jnp.sum(jnp.sort(g)[None, :] + cost, axis=0) * 0.1 + g @ g
            return g, jnp.take(g, 2) * row

        return lax.scan(step, g, cost)

    inputs = [(4, 5), (5,)]
    check(to_onnx(function, inputs), function, inputs)


def test_no_iterations():
    def function(cost, f, g, n):
        def step(_, state):
            f, g = state
            f = -logsumexp(g[None, :] - cost, axis=1)
            return f, -logsumexp(f[:, None] - cost, axis=0)

        return lax.fori_loop(0, n, step, (f, g))

    inputs = [(4, 5), (4,), (5,), "int32[]"]
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(np.float32) for shape in ((4, 5), (4,), (5,))]
    check(to_onnx(function, inputs), function, inputs, values=[[*arrays, np.int32(n)] for n in (0, 1, 7)])
