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
    "a row of a constant place": ("g = Gather(x, const_two) s = Squeeze(g, const_z) y = Sin(s)", "float[3]", 0, 0),
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


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs(name, graphs):
    body, out, left, added = GRAPHS[name]
    before = graphs.parse(f"(float[4,3] x, int32[5] t, int32 i) => ({out} y) {CONSTANTS} {{ {body} }}")
    after = graphs.tidied(before)
    found = graphs.count(after)
    assert (found["Reshape"] + found["Squeeze"], found["Unsqueeze"]) == (left, added)
    table, x = np.int32([3, 0, 2, 1, 1]), np.float32([[1, 2, 3], [np.nan, 0, -0.0], [4, 5, 6], [np.inf, 7, 8]])
    for place in (0, 1, 2):
        graphs.same_bits(before, after, {"x": x, "t": table, "i": np.array(place, np.int32)})


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
