"""Examples of :mod:`jax2onnx_lax.random`: functions of the words of a key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, random

from jax2onnx.plugin import Example

_WORDS = ([0, 42], [2**32 - 1, 7])
_STATE = ([1, 2, 2**32 - 2, 2**32 - 1], [0, 0, 0, 0])


def _example(name: str, fn: Callable[[Any], Any], words: Any = _WORDS, *, component: str | None = None) -> Example:
    return Example(
        name=name,
        context="lax",
        component=component or f"jax.random.{name.removeprefix('random_')}",
        make=lambda: fn,
        inputs=[jax.ShapeDtypeStruct((len(words[0]),), np.uint32)],
        values=lambda: [[np.array(row, np.uint32)] for row in words],
        draw=False,
    )


def _keyed(fn: Callable[[Any], Any], impl: str = "threefry2x32") -> Callable[[Any], Any]:
    return lambda words: fn(random.wrap_key_data(words, impl=impl))


def _data(keys: Any) -> Any:
    return random.key_data(keys)


def _generator(algorithm: lax.RandomAlgorithm, dtype: Any) -> Callable[[Any], Any]:
    return lambda state: lax.rng_bit_generator(state, (3, 5), dtype=dtype, algorithm=algorithm)


EXAMPLES = [
    _example("random_bits", _keyed(lambda k: random.bits(k, (5,)))),
    _example("random_bits_rbg", _keyed(lambda k: random.bits(k, (5,)), "rbg"), _STATE, component="jax.random.bits"),
    _example("random_clone", _keyed(lambda k: random.bits(random.clone(k)))),
    _example("random_clone_raw", lambda words: random.bits(random.clone(words)), component="jax.random.clone"),
    _example("random_fold_in", _keyed(lambda k: _data(random.fold_in(k, 3)))),
    _example("random_split", _keyed(lambda k: _data(random.split(k, 4)))),
    _example("random_key", lambda words: _data(random.key(words[1]))),
    _example("random_uniform", _keyed(lambda k: random.uniform(k, (5,)))),
    _example("random_normal", _keyed(lambda k: random.normal(k, (5,)))),
    _example("random_randint", _keyed(lambda k: random.randint(k, (5,), -3, 9))),
    _example("random_gamma", _keyed(lambda k: random.gamma(k, jnp.array([0.5, 2.0])))),
    _example("random_choice", _keyed(lambda k: random.choice(k, 4, (6,), p=jnp.array([0.1, 0.2, 0.3, 0.4])))),
    _example("random_permutation", _keyed(lambda k: random.permutation(k, 9))),
    _example(
        "rng_bit_generator", _generator(lax.RandomAlgorithm.RNG_DEFAULT, np.uint32), _STATE,
        component="jax.lax.rng_bit_generator",
    ),
    _example(
        "rng_bit_generator_threefry", _generator(lax.RandomAlgorithm.RNG_THREE_FRY, np.uint8), _STATE,
        component="jax.lax.rng_bit_generator",
    ),
]  # fmt: skip
