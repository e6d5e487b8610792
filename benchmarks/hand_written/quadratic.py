"""A model by hand of jaxopt's OSQP, which solves a quadratic program with bounds."""

from __future__ import annotations

from typing import Any

import numpy as np

from .graph import Graph

_Q = np.array([[2, 0.5], [0.5, 1]])
_BOTH = np.concatenate([np.eye(2), -np.eye(2)], axis=1)
"""What makes of x the numbers that are bounded by one."""
_SMALL = 1e-6
_LAMBDA = 0.15
"""A solve by conjugate gradients may be wrong by so much of the geometric mean of both residuals."""


def quadratic_program() -> bytes:
    """Write an iteration in 23 nodes: it carries (x, w), of which y is what w has above one, times the step size.

    Conjugate gradients on two numbers end before the first step, after it, or at the solution. Five iterations are
    unrolled between two checks. There may be 201 iterations instead of 200; 11 to 26 are done.
    """
    upper = np.array([[np.inf, np.inf, 1, 1, 1, 1]], np.float32)
    # What the matrices are, and what the step size adds to them. The rows of both are x, w, x, z, and the x that
    # conjugate gradients found last.
    slack = np.concatenate([np.zeros((2, 2)), _BOTH.T, np.zeros((2, 2)), -_BOTH.T, np.zeros((2, 2))])
    residual, added = np.zeros((14, 2)), np.zeros((14, 2))
    residual[:2], residual[12:] = _SMALL * np.eye(2), -_Q - _SMALL * np.eye(2)
    added[2:6], added[8:12], added[12:] = -_BOTH.T, 2 * _BOTH.T, -2 * np.eye(2)
    both, both_added = np.zeros((14, 8)), np.zeros((14, 8))
    both[:2, :4], both[8:12, :4], both[:2, 4:6], both_added[:, 4:6] = _BOTH, -np.eye(4), _Q, slack
    sizes, sizes_added = np.zeros((14, 12)), np.zeros((14, 12))
    sizes[:2, :2], sizes[:2, 6:8], sizes_added[:, 8:10] = np.eye(2), _Q, slack
    square = _Q + _SMALL * np.eye(2)
    fixed = [residual, square, _LAMBDA * both, sizes]
    varied = [added, 2 * np.eye(2), _LAMBDA * both_added, sizes_added]
    values, vectors = np.linalg.eigh(square)
    shift = np.concatenate([np.diag([1, 1, 1, 1, 1, 1]), np.diag([-1, -1, 0, 0, 0, 0]), np.zeros((2, 6))])
    shift[:2, :2], shift[6:8], shift[8:12, 2:] = -0.6 * np.eye(2), 0, -1.6 * np.eye(4)

    def matrices(g: Graph, rho: Any) -> list[Any]:
        """Return the matrices of a step size, and the inverse of the second one."""
        rows = [np.concatenate([x.ravel() for x in side])[None] for side in (varied, fixed)]
        pieces = g.Split(g.Gemm(rho, *rows), np.array([x.size for x in fixed]), axis=1, count=4)
        found = [g.Reshape(piece, list(x.shape)) for piece, x in zip(pieces, fixed, strict=True)]
        scaled = g.Div(vectors, g.Gemm(rho, np.full((1, 2), 2.0), values[None]))
        return [*found, g.Gemm(scaled, vectors, transB=1)]

    def stacked(g: Graph, state: Any, last: Any) -> Any:
        return g.Concat(state, g.Min(state, upper), last, axis=1)

    def residuals(g: Graph, row: Any, known: Any) -> Any:
        """Return the largest residual of both kinds, times lambda."""
        return g.ReduceMax(g.Abs(g.Reshape(g.Gemm(row, known[2], linear_of_both), [2, 4])), np.array([1]))

    def iteration(g: Graph, known: Any, row: Any, last: Any, worst: Any) -> Any:
        """Return what the next iteration takes: the row that is stacked, the state, the last x and the residuals."""
        left = g.Gemm(row, known[0], minus_linear)
        turned = g.Gemm(left, known[1])
        length = g.Div(g.Gemm(left, left, transB=1), g.Gemm(left, turned, transB=1))
        lefts = g.Concat(left, g.Gemm(length, turned, left, alpha=-1.0), np.zeros((1, 2)), axis=0)
        squares = g.ReduceSumSquare(lefts, np.array([1]), keepdims=0)
        is_enough = g.LessOrEqual(squares, g.ReduceProd(worst, np.array([0]), keepdims=0))
        chosen = g.Gather(lefts, g.ArgMax(g.Cast(is_enough, to=1), axis=0))
        last = g.Gemm(g.Sub(left, chosen), known[4], last)
        state = g.Gemm(last, 1.6 * np.concatenate([np.eye(2), _BOTH], axis=1), g.Gemm(row, shift))
        row = stacked(g, state, last)
        return row, state, last, residuals(g, row, known)

    def is_far(g: Graph, worst: Any) -> Any:
        return g.Greater(g.ReduceMax(worst, keepdims=0), np.float32(_LAMBDA * 1e-3))

    def five(g: Graph, known: Any, *carried: Any) -> Any:
        row, state, last, worst = carried
        for _ in range(5):
            row, state, last, worst = iteration(g, known, row, last, worst)
        return is_far(g, worst), row, state, last, worst

    def updated(g: Graph, rho: Any, known: Any, *carried: Any) -> tuple[Any, Any]:
        """Return a new step size, and the state for it, whose y is the same."""
        row, state, _, worst = carried
        ends = g.ReduceMax(g.Abs(g.Reshape(g.Gemm(row, known[3], linear_of_sizes), [2, 6])), np.array([1]))
        primal, dual = g.Split(g.Div(worst, ends), count=2, axis=0, num_outputs=2)
        factor = g.Sqrt(g.Div(primal, g.Add(dual, np.float32(_LAMBDA * np.finfo(np.float32).eps))))
        new = g.Clip(g.Mul(rho, factor), np.float32(1e-6), np.float32(1e6))
        least = g.Min(state, upper)
        return new, g.Add(least, g.Mul(g.Sub(state, least), g.Div(rho, new)))

    def ten(g: Graph, rho: Any, state: Any, last: Any, worst: Any) -> Any:
        known = matrices(g, rho)
        another, *carried = five(g, known, stacked(g, state, last), state, last, worst)
        again = g.Cast(another, to=7)
        row, state, last, worst = g.loop(again, lambda inner, *x: five(inner, known, *x), *carried)
        rho, state = updated(g, rho, known, row, state, last, worst)
        return is_far(g, worst), rho, state, last, worst

    g = Graph((2,))
    linear = g.Reshape(g.inputs[0], [1, 2])
    minus_linear = g.Neg(linear)
    linear_of_both = g.Mul(g.Concat(np.zeros((1, 4)), linear, np.zeros((1, 2)), axis=1), np.float32(_LAMBDA))
    linear_of_sizes = g.Concat(np.zeros((1, 10)), linear, axis=1)
    rho = np.full((1, 1), 0.1)
    known = matrices(g, rho)
    row, state, last, worst = iteration(g, known, np.zeros((1, 14)), np.zeros((1, 2)), np.zeros((2, 1)))
    rho, state = updated(g, rho, known, row, state, last, worst)
    _, state, *_ = g.loop(20, ten, rho, state, last, worst, first=is_far(g, worst))
    return g.model(g.Reshape(g.Gather(state, np.array([0, 1]), axis=1), [2]))
