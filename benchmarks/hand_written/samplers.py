"""Models by hand of samplers."""

from __future__ import annotations

from typing import Any

import numpy as np

from .graph import Graph


def hmc() -> bytes:
    """Write all leapfrog steps as one Gemm: gradients are linear, so are moves; energies are quadratic."""
    import jax
    import jax.numpy as jnp
    from step_programs import hmc_data

    x, y = (np.asarray(data, np.float64) for data in hmc_data())
    curve, slope = x.T @ x + np.eye(4), x.T @ y
    # A state is (w, p, 1), and all are rows of what moves it.
    kick, drift = np.eye(9), np.eye(9)
    kick[4:8, :4], kick[4:8, 8] = -0.005 * curve, 0.005 * slope
    drift[:4, 4:8] = 0.01 * np.eye(4)
    move = np.linalg.matrix_power(kick @ drift @ kick, 8)
    energy = np.zeros((9, 9))
    energy[:4, :4], energy[:4, 8], energy[4:8, 4:8] = curve / 2, -slope, np.eye(4) / 2
    change = energy - move.T @ energy @ move

    def drawn(key: Any) -> Any:
        one, two = jax.random.split(jax.random.wrap_key_data(key))
        return jax.random.normal(one, (4,)), jnp.log(jax.random.uniform(two, (1,)))

    g = Graph(("uint32", 2), (4,))
    key, w = g.inputs
    momentum, chance = g.insert(drawn, (jax.ShapeDtypeStruct((2,), "uint32"), key))
    state = g.Concat(w, momentum, np.ones(1), axis=0)
    moved = g.MatMul(np.asarray(move[:4]), state)
    is_better = g.Less(chance, g.MatMul(state, g.MatMul(change, state)))
    return g.model(g.Where(is_better, moved, w))
