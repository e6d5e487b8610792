"""Hashes that need not wait for each other are computed at once, with the numbers of each."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from jax import lax
from releases import installed

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators

ROUNDS = 20
"""How many rounds a hash has: each has a BitwiseOr, or a MatMul where numbers are few."""


def _draws(key):
    one, two, three = jax.random.split(jax.random.wrap_key_data(key), 3)
    place = jax.random.randint(three, (2, 3), 0, 10)
    return jax.random.normal(one, (4,)), jax.random.uniform(two), place


def _chain(key):
    key = jax.random.wrap_key_data(key)
    noise = []
    for size in (1, 3):
        key, one, two = jax.random.split(key, 3)
        noise += [jax.random.uniform(one, (size,)), jax.random.uniform(two, (2,))]
    return noise, jax.random.key_data(key)


def _dependent(key):
    first = jax.random.uniform(jax.random.wrap_key_data(key))
    after = jax.random.fold_in(jax.random.wrap_key_data(key), (first * 1000).astype(jnp.int32))
    return first, jax.random.uniform(after, (3,)), jax.random.normal(jax.random.fold_in(after, 3))


def _mapped(key):
    keys = jax.random.split(jax.random.wrap_key_data(key), 4)
    return jax.vmap(lambda k: jax.random.uniform(k, (2,)))(keys), jax.random.uniform(keys[0], (3, 2))


def _in_a_loop(key):
    def step(state):
        count, total, words = state
        one, two, key = jax.random.split(jax.random.wrap_key_data(words), 3)
        total = total + jax.random.uniform(one, (2,)) - 0.5 * jax.random.uniform(two)
        return count + 1, total, jax.random.key_data(key)

    return lax.while_loop(lambda s: (s[0] < 9) & (s[1][0] < 1.0), step, (0, jnp.zeros(2), key))


def _known_and_not(key):
    known = jax.random.uniform(jax.random.key(7), (3,))
    return known + jax.random.uniform(jax.random.wrap_key_data(key), (3,))


CASES = {
    "draws": (_draws, 3),
    "a chain": (_chain, 3),
    "dependent": (_dependent, 4),
    "mapped": (_mapped, 2),
    "in a loop": (_in_a_loop, 2),
    "a known key": (_known_and_not, 1),
}


def _count_hashes(model):
    """Return how many hashes a model has: each mixes words once a round, and those of a key that is given twice."""
    return round(operators(model)["BitwiseXor"] / (ROUNDS + 2))


def _keys():
    return [[np.array([seed, 2**32 - 1 - seed], np.uint32)] for seed in range(4)]


@pytest.mark.parametrize("name", CASES)
def test_draws(name):
    function, hashes = CASES[name]
    model = to_onnx(function, ["uint32[2]"])
    assert _count_hashes(model) == hashes
    check(model, function, ["uint32[2]"], values=_keys())


@pytest.mark.parametrize("size", [2**10, 2**16])
def test_many_numbers(size):
    def function(key):
        one, two = jax.random.split(jax.random.wrap_key_data(key))
        return jax.random.bits(one, (size,)), jax.random.bits(two, (5,))

    model = to_onnx(function, ["uint32[2]"])
    assert _count_hashes(model) == (2 if size < 2**16 else 3)
    check(model, function, ["uint32[2]"], values=_keys())


IS_NEW = installed(onnxruntime, ">=1.32")
FOR_ANY = pytest.param(
    "onnx", marks=pytest.mark.skipif(not IS_NEW, reason="onnxruntime before 1.32 has no Where of uint32")
)


@pytest.mark.parametrize("target", ["onnxruntime", FOR_ANY])
@pytest.mark.parametrize("shape", [(), (1,), (64,), (65,), (7, 9), (13, 5), (3, 0)])
def test_few_and_many_numbers(shape, target):
    def function(key, seeds):
        keys = jax.vmap(lambda seed: jax.random.fold_in(jax.random.wrap_key_data(key), seed))(seeds)
        return jax.random.bits(jax.random.wrap_key_data(key), shape), jax.vmap(lambda k: jax.random.bits(k, (2,)))(keys)

    inputs = ["uint32[2]", "uint32[5]"]
    seeds = np.array([0, 1, 2**31, 2**32 - 1, 7], np.uint32)
    words = [np.array(pair, np.uint32) for pair in ([0, 0], [2**32 - 1, 2**32 - 1], [2**31, 1], [0, 2**32 - 1])]
    model = to_onnx(function, inputs, target=target)
    check(model, function, inputs, values=[[key, seeds] for key in words])


def test_symbolic_sizes_are_drawn_alone():
    def function(key, x):
        one, two = jax.random.split(jax.random.wrap_key_data(key))
        return x + jax.random.uniform(one, x.shape), jax.random.uniform(two, (3,))

    inputs = ["uint32[2]", ("B",)]
    model = to_onnx(function, inputs)
    check(model, function, inputs, values=[[key, np.zeros(4, np.float32)] for (key,) in _keys()])
