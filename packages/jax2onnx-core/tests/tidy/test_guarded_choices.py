"""Guarded choices: the inner of two choices by one condition is not made, and no number changes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax2onnx import check, to_onnx


def _logarithm(x):
    return jnp.where(x > 0, jnp.log(jnp.where(x > 0, x, 1.0)), -1.0)


def _contrary(x):
    return jnp.where(x > 0, 2.0, 3 / jnp.where(~(x > 0), x - 1, 7.0))


def _norm(x):
    """Return the gradient of a norm, which is 0 at 0."""

    def norm(x):
        total = jnp.sum(x**2)
        return jnp.where(total > 0, jnp.sqrt(jnp.where(total > 0, total, 1.0)), 0.0)

    return jax.grad(norm)(x)


def _of_one_truth(x):
    is_large = x[0] > 0
    return jnp.where(is_large, x / jnp.where(is_large, x[0], 1.0), x)


CASES = {"logarithm": (_logarithm, 1), "contrary": (_contrary, 1), "norm": (_norm, 1), "one truth": (_of_one_truth, 1)}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("shape", [(5,), ("B",)])
def test_one_choice_is_left(name, shape):
    function, count = CASES[name]
    model = to_onnx(function, [shape])
    assert [node.op_type for node in model.graph.node].count("Where") == count
    special = [0.0, -0.0, np.nan, np.inf, -np.inf, 1.0, 1e-30, -3e38, 2.5]
    batches = [np.float32(special[first : first + 5]) for first in range(5)]
    check(model, function, [shape], values=[[x] for x in (*batches, np.zeros(5, np.float32))])


def test_divisions_of_integers_stay_guarded():
    """A runtime fails where an integer is divided by 0, though the quotient is not chosen."""

    def function(x, y):
        return jnp.where(y == 0, -1, jax.lax.div(x, jnp.where(y == 0, 1, y)))

    inputs = ["int32[4]", "int32[4]"]
    values = [[np.int32([7, -7, 0, 2**31 - 1]), np.int32([0, 2, 0, -1])]]
    check(to_onnx(function, inputs), function, inputs, values=values)


GUARDED = "c = Less(x, zero) a = Where(c, x, zero) e = Exp(a)"
GRAPHS = {
    "read by others": (f"{GUARDED} w = Where(c, e, x) y = Add(w, e)", "float[3] x", 2),
    "guard read by others": (f"{GUARDED} w = Where(c, e, x) y = Add(w, a)", "float[3] x", 2),
    "moved between": (f"{GUARDED} r = Gather(e, order) y = Where(c, r, x)", "float[3] x", 2),
    "of the other truth": (f"{GUARDED} y = Where(c, x, e)", "float[3] x", 2),
    "in a chain": (f"{GUARDED} s = Sin(e) p = Mul(s, x) y = Where(c, p, x)", "float[3] x", 1),
    "a column": (f"{GUARDED} y = Where(c, e, x)", "float[3, 1] x", 1),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs(name, graphs):
    body, given, count = GRAPHS[name]
    out = given.replace(" x", " y")
    constants = "<float zero = {0}, int64[3] order = {2, 0, 1}>"
    before = graphs.parse(f"({given}) => ({out}) {constants} {{ {body} }}")
    after = graphs.tidied(before)
    graphs.has(after, {"Where": count})
    shape = (3, 1) if "1" in given else (3,)
    for numbers in ([-1.0, 0.0, 2.0], [np.nan, -np.inf, np.inf], [-0.0, -3e38, 5.0]):
        graphs.same_bits(before, after, {"x": np.float32(numbers).reshape(shape)})
