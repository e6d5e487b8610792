"""Carries: loops carry what changes and is read, once."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from jax import lax

from jax2onnx import to_onnx
from jax2onnx.testing import operators
from jax2onnx.tidy.tidy import tidy


def _loops(graph):
    """Return the loops of a graph, outer ones first."""
    found = []
    for node in graph.node:
        found += [node] if node.op_type in {"Loop", "Scan"} else []
        found += [loop for attribute in node.attribute if attribute.g.node for loop in _loops(attribute.g)]
    return found


def _carried(loop):
    scanned = sum(attribute.i for attribute in loop.attribute if attribute.name == "num_scan_inputs")
    return len(loop.input) - (2 if loop.op_type == "Loop" else scanned)


def _ops(loop):
    return [node.op_type for attribute in loop.attribute for node in attribute.g.node]


def _agree(model, function, x):
    """Compare with JAX, the signs of zeros too."""
    runner = ort.InferenceSession(model.SerializeToString())
    ours = runner.run(None, {runner.get_inputs()[0].name: np.asarray(x)})
    for one, other in zip(ours, jax.tree.leaves(function(jnp.asarray(x))), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
        np.testing.assert_array_equal(np.signbit(one), np.signbit(other))


def _kept_by_both(x):
    """Carry what either branch passes on as it is."""

    def step(state):
        i, kept, total = state
        kept, total = lax.cond(total[1] > 3, lambda: (kept, total * 1.5), lambda: (kept, total + jnp.sin(kept)))
        return i + 1, kept, total

    return lax.while_loop(lambda s: s[2][0] < 9, step, (0, jnp.exp(x), x))[1:]


def _twice(x):
    """Carry the same numbers twice, by way of a choice."""

    def step(state):
        one, other, total = state
        new = jnp.cos(total)
        one, other = lax.cond(total[0] > 1, lambda: (new, new), lambda: (one, other))
        return one, other, total + one * other + 0.5

    return lax.while_loop(lambda s: s[2][0] < 9, step, (x, x, x))


def _for_nobody(x):
    """Carry what only its own next value reads."""

    def step(state):
        unread, going, total = state
        return unread * total + 1, going & (total[1] < 3), total * 1.25 + 1

    return lax.while_loop(lambda s: s[2][0] < 9, step, (x, True, x))[2]


def _only_returned(x):
    """Carry what no iteration reads, though it is read after the loop."""
    return lax.while_loop(lambda s: s[0][0] < 9, lambda s: (s[0] * 1.5 + 1, s[0] - 2), (x, jnp.zeros(3)))


def _turned(x):
    """Carry three values that take each other's place: two of them begin alike."""

    def step(state, row):
        a, b, c = state
        return (b, c, a), a * row

    return lax.scan(step, (x, x, jnp.tanh(x)), jnp.arange(12.0))


def _turned_alike(x):
    """Carry three values that take each other's place, and are always the same."""

    def step(state, row):
        a, b, c = state
        return (b, c, a), (a + b * c) * row

    return lax.scan(step, (x, x, x), jnp.arange(12.0))


def _alike_at_first(x):
    """Carry values that begin alike, and are not after the second iteration."""

    def step(state, row):
        a, b, c = state
        return (a + row, b + c * row, jnp.ones_like(c)), (a, b)

    return lax.scan(step, (x, x, x - x + 1), jnp.arange(1.0, 13.0))


def _inside(x):
    """Carry through an inner loop what the outer one never changes."""

    def step(state):
        kept, total = state

        def inner(state, row):
            kept, total = state
            return (kept, total * 0.5 + jnp.sin(kept) * row), None

        kept, total = lax.scan(inner, (kept, total), jnp.arange(12.0))[0]
        return kept, total + 3

    return lax.while_loop(lambda s: s[1][0] < 1.9, step, (x, x))


@pytest.mark.parametrize(
    ("function", "carried"),
    [
        (_kept_by_both, [1]),
        (_twice, [2]),
        (_for_nobody, [1]),
        (_only_returned, [2]),
        (_turned, [3]),
        (_turned_alike, [0]),
        (_alike_at_first, [3]),
        (_inside, [1, 1]),
    ],
)
def test_loops_carry_what_changes_and_is_read(function, carried):
    """What stays, what is carried twice, and what nobody reads, is not carried; the numbers are JAX's."""
    x = (np.random.default_rng(0).normal(size=3) * 0.3).astype(np.float32)
    model = to_onnx(function, [(3,)])
    assert [_carried(loop) for loop in _loops(model.graph)] == carried
    for values in (x, x + 20, np.float32([np.nan, -0.0, np.inf])):
        _agree(model, function, values)


@pytest.mark.parametrize("start", [0, 2, 7, 9])
@pytest.mark.parametrize("limit", [0, 3, 100])
def test_a_count_that_only_ends_a_loop_is_its_number_of_trips(start, limit):
    """``i < limit`` beside another condition is no node of the body: neither the count nor the comparison is left."""

    def run(x):
        step = lambda s: (s[0] + 1, s[1] * 2 + 1)  # noqa: E731
        return lax.while_loop(lambda s: (s[0] < limit) & (s[1] < 50), step, (start, x))[1]

    model = to_onnx(run, ["float32[]"])
    for loop in _loops(model.graph):
        assert _carried(loop) == 1
        assert sorted(_ops(loop)) == ["Add", "Less", "Mul"]
    for x in (0.0, 1.0, 60.0, -3.0, np.nan):
        _agree(model, run, np.float32(x))


@pytest.mark.parametrize("compare", [lax.le, lax.lt, lax.ne, lax.gt])
@pytest.mark.parametrize("step", [1, 2])
def test_other_counts_are_compared(compare, step):
    """A count by 2, or that is compared otherwise, ends the loop as in JAX, and is returned."""

    def run(x):
        def body(state):
            i, total = state
            return i + step, total * 2 + i

        return lax.while_loop(lambda s: compare(s[0], 4) & (s[1] < 99), body, (0, x))

    model = to_onnx(run, ["float32[]"])
    for x in (0.0, 1.0, 70.0, 100.0):
        _agree(model, run, np.float32(x))


LOOP = """(float[2] x, bool go) => (float[2] y, float[2] z) <int64 most = {9}, float half = {0.5}>
{
    y, z, w = Loop(most, go, x, x, x) <body = step (int64 i, bool c, float[2] a, float[2] b, float[2] d)
        => (bool e, float[2] f, float[2] g, float[2] h)
        {
            e = Identity(c)
            f = Mul(a, half)
            g = Identity(b)
            h = Mul(d, half)
        }>
}"""


@pytest.mark.parametrize("go", [True, False])
def test_a_model_returns_what_its_loop_does_not_carry(graphs, go):
    """An output that is what the loop begins with, or the same as another one, has its name."""
    model = graphs.parse_model(LOOP)
    proto = ir.from_proto(model)
    tidy(proto)
    tidied = ir.to_proto(proto)
    (loop,) = _loops(tidied.graph)
    assert _carried(loop) == 1
    x = np.float32([3, -0.0])
    sessions = [ort.InferenceSession(one.SerializeToString()) for one in (model, tidied)]
    before, after = (one.run(["y", "z"], {"x": x, "go": np.asarray(go)}) for one in sessions)
    np.testing.assert_array_equal(before, after)


def test_a_loop_of_which_nobody_reads_a_result():
    """What made its count goes with it: before the loop it would read what is not there."""

    def run(x):
        def goes_on(state):
            return (state[0] < 5) & (state[1].sum() < 50)

        def step(state):
            return state[0] + 1, state[1] + 1

        return lax.top_k(lax.while_loop(goes_on, step, (0, x))[1], 0)[0]

    assert set(operators(to_onnx(run, [(3, 1)]))) <= {"Identity"}
