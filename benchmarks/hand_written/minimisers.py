"""Models by hand of programs that find a minimum."""

from __future__ import annotations

from typing import Any

import numpy as np

from .graph import Graph

_EPSILON = np.finfo(np.float32).eps


def minimum_by_bfgs() -> bytes:
    """Write a step that is accepted in 33 nodes: all that may be tried are at once, the longest good one is taken.

    That no more than 128 steps are tried is left out: 20 are.
    """
    ten = 10**0.5
    tried = 0.5 ** np.arange(40.0)[:, None]

    def values(g: Graph, y: Any) -> tuple[Any, Any]:
        """Return residuals, ``(sqrt(10) * (y1 - y0**2), 1 - y0)``, and the sums of their squares."""
        linear = g.Gemm(y, np.array([[0, -1], [ten, 0]]), np.array([[0.0, 1.0]]))
        residuals = g.Gemm(g.Mul(y, y), np.array([[-ten, 0.0], [0.0, 0.0]]), linear)
        return residuals, g.ReduceSumSquare(residuals, np.array([1]))

    def slope(g: Graph, y: Any, residuals: Any) -> Any:
        product = g.Mul(y, residuals)
        return g.Gemm(product, np.diag([-4 * ten, 0]), g.Gemm(residuals, np.array([[0, 2 * ten], [-2, 0]])))

    def step(g: Graph, y: Any, value: Any, gradient: Any, inverse: Any) -> Any:
        direction = g.Gemm(gradient, inverse)
        ys = g.Gemm(tried, direction, y, alpha=-1.0)
        residuals, found = values(g, ys)
        fall = g.Gemm(gradient, direction, transB=1)
        is_good = g.LessOrEqual(g.Gemm(tried, fall, found, alpha=0.1), value)
        first = g.ArgMax(g.Cast(is_good, to=1), axis=0, keepdims=0)
        new, new_value = g.Gather(ys, first), g.Gather(found, first)
        new_gradient = slope(g, new, g.Gather(residuals, first))
        moved, turned = g.Sub(new, y), g.Sub(new_gradient, gradient)
        inner = g.Gemm(turned, moved, transB=1)
        part = g.Where(g.Greater(inner, _EPSILON), g.Div(moved, inner), np.float32(0))
        factor = g.Gemm(turned, part, np.eye(2), transA=1, alpha=-1.0)
        product = g.Gemm(factor, g.Gemm(inverse, factor), transA=1)
        # Whether a coordinate or the value moved by more than 1e-4, and 1e-4 of what it is now.
        sizes = g.Abs(g.Concat(moved, new, value, new_value, axis=1))
        signs = np.zeros((6, 3))
        signs[np.arange(6), [0, 1, 0, 1, 2, 2]] = [1, 1, -1e-4, -1e-4, 1, -1 - 1e-4]
        excess = g.ReduceMax(g.Gemm(sizes, signs, np.full((1, 3), -1e-4)), keepdims=0)
        is_far = g.GreaterOrEqual(excess, np.float32(0))
        return is_far, new, new_value, new_gradient, g.Gemm(moved, part, product, transA=1)

    g = Graph((2,))
    y = g.Reshape(g.inputs[0], [1, 2])
    residuals, value = values(g, y)
    y, *_ = g.loop(127, step, y, value, slope(g, y, residuals), np.eye(2))
    return g.model(g.Reshape(y, [2]))


def curve_by_levenberg_marquardt() -> bytes:
    """Write a trial in 39 nodes: the solve is Cramer's rule, of which the products are two Gemm and a Mul.

    Parameters are (a, c, 1) of ``a * exp(c * t)``. Rows are the slopes by both and the residuals; ``moments`` are their
    products with each other. The fall that is predicted is below zero, as its formula says.
    """
    times = np.linspace(0, 2, 9)
    one, none = np.ones(9), np.zeros(9)
    exponents = np.stack([none, times, none])
    factors = np.stack([np.concatenate([none, times, one]), np.zeros(27), np.concatenate([one, none, none])])
    # Of (m00 m01 m02 m10 m11 m12 m20 m21 m22 damping), the factors of both products of two numerators and of the
    # determinant.
    left, right = np.zeros((10, 6)), np.zeros((10, 6))
    for column, (one_side, other_side) in enumerate(
        [((4, 9), (2,)), ((1,), (5,)), ((0, 9), (5,)), ((1,), (2,)), ((0, 9), (4, 9)), ((1,), (1,))]
    ):
        left[list(one_side), column], right[list(other_side), column] = 1, 1
    numerators, determinants = np.zeros((6, 3)), np.zeros((6, 3))
    numerators[:2, 0], numerators[2:4, 1] = [-1, 1], [-1, 1]
    numerators[4:, 2] = [1, -1]
    determinants[4:] = [[1], [-1]]
    # Of (move, 1, residuals' change, new parameters, 1, new residuals): what may be larger than it shall be at the end.
    excess = np.zeros((24, 11))
    places = [0, 1, *range(3, 12)], [12, 13, *range(15, 24)]
    excess[places[0], np.arange(11)], excess[places[1], np.arange(11)] = 1, -1e-5
    # Of sums of squares, new, old and predicted: whether to take a step, and whether to take longer ones.
    tests = np.array([[1, 1], [-0.99, -0.01], [-0.01, -0.99]])

    def rows(g: Graph, parameters: Any) -> Any:
        factor = g.Reshape(g.Gemm(parameters, factors), [3, 9])
        return g.Sub(g.Mul(factor, g.Exp(g.Gemm(parameters, exponents))), observed)

    def trial(g: Graph, parameters: Any, old: Any, damping: Any) -> Any:
        moments = g.Gemm(old, old, transB=1)
        known = g.Concat(g.Reshape(moments, [1, 9]), damping, axis=1)
        products = g.Mul(g.Gemm(known, left), g.Gemm(known, right))
        move = g.Div(g.Gemm(products, numerators), g.Gemm(products, determinants))
        tried = g.Gemm(move, np.diag([1.0, 1, 0]), parameters)
        new = rows(g, tried)
        before, after = g.Gather(old, [2]), g.Gather(new, [2])
        predicted = g.Gemm(g.Gemm(move, moments), move, transB=1)
        squares = [g.Gemm(after, after, transB=1), g.Gemm(before, before, transB=1), predicted]
        is_good = g.LessOrEqual(g.Gemm(g.Concat(*squares, axis=1), tests), np.float32(0))
        factor = g.Gemm(g.Cast(is_good, to=1), np.array([[-3], [1 / 3.5 - 1]]), np.array([[4.0]]))
        is_taken = g.Gather(is_good, [0], axis=1)
        sizes = g.Abs(g.Concat(move, g.Sub(after, before), tried, after, axis=1))
        largest = g.ReduceMax(g.Gemm(sizes, excess, np.full((1, 11), -1e-5)), keepdims=1)
        is_far = g.Or(g.GreaterOrEqual(largest, np.float32(0)), g.Not(is_taken))
        kept = g.Where(is_taken, tried, parameters), g.Where(is_taken, new, old)
        return is_far, *kept, g.Mul(damping, factor)

    g = Graph((9,))
    observed = g.Concat(np.zeros((2, 9)), g.Reshape(g.inputs[0], [1, 9]), axis=0)
    start = np.array([[1.0, -1.0, 1.0]])
    parameters, *_ = g.loop(63, trial, start, rows(g, start), np.ones((1, 1)))
    return g.model(g.Reshape(g.MatMul(parameters, np.array([[1, 0], [0, -1], [0, 0]], np.float32)), [2]))
