"""Weights that choose among functions: the model loads, and takes the branch that the weight names."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators


class Choosing(eqx.Module):
    """Chooses by a weight among functions, of which the last one chooses once more, by its input."""

    kind: jax.Array

    def choose(self, x):
        def last(x):
            y = jnp.sin(x)
            return y, jax.lax.cond(x.sum() > 0, lambda: jnp.clip(x, -1, 1) + y, lambda: x * 2)

        return jax.lax.switch(self.kind[0], [lambda x: (x + 1, x), lambda x: (x + 2, x), last], x)

    def __call__(self, x):
        def step(x, _):
            first, second = self.choose(x)
            return first + second, first

        return jax.lax.scan(step, x, None, length=12)


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_choices_within_choices(kind):
    """onnxruntime's optimiser crashes where it sees that both conditions are constant: it is kept from that."""
    module = Choosing(jnp.array([kind, 7]))
    model = to_onnx(module, [(2,)])
    check(model, module, [(2,)])
    counts = operators(model)
    assert (counts["Loop"], counts["Scan"]) == (1, 1)  # one hides a condition
    assert counts["If"] == 3
    assert "kind" in {tensor.name for tensor in model.graph.initializer}
