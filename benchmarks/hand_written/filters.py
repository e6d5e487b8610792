"""Models by hand of filters and chains of states."""

from __future__ import annotations

from typing import Any

import numpy as np

from .graph import Array, Graph
from .hashes import hashed, key_of, normal, scaled, uniform


def kalman_filter() -> bytes:
    """Write each step in 1 node: no gain depends on an observation, nor does a covariance."""
    from step_programs import kalman_model

    f, q, h, r = (np.asarray(x, np.float64) for x in kalman_model())
    cov, gains, moves, covs = np.eye(4), [], [], []
    for _ in range(30):
        cov = f @ cov @ f.T + q
        s = h @ cov @ h.T + r
        gain = np.linalg.solve(s, h @ cov).T
        cov = cov - gain @ s @ gain.T
        gains.append(gain)
        moves.append((np.eye(4) - gain @ h) @ f)
        covs.append(cov)
    g = Graph((4,), (30, 2))
    mean, ys = g.inputs
    seen = g.MatMul(g.Reshape(ys, [30, 1, 2]), np.stack(gains).swapaxes(1, 2))
    pieces = g.Split(g.Reshape(seen, [30, 4]), count=30, axis=0, num_outputs=30)
    mean = g.Reshape(mean, [1, 4])
    means = []
    for move, piece in zip(moves, pieces, strict=True):
        mean = g.Gemm(mean, move.T, piece)
        means.append(mean)
    return g.model(g.Concat(*means, axis=0), g.Identity(np.stack(covs)))


def lstm() -> bytes:
    """Write the scan as ONNX's LSTM, whose gates have another order."""
    from step_programs import lstm_weights

    w, u = lstm_weights()

    def reordered(weights: Array) -> Array:
        i, f, c, o = np.split(weights, 4, axis=1)
        return np.concatenate([i, o, f, c], axis=1).T[None]

    g = Graph((32, 2, 8), (2, 16))
    xs, h = g.inputs
    start = g.Reshape(h, [1, 2, 16])
    ys = g.LSTM(xs, reordered(w), reordered(u), "", "", start, np.zeros((1, 2, 16)), hidden_size=16)
    return g.model(g.Reshape(ys, [32, 2, 16]))


def viterbi() -> bytes:
    """Write a step in 2 nodes, and half of them: one pass is from the first time and one from the last, to the middle.

    Scores are rows and columns by turns. A path is traced from the middle to both ends.
    """
    g = Graph((40, 6), (6, 6))
    emissions, transitions = g.inputs
    one, other = (g.Reshape(x, [1, 6, 6]) for x in (transitions, g.Transpose(transitions)))
    both = g.Concat(other, one, axis=0), g.Concat(one, other, axis=0)
    times = np.stack([np.arange(1, 20), np.arange(38, 19, -1)], 1)
    moves: list[Any] = [None] * 19
    for turn, shape in enumerate(([10, 2, 6, 1], [9, 2, 1, 6])):
        seen = g.Reshape(g.Gather(emissions, times[turn::2]), shape)
        moves[turn::2] = g.Split(g.Add(seen, both[turn]), count=shape[0], axis=0, num_outputs=shape[0])
    scores = g.Reshape(g.Gather(emissions, [0, 39]), [1, 2, 1, 6])
    totals = []
    for step, move in enumerate(moves):
        totals.append(g.Add(scores, move))
        scores = g.ReduceMax(totals[-1], np.array([3 - step % 2]), keepdims=1)
    before, after = g.Split(scores, count=2, axis=1, num_outputs=2)
    middle = g.Add(g.Add(g.Reshape(before, [6, 1]), transitions), g.Reshape(after, [1, 6]))
    middle = g.Reshape(middle, [36])
    place = g.ArgMax(middle, axis=0)
    # Where a state came from is a place among those of the step before; steps of even numbers stand first.
    came = [g.ArgMax(g.Concat(*totals[turn::2], axis=0), axis=3 - turn, keepdims=0) for turn in (0, 1)]
    order = [*range(0, 19, 2), *range(1, 19, 2)]
    starts = np.array([12 * order.index(max(step - 1, 0)) for step in order])[:, None, None] + [[0], [6]]
    flat = g.Reshape(g.Add(g.Concat(*came, axis=0), starts), [228])
    at = g.Concat(g.Div(place, np.array(6)), g.Mod(place, np.array(6)), axis=0)
    path = [g.Add(at, 12 * order.index(18) + np.array([0, 6]))]
    for _ in range(19):
        path = [*path, g.Gather(flat, path[-1])]
    ends = np.concatenate([np.arange(38, -1, -2), np.arange(1, 39, 2)])
    states = g.Mod(g.Gather(g.Concat(*path, axis=0), ends), np.array(6))
    return g.model(states, g.ReduceMax(middle, keepdims=0))


def hidden_markov() -> bytes:
    """Write both passes at once, with 2 nodes for a time; the best of 3**7 paths is found among all of them."""
    import itertools

    import jax
    from dynamax.hidden_markov_model import GaussianHMM

    params, _ = GaussianHMM(3, 2).initialize(jax.random.PRNGKey(0))
    first = np.asarray(params.initial.probs, np.float64)
    moves = np.asarray(params.transitions.transition_matrix, np.float64)
    factors = np.linalg.inv(np.linalg.cholesky(np.asarray(params.emissions.covs, np.float64)))
    means = np.asarray(params.emissions.means, np.float64)
    whitened = factors.transpose(2, 0, 1).reshape(2, 6)
    constants = np.log(np.abs(np.linalg.det(factors))) - np.log(2 * np.pi)
    paths = np.array(list(itertools.product(range(3), repeat=7)))
    chances = np.log(first[paths[:, 0]]) + np.log(moves[paths[:, :-1], paths[:, 1:]]).sum(1)
    is_on = np.eye(3)[paths].reshape(len(paths), 21).T

    g = Graph((7, 2))
    away = g.Gemm(g.inputs[0], whitened, -np.einsum("kij,kj->ki", factors, means).reshape(1, 6))
    density = g.Gemm(g.Mul(away, away), np.repeat(np.eye(3), 2, axis=0), constants[None], alpha=-0.5)
    largest = g.ReduceMax(density, np.array([1]))
    relative = g.Sub(density, largest)
    ratios = g.Exp(relative)
    # One half of a row is of time t, of what was seen until then; the other is of 6 - t, of what was seen from then on.
    both = g.Split(g.Concat(ratios, g.Gather(ratios, np.arange(7)[::-1]), axis=1), count=7, axis=0, num_outputs=7)
    step = np.zeros((6, 6))
    step[:3, :3], step[3:, 3:] = moves, moves.T
    before = [g.constant(np.concatenate([first, np.ones(3)])[None])]
    after = [g.Mul(before[0], both[0])]
    for seen in both[1:]:
        before.append(g.Gemm(after[-1], step))
        after.append(g.Mul(before[-1], seen))
    expected, later = g.Concat(*before, axis=0), g.Concat(*reversed(after), axis=0)
    columns = np.arange(3)
    joint = g.Mul(g.Gather(expected, columns, axis=1), g.Gather(later, columns + 3, axis=1))
    total = g.ReduceSum(joint, np.array([1]))
    each = g.Add(g.Log(g.Gather(total, np.array([6]))), g.ReduceSum(largest))
    scores = g.Gemm(g.Reshape(relative, [1, 21]), is_on, chances[None])
    best = g.Gather(paths, g.Reshape(g.ArgMax(scores, axis=1), np.array([], np.int64)))
    return g.model(g.Reshape(each, np.array([], np.int64)), g.Div(joint, total), best)


def particle_filter() -> bytes:
    """Write a step in 11 nodes: what is drawn does not depend on the particles, and is drawn before.

    How many shares of the weights end before a place is a sum over how many end before each place the first time.
    """
    g = Graph(("uint32", 2), (12,))
    keys = [key_of(g, g.inputs[0])]
    for _ in range(11):
        keys.append(hashed(g, keys[-1], np.zeros((1, 2), int)))
    pairs = hashed(g, g.Concat(*keys, axis=0), np.tile([[0, 1], [0, 2]], (12, 1)), np.repeat(np.arange(12), 2))
    lows = np.stack([np.zeros(384, int), np.tile(np.arange(32), 12)], 1)
    noise = g.Reshape(normal(g, uniform(g, pairs, lows, np.repeat(np.arange(12) * 2, 32)), are_many=True), [12, 32])
    noise = g.Split(noise, count=12, axis=0, num_outputs=12)
    starts = uniform(g, pairs, np.zeros((12, 2), int), np.arange(12) * 2 + 1)
    # Places are 32 apart by one, and begin with what is drawn; the first one after a share's end is where that counts.
    after = scaled(g, starts, factor=-(2.0**-23), added=1.0)
    after = g.Split(after, count=12, axis=0, num_outputs=12)
    seen = g.Split(g.Reshape(g.inputs[1], [12, 1]), count=12, axis=0, num_outputs=12)
    upper = np.triu(np.ones((32, 32)))
    x: str | None = None
    means = []
    for t in range(12):
        x = noise[t] if x is None else g.Gemm(x, 0.9 * np.eye(32), noise[t])
        away = g.Sub(x, seen[t])
        shares = g.Softmax(g.Mul(g.Mul(away, away), np.float32(-0.5)), axis=1)
        first = g.Cast(g.Gemm(shares, 32 * upper, after[t]), to=7)
        ended = g.ScatterElements(np.zeros((1, 34), int), first, np.ones((1, 32), int), axis=1, reduction="add")
        counts, _ = g.Split(g.CumSum(ended, np.array(1)), np.array([32, 2]), count=2, axis=1)
        x = g.GatherElements(x, g.Min(counts, np.array(31)), axis=1)
        means.append(x)
    return g.model(g.ReduceMean(g.Concat(*means, axis=0), np.array([1]), keepdims=0))
