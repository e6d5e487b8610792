"""A model by hand of diffrax's Kvaerno3 with adaptive steps, on a chemical system of three rates."""

from __future__ import annotations

from typing import Any

import numpy as np

from .graph import Array, Graph

_G = 0.4358665215
_A31, _A32 = (-4 * _G**2 + 6 * _G - 1) / (4 * _G), (-2 * _G + 1) / (4 * _G)
_A41, _A42 = (6 * _G - 1) / (12 * _G), -1 / ((24 * _G - 12) * _G)
_A43 = (-6 * _G**2 + 6 * _G - 1) / (6 * _G - 3)
_STAGES = [
    ([_G], [1.0]),
    ([_A31, _A32], [1 - 1 / (2 * _G), 1 / (2 * _G)]),
    ([_A41, _A42, _A43], [_A31, _A32, _G]),
]
"""Of each stage the weights of slopes before it: in its start, and in the first guess of its slope."""
_RELATIVE, _ABSOLUTE = 1e-3, 1e-5
_ROOT = 3**0.5
_WIDE = np.eye(3, 6)[:, [0, 1, 1, 5, 2, 1]]
"""What makes (y0, y1, y1, 0, y2, y1) of y: the products of its halves are what slopes are sums of."""


def _of_rates(g: Graph, rates: Any, shape: tuple[int, int], factors: dict[tuple[int, int], Array]) -> Any:
    """Return a matrix whose elements are multiples of rates."""
    matrix = np.zeros((3, *shape))
    for (row, column), multiples in factors.items():
        matrix[:, row, column] = multiples
    return g.Reshape(g.Gemm(rates, matrix.reshape(3, -1)), list(shape))


def stiff_system() -> bytes:
    """Write a step in 120 nodes: each of three stages takes two Newton steps, and more where they are not enough.

    The sum of slopes is zero, and a matrix of two rows is what is inverted. Up to 128 steps are done: 4 to 19 are.
    """
    a, b, c = np.eye(3)
    inverse = np.zeros((4, 3, 3))
    for place, (row, column) in enumerate([(0, 0), (0, 2), (2, 0), (2, 2)]):
        inverse[place, row, column], inverse[place, row, 1] = 1, -1
    starts = [np.kron(np.array(weights)[:, None], _WIDE) for weights, _ in _STAGES]
    guesses = [np.kron(np.array(weights)[:, None], np.eye(3)) for _, weights in _STAGES]
    ends = np.kron(np.array([*_STAGES[2][0], _G])[:, None], _WIDE)
    errors = np.kron(np.array([_A41 - _A31, _A42 - _A32, _A43 - _G, _G])[:, None], np.eye(3))
    per_size = _RELATIVE * np.eye(6, 3)[[0, 1, 3, 4, 2, 5]]

    g = Graph((3,))
    rates = g.Reshape(g.inputs[0], [1, 3])
    minus = _of_rates(g, rates, (3, 3), {(0, 0): a, (0, 1): -a, (1, 0): -c, (1, 1): c, (2, 1): b, (2, 2): -b})
    slopes_of_slopes = _of_rates(
        g, rates, (6, 4), {(1, 0): 2 * b, (1, 1): -2 * b, (1, 2): c, (4, 2): -c, (3, 3): a, (4, 3): c}
    )

    def residual(g: Graph, at: Any, slope: Any) -> Any:
        return g.Gemm(g.Mul(*g.Split(at, count=2, axis=1, num_outputs=2)), minus, slope)

    def newton(g: Graph, left: Any, slope: Any, inverted: Any) -> tuple[Any, Any]:
        """Return a better slope, and how far it is from the one before, times the root of three."""
        change = g.Gemm(left, inverted)
        slope = g.Sub(slope, change)
        scale = g.Gemm(g.Abs(slope), _RELATIVE * np.eye(3), np.full((1, 3), _ABSOLUTE))
        return slope, g.ReduceL2(g.Div(change, scale), np.array([1]))

    def excess(g: Graph, first: Any, second: Any) -> Any:
        """Return what is below zero where two changes in turn say that a slope is right."""
        tolerance = 0.01 * _ROOT
        square = g.Mul(second, g.Add(second, np.float32(tolerance)))
        return g.Min(g.Sub(square, g.Mul(first, np.float32(tolerance))), g.Sub(second, np.float32(1e-4 * _ROOT)))

    def stage(g: Graph, state: Any, before: list[Any], parts: Any) -> tuple[Any, Any]:
        """Return the start of a stage and a first guess of its slope."""
        known = g.Concat(*before, axis=1) if len(before) > 1 else before[0]
        start = g.Gemm(known, parts[len(before) - 1], state)
        return start, g.Gemm(known, guesses[len(before) - 1]) if len(before) > 1 else known

    def carefully(g: Graph, state: Any, first: Any, parts: Any, inverted: Any) -> Any:
        """Do the three stages with as many Newton steps as needed; return slopes, and infinity if that fails."""
        found, wrong = [first], np.zeros((1, 1), np.float32)
        for _ in range(3):
            start, slope = stage(g, state, found, parts)

            def again(g: Graph, slope: Any, last: Any, _wrong: Any, start: Any = start) -> Any:
                at = g.Gemm(slope, parts[0], start)
                slope, change = newton(g, residual(g, at, slope), slope, inverted)
                is_right = g.Less(excess(g, last, change), np.float32(0))
                goes_on = g.And(g.Not(is_right), g.LessOrEqual(change, g.Mul(last, np.float32(2))))
                return goes_on, slope, change, g.Where(is_right, np.float32(0), np.float32(np.inf))

            at = g.Gemm(slope, parts[0], start)
            slope, change = newton(g, residual(g, at, slope), slope, inverted)
            slope, _, failed = g.loop(9, again, slope, change, np.full((1, 1), np.inf, np.float32))
            found.append(slope)
            wrong = g.Max(wrong, failed)
        return np.ones((), bool), *found[1:], wrong

    def step(g: Graph, left: Any, size: Any, state: Any, first: Any) -> Any:
        parts = [g.Mul(part, size) for part in starts]
        found, changes = [first], []
        inverted = None
        for _ in range(3):
            start, slope = stage(g, state, found, parts)
            at = g.Gemm(slope, parts[0], start)
            if inverted is None:
                scaled = g.Mul(slopes_of_slopes, g.Mul(size, np.float32(_G)))
                minors = g.Gemm(at, scaled, np.array([[1.0, 0, 0, 1]]))
                product = g.Mul(minors, g.Gather(minors, [3, 2, 1, 0], axis=1))
                determinant = g.Gemm(product, np.array([[0.5], [-0.5], [-0.5], [0.5]]))
                inverted = g.Div(g.Reshape(g.Gemm(minors, inverse.reshape(4, 9)), [3, 3]), determinant)
            slope, change = newton(g, residual(g, at, slope), slope, inverted)
            at = g.Gemm(slope, parts[0], start)
            slope, second = newton(g, residual(g, at, slope), slope, inverted)
            found.append(slope)
            changes.append((change, second))
        ones, others = (g.Concat(*side, axis=1) for side in zip(*changes, strict=True))
        is_right = g.Less(g.ReduceMax(excess(g, ones, others), keepdims=0), np.float32(0))

        def slowly(g: Graph, *_: Any) -> Any:
            return carefully(g, state, first, parts, inverted)

        *later, wrong = g.loop(g.Cast(g.Not(is_right), to=7), slowly, *found[1:], np.zeros((1, 1), np.float32))
        known = g.Concat(first, *later, axis=1)
        end = g.Gemm(known, g.Mul(ends, size), state)
        scale = g.Gemm(g.Max(g.Abs(state), g.Abs(end)), per_size, np.full((1, 3), _ABSOLUTE))
        relative = g.Mul(g.ReduceL2(g.Div(g.Gemm(known, errors), scale), np.array([1])), size)
        error = g.Add(relative, wrong)
        is_kept = g.Less(error, np.float32(_ROOT))
        share = g.Cast(is_kept, to=1)
        # A step that is kept is not made smaller; one that is not is made smaller, as its error says.
        factor = g.Mul(g.Pow(error, np.float32(-1 / 3)), np.float32(0.9 * _ROOT ** (1 / 3)))
        factor = g.Max(g.Clip(factor, np.float32(0.2), np.float32(10)), share)
        left = g.Sub(left, g.Mul(share, size))
        size = g.Min(g.Mul(size, factor), left)
        is_far = g.Greater(g.ReduceMax(left, keepdims=0), np.float32(0))
        return is_far, left, size, g.Where(is_kept, end, state), g.Where(is_kept, later[2], first)

    state = np.array([[1.0, 0, 0, 1, 0, 0]])
    first = g.Neg(g.Gemm(np.array([[1.0, 0, 0]]), minus))
    _, _, state, _ = g.loop(128, step, np.full((1, 1), 2.0), np.full((1, 1), 0.01), state, first)
    return g.model(g.Gather(state, np.array([0, 1, 4]), axis=1))
