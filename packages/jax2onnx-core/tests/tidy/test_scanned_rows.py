"""Scanned rows: what steps compute of their slices alone is computed before the scan, and known if these are."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, to_onnx

_STEPS = 20


def _scan(model):
    """Return the one scan of a model, and the operators in its body."""
    (scan,) = (node for node in model.graph.node if node.op_type == "Scan")
    body = next(one.g for one in scan.attribute if one.name == "body")
    return scan, [node.op_type for node in body.node]


def _next_place(x):
    """Write each sum to the place after the step's, if that place is none before the first."""

    def step(total, i):
        place = i + 1
        total = jnp.where(place >= 0, total * 0.5 + jnp.sin(total), 0.0)
        return total, total + place

    return lax.scan(step, x, jnp.arange(_STEPS))


def _backwards(x):
    def step(total, i):
        return jnp.tanh(total) * jnp.where((2 * i - 3) % 8 > 4, x, -x), total

    return lax.scan(step, x, jnp.arange(_STEPS), reverse=True)


def _rows(x):
    def step(total, row):
        return jnp.sin(total) + (row * 3 + 1).astype(jnp.float32)[:2], (row + 1)[None]

    return lax.scan(step, x, jnp.arange(3 * _STEPS).reshape(_STEPS, 3))


def _of_two(x):
    def step(total, counts):
        i, j = counts
        return jnp.cos(total) + (i * j + j).astype(jnp.float32), i < j

    return lax.scan(step, x, (jnp.arange(_STEPS), _STEPS - jnp.arange(_STEPS)))


CASES = {
    "next place": (_next_place, (), ["Mul", "Sin", "Add", "Add"], 1),
    "backwards": (_backwards, (), ["Tanh", "Mul"], 1),
    "rows": (_rows, (2,), ["Sin", "Add"], 1),
    "of two": (_of_two, (), ["Cos", "Add"], 1),
}
"""A function, the shape of its input, the operators that are left in the body, and how many arrays are scanned."""


@pytest.mark.parametrize("name", CASES)
def test_scanned(name):
    function, shape, operators, count = CASES[name]
    model = to_onnx(function, [shape])
    scan, left = _scan(model)
    assert sorted(operator for operator in left if operator != "Identity") == sorted(operators)
    assert next(one.i for one in scan.attribute if one.name == "num_scan_inputs") == count
    numbers = [np.full(shape, number, np.float32) for number in (0.3, -0.0, 1e30, np.inf, np.nan)]
    check(model, function, [shape], values=[[x] for x in numbers])


def _graph(name):
    return f"""
        (float[2] x) => (float[2] y, float[9, 2] z)
        <int32[9] {name} = {{0, 1, 2, 3, 4, 5, 6, 7, 8}}, int32 const_one = {{1}}> {{
            y, z = Scan <num_scan_inputs = 1, body = body (float[2] state, int32 i) => (float[2] next, float[2] r) {{
                j = Add (i, const_one)
                number = Cast <to = 1> (j)
                next = Add (state, number)
                r = Mul (state, number)
            }}> (x, {name})
        }}"""


@pytest.mark.parametrize(("name", "adds"), [("const_counts", 1), ("counts", 2)])
def test_parameters_are_not_known(graphs, name, adds):
    before = graphs.parse(_graph(name))
    after = graphs.tidied(before)
    assert graphs.count(after)["Add"] == adds
    graphs.same_numbers(before, after)


@pytest.mark.parametrize("zeros", ["0.0, -0.0, 0.0", "-0.0, -0.0, -0.0"])
def test_rows_are_equal_if_their_bits_are(graphs, zeros):
    before = graphs.parse(f"""
        (float[2] x) => (float[2] y, float[3, 2] z)
        <float[3] const_zeros = {{{zeros}}}> {{
            y, z = Scan <num_scan_inputs = 1, body = body (float[2] state, float o) => (float[2] next, float[2] r) {{
                next = Add (state, state)
                r = Div (state, o)
            }}> (x, const_zeros)
        }}""")
    graphs.same_numbers(before, graphs.tidied(before))


def test_an_array_that_no_step_reads_is_not_sliced(graphs):
    before = graphs.parse("""
        (float[2] x, float[3] a, float[3] b) => (float[2] y) {
            y = Scan <num_scan_inputs = 2, body = body (float[2] state, float c, float d) => (float[2] next) {
                next = Add (state, d)
            }> (x, a, b)
        }""")
    after = graphs.tidied(before)
    assert list(after.graph.node[0].input) == ["x", "b"]
    graphs.same_numbers(before, after)


def _tested(rows, width, attributes="", given="row"):
    return f"""
        (float[{rows}, {width}] x, float[{rows}] w, float[{width}] s) => (float[{width}] y)
        <float const_most = {{2}}, float[{width}] const_ones> {{
            y = Scan <num_scan_inputs = 2{attributes}, body = body (float[{width}] state, float[{width}] row, float v)
                => (float[{width}] next) {{
                a = Abs ({given})
                m = Max (a, const_ones)
                l = LessOrEqual (m, const_most)
                n = Neg (v)
                t = Mul (state, n)
                next = Where (l, t, {given})
            }}> (s, x, w)
        }}"""


ROWS = {
    "rows": (_tested(9, 3), {"Abs", "Max", "LessOrEqual", "Neg"}),
    "backwards": (_tested(9, 3, ", scan_input_directions = [1, 1]"), {"Abs", "Max", "LessOrEqual", "Neg"}),
    "one backwards": (_tested(9, 3, ", scan_input_directions = [1, 0]"), {"Abs", "Max", "LessOrEqual", "Neg"}),
    "any number": (_tested("N", 3), {"Abs", "Max", "LessOrEqual", "Neg"}),
    "large rows": (_tested(9, 2000), {"Neg"}),
    "of the state": (_tested(9, 3, given="state"), {"Neg"}),
}
"""A scan, and the operators that are computed before it."""


@pytest.mark.parametrize("name", ROWS)
def test_what_is_computed_of_rows_alone_is_computed_at_once(name, graphs):
    text, at_once = ROWS[name]
    before = graphs.parse(text)
    after = graphs.tidied(before)
    scan, inside = _scan(after)
    around = {node.op_type for node in after.graph.node} - {"Scan"}
    assert at_once <= around
    assert at_once.isdisjoint(inside)
    assert len(scan.input) == 4 if name not in {"large rows", "of the state"} else 3
    for length in (1, 9) if name == "any number" else (9,):
        width = 2000 if name == "large rows" else 3
        x = np.random.default_rng(0).normal(size=(length, width)).astype(np.float32)
        x[0, 1], x[-1, 0], x[-1, 2] = np.nan, -np.inf, -0.0
        w = np.linspace(-1, 1, length, dtype=np.float32)
        graphs.same_bits(before, after, {"x": x, "w": w, "s": np.full(width, 0.5, np.float32)})
