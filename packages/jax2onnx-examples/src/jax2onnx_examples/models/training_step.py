"""One step of training as a model: the loss, its gradient, and the weights and the optimiser's state afterwards."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np
import optax
from flax import nnx

from jax2onnx.plugin import Example
from jax2onnx_examples._describe import MODELS


class Regression(nnx.Module):
    """A perceptron with one hidden layer."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(4, 8, rngs=rngs)
        self.out = nnx.Linear(8, 1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, 4) to (batch,)."""
        return self.out(nnx.tanh(self.hidden(x)))[:, 0]


def training_step() -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Return a function that trains a model on one batch, and returns the loss before."""
    model = Regression(rngs=nnx.Rngs(0))
    optimiser = nnx.Optimizer(model, optax.sgd(0.1, momentum=0.9), wrt=nnx.Param)

    def step(x: jax.Array, y: jax.Array) -> jax.Array:
        def loss(model: Regression) -> jax.Array:
            return ((model(x) - y) ** 2).mean()

        value, gradient = nnx.value_and_grad(loss)(model)
        optimiser.update(model, gradient)
        return value

    return step


EXAMPLES = [
    Example(
        name="training_step",
        context=MODELS,
        component="nnx.Optimizer",
        make=training_step,
        inputs=[("B", 4), ("B",)],
        values=lambda: [[np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4), np.ones(3, np.float32)]],
        draw=False,
        options={"state": "io", "training": True},
    )
]
