"""Models by hand of simulations."""

from __future__ import annotations

import numpy as np

from .graph import Array, Graph
from .hashes import counts_of, hashed, key_of, normal, uniform


def neuron() -> bytes:
    """Write each step in 11 nodes, most of them products; voltages are carried in tens of millivolts."""
    g = Graph((5,), (3, 5), (80,))
    each, none = np.eye(5), np.zeros((5, 5))
    parents = each[[0, 0, 1, 1, 3]]
    flow = each + 0.01 * (parents - each)
    inflow = g.Split(g.MatMul(g.Reshape(g.inputs[2], [80, 1]), 0.01 * np.eye(1, 5)), count=80, axis=0, num_outputs=80)
    w = g.Mul(g.Reshape(g.inputs[0], [1, 5]), np.float32(0.1))
    gates = g.Reshape(g.inputs[1], [1, 15])
    shifts, powers = (np.repeat([row], 5, axis=1).astype(np.float32) for row in ([0, -1, -2], [3, 1]))
    driven = np.repeat([[-5.0, 7.7]], 5, axis=1)
    # Of three gates: the cube of the first and the third, the second and a one.
    outer = np.block([[each, none], [none, none], [none, each]])
    inner, ones = np.block([[none, none], [each, none], [none, none]]), np.repeat([[0.0, 1]], 5, axis=1)
    steps = []
    for t in range(80):
        rates = g.Sigmoid(g.Gemm(w, np.tile(each, 3), shifts))
        gates = g.Gemm(rates, np.eye(15), gates, alpha=0.05, beta=0.95)
        cubes = g.Pow(g.Gemm(gates, outer), powers)
        opened = g.Mul(g.Mul(cubes, g.Gemm(w, np.tile(each, 2), driven)), g.Gemm(gates, inner, ones))
        w = g.Gemm(opened, np.concatenate([each, each]), g.Gemm(w, flow.T, inflow[t]), alpha=-0.1)
        steps.append(w)
    first = g.Mul(g.Gather(g.Concat(*steps, axis=0), np.array(0), axis=1), np.float32(10))
    return g.model(g.Reshape(g.Mul(w, np.float32(10)), [5]), g.Reshape(gates, [3, 5]), first)


def physics() -> bytes:
    """Write each step in 11 nodes: all bodies are one row, of which neighbours' differences and forces are products."""
    g = Graph((6, 3), (6, 3))
    pos, vel = (g.Reshape(x, [1, 18]) for x in g.inputs)
    between = np.kron((np.eye(5, 6, k=1) - np.eye(5, 6)).T, np.eye(3))
    squares = np.kron(np.eye(5), np.ones((3, 3)))
    downwards = np.kron(np.eye(6), [[0.0], [0.0], [-1.0]])
    gain = 0.99 * 0.01
    # A pull is 20 * (d - d / length), of which d is linear.
    linear = -20 * gain * between @ between.T
    weight = np.kron(np.ones((1, 6)), [[0.0, 0.0, -9.8]])
    others = gain * np.concatenate([20 * between.T, -100 * downwards.T, weight])
    for _ in range(10):
        d = g.Gemm(pos, between)
        inverse = g.Pow(g.Gemm(g.Mul(d, d), squares, np.full((1, 15), 1e-6)), np.full((1, 1), -0.5))
        depth = g.Relu(g.Gemm(pos, downwards))
        known = g.Concat(g.Mul(d, inverse), depth, np.ones((1, 1)), axis=1)
        vel = g.Gemm(known, others, g.Gemm(pos, linear, vel, beta=0.99))
        pos = g.Gemm(vel, np.eye(18), pos, alpha=0.01)
    return g.model(g.Reshape(pos, [6, 3]), g.Reshape(vel, [6, 3]))


def _pendulum_slopes() -> tuple[Array, Array]:
    """Return the multiples of both angles, and what the sine of each adds to products of a state and to gravity.

    The slopes are sums of sines over ``1.5 - 0.5 * cos(2 * d)``, of which the inverse is a sum of cosines that falls
    fast: ``sin(x) / (1.5 - 0.5 * cos(2 * d)) = sum over n of r ** abs(n) / sqrt(2) * sin(x + 2 * n * d)``.
    """
    ratio, found = 3 - 2 * 2**0.5, dict[tuple[int, int], Array]()
    # Of p**2 in both slopes, of q**2 in both, of gravity in both.
    sines = {
        (1, -1): [0, 2, -1, 1, 0, 0],
        (2, -2): [-0.5, 0, 0, 0, 0, 0],
        (1, 0): [0, 0, 0, 0, -14.7, 0],
        (-1, 2): [0, 0, 0, 0, 4.9, 0],
        (2, -1): [0, 0, 0, 0, 0, 9.8],
        (0, 1): [0, 0, 0, 0, 0, -9.8],
    }
    for (a, b), factors in sines.items():
        for n in range(-7, 8):
            angle, sign = (a + 2 * n, b - 2 * n), 1
            if angle < (0, 0):
                angle, sign = (-angle[0], -angle[1]), -1
            added = sign * ratio ** abs(n) / 2**0.5 * np.array(factors)
            found[angle] = found.get(angle, 0) + added
    return np.array(list(found), np.float64).T, np.stack(list(found.values()))


def pendulum() -> bytes:
    """Write a slope in 6 nodes: sines of all angles are one node, and what they add to the slopes is a product."""
    multiples, factors = _pendulum_slopes()
    count = len(factors)
    # A state is (p, q, p, p, q, q, a, b), of which the powers are what slopes are sums of.
    places = np.array([2, 3, 2, 2, 3, 3, 0, 1])
    powers = np.array([[1, 1, 2, 2, 2, 2, 0, 0]], np.float32)
    angles, phases = np.zeros((8, count + 1)), np.zeros((1, count + 1))
    angles[6:, :count], phases[0, count] = multiples, np.pi / 2
    gains = np.zeros((count + 1, 8))
    gains[:count, 2:], gains[count, :2] = factors, 1
    sums = np.zeros((8, 4))
    sums[[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 2, 3, 2, 3]] = 1
    sums = sums[:, places]
    g = Graph((4,))
    state = g.Gather(g.Reshape(g.inputs[0], [1, 4]), places, axis=1)
    path = []
    for _ in range(40):
        at, slopes = state, []
        for part in (0.005, 0.005, 0.01, 0.0):
            sines = g.Sin(g.Gemm(at, angles, phases))
            slopes.append(g.Mul(g.Pow(at, powers), g.Gemm(sines, gains)))
            if part:
                at = g.Gemm(slopes[-1], part * sums, state)
        weighted = np.concatenate([0.01 / 6 * weight * sums for weight in (1, 2, 2, 1)])
        state = g.Gemm(g.Concat(*slopes, axis=1), weighted, state)
        path.append(state)
    return g.model(g.Gather(g.Concat(*path, axis=0), np.array([6, 7, 0, 1]), axis=1))


def random_walk() -> bytes:
    """Write no loop: the keys of all steps are hashed at once, and so are the numbers that they draw."""
    g = Graph(("uint32", 2))
    keys = hashed(g, key_of(g, g.inputs[0]), counts_of(50))
    bits = uniform(g, keys, counts_of(*[2] * 50), np.repeat(np.arange(50), 2))
    moves = g.Concat(np.zeros((1, 2)), g.Reshape(normal(g, bits), [50, 2]), axis=0)
    return g.model(g.CumSum(moves, np.array(0)))


def grid_world() -> bytes:
    """Write no loop: where all places lead is a table, and with where that leads a path is twice as long."""
    places = np.stack(np.meshgrid(np.arange(5), np.arange(5), indexing="ij"), -1).reshape(25, 1, 2)
    moved = np.clip(np.add(places, [[0, 1], [0, -1], [1, 0], [-1, 0]]), 0, 4)
    g = Graph(("int32", 5, 5), (5, 5), ("int32", 2))
    policy, rewards, start = g.inputs
    ahead = g.GatherElements(moved[..., 0] * 5 + moved[..., 1], g.Reshape(policy, [25, 1]), axis=1)
    ahead = g.Reshape(ahead, [25])
    first = g.ReduceSum(g.Mul(g.Cast(start, to=7), np.array([5, 1])), keepdims=1)
    path = g.Gather(ahead, first)
    for _ in range(4):
        path = g.Concat(path, g.Gather(ahead, path), axis=0)
        ahead = g.Gather(ahead, ahead)
    path = g.Concat(path, g.Gather(ahead, g.Gather(path, np.arange(14))), axis=0)
    last = g.Reshape(g.Gather(places[:, 0], g.Gather(path, np.array([29]))), [2])
    return g.model(last, g.Gather(g.Reshape(rewards, [25]), path))


def spring_pendulum() -> bytes:
    """Write each of 4 parts of a step in 17 nodes: all moves in a plane, where bodies have two places and an angle.

    The springs that hold the cart on its rail and the pole on the cart pull in the world's frame.
    """
    from brax import envs

    system = envs.get_environment("inverted_pendulum", backend="spring").sys
    offset_x, offset_z = np.asarray(system.link.inertia.transform.pos, np.float64)[1, [0, 2]]
    cart_mass, pole_mass = np.asarray(system.link.inertia.mass, np.float64)
    stiff, size, gravity = 1e4, float(system.opt.timestep), float(system.gravity[2])
    low, high = (np.asarray(side, np.float32)[None] for side in system.dof.limit)
    reach = float(system.actuator.gear[0]) * 3
    # Places are (x, z, angle) of the cart and of the pole's centre; sines are those of both angles, the pole's cosine,
    # and one. The lever is from the pole's centre to the joint.
    phases, shifts = np.zeros((6, 4)), np.array([[0, 0, np.pi / 2, np.pi / 2]])
    phases[2, 0] = phases[5, 1] = phases[5, 2] = 1
    lever = np.zeros((4, 2))
    lever[1:3] = -np.array([[offset_z, -offset_x], [offset_x, offset_z]])
    turned, apart = np.zeros((11, 2)), np.zeros((11, 2))
    turned[6:10] = lever[:, ::-1] * [1, -1]
    apart[[0, 3], 0], apart[[1, 4], 1] = [-1, 1], [-1, 1]
    gap = apart.copy()
    gap[6:10] += lever
    # What places, sines and the force on the cart add to velocities.
    pull = np.zeros((11, 6))
    pull[:, :2] += stiff * gap / cart_mass
    pull[:, 3:5] -= stiff * gap / pole_mass
    pull[1, 1] -= stiff / cart_mass
    pull[6, 2], pull[9, [1, 4]], pull[10, 0] = -stiff, gravity, 1 / cart_mass
    torque, limit = np.zeros((2, 6)), np.zeros((2, 6))
    torque[:, 5] = -stiff
    limit[0, 0], limit[1, 5], limit[1, 2] = -stiff / cart_mass, -stiff, stiff
    joints, angles = np.zeros((6, 2)), np.zeros((6, 2))
    joints[0, 0], joints[5, 1], joints[2, 1] = 1, 1, -1
    angles[2, 0] = angles[5, 1] = 1

    g = Graph((2,), (2,), (1,))
    place, velocity, action = (g.Reshape(x, [1, count]) for x, count in zip(g.inputs, (2, 2, 1), strict=True))
    force = g.Mul(g.Clip(action, np.float32(-1), np.float32(1)), np.full((1, 1), reach))
    sines = g.Sin(g.Gemm(place, np.array([[0.0, 0], [1, 1]]), np.array([[0, np.pi / 2]])))
    centre = np.zeros((2, 6))
    centre[:, 3:5] = -lever[1:3]
    at = g.Gemm(sines, centre, g.Gemm(place, np.array([[1.0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1]])))
    spinning = np.zeros((2, 6))
    spinning[:, 3:5] = -lever[1:3][:, ::-1] * [1, -1]
    moving = np.array([[1.0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1]])
    spun = g.Mul(g.Gemm(velocity, np.array([[0.0, 0], [1, 1]])), sines)
    speed = g.Gemm(spun, spinning, g.Gemm(velocity, moving))
    for _ in range(4):
        known = g.Concat(at, g.Sin(g.Gemm(at, phases, shifts)), force, axis=1)
        moment = g.Mul(g.Gemm(known, turned), g.Gemm(known, apart))
        joint = g.Gemm(at, joints)
        beyond = g.Sub(joint, g.Min(g.Max(joint, low), high))
        speed = g.Gemm(beyond, size * limit, g.Gemm(moment, size * torque, g.Gemm(known, size * pull, speed)))
        turn = g.Atan(g.Gemm(speed, size / 2 * angles))
        straight = size * np.diag([1.0, 1, 0, 1, 1, 0])
        at = g.Gemm(turn, 2 * angles.T, g.Gemm(speed, straight, at))
    seen = g.Concat(g.Gemm(at, joints), g.Gemm(speed, joints), axis=1)
    angle = g.Abs(g.Gather(seen, [[1]], axis=1))
    is_done = g.Cast(g.Greater(g.Reshape(angle, np.array([], np.int64)), np.float32(0.2)), to=1)
    return g.model(g.Reshape(seen, [4]), g.Identity(np.float32(1)), is_done)
