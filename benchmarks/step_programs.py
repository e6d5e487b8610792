"""Programs of many small steps: simulations, samplers, filters and solvers, each a function and its inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
from jax import lax

Case = tuple[Callable[..., Any], tuple[Any, ...]]


def _numbers(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _key() -> np.ndarray[Any, Any]:
    return np.array([3, 7], np.uint32)


def neuron() -> Case:
    """Integrate a chain of compartments whose states are read and written by index, 80 steps."""
    parents = (0, 0, 1, 1, 3)

    def run(v: Any, gates: Any, current: Any) -> Any:
        def step(state: Any, t: Any) -> Any:
            v, gates = state
            flow = jnp.zeros_like(v)
            for i, parent in enumerate(parents):
                flow = flow.at[i].add(0.1 * (v[parent] - v[i]))
            flow = flow.at[0].add(current[t])
            for k in range(3):
                rate = jax.nn.sigmoid((v - 10.0 * k) / 10.0)
                gates = gates.at[k].set(gates[k] + 0.05 * (rate - gates[k]))
            v = v + 0.1 * (flow - gates[0] ** 3 * gates[1] * (v - 50.0) - gates[2] * (v + 77.0))
            return (v, gates), v[0]

        return lax.scan(step, (v, gates), jnp.arange(80))

    return run, (_numbers(5), np.full((3, 5), 0.3, np.float32), _numbers(80))


def kalman_model() -> tuple[Any, Any, Any, Any]:
    """Return how a state moves and is seen, and the noise of both."""
    f = np.eye(4, dtype=np.float32) + 0.1 * np.eye(4, k=2, dtype=np.float32)
    h = np.eye(2, 4, dtype=np.float32)
    return f, 0.01 * np.eye(4, dtype=np.float32), h, 0.1 * np.eye(2, dtype=np.float32)


def _kalman_step(state: Any, y: Any) -> Any:
    f, q, h, r = kalman_model()
    mean, cov = state
    mean, cov = f @ mean, f @ cov @ f.T + q
    s = h @ cov @ h.T + r
    gain = jnp.linalg.solve(s, h @ cov).T
    new = mean + gain @ (y - h @ mean), cov - gain @ s @ gain.T
    return new, (new, (mean, cov))


def kalman_filter() -> Case:
    """Filter 30 observations of a 4-dimensional state."""

    def run(mean: Any, ys: Any) -> Any:
        return lax.scan(_kalman_step, (mean, jnp.eye(4)), ys)[1][0]

    return run, (_numbers(4), _numbers(30, 2))


def kalman_smoother() -> Case:
    """Filter 30 observations, then smooth backwards with Cholesky solves."""
    f = kalman_model()[0]

    def run(mean: Any, ys: Any) -> Any:
        last, (filtered, predicted) = lax.scan(_kalman_step, (mean, jnp.eye(4)), ys)

        def back(state: Any, given: Any) -> Any:
            (m, p), (m_next, p_next) = given
            gain = jsl.cho_solve((jnp.linalg.cholesky(p_next), True), f @ p).T
            new = m + gain @ (state[0] - m_next), p + gain @ (state[1] - p_next) @ gain.T
            return new, new

        before = jax.tree.map(lambda x: x[:-1], filtered), jax.tree.map(lambda x: x[1:], predicted)
        return lax.scan(back, last, before, reverse=True)[1]

    return run, (_numbers(4), _numbers(30, 2))


def hmc_data() -> tuple[Any, Any]:
    """Return what is known of a regression: variables and observations."""
    return _numbers(20, 4), _numbers(20, seed=1)


def hmc() -> Case:
    """Do 8 leapfrog steps of a Bayesian regression, with threefry for the momentum and the acceptance."""
    x, y = hmc_data()

    def energy(w: Any) -> Any:
        return 0.5 * jnp.sum((y - x @ w) ** 2) + 0.5 * jnp.sum(w**2)

    def run(key: Any, w: Any) -> Any:
        one, two = jax.random.split(jax.random.wrap_key_data(key))
        p = jax.random.normal(one, w.shape)

        def leap(_i: Any, state: Any) -> Any:
            q, p = state
            p = p - 0.005 * jax.grad(energy)(q)
            q = q + 0.01 * p
            return q, p - 0.005 * jax.grad(energy)(q)

        q, r = lax.fori_loop(0, 8, leap, (w, p))
        change = energy(w) - energy(q) + 0.5 * (jnp.sum(p**2) - jnp.sum(r**2))
        return jnp.where(jnp.log(jax.random.uniform(two)) < change, q, w)

    return run, (_key(), _numbers(4))


def physics() -> Case:
    """Move 6 bodies in a chain with joints and contacts, by many small slices, 10 steps."""

    def run(pos: Any, vel: Any) -> Any:
        def step(_i: Any, state: Any) -> Any:
            pos, vel = state
            force = jnp.zeros_like(pos).at[:, 2].set(-9.8)
            for a in range(5):
                d = pos[a + 1] - pos[a]
                length = jnp.sqrt(jnp.sum(d * d) + 1e-6)
                pull = 20.0 * (length - 1.0) * d / length
                force = force.at[a].add(pull).at[a + 1].add(-pull)
            depth = jnp.maximum(-pos[:, 2], 0.0)
            force = force.at[:, 2].add(100.0 * depth)
            vel = 0.99 * (vel + 0.01 * force)
            return pos + 0.01 * vel, vel

        return lax.fori_loop(0, 10, step, (pos, vel))

    return run, (_numbers(6, 3), _numbers(6, 3, seed=1))


def sinkhorn() -> Case:
    """Do 40 iterations of entropic transport between 8 and 9 points."""

    def run(x: Any, y: Any) -> Any:
        cost = jnp.sum((x[:, None] - y[None]) ** 2, -1) / 0.5

        def step(_i: Any, state: Any) -> Any:
            f, g = state
            f = -jax.nn.logsumexp(g[None] - cost - jnp.log(9.0), axis=1)
            return f, -jax.nn.logsumexp(f[:, None] - cost - jnp.log(8.0), axis=0)

        return lax.fori_loop(0, 40, step, (jnp.zeros(8), jnp.zeros(9)))

    return run, (_numbers(8, 2), _numbers(9, 2, seed=1))


def tree_search() -> Case:
    """Do 16 simulations: descend by scores to a leaf, add a node, and back its value up."""

    def run(prior: Any, value: Any) -> Any:
        def simulate(n: Any, tree: Any) -> Any:
            children, parents, visits, totals = tree

            def descend(_d: Any, at: Any) -> Any:
                node, action, done = at
                kids = children[node]
                mean = totals[kids] / jnp.maximum(visits[kids], 1)
                score = prior[node] / (1.0 + visits[kids]) + jnp.where(kids >= 0, mean, 0.0)
                best = jnp.argmax(score)
                is_leaf = kids[best] < 0
                return (
                    jnp.where(done | is_leaf, node, kids[best]),
                    jnp.where(done, action, best),
                    done | is_leaf,
                )

            node, action, _ = lax.fori_loop(0, 4, descend, (0, 0, False))
            new = n + 1
            children = children.at[node, action].set(new)
            parents = parents.at[new].set(node)

            def back(_d: Any, state: Any) -> Any:
                at, visits, totals = state
                valid = at >= 0
                visits = visits.at[at].add(jnp.where(valid, 1, 0))
                totals = totals.at[at].add(jnp.where(valid, value[new], 0.0))
                return jnp.where(valid, parents[at], at), visits, totals

            _, visits, totals = lax.fori_loop(0, 5, back, (new, visits, totals))
            return children, parents, visits, totals

        tree = jnp.full((17, 3), -1), jnp.full(17, -1), jnp.zeros(17, jnp.int32), jnp.zeros(17)
        return lax.fori_loop(0, 16, simulate, tree)

    return run, (_numbers(17, 3), _numbers(17, seed=1))


def lstm_weights() -> tuple[Any, Any]:
    """Return the weights of inputs and of states."""
    return _numbers(8, 64) / 4, _numbers(16, 64, seed=1) / 4


def lstm() -> Case:
    """Scan an LSTM cell that is written by hand over 32 steps."""
    w, u = lstm_weights()

    def run(xs: Any, h: Any) -> Any:
        def step(state: Any, x: Any) -> Any:
            h, c = state
            i, f, g, o = jnp.split(x @ w + h @ u, 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        return lax.scan(step, (h, jnp.zeros_like(h)), xs)[1]

    return run, (_numbers(32, 2, 8), _numbers(2, 16, seed=2))


def particle_filter() -> Case:
    """Filter 12 observations with 32 particles and systematic resampling."""

    def run(key: Any, ys: Any) -> Any:
        def step(state: Any, y: Any) -> Any:
            key, x = state
            key, one, two = jax.random.split(key, 3)
            x = 0.9 * x + jax.random.normal(one, x.shape)
            w = jax.nn.softmax(-0.5 * (y - x) ** 2)
            places = (jnp.arange(32) + jax.random.uniform(two)) / 32
            x = x[jnp.searchsorted(jnp.cumsum(w), places)]
            return (key, x), x.mean()

        return lax.scan(step, (jax.random.wrap_key_data(key), jnp.zeros(32)), ys)[1]

    return run, (_key(), _numbers(12))


def small_solves() -> Case:
    """Factor and solve a batch of 16 positive definite systems of 5 equations, with inverse and determinant."""

    def run(a: Any, b: Any) -> Any:
        spd = a @ a.mT + 2 * jnp.eye(5)
        factor = jnp.linalg.cholesky(spd)
        x = jax.vmap(lambda low, right: jsl.cho_solve((low, True), right))(factor, b)
        return x, jnp.linalg.inv(spd), jnp.linalg.det(spd), jsl.solve_triangular(factor, b, lower=True)

    return run, (_numbers(16, 5, 5), _numbers(16, 5, 1))


def associative() -> Case:
    """Compute a linear recurrence of 64 steps by an associative scan."""

    def run(a: Any, b: Any) -> Any:
        def combine(one: Any, two: Any) -> Any:
            return one[0] * two[0], two[0] * one[1] + two[1]

        return lax.associative_scan(combine, (jax.nn.sigmoid(a), b))[1]

    return run, (_numbers(64, 4), _numbers(64, 4, seed=1))


def random_walk() -> Case:
    """Walk 50 steps in the plane, each from a key of its own, and keep the path."""

    def run(key: Any) -> Any:
        def step(i: Any, path: Any) -> Any:
            move = jax.random.normal(jax.random.fold_in(jax.random.wrap_key_data(key), i), (2,))
            return path.at[i + 1].set(path[i] + move)

        return lax.fori_loop(0, 50, step, jnp.zeros((51, 2)))

    return run, (_key(),)


def beam_search() -> Case:
    """Decode 10 tokens with 4 beams over a table of 12 words."""

    def run(table: Any) -> Any:
        def step(state: Any, t: Any) -> Any:
            tokens, scores = state
            last = tokens[jnp.arange(4), t]
            total = scores[:, None] + jax.nn.log_softmax(table[last])
            scores, flat = lax.top_k(total.reshape(-1), 4)
            beams, words = flat // 12, flat % 12
            tokens = tokens[beams].at[:, t + 1].set(words)
            return (tokens, scores), scores[0]

        start = jnp.zeros((4, 11), jnp.int32), jnp.array([0.0, -9.0, -9.0, -9.0])
        return lax.scan(step, start, jnp.arange(10))

    return run, (_numbers(12, 12),)


def viterbi() -> Case:
    """Find the best path of 40 steps through 6 states, and trace it back."""

    def run(emissions: Any, transitions: Any) -> Any:
        def forward(score: Any, e: Any) -> Any:
            total = score[:, None] + transitions
            return jnp.max(total, 0) + e, jnp.argmax(total, 0)

        score, pointers = lax.scan(forward, emissions[0], emissions[1:])

        def back(state: Any, pointer: Any) -> Any:
            return pointer[state], pointer[state]

        best = jnp.argmax(score)
        return lax.scan(back, best, pointers, reverse=True)[1], jnp.max(score)

    return run, (_numbers(40, 6), _numbers(6, 6, seed=1))


def pendulum() -> Case:
    """Integrate a double pendulum with Runge-Kutta, 40 steps, into a buffer that is written at the counter."""

    def slope(s: Any) -> Any:
        a, b, p, q = s
        d = a - b
        m = 2.0 - jnp.cos(d) ** 2
        up = (-(q**2) * jnp.sin(d) - 2 * 9.8 * jnp.sin(a) + jnp.cos(d) * (9.8 * jnp.sin(b) - p**2 * jnp.sin(d))) / m
        uq = (2 * (p**2 * jnp.sin(d) + 9.8 * jnp.sin(a) * jnp.cos(d) - 9.8 * jnp.sin(b)) + q**2 * jnp.sin(d)) / m
        return jnp.stack([p, q, up, uq])

    def run(s: Any) -> Any:
        def step(i: Any, state: Any) -> Any:
            s, path = state
            k1 = slope(s)
            k2 = slope(s + 0.005 * k1)
            k3 = slope(s + 0.005 * k2)
            s = s + 0.01 / 6 * (k1 + 2 * k2 + 2 * k3 + slope(s + 0.01 * k3))
            return s, lax.dynamic_update_slice(path, s[None], (i, 0))

        return lax.fori_loop(0, 40, step, (s, jnp.zeros((40, 4))))[1]

    return run, (_numbers(4),)


def grid_world() -> Case:
    """Walk 30 steps on a grid by a table of actions, and collect rewards."""
    moves = np.array([[0, 1], [0, -1], [1, 0], [-1, 0]], np.int32)

    def run(policy: Any, rewards: Any, start: Any) -> Any:
        def step(place: Any, _t: Any) -> Any:
            action = policy[place[0], place[1]]
            place = jnp.clip(place + jnp.asarray(moves)[action], 0, 4)
            return place, rewards[place[0], place[1]]

        return lax.scan(step, start, None, length=30)

    policy = np.random.default_rng(0).integers(0, 4, (5, 5)).astype(np.int32)
    return run, (policy, _numbers(5, 5), np.array([2, 2], np.int32))


def newton() -> Case:
    """Find the root of three equations by Newton's method with at most 20 steps."""

    def f(x: Any) -> Any:
        return jnp.array([x[0] + 0.1 * x[1] ** 2 - 1.0, x[1] + 0.2 * jnp.sin(x[2]) - 0.5, x[2] - 0.3 * x[0] * x[1]])

    def run(x: Any) -> Any:
        def step(state: Any) -> Any:
            n, x, _ = state
            d = jnp.linalg.solve(jax.jacfwd(f)(x), f(x))
            return n + 1, x - d, jnp.max(jnp.abs(d))

        return lax.while_loop(lambda s: (s[0] < 20) & (s[2] > 1e-5), step, (0, x, jnp.float32(1.0)))

    return run, (_numbers(3),)


PROGRAMS: dict[str, Callable[[], Case]] = {
    case.__name__: case
    for case in (
        neuron, kalman_filter, kalman_smoother, hmc, physics, sinkhorn, tree_search, lstm, particle_filter,
        small_solves, associative, random_walk, beam_search, viterbi, pendulum, grid_world, newton,
    )
}  # fmt: skip
"""Name -> what makes the function and its inputs."""
