"""Loop bodies: invariants leave them, and what is computed twice is computed once."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, to_onnx


def _ops(model):
    """Return the operators of the graph, and those of the loop in it."""
    (loop,) = [node for node in model.graph.node if node.op_type in {"Scan", "Loop"}]
    (body,) = [a.g for a in loop.attribute if a.name == "body"]
    return [node.op_type for node in model.graph.node], [node.op_type for node in body.node]


def _product(x, w):
    return lax.scan(lambda c, row: (c + row @ jnp.tanh(w).T, None), jnp.zeros(4), x)[0]


def _twice(x, w):
    outer = jnp.exp(w)
    return lax.scan(lambda c, row: (c + jnp.exp(w).sum() * jnp.sin(c) * jnp.sin(c) * row[0], None), outer.sum(), x)[0]


def _quotient(x, w):
    i = w[0].astype(jnp.int32)
    return lax.while_loop(lambda s: s[0] < i % 4, lambda s: (s[0] + 1, s[1] + lax.div(7, i)), (0, i))


def _unchanged(x, w):
    def step(state, row):
        k, fixed, total = state
        return (k + 1, fixed, total + fixed * row * k), total

    return lax.scan(step, (0, jnp.cos(w[0]), jnp.zeros(3)), x)


def _rearranged(x, w):
    def step(total, row):
        parts = jnp.split(w, 2)
        joined = jnp.concatenate([parts[1], parts[0]]).reshape((6, 2))
        return total + joined[jnp.array([0, 2])] * row[0] + jnp.broadcast_to(w[0, 0], (2, 2)), None

    return lax.scan(step, jnp.zeros((2, 2)), x)[0]


def _hashed(x, key):
    def step(state):
        i, total = state
        return i + 1, total + jax.random.normal(jax.random.fold_in(key, 7), (3,)) * x

    first = (key[0] % 2).astype(jnp.int32)
    return lax.while_loop(lambda s: s[0] < 3, step, (first, jnp.zeros(3)))[1]


def _looked_up(x, w):
    i = w.astype(jnp.int32)[0]

    def step(state):
        k, total = state
        return k + 1, total + w.at[i].get(mode="promise_in_bounds") * x[k, 0]

    return lax.while_loop(lambda state: state[0] < jnp.minimum(i, 3), step, (0, jnp.zeros(())))[1]


def _looked_up_within(x, w):
    """Read at a place that is clipped, and at one that a constant holds."""
    places = jnp.clip(w.astype(jnp.int32), 0, 3)
    row = jnp.array([[2, 0], [1, 3], [0, 0], [3, 1]])[jnp.minimum(jnp.abs(places[0]), 3)]

    def step(state):
        k, total = state
        return k + 1, total + w.at[places[1]].get(mode="promise_in_bounds") * x[k, 0] + w[row].sum()

    return lax.while_loop(lambda state: state[0] < jnp.minimum(places[2], 3), step, (0, jnp.zeros(())))[1]


CASES = {
    "a place that is in bounds": (_looked_up_within, [(12, 3), (4,)], {"ReduceSum"}, {"Mul"}),
    "rearranged": (_rearranged, [(12, 3), (4, 3)], {"Reshape", "Slice"}, {"Mul"}),
    "a key": (_hashed, [(3,), jax.ShapeDtypeStruct((2,), "uint32")], {"MatMul", "Split", "Gather"}, {"Add"}),
    "a place that may be out of bounds": (_looked_up, [(12, 3), (4,)], set(), {"Gather"}),
    "invariant": (_product, [(12, 3), (4, 3)], {"Tanh", "Transpose"}, set()),
    "repeated": (_twice, [(12, 3), (4, 3)], {"Exp"}, {"Sin"}),
    "may fail": (_quotient, [(3, 3), (4,)], set(), {"Div"}),
    "carried": (_unchanged, [(12, 3), (4, 3)], {"Cos"}, set()),
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_loop_computes(name):
    function, inputs, outside, inside = CASES[name]
    model = to_onnx(function, inputs)
    around, body = _ops(model)
    assert outside <= set(around) - set(body)
    assert inside <= set(body)
    assert len([op for op in body if op in {"Sin", "Identity"}]) <= 2
    check(model, function, inputs, kinds=("moderate",))


def test_a_counter_is_scanned():
    def walk(x):
        return lax.fori_loop(0, 12, lambda i, c: (c[0] + x[i], c[1] * 2.0), (0.0, x))

    around, body = _ops(to_onnx(walk, [(14,)]))
    assert around[-1] == "Scan" or "Scan" in around
    assert body.count("Add") == 1


@pytest.mark.parametrize("reverse", [False, True])
def test_what_is_scanned_twice_is_sliced_once(reverse):
    def run(x, y):
        def step(c, rows):
            one, same, other, again = rows
            return c * one + same + jnp.sin(other * c) * jnp.cos(again * c), again

        return lax.scan(step, jnp.zeros(3), (jnp.exp(x), jnp.exp(x), y, y), reverse=reverse)

    inputs = [(12, 3), (12, 3)]
    model = to_onnx(run, inputs)
    (scan,) = [node for node in model.graph.node if node.op_type == "Scan"]
    (count,) = [a.i for a in scan.attribute if a.name == "num_scan_inputs"]
    assert (count, len(scan.input)) == (2, 3)
    check(model, run, inputs)


def test_what_is_returned_is_computed_once(graphs):
    before = graphs.parse("""
        (float[2] x, int64 n) => (float[2] y, float[2] z) <bool go = {1}, float[2] one = {1, 1}> {
            y, z = Loop (n, go, x, x) <body = body (int64 i, bool c, float[2] a, float[2] b)
                => (bool d, float[2] e, float[2] f) {
                d = Identity (c)
                s = Add (a, one)
                t = Sin (s)
                f = Mul (t, b)
                e = Add (a, one)
            }>
        }""")
    after = graphs.tidied(before)
    graphs.has(after, {"Add": 1, "Sin": 1})
    for n in (0, 1, 7):
        graphs.same_bits(before, after, {"x": np.float32([0.5, np.nan]), "n": np.array(n)})


def test_what_is_computed_before_the_loop_is_not_computed_there_twice():
    def run(x, limit):
        def step(state):
            total, _ = state
            return total * 0.5, jnp.abs(total) < limit

        start = jnp.sin(x)
        largest = jnp.abs(start).max()
        return lax.while_loop(lambda s: jnp.any(jnp.abs(s[0]) > limit), step, (start, start < 0)), largest

    inputs = [(3,), ()]
    model = to_onnx(run, inputs)
    around, _ = _ops(model)
    assert around.count("Abs") == 1
    check(model, run, inputs, values=[[np.float32([1, -2, 3]), np.float32(limit)] for limit in (0.1, 5.0, 7.0)])
