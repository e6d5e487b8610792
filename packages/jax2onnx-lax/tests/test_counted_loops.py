"""While loops whose number of steps is known at conversion are scans of so many steps."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax, random
from placed_operators import bodies_in

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators

EDGES = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1e38, 1e-30], np.float32)


def _times(x):
    """Add 0.05 until 1 is reached: rounding decides whether there are 20 steps or 21."""

    def step(state):
        time, y = state
        return time + 0.05, jnp.sin(y + time)

    return lax.while_loop(lambda s: s[0] < 1, step, (jnp.float32(0), x))


def _halves(x):
    def goes_on(state):
        level, _ = state
        return 2.0**-level > 0.01

    return lax.while_loop(goes_on, lambda s: (s[0] + 1, s[1] * 0.5 + s[0]), (0, x))


def _two_counters(x):
    """The second counter decides how fast the first one grows."""

    def step(state):
        one, two, y = state
        return one + two, two * 2, jnp.cos(y) + two

    return lax.while_loop(lambda s: s[0] < 1000, step, (0, 1, x))


def _limit_is_carried(x):
    limit = jnp.arange(30).sum()
    return lax.while_loop(lambda s: s[0] < s[1], lambda s: (s[0] + 17, s[1], jnp.tanh(s[2]) + s[0]), (0, limit, x))[2]


def _never(x):
    return lax.while_loop(lambda s: s[0] < 0, lambda s: (s[0] + 1, jnp.exp(s[1])), (0, x))


def _always_false(x):
    return lax.while_loop(lambda _s: False, jnp.exp, x)


def _in_a_scan(x):
    """The inner loop has as many steps in each step of the outer one."""

    def step(y, row):
        return lax.while_loop(lambda s: s[0] < 12, lambda s: (s[0] + 1, jnp.sin(s[1]) + row), (0, y))[1], y

    return lax.scan(step, x, jnp.stack([x] * 30))


KNOWN = [_times, _halves, _two_counters, _limit_is_carried, _never, _always_false, _in_a_scan]


@pytest.mark.parametrize("function", KNOWN)
def test_counted(function):
    model = to_onnx(function, ["float32[7]"])
    assert "Loop" not in operators(model)
    check(model, function, ["float32[7]"])
    check(model, function, ["float32[7]"], values=[[EDGES]])


def _input_decides(x):
    return lax.while_loop(lambda s: s[0] < x[0], lambda s: (s[0] + 1, jnp.sin(s[1])), (0, x))


def _step_takes_input(x):
    return lax.while_loop(lambda s: s[0] < 5, lambda s: (s[0] + jnp.abs(x[1]) + 1, jnp.sin(s[1])), (0.0, x))


def _start_is_input(x):
    return lax.while_loop(lambda s: s[0] < 5, lambda s: (s[0] + 1, jnp.sin(s[1])), (x[2], x))


def _long(x):
    return lax.while_loop(lambda s: s[0] < 40_000, lambda s: (s[0] + 1, jnp.sin(s[1])), (0, x))


def _size_decides(x):
    return lax.while_loop(lambda s: s[0] < x.shape[0], lambda s: (s[0] + 1, jnp.sin(s[1])), (0, x))


@pytest.mark.parametrize("function", [_input_decides, _step_takes_input, _start_is_input, _long, _size_decides])
def test_not_counted(function):
    model = to_onnx(function, ["float32[B]"])
    assert "Loop" in operators(model)
    check(model, function, ["float32[B]"], values=[[np.array([3, 0, 1.5, -2], np.float32)], [np.zeros(3, np.float32)]])


def test_nothing_is_called_to_count():
    called = []

    def host(count):
        called.append(count)
        return np.int32(count + 1)

    def function(x):
        def step(state):
            return jax.pure_callback(host, jax.ShapeDtypeStruct((), jnp.int32), state[0]), state[1] + 1

        return lax.while_loop(lambda s: s[0] < 3, step, (0, x))[1]

    with pytest.raises(Exception, match="pure_callback"):
        to_onnx(function, ["float32[3]"])
    assert not called


def test_a_tree_of_random_numbers_is_drawn_for_all_steps_at_once():
    """Each step of a loop over known times goes down a tree to its own place, and no step of the tree waits for it."""

    def noise(key, time):
        def step(state):
            level, start, key, x = state
            middle = start + 2.0**-level / 2
            left, right, own = random.split(key, 3)
            is_right = time > middle
            following = jnp.where(is_right, random.key_data(right), random.key_data(left))
            key = random.wrap_key_data(following)
            return level + 1, jnp.where(is_right, middle, start), key, x + random.normal(own) * 2.0**-level

        return lax.while_loop(lambda s: 2.0 ** -s[0] > 0.05, step, (0, 0.0, key, 0.0))[3]

    def function(words, x):
        key = random.wrap_key_data(words)

        def step(state):
            time, x = state
            return time + 0.1, jnp.cos(x) + noise(key, time)

        return lax.while_loop(lambda s: s[0] < 1.0, step, (jnp.float32(0), x))

    inputs = ["uint32[2]", "float32[3]"]
    model = to_onnx(function, inputs)
    assert "Loop" not in operators(model)
    (step,) = [body for body in bodies_in(model.graph) if "Cos" in {node.op_type for node in body.node}]
    inside = [node.op_type for body in (step, *bodies_in(step)) for node in body.node]
    assert "BitwiseXor" not in inside
    check(model, function, inputs, values=[[np.uint32([seed, 7]), np.float32([0, 1, -2])] for seed in range(4)])
