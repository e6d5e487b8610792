"""Balance a pole in the browser: physics and policy are JAX functions, both exported, and the policy is trained here.

python examples/browser/pole.py                  trains, exports, and serves the page at http://localhost:8000
python examples/browser/pole.py --build FOLDER   writes the page and its files to FOLDER, and serves nothing

The physics can be differentiated, so the policy learns by the gradient of a whole run. Needs flax and optax, and npm,
which gets onnxruntime-web once. The page itself needs no network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from page import main

from jax2onnx import save_onnx

STEP, GRAVITY, CART, POLE, HALF, STRONGEST = 0.02, 9.8, 1.0, 0.1, 0.5, 10.0


def physics(state: jax.Array, force: jax.Array, push: jax.Array) -> jax.Array:
    """Return the state (place, speed, angle, turn) of cart and pole after a step, given a force and a push."""
    _, speed, angle, turn = state
    sine, cosine = jnp.sin(angle), jnp.cos(angle)
    total = CART + POLE
    pushed = (force[0] + POLE * HALF * turn**2 * sine) / total
    turning = (GRAVITY * sine - cosine * pushed) / (HALF * (4 / 3 - POLE * cosine**2 / total)) + push[0]
    moving = pushed - POLE * HALF * turning * cosine / total
    change = jnp.stack([speed + STEP * moving, moving, turn + STEP * turning, turning])
    return state + STEP * change


class Policy(nnx.Module):
    """A network that sees the state and gives the force."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(5, 32, rngs=rngs)
        self.second = nnx.Linear(32, 32, rngs=rngs)
        self.last = nnx.Linear(32, 1, rngs=rngs)

    def __call__(self, state: jax.Array) -> jax.Array:
        """Map the state (place, speed, angle, turn) to a force."""
        place, speed, angle, turn = state
        seen = jnp.stack([place, speed, jnp.sin(angle), jnp.cos(angle), turn])
        return STRONGEST * jnp.tanh(self.last(jnp.tanh(self.second(jnp.tanh(self.first(seen))))))


def train(steps: int = 600, length: int = 150) -> tuple[Policy, float]:
    """Return a policy that balances the pole, and the largest angle at the end of runs from other places."""
    graph, weights = nnx.split(Policy(nnx.Rngs(0)))
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(3e-3, steps)))
    wide = jnp.array([1.0, 0.5, 0.35, 0.5])

    def run(weights: Any, start: jax.Array) -> jax.Array:
        policy = nnx.merge(graph, weights)
        quiet = jnp.zeros(1)

        def step(state: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
            after = physics(state, policy(state), quiet)
            return after, after

        return jax.lax.scan(step, start, None, length)[1]

    def loss(weights: Any, starts: jax.Array) -> jax.Array:
        states = jax.vmap(lambda start: run(weights, start))(starts)
        place, speed, angle, turn = jnp.moveaxis(states, -1, 0)
        return (10 * (1 - jnp.cos(angle)) + 0.1 * place**2 + 0.01 * speed**2 + 0.01 * turn**2).mean()

    def learn(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        weights, state = carry
        starts = jax.random.uniform(key, (32, 4), minval=-wide, maxval=wide)
        value, slope = jax.value_and_grad(loss)(weights, starts)
        updates, state = optimiser.update(slope, state, weights)
        return (optax.apply_updates(weights, updates), state), value

    keys = jax.random.split(jax.random.key(0), steps)
    (weights, _), _ = jax.jit(lambda carry: jax.lax.scan(learn, carry, keys))((weights, optimiser.init(weights)))
    starts = jax.random.uniform(jax.random.key(1), (64, 4), minval=-wide, maxval=wide)
    ends = jax.jit(jax.vmap(lambda start: run(weights, start)))(starts)[:, -1]
    return nnx.merge(graph, weights), float(jnp.abs(ends[:, 2]).max())


def build(folder: Path) -> Policy:
    """Train the policy, and write it and the physics to a folder."""
    policy, angle = train()
    print(f"the pole is at most {angle:.3f} radians from upright after {150 * STEP:.0f} s, from 64 other starts")
    save_onnx(physics, [(4,), (1,), (1,)], folder / "physics.onnx", target="web")
    save_onnx(policy, [(4,)], folder / "policy.onnx", target="web", output_names=["force"])
    return policy


if __name__ == "__main__":
    main("pole", build)
