"""Models by hand of solvers and transport."""

from __future__ import annotations

from typing import Any

import numpy as np

from .graph import Graph


def sinkhorn() -> bytes:
    """Write each iteration in 4 nodes, with exponentials in place of logarithms, which may overflow."""
    g = Graph((8, 2), (9, 2))
    x, y = g.inputs
    apart = g.ReduceSumSquare(g.Sub(g.Reshape(x, [8, 1, 2]), y), np.array([2]), keepdims=0)
    kernel = g.Exp(g.Mul(apart, np.float32(-2)))
    rows, columns = g.Mul(kernel, np.float32(1 / 9)), g.Mul(kernel, np.float32(1 / 8))
    u: Any = None
    v: Any = np.ones(9, np.float32)
    for _ in range(40):
        u = g.Reciprocal(g.MatMul(rows, v))
        v = g.Reciprocal(g.MatMul(u, columns))
    return g.model(g.Log(u), g.Log(v))
