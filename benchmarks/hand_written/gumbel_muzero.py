"""A model by hand of mctx's Gumbel MuZero: six simulations of three actions, for a batch of two."""

from __future__ import annotations

from typing import Any

import numpy as np

from .graph import Array, Graph
from .hashes import counts_of, hashed, key_of, scaled, uniform

_FAR_BELOW = -1e9
_EACH = np.eye(3)


def _model() -> tuple[Array, Array]:
    """Return what makes states of a state, four numbers for each action, and what makes the logits of actions."""
    rng = np.random.default_rng(0)
    moves, prior = (np.asarray(rng.standard_normal(shape), np.float32) for shape in ((3, 4, 4), (4, 3)))
    return (np.float32(0.5) * moves).transpose(1, 0, 2).reshape(4, 12), prior


def gumbel_muzero() -> bytes:
    """Write no loop: which nodes are visited is known but for choices, and states three actions ahead are all computed.

    The first three simulations visit each action of the root once, the fourth and the fifth the best two, below which
    they add the most likely action; the last one goes to the better of the two, where a child is visited once.
    """
    moves, prior = _model()
    g = Graph(("uint32", 2), (2, 4))
    embedding = g.inputs[1]
    keys = hashed(g, key_of(g, g.inputs[0]), np.array([[0, 1]]))
    chance = g.Max(scaled(g, uniform(g, keys, counts_of(6))), np.full((1, 1), np.finfo(np.float32).tiny))
    gumbel = g.Neg(g.Log(g.Neg(g.Log(g.Reshape(chance, [2, 3])))))
    logits = g.Gemm(embedding, prior)
    known = g.Add(gumbel, logits)

    def ahead(state: Any, rows: int) -> Any:
        return g.Reshape(g.Tanh(g.Gemm(state, moves)), [3 * rows, 4])

    def mixed(state: Any, reward: float, value: float, *more: Any, share: float = 1.0) -> Any:
        """Return a sum of the reward, the value and something more."""
        return g.Gemm(state, np.array([[reward], [value], [0.0], [0.0]]), *more, beta=share)

    first = ahead(embedding, 2)
    second = ahead(first, 6)
    third = ahead(second, 18)
    gain_third, gain_second = g.Reshape(mixed(third, 1, 0.9), [18, 3]), g.Reshape(mixed(second, 1, 0.9), [6, 3])
    likely = g.ArgMax(g.Gemm(second, prior), axis=1, keepdims=1)
    gain_later = g.Reshape(mixed(second, 1, 0, g.GatherElements(gain_third, likely, axis=1), share=0.9), [6, 3])

    # The child of each action of the root that is visited, and the state's value with it.
    priors = g.Gemm(first, prior)
    is_child = g.Hardmax(priors, axis=1)
    gain = g.ReduceSum(g.Mul(is_child, gain_second), np.array([1]))
    value = mixed(first, 0, 0.5, gain, share=0.5)
    # Which action the last simulation takes there, and what it gains: below the child it goes one further.
    better = g.Mul(is_child, g.Sign(g.Sub(gain, value)))
    chances = g.Softmax(g.Gemm(better, 5.1 * _EACH, priors), axis=1)
    action = g.Hardmax(g.Gemm(is_child, -0.5 * _EACH, chances), axis=1)
    gains = g.Add(gain_second, g.Mul(is_child, g.Sub(gain_later, gain_second)))
    last_gain = g.ReduceSum(g.Mul(action, gains), np.array([1]))

    # Values of the root's actions after one visit, after two and after three.
    once = g.Reshape(mixed(first, 1, 0.9), [2, 3])
    twice = g.Reshape(mixed(first, 1, 0.45, gain, share=0.45), [2, 3])
    thrice = g.Reshape(mixed(first, 1, 0.3, g.Add(gain, last_gain), share=0.3), [2, 3])
    apart = np.stack([_EACH[i] - _EACH[j] for i in range(3) for j in range(3)], 1)

    def ranked(values: Any, factor: float, added: Any) -> Any:
        """Return values over the distance of the largest from the smallest, times a factor, and something more."""
        largest = g.ReduceMax(g.Gemm(values, apart), np.array([1]))
        return g.Gemm(g.Div(values, largest), factor * _EACH, added)

    one = g.Hardmax(ranked(once, 5.1, known), axis=1)
    gained = g.Sub(twice, once)
    values = g.Add(once, g.Mul(one, gained))
    two = g.Hardmax(g.Gemm(one, _FAR_BELOW * _EACH, ranked(values, 5.2, known)), axis=1)
    values = g.Add(values, g.Mul(two, gained))
    both = g.Add(one, two)
    best = g.Hardmax(g.Gemm(g.Sub(np.float32(1), both), _FAR_BELOW * _EACH, ranked(values, 5.2, known)), axis=1)
    values = g.Add(values, g.Mul(best, g.Sub(thrice, twice)))
    weights = g.Softmax(ranked(values, 5.3, logits), axis=1)
    return g.model(g.ArgMax(best, axis=1, keepdims=0), weights)
