"""Models by hand of filters and chains of states."""

from __future__ import annotations

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
    """Write no loop: matrices of maxima and sums are paired three times, and 5 steps over 8 times are left.

    Then the scores between are made, of paths from the first time and from the last: a best path goes through the
    state of whose two scores the sum is largest.
    """
    g = Graph((40, 6), (6, 6))
    emissions, transitions = g.inputs
    nothing = np.where(np.eye(6), 0, -1e30)[None]
    moves = g.Concat(g.Add(g.Gather(emissions, np.arange(1, 40)[:, None]), transitions), nothing, axis=0)
    halves = []
    for count in (20, 10, 5):
        one, two = g.Split(g.Reshape(moves, [count, 2, 6, 6]), count=2, axis=1, num_outputs=2)
        one, two = (g.Reshape(half, [count, 6, 6]) for half in (one, two))
        halves.append((count, one, two))
        sums = g.Add(g.Reshape(one, [count, 6, 6, 1]), g.Reshape(two, [count, 1, 6, 6]))
        moves = g.ReduceMax(sums, np.array([2]), keepdims=0)
    steps = g.Split(moves, count=5, axis=0, num_outputs=5)
    scores, rest = [g.Gather(emissions, np.zeros((1, 1), np.int64))], [np.zeros((1, 1, 6), np.float32)]
    for step, back in zip(steps, reversed(steps), strict=True):
        column = g.Reshape(scores[-1], [1, 6, 1])
        scores.append(g.ReduceMax(g.Add(column, step), np.array([1]), keepdims=1))
        rest.insert(0, g.Reshape(g.ReduceMax(g.Add(rest[0], back), np.array([2]), keepdims=0), [1, 1, 6]))
    before, after = g.Concat(*scores[:5], axis=0), g.Concat(*rest[1:], axis=0)
    for count, one, two in reversed(halves):
        middle = g.ReduceMax(g.Add(g.Reshape(before, [count, 6, 1]), one), np.array([1]), keepdims=1)
        ahead = g.ReduceMax(g.Add(after, two), np.array([2]), keepdims=0)
        before = g.Reshape(g.Concat(before, middle, axis=1), [2 * count, 1, 6])
        after = g.Reshape(g.Concat(g.Reshape(ahead, [count, 1, 6]), after, axis=1), [2 * count, 1, 6])
    through = g.Add(before, g.Gather(g.Concat(rest[0], after, axis=0), np.arange(40)))
    path = g.ArgMax(through, axis=2, keepdims=0)
    return g.model(g.Reshape(g.Gather(path, np.arange(39)), [39]), g.ReduceMax(scores[-1], keepdims=0))


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
