"""What a scan's steps make of scanned numbers and indices alone is done before it, with JAX's numbers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from placed_operators import placed_operators

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators

TABLE, W, U = (
    np.random.default_rng(k).normal(size=s).astype(np.float32) for k, s in enumerate([(9, 3), (3, 16), (4, 16)])
)


def _words(tokens, h):
    """Read words by an LSTM that looks them up in each step."""

    def step(state, token):
        h, c = state
        i, f, g, o = jnp.split(jnp.asarray(TABLE)[token] @ W + h @ U, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return lax.scan(step, (h, jnp.zeros_like(h)), tokens)[1]


def _times(ts, x):
    """Integrate with a force that depends on the time alone."""
    return lax.scan(lambda x, t: (x * 0.9 + jnp.sin(t) * jnp.exp(-t), t > 1), x, ts, reverse=True)


CASES = {"words": (_words, ["int32[5,2]", (2, 4)], "Gather"), "times": (_times, [(6,), (3,)], "Sin")}


@pytest.mark.parametrize("name", CASES)
def test_done_before(name) -> None:
    function, inputs, operator = CASES[name]
    model = to_onnx(function, inputs)
    found = list(placed_operators(model.graph))
    assert (operator, False) in found
    assert (operator, True) not in found
    check(model, function, inputs)


def test_what_is_left_is_a_layer() -> None:
    for inputs in (["int32[5,2]", (2, 4)], ["int32[T,B]", ("B", 4)], ["int32[T]", (4,)]):
        model = to_onnx(_words, inputs)
        assert operators(model)["LSTM"] == 1
        check(model, _words, inputs)


def test_indices_out_of_bounds_and_times_that_are_not_finite() -> None:
    tokens = np.array([[-10, -9], [-1, 0], [8, 9], [100, 3]], np.int32)
    inputs = ["int32[T,2]", (2, 4)]
    check(to_onnx(_words, inputs), _words, inputs, values=[[tokens, np.ones((2, 4), np.float32)]])
    ts = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-42, 88], np.float32)
    check(to_onnx(_times, [(6,), (3,)]), _times, [(6,), (3,)], values=[[ts, np.zeros(3, np.float32)]])


def test_weights_that_are_scanned_stay() -> None:
    """A layer's weights are converted in its step: as many bytes as all layers have are not held at once."""

    def layers(x, weights, scales):
        return lax.scan(lambda x, w: (jnp.tanh(x @ (w[0].astype(jnp.float32) * w[1])), None), x, (weights, scales))[0]

    inputs = [(2, 4), "int8[3,4,4]", (3, 4)]
    model = to_onnx(layers, inputs)
    assert not [
        kind
        for kind, is_inside in placed_operators(model.graph)
        if kind in {"Mul", "DequantizeLinear"} and not is_inside
    ]
    check(model, layers, inputs)
