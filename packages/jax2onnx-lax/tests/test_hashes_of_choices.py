"""What branches hash of keys is hashed before the choice: ahead of a scan, or at once with the other hashes of a loop.

JAX draws these numbers in the branch that is taken; the other branch's are drawn, too, and not used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax, random
from placed_operators import bodies_in

from jax2onnx import to_onnx
from jax2onnx.testing import Runner

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx

INPUTS = ["uint32[2]", (3,)]
ROUNDS = 20


def _scan(choose: Callable[..., Any], words: Any, x: Any, steps: int = 7) -> Any:
    """Scan steps that choose by a value what to do with a key."""

    def step(carry: Any, place: Any) -> Any:
        key, v = carry
        key, one = random.split(key)
        v = choose(one, v, place)
        return (key, v), v

    (key, last), stacked = lax.scan(step, (random.wrap_key_data(words), x), jnp.arange(steps))
    return random.key_data(key), last, stacked


def _one_branch(key: Any, v: Any, _: Any) -> Any:
    return lax.cond(
        v[0] > 0, lambda k, u: u - random.uniform(random.split(k)[1], u.shape), lambda _, u: u + 0.7, key, v
    )


def _both_branches(key: Any, v: Any, _: Any) -> Any:
    def one(k: Any, u: Any) -> Any:
        return u - random.uniform(random.fold_in(k, 3), u.shape)

    return lax.cond(v[0] > 0, one, lambda k, u: u + random.normal(k) ** 2, key, v)


def _three_branches(key: Any, v: Any, place: Any) -> Any:
    draws = [
        lambda k, u: u + random.uniform(k, u.shape),
        lambda _, u: u * 2,
        lambda k, u: u - random.exponential(random.fold_in(k, 1)),
    ]
    return lax.switch(place % 4, draws, key, v)


def _a_choice_in_a_choice(key: Any, v: Any, _: Any) -> Any:
    def inner(k: Any, u: Any) -> Any:
        one, two = random.split(k)
        return lax.cond(u[1] > 0, lambda: u - random.uniform(one, u.shape), lambda: u + random.uniform(two))

    return lax.cond(v[0] > 0, inner, lambda _, u: u + 0.9, key, v)


def _a_call(key: Any, v: Any, _: Any) -> Any:
    draw = jax.jit(lambda k, u: u - random.normal(k, u.shape) ** 2)
    return lax.cond(v[0] > 0, draw, lambda _, u: u + 0.3, key, v)


def _a_counter(key: Any, v: Any, place: Any) -> Any:
    return lax.cond(v[0] > 0, lambda: v - random.uniform(random.fold_in(key, place), v.shape), lambda: v + 0.3)


def _the_key_itself(key: Any, v: Any, _: Any) -> Any:
    chosen = lax.cond(v[0] > 0, lambda k: random.split(k)[0], lambda k: k, key)
    return v + random.uniform(chosen, v.shape) - 0.5


def _the_values_choose_the_key(key: Any, v: Any, _: Any) -> Any:
    def one(k: Any, u: Any) -> Any:
        return u - random.uniform(random.fold_in(k, u[1].astype(jnp.int32)), u.shape)

    return lax.cond(v[0] > 0, one, lambda _, u: u + 0.7, key, v)


def _many_numbers(key: Any, v: Any, _: Any) -> Any:
    return lax.cond(v[0] > 0, lambda: v - random.uniform(key, (300,)).mean(), lambda: v + 0.3)


# program -> how often a hash is in a body: in that of a scan for the keys, or where it cannot be drawn ahead
SCANS: dict[Callable[..., Any], int] = {
    _one_branch: 1,
    _both_branches: 1,
    _three_branches: 1,
    _a_choice_in_a_choice: 1,
    _a_call: 1,
    _a_counter: 1,
    _the_key_itself: 2,
    _the_values_choose_the_key: 3,
    _many_numbers: 2,
}


def _hashes_in_bodies(model: onnx.ModelProto) -> int:
    operators = [node.op_type for body in bodies_in(model.graph) for node in body.node]
    return (operators.count("BitwiseOr") + operators.count("MatMul")) // ROUNDS


def _agrees(model: onnx.ModelProto, function: Callable[..., Any]) -> None:
    runner = Runner(model)
    for seed in range(4):
        words = np.asarray([2**32 - 1 - seed, seed], np.uint32)
        x = np.asarray([0.5, -1.0, 2.0], np.float32) * (seed - 1)
        wanted = jax.tree.leaves(function(jnp.asarray(words), jnp.asarray(x)))
        for got, want in zip(runner.run([words, x]), wanted, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("choose", SCANS, ids=lambda choose: choose.__name__.strip("_"))
def test_scans(choose: Callable[..., Any]) -> None:
    def function(words: Any, x: Any) -> Any:
        return _scan(choose, words, x)

    model = to_onnx(function, INPUTS)
    _agrees(model, function)
    assert _hashes_in_bodies(model) == SCANS[choose]


def _loop(words: Any, x: Any, choose: Callable[..., Any]) -> Any:
    def step(state: Any) -> Any:
        key, v, count = state
        key, one = random.split(key)
        return key, choose(one, v, count), count + 1

    state = (random.wrap_key_data(words), x, 0)
    key, last, count = lax.while_loop(lambda s: (s[2] < 6) & (s[1][0] < 3), step, state)
    return random.key_data(key), last, count


@pytest.mark.parametrize("choose", [_one_branch, _both_branches, _three_branches, _a_choice_in_a_choice, _a_call])
def test_while(choose: Callable[..., Any]) -> None:
    """A hash in a step, with those of the branches: their keys are split before the step, or in the one before."""

    def function(words: Any, x: Any) -> Any:
        return _loop(words, x, choose)

    model = to_onnx(function, INPUTS)
    _agrees(model, function)
    assert _hashes_in_bodies(model) == 1


def test_loops_in_scans_begin_ahead() -> None:
    """What a loop hashes before its first step is hashed for all steps of the scan around it at once.

    Of more steps, what several steps of the loop draw is drawn ahead.
    """

    def function(words: Any, x: Any) -> Any:
        return _scan(lambda key, v, _: _loop(random.key_data(key), v, _one_branch)[1], words, x, 2)

    model = to_onnx(function, INPUTS)
    _agrees(model, function)
    # In the scan for the keys, and in the loop.
    assert _hashes_in_bodies(model) == 2


@pytest.mark.parametrize("choose", [_one_branch, _the_values_choose_the_key])
def test_choices_without_a_loop_draw_in_their_branch(choose: Callable[..., Any]) -> None:
    def function(words: Any, x: Any) -> Any:
        return choose(random.wrap_key_data(words), x, 0)

    model = to_onnx(function, INPUTS)
    _agrees(model, function)
    assert _hashes_in_bodies(model) > 0


def test_what_is_done_in_vain_does_not_fail() -> None:
    """Where the divisor is 0, the branch is not taken, but what it draws is divided before the choice."""

    def function(words: Any, x: Any, divisor: Any) -> Any:
        def choose(key: Any, v: Any, _: Any) -> Any:
            def drawn() -> Any:
                bits = lax.rem(random.bits(key), divisor)
                return v + random.uniform(random.fold_in(key, bits), v.shape)

            return lax.cond(divisor > 0, drawn, lambda: v - 1)

        return _scan(choose, words, x)

    runner = Runner(to_onnx(function, [*INPUTS, jax.ShapeDtypeStruct((), np.uint32)]))
    words, x = np.asarray([3, 7], np.uint32), np.ones(3, np.float32)
    for divisor in (np.uint32(0), np.uint32(5)):
        wanted = function(words, x, divisor)
        for got, want in zip(runner.run([words, x, np.asarray(divisor)]), wanted, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-6)
