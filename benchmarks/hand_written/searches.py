"""Models by hand of searches and games."""

from __future__ import annotations

from typing import Any

import numpy as np

from .graph import Graph


def tree_search() -> bytes:
    """Write a simulation in 18 nodes: visits and totals are products with a matrix of which nodes are above which.

    A descent follows a table of next nodes, in which a leaf is its own, four times. What is no child has no visits.
    """
    g = Graph((17, 3), (17,))
    prior, value = g.inputs
    is_new = np.eye(17)[0] == 0
    numerators = g.Concat(np.zeros((1, 17)), g.Mul(g.Reshape(value, [1, 17]), is_new.astype(np.float32)), axis=0)
    factors = g.Concat(g.Reshape(prior, [1, 17, 3]), np.ones((1, 17, 3)), axis=0)
    above: Any = np.eye(17, 18)
    children: Any = np.full((17, 3), -1)
    following: Any = np.repeat(np.arange(17)[:, None], 3, axis=1)
    one, few = np.array([[1.0], [0.0]]), np.array([[1.0], [1e-30]])
    parents = []
    for n in range(16):
        # Of each node 1 / (1 + visits) and the mean of values; none are above the last column.
        over = g.Gemm(np.stack([is_new, is_new]).astype(np.float32), above, few)
        each = g.Div(g.Gemm(numerators, above, one), over)
        scores = g.ReduceSum(g.Mul(g.Gather(each, children, axis=1), factors), np.array([0]), keepdims=0)
        best = g.ArgMax(scores, axis=1, keepdims=1)
        following_best = g.GatherElements(following, best, axis=1)
        path: list[Any] = [np.zeros((1, 1), np.int64)]
        for _ in range(min(n, 4)):
            path.append(g.GatherND(following_best, path[-1]))
        parents.append(path[-1])
        place = g.Concat(path[-1], g.GatherND(best, path[:4][-1]), axis=1)
        children = g.ScatterND(children, place, np.array([n + 1]))
        following = g.ScatterND(following, place, np.array([n + 1]))
        above = g.ScatterND(above, np.array([[n + 1]]), g.GatherND(above, path[-1]), reduction="add")
    # A value is backed up over 5 nodes, and does not reach the root from a sixth.
    above = g.Gather(above, np.arange(17), axis=1)
    too_many = g.Relu(g.Sub(g.ReduceSum(above, np.array([1])), np.float32(5)))
    backed = g.Sub(above, g.Mul(too_many, np.eye(1, 17)))
    visits = g.MatMul(is_new.astype(np.float32), backed)
    totals = g.Reshape(g.MatMul(g.Gather(numerators, np.array([1])), backed), [17])
    parent = g.Reshape(g.Concat(np.full((1, 1), -1), *parents, axis=0), [17])
    return g.model(children, parent, visits, totals)


def beam_search() -> bytes:
    """Write a step in 4 nodes: rows are read by where a score stands among all 48, and words are traced at the end."""
    g = Graph((12, 12))
    chances = g.LogSoftmax(g.inputs[0], axis=1)
    rows = g.Concat(*[chances] * 4, axis=0)
    total = g.Add(g.Gather(chances, np.array([0])), np.array([[0.0], [-9.0], [-9.0], [-9.0]]))
    found, scores = [], []
    for t in range(10):
        if t:
            total = g.Add(g.GatherND(rows, found[-1]), scores[-1])
        score, place = g.TopK(g.Reshape(total, [48, 1]), np.array([4]), axis=0, count=2)
        found.append(place)
        scores.append(score)
    # A place among 48 has a beam of the step before; the places of steps before stand behind each other.
    before = g.Add(g.Concat(*found[:9], axis=0), np.repeat(48 * np.arange(-1, 8), 4)[:, None])
    before = g.Gather(before, np.repeat(np.arange(36), 12))
    at = g.Add(found[9], np.array(8 * 48))
    path = [at]
    for _ in range(9):
        path.insert(0, at := g.GatherND(before, at))
    words = g.Mod(g.Concat(np.zeros((4, 1), np.int64), *path, axis=1), np.array(12))
    firsts = g.Gather(g.Concat(*scores, axis=1), np.array(0))
    return g.model(words, g.Reshape(scores[-1], [4]), firsts)
