"""A differential equation, solved by steps of Runge and Kutta: a pendulum with friction."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Example
from jax2onnx_examples._describe import PROGRAMS

STEPS, LENGTH = 20, 0.05


def slope(state: jax.Array) -> jax.Array:
    """Return how angle and speed (batch, 2) change."""
    angle, speed = state[..., 0], state[..., 1]
    return jnp.stack([speed, -jnp.sin(angle) - 0.1 * speed], -1)


def solve(state: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Map states (batch, 2) to those after all steps, and to all angles on the way (steps, batch)."""

    def step(state: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
        first = slope(state)
        second = slope(state + LENGTH / 2 * first)
        third = slope(state + LENGTH / 2 * second)
        fourth = slope(state + LENGTH * third)
        state = state + LENGTH / 6 * (first + 2 * second + 2 * third + fourth)
        return state, state[..., 0]

    return lax.scan(step, state, None, length=STEPS)


EXAMPLES = [
    Example(
        name="ode_pendulum",
        context=PROGRAMS,
        component="jax.lax.scan",
        make=lambda: solve,
        inputs=[("B", 2)],
        values=lambda: [[np.array([[0.0, 1.0], [3.0, 0.0], [-1.0, 2.0]], np.float32)]],
        draw=False,  # the sine of a large angle is another one for each rounding of it
    )
]
