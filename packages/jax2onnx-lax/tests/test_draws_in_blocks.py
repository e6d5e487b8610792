"""What the first steps of a while loop draw is drawn ahead of a scan around it, and is what JAX draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax, random

from jax2onnx import to_onnx
from jax2onnx.testing import Runner

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx

INPUTS = ["uint32[2]", "int32[5]"]
ROUNDS = 20
COUNTS = [np.array(counts, np.int32) for counts in ([0, 1, 2, 3, 4], [5, 9, 4, 0, 3], [1, 1, 1, 1, 1])]
"""How many steps a loop does: fewer than are drawn before it, as many, and more."""


def _loop(key: Any, x: Any, steps: Any, step: Callable[..., Any]) -> Any:
    return lax.while_loop(lambda s: s[2] < steps, lambda s: (*step(*s), s[2] + 1), (key, x, 0))


def _scan(words: Any, counts: Any, step: Callable[..., Any]) -> Any:
    """Scan loops of given numbers of steps, whose last keys and numbers are results."""

    def one(carry: Any, steps: Any) -> Any:
        key, x = carry
        key, inner = random.split(key)
        last, x, count = _loop(inner, x, steps, step)
        return (key, x), (random.key_data(last), x, count)

    (key, x), stacked = lax.scan(one, (random.wrap_key_data(words), jnp.float32(0.5)), counts)
    return random.key_data(key), x, stacked


def _split(key: Any, x: Any, _: Any) -> Any:
    key, one, two = random.split(key, 3)
    return key, x + random.normal(one) * random.uniform(two)


def _a_counter(key: Any, x: Any, count: Any) -> Any:
    return key, x + random.uniform(random.fold_in(key, count))


def _a_choice(key: Any, x: Any, _: Any) -> Any:
    key, one = random.split(key)
    return key, lax.cond(x > 1, lambda: x - random.uniform(one), lambda: x + random.normal(random.fold_in(one, 1)) ** 2)


def _a_loop_in_the_loop(key: Any, x: Any, count: Any) -> Any:
    key, one = random.split(key)
    _, x, _ = _loop(one, x, 2 * count, _split)
    return key, x


def _words_are_carried(key: Any, x: Any, _: Any) -> Any:
    words = random.bits(key, (3,))
    return random.wrap_key_data(words[:2]), x + (words[2] >> 8).astype(jnp.float32) * 2.0**-24


def _the_values_choose_the_key(key: Any, x: Any, _: Any) -> Any:
    one, two = random.split(key)
    chosen = jnp.where(x > 1, random.key_data(one), random.key_data(two))
    return random.wrap_key_data(chosen), x + random.uniform(one) - 0.3


def _many_numbers(key: Any, x: Any, _: Any) -> Any:
    key, one = random.split(key)
    return key, x + random.normal(one, (300,)).mean()


BLOCKS = [_split, _a_choice, _a_loop_in_the_loop]
OTHERS = [_a_counter, _words_are_carried, _the_values_choose_the_key, _many_numbers]


def _hashes_in_loops(graph: onnx.GraphProto, *, in_loop: bool = False) -> int:
    """Return how many hashes the steps of loops do, without those in the branches of choices."""
    kinds = [node.op_type for node in graph.node] if in_loop else []
    bodies = [(node, a.g) for node in graph.node for a in node.attribute if a.HasField("g") and node.op_type != "If"]
    inner = sum(_hashes_in_loops(body, in_loop=in_loop or node.op_type == "Loop") for node, body in bodies)
    return (kinds.count("BitwiseOr") + kinds.count("MatMul")) // ROUNDS + inner


def _agrees(model: onnx.ModelProto, function: Callable[..., Any]) -> None:
    runner = Runner(model)
    for seed, counts in enumerate(COUNTS):
        words = np.asarray([2**32 - 1 - seed, seed], np.uint32)
        wanted = jax.tree.leaves(function(jnp.asarray(words), jnp.asarray(counts)))
        for got, want in zip(runner.run([words, counts]), wanted, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("step", [*BLOCKS, *OTHERS], ids=lambda step: step.__name__.strip("_"))
def test_draws_are_those_of_jax(step: Callable[..., Any]) -> None:
    def function(words: Any, counts: Any) -> Any:
        return _scan(words, counts, step)

    model = to_onnx(function, INPUTS)
    _agrees(model, function)
    assert (_hashes_in_loops(model.graph) == 0) == (step in BLOCKS)


def test_a_condition_that_reads_the_key() -> None:
    def function(words: Any, counts: Any) -> Any:
        def one(x: Any, steps: Any) -> Any:
            def goes_on(state: Any) -> Any:
                key, _, count = state
                return (random.key_data(key)[0] % 4 > 0) & (count < steps)

            key = random.wrap_key_data(words + steps.astype(jnp.uint32))
            last, x, _ = lax.while_loop(goes_on, lambda s: (*_split(*s), s[2] + 1), (key, x, 0))
            return x, random.key_data(last)

        return lax.scan(one, jnp.float32(0.0), counts)

    _agrees(to_onnx(function, INPUTS), function)


def test_of_two_loops_each_step_draws() -> None:
    def function(words: Any, counts: Any) -> Any:
        return _scan(words, counts[:2], _split)

    model = to_onnx(function, INPUTS)
    _agrees(model, function)
    assert _hashes_in_loops(model.graph) == 1


def test_a_batch() -> None:
    def function(words: Any, counts: Any) -> Any:
        return jax.vmap(lambda n: _scan(words, counts + n, _split))(jnp.arange(2))

    _agrees(to_onnx(function, INPUTS), function)
