"""What no later step of a scan reads is done after it, for all steps at once, with JAX's numbers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from placed_operators import placed_operators

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators

V, W, U = (np.random.default_rng(k).normal(size=s).astype(np.float32) for k, s in enumerate([(4, 5), (3, 16), (4, 16)]))


def _cell(state, x):
    h, c = state
    i, f, g, o = jnp.split(x @ W + h @ U, 4, -1)
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def _decoder(xs, h):
    """Return the words' probabilities that a cell gives."""

    def step(state, x):
        state = _cell(state, x)
        return state, jax.nn.softmax(state[0] @ V)

    return lax.scan(step, (h, jnp.zeros_like(h)), xs)[1]


def _filter(xs, h):
    """Return what is computed of the state before and after a step, of the input and of nothing."""

    def step(h, x):
        new = 0.9 * h + jnp.sin(x[..., :1])
        return new, (jnp.exp(new - h) + x.sum(-1, keepdims=True), jnp.cos(x), jnp.float32(2.0), new.argmax(-1))

    return lax.scan(step, h, xs, reverse=True)


def _branches(xs, h):
    """Return a result of a choice, which stays in the scan, and what is made of it."""

    def step(h, x):
        new = h * 0.5 + x[..., :1].sum()
        chosen = lax.cond(new.sum() > 0, jnp.sin, jnp.cos, new)
        return new, jnp.log1p(jnp.abs(chosen)) * 3 - 1

    return lax.scan(step, h, xs)


CASES = {
    "decoder": (_decoder, [("T", "B", 3), ("B", 4)], "Softmax"),
    "filter": (_filter, [(6, 2, 3), (2, 4)], "Exp"),
    "filter of any length": (_filter, [("T", 2, 3), (2, 4)], "Exp"),
    "branches": (_branches, [(6, 2, 3), (2, 4)], "Abs"),
}


def _inside(model):
    """Return the operators in bodies of loops."""
    return [kind for kind, is_inside in placed_operators(model.graph) if is_inside]


@pytest.mark.parametrize("name", CASES)
def test_done_after(name) -> None:
    function, inputs, operator = CASES[name]
    model = to_onnx(function, inputs)
    assert operator not in _inside(model)
    assert operator in [kind for kind, _ in placed_operators(model.graph)]
    check(model, function, inputs)


def test_what_is_left_is_a_layer() -> None:
    assert operators(to_onnx(_decoder, [(5, 2, 3), (2, 4)]))["LSTM"] == 1


def test_numbers_that_are_not_finite_and_no_steps() -> None:
    inputs = [("T", 2, 3), (2, 4)]
    xs = np.array([[[np.nan, 1, -0.0], [np.inf, 0, 1e-40]], [[-np.inf, 3, 1e30], [0, -1, 2]]], np.float32)
    h = np.array([[np.inf, 1, -1, 0], [1, 2, -0.0, 3]], np.float32)
    check(to_onnx(_filter, inputs), _filter, inputs, values=[[xs, h], [xs[:1], h]])
    check(to_onnx(_filter, inputs), _filter, inputs, sizes=[{"T": 0}, {"T": 1}], kinds=("ordinary",))


def test_what_takes_much_memory_stays() -> None:
    """A step's value that is far larger than its result is not held for all steps."""

    def run(xs):
        def step(c, x):
            wide = jnp.outer(x + c, x).ravel()[:, None] * jnp.arange(1000.0)
            return c + 1, jnp.sin(wide).sum()

        return lax.scan(step, jnp.float32(0), xs)[1]

    for shape in ((900, 8), ("T", 8)):
        assert "Sin" in _inside(to_onnx(run, [shape]))


def _attention(tokens, cache, start):
    """Return the attention of each word to the words before it, of which a cache holds one row each."""

    def step(state, word):
        rows, place = state
        x = jnp.asarray(V.T)[word]
        rows = lax.dynamic_update_slice(rows, x[None], (place, 0))
        weights = jax.nn.softmax(jnp.where(jnp.arange(rows.shape[0]) <= place, rows @ x, -1e30))
        return (rows, place + 1), jnp.tanh(weights @ rows) @ V + 1

    padded = jnp.concatenate([cache, jnp.zeros((tokens.shape[0], 4))])
    return lax.scan(step, (padded, start), tokens)[1]


def test_as_many_caches_as_there_are_words_are_not_held() -> None:
    """They would take the square of the length of a text; what is computed of a word's row is done apart."""
    inputs = ["int32[T]", ("S", 4), "int32[]"]
    model = to_onnx(_attention, inputs)
    assert {"Softmax", "Gather"} & {*_inside(model)} == {"Softmax"}
    assert "Tanh" not in _inside(model)
    check(model, _attention, inputs, sizes=[{"T": 1, "S": 3}, {"T": 7, "S": 0}])


def test_a_single_step_takes_no_more_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text may have one word: then work that is done apart is not done fewer times."""
    inputs = ["int32[T]", ("S", 4), "int32[]"]
    apart = sum(operators(to_onnx(_attention, inputs)).values())
    monkeypatch.setattr("jax2onnx_lax.control.do_after", lambda _eqn: None)
    monkeypatch.setattr("jax2onnx_lax.control.do_before", lambda _eqn: None)
    whole = sum(operators(to_onnx(_attention, inputs)).values())
    assert apart <= whole + 2  # the stacked results of no steps: a Concat and an Expand


def test_one_node_of_what_is_carried_stays() -> None:
    """To stack what is carried takes a node in each step, as many as it would spare."""

    def run(xs):
        return lax.scan(lambda c, x: (c * 0.5 + x, jnp.sin(c)), jnp.zeros(3), xs)

    model = to_onnx(run, [(5, 3)])
    assert "Sin" in _inside(model)
    check(model, run, [(5, 3)])
