"""Short slices: in loops, few elements at known places are looked up."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators


def _steps(step):
    def run(x):
        return lax.scan(lambda state, _: step(state), x, None, length=20)

    return run


def _parts(x):
    """Cut a part that is no half of an array."""
    total = jnp.sum(jnp.sin(x[:, 1:3])) + jnp.sum(jnp.cos(x[:, 1:]))
    return jnp.sin(x + total), total


def _entries(x):
    """Take entries of matrices alone, as rotations are made of quaternions."""
    products = x[:, :, None] * x[:, None, :]
    first = products[:, 0, 1] + products[:, 2, 3] - products[:, 1, 1]
    return jnp.tanh(x + first[:, None]) - products[:, 3, 0][:, None], first


@pytest.mark.parametrize("function", [_parts, _entries])
def test_loops_cut_no_short_slices(function):
    run = _steps(function)
    model = to_onnx(run, [(3, 4)])
    assert "Slice" not in operators(model), operators(model)
    check(model, run, [(3, 4)], kinds=("ordinary", "special"))


def test_entries_of_one_array_are_taken_of_one_reshape():
    model = to_onnx(_steps(_entries), [(3, 4)])
    (scan,) = [node for node in model.graph.node if node.op_type == "Scan"]
    (body,) = [a.g for a in scan.attribute if a.g.node]
    products = [node.output[0] for node in body.node if node.op_type == "Mul"]
    reshapes = [node for node in body.node if node.op_type == "Reshape" and node.input[0] in products]
    assert len(reshapes) == 1


@pytest.mark.parametrize("shape", [(40, 4), ("n", 4)])
def test_slices_of_many_rows_stay(shape):
    run = _steps(lambda x: (jnp.sin(x) + jnp.prod(x[:, 1:3], axis=1, keepdims=True), x[0]))
    model = to_onnx(run, [shape])
    assert operators(model)["Slice"]
    check(model, run, [shape])


def test_slices_outside_of_loops_stay():
    assert operators(to_onnx(lambda x: jnp.tanh(x[:, 1:3]), [(2, 4)]))["Slice"] == 1


def test_matrices_in_the_middle():
    def step(x):
        ends = x[:, 1, 2, :] - x[:, 0, 1, :]
        return jnp.sin(x + ends[:, None, None, :]), ends

    run = _steps(step)
    check(
        to_onnx(run, [(2, 2, 3, 2)]),
        run,
        [(2, 2, 3, 2)],
        values=[[np.arange(24, dtype=np.float32).reshape(2, 2, 3, 2)]],
    )
