"""Dropped ones: numbers that find a place are no vectors of one number, where that takes fewer nodes."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, to_onnx

CONSTANTS = "<int64[1] const_z = {0}, int64[1] const_one = {1}, int32[1] const_two = {2}>"
GRAPHS = {
    "a row": ("r = Reshape(i, const_one) g = Gather(x, r) y = Squeeze(g, const_z)", "float[3]", 0, 0),
    "a row of a row": (
        "r = Reshape(i, const_one) g = Gather(t, r) m = Max(g, const_two) h = Gather(x, m) y = Squeeze(h, const_z)",
        "float[3]",
        0,
        0,
    ),
    "chosen": (
        (
            "r = Reshape(i, const_one) f = Less(r, const_two) g = Gather(t, r) w = Where(f, g, r) h = Gather(x, w)"
            " n = Gather(x, r) o = Squeeze(n, const_z) s = Squeeze(h, const_z) y = Sub(s, o)"
        ),
        "float[3]",
        0,
        0,
    ),
    "read as a vector": (
        (
            "r = Reshape(i, const_one) g = Gather(t, r) h = Gather(x, g) s = Squeeze(h, const_z)"
            " c = Concat<axis = 0>(g, t) k = Cast<to = 1>(c) n = ReduceSum<keepdims = 0>(k) y = Mul(s, n)"
        ),
        "float[3]",
        0,
        1,
    ),
    "a matrix of one row": ("r = Reshape(i, const_one) g = Gather(x, r) y = Sin(g)", "float[1, 3]", 1, 0),
}
"""What is done with ``float[4, 3] x``, ``int32[5] t`` and ``int32 i``; what is left of reshapes, and what is added."""


TYPES = {
    **dict.fromkeys("rgmw", "int32[1]"), **dict.fromkeys("hn", "float[1, 3]"), **dict.fromkeys("so", "float[3]"),
    "f": "bool[1]", "c": "int32[6]", "k": "float[6]",
}  # fmt: skip
"""Those of values in a body, which shape inference does not look into."""


def _types(body):
    types = {**TYPES, "n": "float"} if "ReduceSum" in body else TYPES
    types = {**types, "g": "float[1, 3]"} if "g = Gather(x" in body else types
    made = [statement.split(" = ")[0] for statement in body.replace(") ", ")\n").splitlines()]
    return ", ".join(f"{types[value]} {value}" for value in made if value != "y")


@pytest.mark.parametrize("name", GRAPHS)
def test_in_a_body(name, graphs):
    body, out, left, added = GRAPHS[name]
    stacked = out.replace("[", "[3, ")
    before = graphs.parse(
        f"(float[4,3] x, int32[5] t, int32[3] places) => (int32 last, {stacked} all) {CONSTANTS} {{"
        " start = Constant<value_int = 0>() begin = Cast<to = 6>(start)"
        " last, all = Scan<num_scan_inputs = 1,"
        f" body = step (int32 before, int32 i) => (int32 next, {out} y) <{_types(body)}>"
        f" {{ next = Add(before, i) {body} }}>(begin, places) }}"
    )
    after = graphs.tidied(before)
    found = graphs.count(after)
    assert (found["Reshape"] + found["Squeeze"], found["Unsqueeze"]) == (left, added)
    table, x = np.int32([3, 0, 2, 1, 1]), np.float32([[1, 2, 3], [np.nan, 0, -0.0], [4, 5, 6], [np.inf, 7, 8]])
    graphs.same_bits(before, after, {"x": x, "t": table, "places": np.int32([0, 1, 2])})


def test_not_outside_of_bodies(graphs):
    body, out, *_ = GRAPHS["chosen"]
    before = graphs.parse(f"(float[4,3] x, int32[5] t, int32 i) => ({out} y) {CONSTANTS} {{ {body} }}")
    assert graphs.count(graphs.tidied(before))["Squeeze"]


def _descend(x, scores):
    """Go down a tree: from a row to the row that its best entry names."""

    def down(state, bonus):
        node, total = state
        children = jnp.array([[1, 2, 3], [4, 0, 1], [0, 3, 4], [2, 2, 0], [1, 3, 0]])[node]
        best = jnp.argmax(scores[node] + bonus)
        child = jnp.where(children[best] > 3, node, children[best])
        return (child, total + x[child]), child

    return lax.scan(down, (jnp.int32(0), jnp.zeros(2)), jnp.linspace(0.0, 1.0, 12))


@pytest.mark.parametrize("rows", [5, "N"])
def test_rows_of_rows_are_read_without_reshapes(rows):
    inputs = [(rows, 2), (5, 3)]
    model = to_onnx(_descend, inputs)
    (scan,) = (node for node in model.graph.node if node.op_type == "Scan")
    body = next(one.g for one in scan.attribute if one.name == "body")
    assert {"Reshape", "Squeeze", "Unsqueeze"}.isdisjoint(node.op_type for node in body.node)
    generator = np.random.default_rng(0)
    x, scores = generator.normal(size=(5, 2)), generator.normal(size=(5, 3))
    values = [[x, scores], [x, np.where(scores > 1, np.nan, scores)], [x * np.inf, -scores]]
    check(model, _descend, inputs, values=[[np.float32(one) for one in pair] for pair in values])
