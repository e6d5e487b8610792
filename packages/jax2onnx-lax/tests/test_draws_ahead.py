"""The random numbers of a scan's steps are drawn ahead of it, and are those that JAX draws."""

from __future__ import annotations

from collections.abc import Callable
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
    import onnx

KEY, X = "uint32[2]", (3,)


def _keys_are_split(words: Any, x: Any) -> Any:
    def step(carry: Any, _: Any) -> Any:
        key, v = carry
        key, one, two = random.split(key, 3)
        v = 0.9 * v + random.normal(one, v.shape) * random.uniform(two)
        return (key, v), v

    (key, last), stacked = lax.scan(step, (random.wrap_key_data(words), x), None, length=6)
    return random.key_data(key), last, stacked


def _keys_are_scanned(words: Any, x: Any) -> Any:
    def step(v: Any, key: Any) -> Any:
        noise = jax.jit(lambda k: random.uniform(k, (3,), minval=-1.0))(key)
        return v * 0.5 + noise, (v.sum(), noise)

    return lax.scan(step, x, random.split(random.wrap_key_data(words), 5), reverse=True)


def _a_counter_is_folded_in(words: Any, x: Any) -> Any:
    key = random.wrap_key_data(words)
    return lax.fori_loop(2, 9, lambda i, v: v + random.uniform(random.fold_in(key, i), v.shape), x)


def _nothing_is_carried(words: Any, x: Any) -> Any:
    return lax.map(lambda key: x[0] + random.bernoulli(key, 0.3, (4,)), random.split(random.wrap_key_data(words), 6))


def _a_key_for_all(words: Any, x: Any) -> Any:
    key = random.wrap_key_data(words)
    return lax.scan(lambda v, u: (v + random.uniform(key, v.shape) * u, v), x, jnp.arange(4.0))


def _loops_in_loops(words: Any, x: Any) -> Any:
    def outer(carry: Any, _: Any) -> Any:
        key, v = carry
        key, inner = random.split(key)
        v, _ = lax.scan(lambda c, k: (c + random.normal(k, c.shape), None), v, random.split(inner, 3))
        return (key, v), v.sum()

    return lax.scan(outer, (random.wrap_key_data(words), x), None, length=3)[1]


def _a_jitted_step(words: Any, x: Any) -> Any:
    @jax.jit
    def step(carry: Any, scale: Any) -> Any:
        key, v = carry
        key, one = random.split(key)
        return (key, v + scale * random.normal(one, v.shape)), jnp.where(v > 0, v, scale)

    return lax.scan(step, (random.wrap_key_data(words), x), jnp.arange(4.0))[1]


def _by_lanes(words: Any, x: Any) -> Any:
    return jax.vmap(_keys_are_scanned, in_axes=(None, 0))(words, jnp.stack([x, -x]))


def _gradient(words: Any, x: Any) -> Any:
    return jax.grad(lambda v: _keys_are_split(words, v)[1].sum())(x)


def _the_values_choose_the_key(words: Any, x: Any) -> Any:
    def step(carry: Any, _: Any) -> Any:
        key, v = carry
        one, two = random.split(key)
        key = random.wrap_key_data(jnp.where(v[0] > 0, random.key_data(one), random.key_data(two)))
        return (key, v + random.normal(one, v.shape)), None

    return lax.scan(step, (random.wrap_key_data(words), x), None, length=4)[0][1]


def _keys_of_another_kind(words: Any, x: Any) -> Any:
    keys = random.wrap_key_data(jnp.arange(16, dtype=jnp.uint32).reshape(4, 4) + words[1], impl="rbg")
    return lax.map(lambda key: random.uniform(key, x.shape) * x, keys)


# program -> how often a hash is in a body: in that of a scan for the keys, or where it cannot be drawn ahead
PROGRAMS: dict[Callable[..., Any], int] = {
    _keys_are_split: 1,
    _keys_are_scanned: 0,
    _a_counter_is_folded_in: 0,
    _nothing_is_carried: 0,
    _a_key_for_all: 0,
    _loops_in_loops: 1,
    _a_jitted_step: 1,
    _by_lanes: 0,
    _gradient: 0,
    _the_values_choose_the_key: 2,
    _keys_of_another_kind: 0,
}
_ROUNDS = 20


def _hashes_in_bodies(model: onnx.ModelProto) -> int:
    operators = [node.op_type for body in bodies_in(model.graph) for node in body.node]
    return (operators.count("BitwiseOr") + operators.count("MatMul")) // _ROUNDS


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__.strip("_"))
def test_draws_are_those_of_jax(program: Callable[..., Any]) -> None:
    model = to_onnx(program, [KEY, X])
    assert _hashes_in_bodies(model) == PROGRAMS[program]
    runner, x = Runner(model), np.asarray([0.5, -1.0, 2.0], np.float32)
    for words in (np.asarray([0, 0], np.uint32), np.asarray([2**32 - 1, 7], np.uint32)):
        wanted = jax.tree.leaves(program(jnp.asarray(words), jnp.asarray(x)))
        for got, want in zip(runner.run([words, x]), wanted, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_of_sizes_that_are_not_known_only_keys_are_drawn_ahead() -> None:
    def draw(words: Any, x: Any) -> Any:
        keys = random.split(random.wrap_key_data(words), 3)
        return lax.map(lambda key: random.uniform(random.fold_in(key, 1), x.shape) * x, keys)

    model = to_onnx(draw, [KEY, "float32[B]"])
    assert _hashes_in_bodies(model) == 1
    words = np.asarray([0, 7], np.uint32)
    for size in (1, 7):
        x = np.ones(size, np.float32)
        np.testing.assert_allclose(Runner(model).run([words, x])[0], draw(words, x), rtol=1e-6)


def test_what_would_take_much_memory_is_drawn_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jax2onnx_lax.draws_ahead._MOST_BYTES", 100)
    assert _hashes_in_bodies(to_onnx(_keys_are_scanned, [KEY, X])) == 1


def test_lines_are_those_of_the_program() -> None:
    model = to_onnx(_keys_are_scanned, [KEY, X], provenance="relative")
    (scan,) = (node for node in model.graph.node if node.op_type == "Scan")
    (product,) = (node for body in bodies_in(model.graph) for node in body.node if node.op_type == "Mul")
    assert "(_keys_are_scanned)" in str(scan)
    assert "(_keys_are_scanned.<locals>.step)" in str(product)
