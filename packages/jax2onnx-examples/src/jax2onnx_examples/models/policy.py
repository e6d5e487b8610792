"""A policy of reinforcement learning: observations are normalised by running statistics, actions have bounds."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jax2onnx_examples._describe import MODELS, model

OBSERVED, ACTIONS = 6, 2


class Normaliser(nnx.Module):
    """Statistics of the observations so far."""

    def __init__(self) -> None:
        self.mean = nnx.Variable(jnp.linspace(-1.0, 1.0, OBSERVED))
        self.variance = nnx.Variable(jnp.linspace(0.5, 2.0, OBSERVED))

    def __call__(self, observation: jax.Array) -> jax.Array:
        """Return observations with mean 0 and variance 1, at most 10."""
        return jnp.clip((observation - self.mean[...]) / jnp.sqrt(self.variance[...] + 1e-8), -10, 10)


class Policy(nnx.Module):
    """The mean action, and a value of the observation, for an actor and a critic."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.normalise = Normaliser()
        self.hidden = nnx.List([nnx.Linear(OBSERVED, 16, rngs=rngs), nnx.Linear(16, 16, rngs=rngs)])
        self.action = nnx.Linear(16, ACTIONS, rngs=rngs)
        self.value = nnx.Linear(16, 1, rngs=rngs)

    def __call__(self, observation: jax.Array) -> dict[str, jax.Array]:
        """Map observations (batch, 6) to actions between -1 and 1, and values."""
        x = self.normalise(observation)
        for layer in self.hidden:
            x = jnp.tanh(layer(x))
        return {"action": jnp.tanh(self.action(x)), "value": self.value(x)[:, 0]}


EXAMPLES = [
    model(
        MODELS,
        "rl_policy",
        lambda rngs: Policy(rngs=rngs),
        [("B", OBSERVED)],
        component="Policy",
    ),
]
