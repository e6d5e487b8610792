"""Models by hand of solvers and transport."""

from __future__ import annotations

from typing import Any

import numpy as np

from .graph import ALWAYS, Graph


def sinkhorn() -> bytes:
    """Write each iteration in 4 nodes, with exponentials in place of logarithms, which may overflow."""
    g = Graph((8, 2), (9, 2))
    x, y = g.inputs
    apart = g.ReduceSumSquare(g.Sub(g.Reshape(x, [8, 1, 2]), y), np.array([2]), keepdims=0)
    kernel = g.Exp(g.Mul(apart, np.float32(-2)))
    u: Any = None
    v: Any = np.ones((1, 9))
    for _ in range(40):
        u = g.Reciprocal(g.Gemm(v, kernel, transB=1, alpha=1 / 9))
        v = g.Reciprocal(g.Gemm(u, kernel, alpha=1 / 8))
    return g.model(g.Reshape(g.Log(u), [8]), g.Reshape(g.Log(v), [9]))


def entropic_distance() -> bytes:
    """Write an iteration in 4 nodes, with exponentials; rows of a plan sum to what they shall, after an iteration."""
    g = Graph((6, 2), (5, 2))
    x, y = g.inputs
    apart = g.ReduceSumSquare(g.Sub(g.Reshape(x, [6, 1, 2]), y), np.array([2]), keepdims=0)
    kernel = g.Exp(g.Mul(apart, np.float32(-2)))

    def iterated(g: Graph, u: Any) -> tuple[Any, Any]:
        v: Any = None
        for _ in range(10):
            v = g.Reciprocal(g.Gemm(u, kernel, alpha=5.0))
            u = g.Reciprocal(g.Gemm(v, kernel, transB=1, alpha=6.0))
        return u, v

    def again(g: Graph, u: Any, _v: Any) -> tuple[Any, ...]:
        return ALWAYS, *iterated(g, u)

    u, v = iterated(g, np.ones((1, 6)))
    error = g.ReduceL1(g.Sub(g.Mul(g.Gemm(u, kernel), v), np.float32(1 / 5)), keepdims=0)
    u, v = g.loop(1, again, u, v, first=g.GreaterOrEqual(error, np.float32(1e-3)))
    logs = g.Log(g.Concat(u, v, axis=1))
    weights = np.repeat([0.5 / 6, 0.5 / 5], [6, 5])[:, None]
    distance = g.Gemm(logs, weights, np.full((1, 1), 0.5 * np.log(30)))
    drawn = g.MatMul(kernel, g.Mul(g.Reshape(v, [5, 1]), y))
    towards = g.Mul(g.Mul(g.Reshape(u, [6, 1]), drawn), np.float32(-2))
    return g.model(g.Reshape(distance, np.array([], np.int64)), g.Gemm(np.eye(6) / 3, x, towards))
