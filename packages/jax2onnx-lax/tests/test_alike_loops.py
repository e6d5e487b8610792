"""Loops that hash the same way on other numbers, in as many steps, become one loop."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax, random

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators

INPUTS = ["uint32[2]", (3,), "int32[]"]


def _key(words, impl=None):
    return random.wrap_key_data(words, impl=impl)


def _walk(key, x, limit, *, start=0, less=0, scale=1.0):
    def step(state):
        key, x, count = state
        key, one = random.split(key)
        return key, x + scale * random.normal(one, x.shape), count + 1

    return lax.while_loop(lambda s: s[2] < limit - less, step, (key, x, start))[1]


def _ends_early(key, x):
    def step(state):
        key, x = state
        key, one = random.split(key)
        return key, x + random.uniform(one, x.shape)

    return lax.while_loop(lambda s: s[1][0] < 3, step, (key, x))[1]


def _two(words, x, limit):
    return _walk(_key(words), x, limit), _walk(_key(words), x + 1, limit)


def _three(words, x, limit):
    one, two, three = random.split(_key(words), 3)
    return _walk(one, x, limit), _walk(two, x, limit), _walk(three, 2 * x, limit)


def _others_wait(words, x, limit):
    first = _walk(_key(words), x, limit)
    middle = jnp.sin(first) + 1
    second = _walk(_key(words), x - 1, limit)
    return middle * second, _walk(_key(words), middle, limit)


def _one_waits_for_the_other(words, x, limit):
    return _walk(_key(words), _walk(_key(words), x, limit), limit)


def _other_numbers_of_steps(words, x, limit):
    return _walk(_key(words), x, limit), _walk(_key(words), x, limit, start=1)


def _other_limits(words, x, limit):
    return _walk(_key(words), x, limit), _walk(_key(words), x, limit, less=1)


def _other_steps(words, x, limit):
    return _walk(_key(words), x, limit), _walk(_key(words), x, limit, scale=2.0)


def _the_numbers_end_it(words, x, _limit):
    return _ends_early(_key(words), x), _ends_early(_key(words), x + 1)


def _other_shapes(words, x, limit):
    return _walk(_key(words), x, limit), _walk(_key(words), x[:2], limit)


def _the_same_loop(words, x, limit):
    return _walk(_key(words), x, limit), _walk(_key(words), x, limit) + 1


CASES = {
    "two": (_two, 1),
    "three": (_three, 2),
    "others wait": (_others_wait, 2),
    "one waits for the other": (_one_waits_for_the_other, 2),
    "other numbers of steps": (_other_numbers_of_steps, 2),
    "other limits": (_other_limits, 2),
    "other steps": (_other_steps, 2),
    "the numbers end it": (_the_numbers_end_it, 2),
    "other shapes": (_other_shapes, 2),
}
"""Program -> how many loops its model has."""


def _values():
    words = [np.array([seed, 2**32 - 1 - seed], np.uint32) for seed in range(3)]
    return [[one, np.full(3, seed - 1, np.float32), np.int32(4)] for seed, one in enumerate(words)]


@pytest.mark.parametrize("name", CASES)
def test_loops(name):
    function, loops = CASES[name]
    model = to_onnx(function, INPUTS)
    assert operators(model)["Loop"] == loops
    check(model, function, INPUTS, values=_values())


def test_loops_on_the_same_numbers():
    check(to_onnx(_the_same_loop, INPUTS), _the_same_loop, INPUTS, values=_values())


def test_of_a_batch_of_other_keys_jax_draws_other_numbers():
    def function(words, x, limit):
        one = _key(words, "rbg")
        return _walk(one, x, limit), _walk(one, x + 1, limit)

    inputs = ["uint32[4]", (3,), "int32[]"]
    model = to_onnx(function, inputs)
    assert operators(model)["Loop"] == 2
    check(model, function, inputs, values=[[np.arange(4, dtype=np.uint32), np.zeros(3, np.float32), np.int32(4)]])
