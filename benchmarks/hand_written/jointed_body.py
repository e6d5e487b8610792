"""A model by hand of mjx's steps of two links that hang from a hinge, and touch a floor."""

from __future__ import annotations

import numpy as np

from .graph import Array, Graph

_SINES = ("one", "both", "two", "cos one", "cos both", "cos two")
"""Of what there are sines: the first angle, the sum of both, the second; and cosines."""
_SIZE, _LENGTH, _REACH, _RADIUS, _DEPTH = 0.01, 0.6, 0.55, 0.08, 1.2
_DAMPING, _FACTORS = 0.1, np.array([1.0, 1, 2])
"""The damping of both hinges, and how often each of three rows is: two edges of a pyramid, and two that are one."""
_STIFF, _DAMPED = 1 / (0.95 * 0.02) ** 2, 2 / (0.95 * 0.02)
"""What mjx makes of ``solref``."""
_SETS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1]])
"""Which rows may push at once."""


def _columns(names: tuple[str, ...], *columns: dict[str, float]) -> Array:
    """Return a matrix whose columns have these elements, by the names of rows."""
    matrix = np.zeros((len(names), len(columns)))
    for place, column in enumerate(columns):
        for name, value in column.items():
            matrix[names.index(name), place] = value
    return matrix


def _picked(count: int, *places: int) -> Array:
    return np.eye(count)[:, list(places)]


class _Body:
    """The constants of both links: masses, and what inertia and gravity make of angles."""

    def __init__(self) -> None:
        import mujoco
        from dynamics import PENDULUM

        model = mujoco.MjModel.from_xml_string(PENDULUM)
        one, two = model.body_mass[1:]
        turn_one, turn_two = model.body_inertia[1:, 1]
        self.upper = turn_one + one * 0.3**2 + turn_two + two * (_LENGTH**2 + _REACH**2)
        self.mixed, self.lower = two * _LENGTH * _REACH, turn_two + two * _REACH**2
        self.weights = 9.81 * (one * 0.3 + two * _LENGTH), 9.81 * two * _REACH
        self.share = 1 / (4 * model.body_invweight0[2, 0])


def jointed_body() -> bytes:
    """Write a step in 66 nodes: which rows of the contact push is one of six sets, for each of which is a solution.

    Everything moves in a plane, and the solution is that whose rows push and no other.
    """
    body = _Body()
    g = Graph((2,), (1,))
    angles, torque = (g.Reshape(x, [1, count]) for x, count in zip(g.inputs, (2, 1), strict=True))
    speeds: str | None = None
    for _ in range(2):
        change = _acceleration(g, body, angles, speeds, torque)
        speeds = g.Mul(change, np.full((1, 1), _SIZE)) if speeds is None else g.Gemm(change, _SIZE * np.eye(2), speeds)
        angles = g.Gemm(speeds, _SIZE * np.eye(2), angles)
    return g.model(g.Reshape(angles, [2]), g.Reshape(speeds, [2]))


def _acceleration(g: Graph, body: _Body, angles: str, speeds: str | None, torque: str) -> str:
    arguments = np.array([[1.0, 1, 0, 1, 1, 0], [0, 1, 1, 0, 1, 1]])
    sines = g.Sin(g.Gemm(angles, arguments, np.repeat([[0, np.pi / 2]], 3, axis=1)))
    force = _force(g, body, sines, speeds, torque)
    inertia = _columns(_SINES, {"cos two": 2 * body.mixed}, {"cos two": body.mixed}, {})
    system = g.Concat(g.Gemm(sines, inertia, np.array([[body.upper, body.lower, body.lower]])), force, axis=1)

    # Rows of (slope by both angles, acceleration to be reached), which do not push where there is no contact.
    gap = g.Gemm(sines, _columns(_SINES, {"cos one": -_LENGTH, "cos both": -_REACH}), np.full((1, 1), _DEPTH - _RADIUS))
    strength, stiffness = _impedance(g, body, gap)
    normal = {"one": _LENGTH, "both": _REACH}, {"both": _REACH}
    side_one, side_two = ({"cos one": part - _LENGTH / 2, "cos both": -_REACH / 2} for part in (0.0, _LENGTH))
    slopes = [_columns(_SINES, one, two) for one, two in ((normal[0], normal[1]), (side_one, side_two))]
    middle = np.full((1, 2), -_RADIUS - (_DEPTH - _RADIUS) / 2)
    edges = np.concatenate([slopes[0] + slopes[1], slopes[0] - slopes[1], slopes[0]], axis=1)
    rows = g.Reshape(g.Gemm(sines, edges, np.concatenate([middle, -middle, 0 * middle], axis=1)), [3, 2])
    target = g.Mul(stiffness, g.Mul(gap, np.full((1, 1), -_STIFF)))
    if speeds is None:
        target = g.Concat(target, target, target, axis=0)
    else:
        target = g.Gemm(rows, speeds, target, transB=1, alpha=-_DAMPED)
    rows = g.Concat(rows, target, axis=1)

    # What each set of rows adds to inertia and force, and the acceleration that solves it, with a minus one.
    outer = g.Mul(g.Gemm(rows, _picked(3, 0, 0, 1, 0, 1)), g.Gemm(rows, _picked(3, 0, 1, 1, 2, 2)))
    systems = g.Add(g.Mul(g.Gemm(_SETS * _FACTORS, outer), strength), system)
    found = _solved(g, systems)
    pushes = g.Cast(g.Less(g.Gemm(found, rows, transB=1), np.zeros((1, 1))), to=1)
    wrong = g.ReduceL1(g.Sub(pushes, _SETS.astype(np.float32)), np.array([1]), keepdims=0)
    chosen = g.Gather(found, g.ArgMin(wrong, axis=0))
    # Damping is implicit: inertia times acceleration is the force, which is solved for with more inertia.
    more = np.zeros((1, 5))
    more[0, [0, 2]] = _SIZE * _DAMPING
    damped = np.diag([1.0, 1, 1, 0, 0])
    pull = g.Gemm(chosen, np.concatenate([np.zeros((3, 3)), -_SIZE * _DAMPING * np.eye(3, 2)], axis=1), more)
    slower = _solved(g, g.Gemm(system, damped, pull))
    return g.Gemm(g.Add(slower, chosen), np.eye(3, 2))


def _force(g: Graph, body: _Body, sines: str, speeds: str | None, torque: str) -> str:
    """Return what torques, gravity, damping and turning add up to."""
    both = body.weights[1]
    gravity = _columns(_SINES, {"one": -body.weights[0], "both": -both}, {"both": -both})
    force = g.Gemm(torque, np.eye(1, 2), g.Gemm(sines, gravity))
    if speeds is None:
        return force
    squares = g.Mul(g.Gemm(speeds, _picked(2, 0, 0, 1)), g.Gemm(speeds, _picked(2, 0, 1, 1)))
    turning = g.Mul(squares, g.Gemm(sines, np.repeat(_picked(6, 2), 3, axis=1)))
    spun = body.mixed * np.array([[0.0, -1], [2, 0], [1, 0]])
    return g.Gemm(turning, spun, g.Gemm(speeds, -_DAMPING * np.eye(2), force))


def _impedance(g: Graph, body: _Body, gap: str) -> tuple[str, str]:
    """Return how strongly a row pushes, and its impedance, which grows from 0.9 to 0.95 in the first millimetre."""
    depth = g.Clip(g.Mul(gap, np.full((1, 1), -1000.0)), np.float32(0), np.float32(1))
    parts = g.Relu(g.Gemm(depth, np.ones((1, 2)), np.array([[0, -0.5]])))
    impedance = g.Gemm(g.Mul(parts, parts), np.array([[0.1], [-0.2]]), np.full((1, 1), 0.9))
    ratio = g.Div(impedance, g.Sub(np.ones((1, 1)), impedance))
    return g.Mul(ratio, g.Mul(g.Sign(depth), np.full((1, 1), body.share))), impedance


def _solved(g: Graph, systems: str) -> str:
    """Return the solutions of rows of (m00, m01, m11, f0, f1), with a minus one behind."""
    factors = [_picked(5, 0, 1, 3, 4, 4, 3), _picked(5, 2, 1, 2, 1, 0, 1)]
    products = g.Mul(*(g.Gemm(systems, factor) for factor in factors))
    numerators, determinant = np.zeros((6, 3)), np.zeros((6, 3))
    numerators[2:4, 0], numerators[4:, 1], numerators[:2, 2] = [1, -1], [1, -1], [-1, 1]
    determinant[:2] = [[1], [-1]]
    return g.Div(g.Gemm(products, numerators), g.Gemm(products, determinant))
