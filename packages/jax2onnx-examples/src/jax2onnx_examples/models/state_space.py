"""A layer of a selective state space, as in Mamba: a recurrence whose decay and gates depend on the input."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jax2onnx_examples._describe import MODELS, model, normal

WIDTH, STATE, WINDOW = 8, 4, 4


class StateSpace(nnx.Module):
    """A short convolution, the recurrence, and a gate."""

    def __init__(self, *, rngs: nnx.Rngs) -> None:
        self.enter = nnx.Linear(WIDTH, 2 * WIDTH, rngs=rngs)
        self.conv = nnx.Conv(WIDTH, WIDTH, (WINDOW,), padding="CAUSAL", feature_group_count=WIDTH, rngs=rngs)
        self.rate = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.gates = nnx.Linear(WIDTH, 2 * STATE, rngs=rngs)
        self.decay = nnx.Param(jnp.log(jnp.arange(1.0, STATE + 1) * jnp.ones((WIDTH, 1))))
        self.skip = nnx.Param(jnp.ones(WIDTH))
        self.leave = nnx.Linear(WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, time, width) to the same shape."""
        x, gate = jnp.split(self.enter(x), 2, -1)
        x = nnx.silu(self.conv(x))
        return self.leave(self._recurrence(x) * nnx.silu(gate))

    def _recurrence(self, x: jax.Array) -> jax.Array:
        rate = nnx.softplus(self.rate(x))
        take, give = jnp.split(self.gates(x), 2, -1)
        keep = jnp.exp(-rate[..., None] * jnp.exp(self.decay[...]))
        add = (rate * x)[..., None] * take[:, :, None]

        def step(state: jax.Array, now: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
            keep, add, give = now
            state = keep * state + add
            return state, jnp.einsum("bws,bs->bw", state, give)

        start = jnp.zeros((x.shape[0], WIDTH, STATE))
        _, y = lax.scan(step, start, [jnp.swapaxes(part, 0, 1) for part in (keep, add, give)])
        return jnp.swapaxes(y, 0, 1) + self.skip[...] * x


EXAMPLES = [
    model(
        MODELS,
        "state_space",
        lambda rngs: StateSpace(rngs=rngs),
        [("B", "T", WIDTH)],
        component="StateSpace",
        values=normal(3, 3, WIDTH),
    ),
]
