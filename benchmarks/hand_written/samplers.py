"""Models by hand of samplers."""

from __future__ import annotations

import numpy as np

from .graph import Array, Graph
from .hashes import counts_of, hashed, key_of, normal, scaled, uniform


def hmc() -> bytes:
    """Write all leapfrog steps as one Gemm: gradients are linear, so are moves; energies are quadratic."""
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

    g = Graph(("uint32", 2), (4,))
    w = g.inputs[1]
    keys = hashed(g, key_of(g, g.inputs[0]), counts_of(2))
    drawn = uniform(g, keys, counts_of(4, 1), np.array([0, 0, 0, 0, 1]))
    first, last = g.Split(drawn, np.array([4, 1]), count=2, axis=0)
    momentum = g.Reshape(normal(g, first), [4])
    chance = g.Reshape(g.Log(scaled(g, last)), [1])
    state = g.Concat(w, momentum, np.ones(1), axis=0)
    moved = g.MatMul(np.asarray(move[:4]), state)
    is_better = g.Less(chance, g.MatMul(state, g.MatMul(change, state)))
    return g.model(g.Where(is_better, moved, w))


def hamiltonian_chain() -> bytes:
    """Write a leapfrog step in 2 nodes: it carries (x, x, p), and is linear in its powers (x, x**3, p)."""
    size = 0.1

    def moved(kick: float, drift: float) -> Array:
        """Return what makes a state of powers: the momentum changes first."""
        kicked, moved = np.eye(3), np.eye(3)
        kicked[:2, 2] = -kick * np.array([1, 0.4])
        kicked[1, 1] = 0
        kicked[0, 1] = 1
        moved[2, :2] = drift
        return np.kron(kicked @ moved, np.eye(3))

    g = Graph(("uint32", 2), (3,))
    keys = hashed(g, key_of(g, g.inputs[0]), counts_of(4))
    keys = hashed(g, keys, counts_of(2, 2, 2, 2), np.repeat(np.arange(4), 2))
    rows = np.concatenate([np.repeat([0, 2, 4, 6], 3), [1, 3, 5, 7]])
    bits = g.Split(uniform(g, keys, counts_of(3, 3, 3, 3, 1, 1, 1, 1), rows), np.array([12, 4]), count=2, axis=0)
    wide = g.Gemm(g.Reshape(normal(g, bits[0]), [4, 3]), np.kron([[0, 0, 1]], np.eye(3)))
    chances = scaled(g, bits[1])
    draws = zip(*(g.Split(x, count=4, axis=0, num_outputs=4) for x in (wide, chances)), strict=True)
    powers = np.repeat([[1, 3, 1]], 3, axis=1).astype(np.float32)
    energies = np.repeat([[0.5, 0.1, 0.5]], 3, axis=1).T
    again = np.kron([[1, 1, 0], [0, 0, 0], [0, 0, 0]], np.eye(3))
    state = g.Gemm(g.Reshape(g.inputs[1], [1, 3]), again[:3])
    places, rates = [], []
    for momentum, chance in draws:
        first = here = g.Gemm(state, again, momentum)
        power = first_power = g.Pow(first, powers)
        for step in range(5):
            here = g.Gemm(power, moved(size if step else size / 2, size))
            power = g.Pow(here, powers)
        here = g.Gemm(power, moved(size / 2, 0))
        ended = g.Mul(here, g.Pow(here, powers))
        fall = g.Gemm(ended, -energies, g.Gemm(g.Mul(first, first_power), energies))
        rates.append(g.Exp(g.Min(fall, np.float32(0))))
        state = g.Where(g.Less(chance, rates[-1]), here, first)
        places.append(state)
    path = g.Gather(g.Concat(*places, axis=0), np.arange(3), axis=1)
    return g.model(path, g.Reshape(g.Concat(*rates, axis=0), [4]))
