"""Scans over the cells of equinox become recurrent operators, whose parameters are constants of the model."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators


class Layer(eqx.Module):
    """A cell over a sequence, as equinox's documentation writes it."""

    cell: eqx.Module
    states: int = eqx.field(static=True)

    def __call__(self, xs):
        zeros = jnp.zeros(self.cell.hidden_size)
        start = (zeros, zeros) if self.states > 1 else zeros

        def step(state, x):
            return self.cell(x, state), None

        return jax.lax.scan(step, start, xs)[0]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("kind", "states"), [(eqx.nn.GRUCell, 1), (eqx.nn.LSTMCell, 2)])
def test_cells(kind, states, bias) -> None:
    layer = Layer(kind(3, 4, use_bias=bias, key=jax.random.key(0)), states)
    operator = "LSTM" if states > 1 else "GRU"
    for function, inputs in ((layer, [("T", 3)]), (jax.vmap(layer), [("B", 6, 3)])):
        model = to_onnx(function, inputs)
        assert operators(model)[operator] == 1
        check(model, function, inputs)


def test_parameters_are_packed_once() -> None:
    layer = Layer(eqx.nn.GRUCell(120, 150, key=jax.random.key(0)), 1)
    model = to_onnx(jax.vmap(layer), [("B", "T", 120)])
    size = sum(a.size for a in jax.tree.leaves(eqx.filter(layer, eqx.is_array)))
    assert sum(int(np.prod(i.dims)) for i in model.graph.initializer) < 1.05 * size
