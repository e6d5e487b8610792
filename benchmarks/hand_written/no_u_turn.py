"""A model by hand of numpyro's No-U-Turn sampler, of a mean with a normal prior and five observations."""

from __future__ import annotations

import itertools

import numpy as np

from .graph import Array, Graph
from .hashes import key_of, normal, uniform_of

_CURVATURE = 1 / 4 + 5
_SIZE = 0.3
_SAMPLES = 3


def _paths() -> list[tuple[int, ...]]:
    """Return how the numbers are drawn: a start, and of each sample a momentum, three directions, seven transitions."""
    found, momenta, directions, transitions = [(1, 1, 0)], [], [], []
    for sample in range(_SAMPLES):
        state = (0, 0) + (0,) * sample
        momenta.append((*state, 1, 0, 0))
        keys = [(*state, 2, *[0] * depth) for depth in range(3)]
        directions += [(*key, 1, 0) for key in keys]
        for key, leaves in zip(keys, (1, 2, 4), strict=True):
            transitions += [(*key, 2, 0, *[0] * leaf, 1, 0) for leaf in range(1, leaves)]
            transitions.append((*key, 2, 1, 0))
    return found + momenta + directions + transitions


def _orbit() -> Array:
    """Return what (x, p) are after -7 to 7 steps: 15 places and 15 momenta, a column each."""
    half, drift = np.array([[1, -_SIZE / 2 * _CURVATURE], [0, 1]]), np.array([[1, 0], [_SIZE, 1]])
    step = half @ drift @ half
    powers = np.stack([np.linalg.matrix_power(step, n) for n in range(-7, 8)])
    return powers.transpose(1, 2, 0).reshape(2, 30)


def _points() -> Array:
    """Return, for all directions, which points are visited in turn, and the first and last of the first four."""
    found = []
    for directions in itertools.product((0, 1), repeat=3):
        low = high = 7
        points, ends = [7], (7, 7)
        for depth, is_right in enumerate(directions):
            points += [high + 1 + i if is_right else low - 1 - i for i in range(2**depth)]
            low, high = min(points), max(points)
            ends = (low, high) if depth == 1 else ends
        found.append([*points, *ends])
    return np.array(found)


def _columns(*columns: dict[int, float]) -> Array:
    matrix = np.zeros((10, len(columns)))
    for place, column in enumerate(columns):
        matrix[list(column), place] = list(column.values())
    return matrix


def _turns() -> tuple[Array, Array, Array]:
    """Return the momenta at both ends of six runs of points, and their sums without half of both.

    The points are (0, a, b1, b2, c1, c2, c3, c4), and the ends of the first four.
    """
    runs = [[0, 1], [2, 3], [0, 1, 2, 3], [4, 5], [6, 7], [4, 5, 6, 7]]
    ends = [(8, 9) if run == [0, 1, 2, 3] else (run[0], run[-1]) for run in runs]
    left, right = (_columns(*({end[side]: 1.0} for end in ends)) for side in (0, 1))
    return left, right, _columns(*(dict.fromkeys(run, 1.0) for run in runs)) - (left + right) / 2


def _chosen() -> Array:
    """Return which point is chosen, for all 128 outcomes of transitions: to a, b2, either b, c2, c3, c4, any c."""
    found = []
    for a, b2, b, c2, c3, c4, c in itertools.product((0, 1), repeat=7):
        last = 7 if c4 else 6 if c3 else 5 if c2 else 4
        found.append(last if c else 2 + b2 if b else a)
    return np.array(found)


def no_u_turn() -> bytes:
    """Write a sample in 33 nodes: the energy is quadratic, and all points a sample may reach are one product.

    That a step diverges is left out: observations would have to be above 50.
    """
    left, right, sums = _turns()
    energies = np.zeros((30, 15))
    energies[np.arange(15), np.arange(15)], energies[np.arange(15) + 15, np.arange(15)] = -_CURVATURE / 2, -0.5
    energies = energies - energies[:, [7]]
    numerators = _columns({1: 1}, {3: 1}, {2: 1, 3: 1}, {5: 1}, {6: 1}, {7: 1}, dict.fromkeys(range(4, 8), 1))
    first, four = {0: 1, 1: 1}, dict.fromkeys(range(4), 1)
    denominators = _columns(
        {0: 1}, {2: 1, 3: 1}, first, {4: 1, 5: 1}, dict.fromkeys(range(4, 7), 1), dict.fromkeys(range(4, 8), 1), four
    )
    # Of whether no run up to one of six turns: whether transitions count, and points.
    counts, visited = np.zeros((6, 7)), np.zeros((6, 10))
    counts[1, 2] = counts[5, 6] = 1
    visited[[0, 0, 2, 2, 3, 3], range(2, 8)] = 1
    always, start = np.array([[1.0, 1, 0, 1, 1, 1, 0]]), np.eye(1, 10, 1)

    g = Graph(("uint32", 2), (5,))
    drawn = uniform_of(g, key_of(g, g.inputs[0]), _paths())
    sizes = np.array([1, _SAMPLES, 3 * _SAMPLES, 7 * _SAMPLES])
    place, momenta, directions, chances = g.Split(drawn, sizes, count=4, axis=0)
    momenta = g.Split(normal(g, momenta), count=_SAMPLES, axis=0, num_outputs=_SAMPLES)
    is_right = g.Cast(g.Less(g.Reshape(directions, [_SAMPLES, 3]), np.float32(2**22)), to=7)
    points = g.Gather(_points(), g.MatMul(is_right, np.array([4, 2, 1])))
    points = g.Split(points, count=_SAMPLES, axis=0, num_outputs=_SAMPLES)
    chances = g.Mul(g.Reshape(chances, [_SAMPLES, 7]), np.float32(2**-23))
    chances = g.Split(chances, count=_SAMPLES, axis=0, num_outputs=_SAMPLES)
    middle = g.Mul(g.ReduceSum(g.Reshape(g.inputs[1], [1, 5])), np.float32(1 / _CURVATURE))
    x = g.Sub(g.Gemm(place, np.full((1, 1), 2.0**-21), np.full((1, 1), -2.0)), middle)
    found, weights, shares = [], [], []
    for momentum, point, chance in zip(momenta, points, chances, strict=True):
        orbit = g.Gemm(g.Concat(x, momentum, axis=1), _orbit())
        ratios = g.Exp(g.Gemm(g.Mul(orbit, orbit), energies))
        ratio = g.GatherElements(ratios, point, axis=1)
        momentum_there = g.GatherElements(orbit, g.Add(point, np.array(15)), axis=1)
        ahead = g.Gemm(momentum_there, sums)
        both = [g.Mul(g.Gemm(momentum_there, end), ahead) for end in (left, right)]
        turns = g.Cast(g.LessOrEqual(g.Min(*both), np.float32(0)), to=1)
        is_on = g.Cast(g.Less(g.CumSum(turns, np.array(1)), np.float32(0.5)), to=1)
        odds = g.Div(g.Gemm(ratio, numerators), g.Gemm(ratio, denominators))
        is_taken = g.Less(chance, g.Mul(odds, g.Gemm(is_on, counts, always)))
        outcome = g.MatMul(g.Cast(is_taken, to=7), 2 ** np.arange(6, -1, -1)[:, None])
        chosen = g.GatherElements(point, g.Gather(_chosen(), outcome), axis=1)
        x = g.GatherElements(orbit, chosen, axis=1)
        found.append(x)
        weights.append(g.Gemm(is_on, visited, start))
        shares.append(ratio)
    weight = g.Concat(*weights, axis=0)
    accepted = g.Mul(g.Min(g.Concat(*shares, axis=0), np.float32(1)), weight)
    sums_of = [g.ReduceSum(one, np.array([1]), keepdims=0) for one in (accepted, weight)]
    return g.model(g.Reshape(g.Add(g.Concat(*found, axis=0), middle), [_SAMPLES]), g.Div(*sums_of))
