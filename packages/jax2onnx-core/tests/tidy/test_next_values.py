"""Next values: what an iteration computes of its new state, the next one does not compute again."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, to_onnx


def _body(model):
    """Return the operators of the one loop of a model."""
    (body,) = _bodies(model.graph)
    return [node.op_type for node in body.node]


def _bodies(graph):
    """Return the bodies of the loops in a graph, and in its choices."""
    found = []
    for node in graph.node:
        inner = [a.g for a in node.attribute if a.g.node]
        found += inner if node.op_type in {"Scan", "Loop"} else [body for one in inner for body in _bodies(one)]
    return found


def _leapfrog(steps):
    def run(x, w):
        slope = jax.grad(lambda q: jnp.sum(jnp.tanh(q @ w) ** 2))

        def leap(state, noise):
            q, p = state
            p = p - 0.1 * slope(q)
            q = q + 0.1 * p + noise
            return (q, p - 0.1 * slope(q)), q

        return lax.scan(leap, (x[0], x[1]), x[:steps])

    return run


def _until(x, n):
    """Compare in the condition what the step computes first."""

    def step(state):
        i, total = state
        return i + 1, total + jnp.exp2(-i.astype(jnp.float32)) * x[0]

    return lax.while_loop(lambda s: jnp.exp2(-s[0].astype(jnp.float32)) > 2.0**-n, step, (n - n, x[1]))


def _shifted(x, w):
    """Pass values on: each is computed of three states."""

    def step(state, row):
        a, b, c = state
        return (b, c, c + row @ w), jnp.tanh(a) + jnp.tanh(b) * jnp.tanh(c)

    return lax.scan(step, (x[0], x[1], x[2]), x)


def _returned(x, w):
    """Return what is repeated, too."""

    def step(state, row):
        a, before = state
        one = jnp.tanh(a)
        a = a + row @ w + one
        return (a, jnp.tanh(a)), (before, one)

    return lax.scan(step, (x[0], x[1]), x)


def _reset(x, w):
    """Begin with another number than the function of the state."""

    def step(state, row):
        a, kept = state
        total = a + jnp.cos(a) * kept
        a = total + row @ w
        return (a, jnp.cos(a)), total

    return lax.scan(step, (x[0], x[1] * 0 + 7.0), x)


CASES = {
    "leapfrog": (_leapfrog(12), [(12, 4), (4, 4)], "Tanh", 1),
    "a condition": (_until, [(2,), "int32[]"], "Pow", 1),
    "shifted": (_shifted, [(12, 4), (4, 4)], "Tanh", 2),
    "returned": (_returned, [(12, 4), (4, 4)], "Tanh", 2),
    "another start": (_reset, [(12, 4), (4, 4)], "Cos", 1),
}


@pytest.mark.parametrize("name", CASES)
def test_repeated_values_are_carried(name):
    function, inputs, operator, most = CASES[name]
    model = to_onnx(function, inputs)
    assert _body(model).count(operator) <= most
    ordinary = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    if inputs[0] != (12, 4):
        for n in (0, 1, 7):
            check(model, function, inputs, values=[[np.float32([0.5, -0.0]), np.int32(n)]])
        return
    weights = np.random.default_rng(1).normal(size=(4, 4)).astype(np.float32)
    special = [np.where(np.arange(48).reshape(12, 4) == 6, number, ordinary) for number in (np.nan, np.inf, -0.0)]
    batches = [x.astype(np.float32) for x in (ordinary, ordinary * 1e30, *special)]
    check(model, function, inputs, values=[[x, weights] for x in batches])


def test_no_iteration():
    function = _leapfrog(0)
    check(to_onnx(function, [(12, 4), (4, 4)]), function, [(12, 4), (4, 4)])
    inputs = [("B", 3)]

    def walk(x):
        def step(state, row):
            total = jnp.sin(state)
            state = total * jnp.cos(state + row.sum())
            return state, jnp.sin(state)

        return lax.scan(step, x.sum(), x)

    model = to_onnx(walk, inputs)
    assert _body(model).count("Sin") == 1
    check(model, walk, inputs, sizes=[0, 1, 7])


def test_what_may_fail_is_not_computed_before_the_loop():
    def run(x, n):
        def step(state):
            i, total = state
            return i + 1, total + lax.div(7, i)

        return lax.while_loop(lambda s: (s[0] < n) & (lax.div(7, s[0]) > -1), step, (n, x))

    inputs = ["int32[]", "int32[]"]
    model = to_onnx(run, inputs)
    check(model, run, inputs, values=[[np.int32(3), np.int32(0)]])


def test_loops_in_loops():
    def run(x):
        def inner(state, _):
            y = jnp.tanh(state)
            state = y * 2.0 - state
            return state, jnp.tanh(state) + 1.0

        def outer(state, row):
            state, ys = lax.scan(inner, state + row, None, length=40)
            return state, ys.sum(0)

        return lax.scan(outer, x[0], x)

    model = to_onnx(run, [(30, 3)])
    check(model, run, [(30, 3)])
