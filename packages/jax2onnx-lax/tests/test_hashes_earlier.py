"""The key of a while loop's next step is hashed at once with what the step draws, where it does not wait for that."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax, random

from jax2onnx import check, to_onnx

ROUNDS = 20
INPUTS = ["uint32[2]", (3,)]


def _loop(words, x, step, steps=5):
    state = (random.wrap_key_data(words), x, 0)
    key, x, count = lax.while_loop(lambda s: (s[2] < steps) & (s[1][0] < 3), step, state)
    return random.key_data(key), x, count


def _split(words, x):
    def step(state):
        key, x, count = state
        key, one = random.split(key)
        return key, x + random.normal(one, x.shape), count + 1

    return _loop(words, x, step)


def _the_values_choose(words, x):
    def step(state):
        key, x, count = state
        keys = random.split(key, 3)
        return keys[jnp.where(x[0] > 0, 0, 1)], x + random.uniform(keys[2], x.shape) - 0.4, count + 1

    return _loop(words, x, step)


def _three_in_a_row(words, x):
    def step(state):
        key, x, count = state
        key, one = random.split(key)
        two, three = random.split(one)
        return key, x + random.uniform(two, x.shape) - random.normal(three), count + 1

    return _loop(words, x, step)


def _a_counter(words, x):
    def step(state):
        key, x, count = state
        return key, x + random.uniform(random.fold_in(key, count), x.shape), count + 1

    return _loop(words, x, step)


def _the_draw_chooses(words, x):
    def step(state):
        key, x, count = state
        one, two = random.split(key)
        new = x + random.normal(one, x.shape)
        return random.wrap_key_data(jnp.where(new[0] > 0, *map(random.key_data, (one, two)))), new, count + 1

    return _loop(words, x, step)


def _in_a_loop(words, x):
    def step(state):
        key, x, count = state
        key, one = random.split(key)
        _, x, _ = _loop(random.key_data(one), x, _inner, 2)
        return key, x, count + 1

    def _inner(state):
        key, x, count = state
        key, one = random.split(key)
        return key, x + random.uniform(one, x.shape), count + 1

    return _loop(words, x, step)


def _one_hash(words, x):
    def step(state):
        key, x, count = state
        return key, x + random.uniform(key, x.shape), count + 1

    return _loop(words, x, step)


def _never(words, x):
    return _split(words, x + 5)


CASES = {
    "split": (_split, 1, 1),
    "the values choose the key": (_the_values_choose, 1, 1),
    "three in a row": (_three_in_a_row, 2, 1),
    "a counter": (_a_counter, 1, 1),
    "the draw chooses the key": (_the_draw_chooses, 0, 2),
    "a loop in a loop": (_in_a_loop, 1, 2),
    "the same key in each step": (_one_hash, 1, 0),
    "no step": (_never, 1, 1),
}
"""Program -> how many hashes there are before the loop, and in it."""


def _count_hashes(graph):
    """Return how many hashes are in a graph, and how many in the bodies in it."""
    kinds = [node.op_type for node in graph.node]
    inner = [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    return (kinds.count("BitwiseOr") + kinds.count("MatMul")) // ROUNDS, sum(sum(_count_hashes(g)) for g in inner)


@pytest.mark.parametrize("name", CASES)
def test_loops(name):
    function, *hashes = CASES[name]
    model = to_onnx(function, INPUTS)
    assert list(_count_hashes(model.graph)) == hashes
    values = [[np.array([seed, 2**32 - 1 - seed], np.uint32), np.full(3, seed - 1, np.float32)] for seed in range(4)]
    check(model, function, INPUTS, values=values)


def test_of_many_numbers_no_hash_is_carried():
    def function(words, x):
        def step(state):
            key, x, count = state
            draws = random.bits(key, (300,))
            return random.wrap_key_data(draws[:2]), x + random.uniform(random.wrap_key_data(draws[2:4])), count + 1

        return _loop(words, x, step)

    assert _count_hashes(to_onnx(function, INPUTS).graph) == (0, 2)


def test_a_batch():
    def function(words, x):
        return jax.vmap(_split)(words, x)

    inputs = ["uint32[4,2]", (4, 3)]
    values = [[np.arange(8, dtype=np.uint32).reshape(4, 2), np.linspace(-1, 4, 12, dtype=np.float32).reshape(4, 3)]]
    check(to_onnx(function, inputs), function, inputs, values=values)
