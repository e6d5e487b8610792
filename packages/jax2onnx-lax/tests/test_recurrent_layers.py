"""Scans of cells that are written by hand become recurrent operators, with JAX's numbers; other scans stay scans."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators

F, H = 3, 4
SIGMOID = jax.nn.sigmoid


def _numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def layer(step, *, reverse=False, finals=False, outputs=True, state=lambda h: (h, jnp.zeros_like(h))):
    """Return a step as a layer over a sequence with time first."""

    def run(xs, h):
        last, ys = lax.scan(step, state(h), xs, reverse=reverse)
        return (*(last if finals else ()), *((ys,) if outputs else ()))

    return run


def lstm(gates, order="ifgo", *, forget=0.0):
    """Return an LSTM's step, given a function that returns the four gates."""

    def step(state, x):
        h, c = state
        parts = dict(zip(order, gates(x, h), strict=True))
        c = SIGMOID(parts["f"] + forget) * c + SIGMOID(parts["i"]) * jnp.tanh(parts["g"])
        h = SIGMOID(parts["o"]) * jnp.tanh(c)
        return (h, c), h

    return step


W, U, B, B2 = _numbers(F, 4 * H), _numbers(H, 4 * H, seed=1), _numbers(4 * H, seed=2), _numbers(4 * H, seed=3)
BOTH = np.concatenate([W, U])


def _split(x, h):
    return jnp.split(x @ W + h @ U + B, 4, axis=-1)


def _slices(x, h):
    z = h @ U + B2 + (x @ W + B)
    return [z[..., i * H : (i + 1) * H] for i in range(4)]


def _reshaped(x, h):
    z = (x @ W + h @ U).reshape(*h.shape[:-1], 4, H)
    return [z[..., i, :] for i in range(4)]


def _unstacked(x, h):
    z = x @ W + h @ U + B
    return jnp.unstack(z.reshape(*h.shape[:-1], 4, H), axis=-2)


def _interleaved(x, h):
    z = (x @ W + h @ U).reshape(*h.shape[:-1], H, 4)
    return [z[..., i] for i in range(4)]


def _joined(x, h):
    return jnp.split(jnp.concatenate([x, h], axis=-1) @ BOTH + B, 4, -1)


def _joined_other_way(x, h):
    weights = np.concatenate([U, W])
    return jnp.split(jnp.dot(jnp.concatenate([h, x], -1), weights), 4, -1)


def _each(x, h):
    return [x @ W[:, i::4] + B[i::4] + h @ U[:, i::4] for i in range(4)]


def _einsum(x, h):
    return jnp.einsum("...f,gfk->g...k", x, W.reshape(F, 4, H).transpose(1, 0, 2)) + jnp.einsum(
        "...f,gfk->g...k", h, U.reshape(H, 4, H).transpose(1, 0, 2)
    )


def _columns(x, h):
    """Return gates of one sequence, by matrices from the left as in equinox."""
    return jnp.split(W.T @ x + U.T @ h + B, 4)


def _activated_together(state, x):
    h, c = state
    z = x @ W + h @ U + B
    i, f, o = jnp.split(SIGMOID(z[..., : 3 * H]), 3, -1)
    c = f * c + i * jnp.tanh(z[..., 3 * H :])
    h = o * jnp.tanh(c)
    return (h, c), h


def _coupled(state, x):
    h, c = state
    f, g, o, _ = _split(x, h)
    f = SIGMOID(f)
    c = f * c + (1.0 - f) * jnp.tanh(g)
    h = SIGMOID(o) * jnp.tanh(c)
    return (h, c), h


LSTMS = {
    "split": lstm(_split),
    "other order": lstm(_split, "ofig"),
    "forget bias": lstm(_split, forget=1.0),
    "slices, two biases": lstm(_slices, "figo"),
    "reshaped": lstm(_reshaped),
    "unstacked": lstm(_unstacked),
    "interleaved": lstm(_interleaved),
    "joined": lstm(_joined),
    "joined the other way": lstm(_joined_other_way),
    "each gate": lstm(_each, "gofi"),
    "einsum": lstm(_einsum),
    "activated together": _activated_together,
    "coupled": _coupled,
}


def gru(parts, new):
    """Return a GRU's step, given functions of its gates and of its new state."""

    def step(state, x):
        (h,) = state
        z, r = parts(x, h)
        n = jnp.tanh(new(x, h, r))
        h = (1 - z) * n + z * h
        return (h,), h

    return step


def _two_gates(x, h):
    z = SIGMOID(x @ W[:, : 2 * H] + h @ U[:, : 2 * H] + B[: 2 * H])
    return jnp.split(z, 2, -1)


def _new_late(x, h, r):
    return x @ W[:, -H:] + B[-H:] + r * (h @ U[:, -H:] + B2[-H:])


def _new_early(x, h, r):
    return jnp.concatenate([x, r * h], -1) @ BOTH[:, -H:] + B[-H:]


def _kept_less(state, x):
    """Compute the GRU in which the gate is of what is new."""
    (h,) = state
    z, r = _two_gates(x, h)
    h = h + z * (jnp.tanh(x @ W[:, -H:] + (r * h) @ U[:, -H:]) - h)
    return (h,), h


def _simple(state, x):
    (h,) = state
    h = jnp.tanh(x @ W[:, :H] + B[:H] + h @ U[:, :H])
    return (h,), h


ALONE = functools.partial(layer, state=lambda h: (h,))
GRUS = {
    "reset late": gru(_two_gates, _new_late),
    "reset early": gru(_two_gates, _new_early),
    "kept less": _kept_less,
}


def _check(function, inputs, operator, **options):
    model = to_onnx(function, inputs)
    counts = operators(model)
    assert counts[operator] == 1, counts
    check(model, function, inputs, **options)
    return counts


@pytest.mark.parametrize("name", LSTMS)
def test_lstm(name):
    _check(layer(LSTMS[name], finals=True), [("T", "B", F), ("B", H)], "LSTM")


@pytest.mark.parametrize("name", GRUS)
def test_gru(name):
    _check(ALONE(GRUS[name], finals=True), [("T", "B", F), ("B", H)], "GRU")


def test_simple_cell():
    _check(ALONE(_simple, finals=True), [("T", "B", F), ("B", H)], "RNN")


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("results", [{"finals": True, "outputs": False}, {}])
@pytest.mark.parametrize("batch", [(), (1,), (7,), (2, 3)])
def test_directions_results_and_batches(reverse, results, batch):
    inputs = [(6, *batch, F), (*batch, H)]
    _check(layer(lstm(_split), reverse=reverse, **results), inputs, "LSTM")
    _check(ALONE(GRUS["reset early"], reverse=reverse, **results), inputs, "GRU")


def test_one_sequence_and_a_batch_of_them():
    one = layer(lstm(_columns), finals=True)
    _check(one, [(5, F), (H,)], "LSTM")
    _check(jax.vmap(one), [(7, 5, F), (7, H)], "LSTM")
    _check(jax.vmap(one, in_axes=(1, 0)), [(5, "B", F), ("B", H)], "LSTM")


def test_parameters_that_are_inputs():
    def run(xs, h, w, u, b):
        def step(state, x):
            h, c = state
            i, f, g, o = jnp.split(x @ w + h @ u + b, 4, -1)
            c = SIGMOID(f) * c + SIGMOID(i) * jnp.tanh(g)
            h = SIGMOID(o) * jnp.tanh(c)
            return (h, c), h

        return lax.scan(step, (h, jnp.zeros_like(h)), xs)[1]

    _check(run, [("T", "B", F), ("B", H), (F, 4 * H), (H, 4 * H), (4 * H,)], "LSTM")


def test_products_with_inputs_before_the_scan():
    def run(xs, h):
        return layer(lstm(lambda x, h: jnp.split(x + h @ U, 4, -1)))(xs @ W + B, h)

    _check(run, [("T", "B", F), ("B", H)], "LSTM")


def test_two_inputs():
    def step(state, x):
        one, two = x
        return lstm(lambda x, h: jnp.split(x @ W + two @ W + h @ U, 4, -1))(state, one)

    def run(one, two, h):
        return layer(step)((one, two), h)

    _check(run, [(5, 2, F), (5, 2, F), (2, H)], "LSTM")


CELLS = {
    "LSTM": layer(LSTMS["joined"], finals=True),
    "LSTM of states alone": layer(LSTMS["slices, two biases"], finals=True, outputs=False),
    "GRU, reset late": ALONE(GRUS["reset late"], finals=True),
    "GRU, reset early": ALONE(GRUS["reset early"], finals=True),
    "GRU, kept less": ALONE(GRUS["kept less"], finals=True),
    "RNN": ALONE(_simple, finals=True),
}


@pytest.mark.parametrize("name", CELLS)
def test_numbers_that_are_not_ordinary(name):
    """onnxruntime's kernels make numbers of NaN; infinities that cancel make NaN of some gates only."""
    cases = [(bad, at) for bad in (np.nan, np.inf, -np.inf, 1e37, 1e20, 1e-42, -0.0) for at in ((0, 0), (2, 1), 3)]
    xs = _numbers(6, len(cases), F)
    for place, (bad, at) in enumerate(cases):
        xs[:, place][at] = bad
    h = _numbers(len(cases), H, seed=5)
    states = [h, h * 9, np.where(h > 1, np.inf, h), np.where(h > 1, np.nan, h)]
    inputs = [xs.shape, h.shape]
    values = [[xs, h], *[[np.abs(_numbers(*xs.shape)), state.astype(np.float32)] for state in states]]
    check(to_onnx(CELLS[name], inputs), CELLS[name], inputs, values=values)


@pytest.mark.parametrize("name", CELLS)
def test_no_steps_and_no_sequences(name):
    inputs = [("T", "B", F), ("B", H)]
    sizes = [{"B": b, "T": t} for b, t in ((0, 5), (2, 0), (0, 0), (1, 1))]
    check(to_onnx(CELLS[name], inputs), CELLS[name], inputs, sizes=sizes, kinds=("ordinary",))


def test_parameters_are_stored_once():
    w, u = _numbers(120, 4 * 150), _numbers(150, 4 * 150)
    cell = layer(lstm(lambda x, h: jnp.split(x @ w + h @ u, 4, -1)))
    model = to_onnx(cell, [("T", 2, 120), (2, 150)])
    assert sum(int(np.prod(i.dims)) for i in model.graph.initializer) < 1.05 * (w.size + u.size)


def test_the_same_parameters_in_another_order():
    """Their packed weights differ, though they are made of the same arrays; those of equal layers do not."""

    def run(xs, h, parameters):
        def gates(x, h):
            return jnp.split(x @ parameters["w"] + h @ parameters["u"] + parameters["b"], 4, axis=-1)

        one, other = layer(lstm(gates, "ifgo")), layer(lstm(gates, "fiog"))
        return one(xs, h), other(xs, h), one(xs[::-1], h)

    bound = functools.partial(run, parameters={"w": jnp.asarray(W), "u": jnp.asarray(U), "b": jnp.asarray(B)})
    inputs = [("T", 2, F), (2, H)]
    model = to_onnx(bound, inputs)
    check(model, bound, inputs)
    assert operators(model)["LSTM"] == 3
    assert sum(list(i.dims) == [1, 4 * H, F] for i in model.graph.initializer) == 2


def test_an_input_of_some_gates_keeps_its_infinities():
    """What a gate does not read cannot make it NaN: the operator multiplies by 0, JAX does not."""
    matrix = W[:, 2 * H : 3 * H]

    def gates(x, h):
        i, f, g, o = jnp.split(h @ U + B, 4, -1)
        return i, f, g + x @ matrix, o

    function, inputs = layer(lstm(gates)), [(5, 2, F), (2, H)]
    xs = _numbers(5, 2, F)
    xs[1, 0, 2] = np.inf
    assert operators(to_onnx(function, inputs))["LSTM"] == 1
    check(to_onnx(function, inputs), function, inputs, values=[[xs, _numbers(2, H)]])


def _other_function(state, x):
    h, c = state
    i, f, g, o = _split(x, h)
    c = SIGMOID(f) * c + SIGMOID(i) * jnp.sin(g)
    h = SIGMOID(o) * jnp.tanh(c)
    return (h, c), h


def _written_out(state, x):
    """Compute gates as this is sometimes written: their small values are exact, and the operator's are not."""
    h, c = state
    i, f, g, o = (1.0 / (1.0 + jnp.exp(-z)) if k != 2 else jnp.tanh(z) for k, z in enumerate(_split(x, h)))
    c = c * f + g * i
    h = jnp.tanh(c) * o
    return (h, c), h


def _other_sign(state, x):
    h, c = state
    i, f, g, o = _split(x, h)
    c = SIGMOID(f) * c - SIGMOID(i) * jnp.tanh(g)
    h = SIGMOID(o) * jnp.tanh(c)
    return (h, c), h


def _twice(state, x):
    h, c = state
    i, f, g, o = _split(x, h)
    c = SIGMOID(f) * c + 2.0 * SIGMOID(i) * jnp.tanh(g)
    h = SIGMOID(o) * jnp.tanh(c)
    return (h, c), h


def _peephole(state, x):
    h, c = state
    i, f, g, o = _split(x, h)
    c = SIGMOID(f + c) * c + SIGMOID(i) * jnp.tanh(g)
    h = SIGMOID(o) * jnp.tanh(c)
    return (h, c), h


def _old_cell(state, x):
    h, c = state
    i, f, g, o = _split(x, h)
    new = SIGMOID(f) * c + SIGMOID(i) * jnp.tanh(g)
    h = SIGMOID(o) * jnp.tanh(c)
    return (h, new), h


def _cell_as_output(state, x):
    (h, c), _ = lstm(_split)(state, x)
    return (h, c), c


def _mixed_sequences(state, x):
    h, c = state
    return lstm(_split)((h[::-1], c), x)


def _by_mean(state, x):
    h, c = state
    return lstm(_split)((h - h.mean(-1, keepdims=True), c), x)


def _of_own_weights(state, x):
    """Multiply each sequence by its own matrix."""
    h, c = state
    own = _numbers(2, H, 4 * H)
    return lstm(lambda x, h: jnp.split(x @ W + jnp.einsum("bh,bhg->bg", h, own), 4, -1))((h, c), x)


def _of_own_biases(state, x):
    h, c = state
    own = _numbers(2, 4 * H)
    return lstm(lambda x, h: jnp.split(x @ W + h @ U + own, 4, -1))((h, c), x)


OTHERS = {
    f.__name__: f
    for f in (
        _other_function, _written_out, _other_sign, _twice, _peephole, _old_cell, _cell_as_output, _mixed_sequences,
        _by_mean, _of_own_weights, _of_own_biases,
    )
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_other_cells_stay_scans(name):
    function, inputs = layer(OTHERS[name], finals=True), [(5, 2, F), (2, H)]
    model = to_onnx(function, inputs)
    assert "LSTM" not in operators(model)
    check(model, function, inputs)


def test_other_resets_stay_scans():
    def swapped(state, x):
        (h,) = state
        z, r = _two_gates(x, h)
        n = jnp.tanh(x @ W[:, -H:] + (r * h) @ U[:, -H:])
        h = (1 - r) * n + z * h
        return (h,), h

    function, inputs = ALONE(swapped), [(5, 2, F), (2, H)]
    model = to_onnx(function, inputs)
    assert "GRU" not in operators(model)
    check(model, function, inputs)


def test_halves_and_doubles_stay_scans():
    for dtype in (np.float16, np.float64):
        with jax.enable_x64(dtype == np.float64):
            w, u = W.astype(dtype), U.astype(dtype)
            cell = layer(lstm(lambda x, h, w=w, u=u: jnp.split(x @ w + h @ u, 4, -1)))
            inputs = [jax.ShapeDtypeStruct(s, dtype) for s in ((5, 2, F), (2, H))]
            assert "LSTM" not in operators(to_onnx(cell, inputs))


def test_an_operator_without_guards():
    function, inputs = layer(lstm(_split)), [(5, 2, F), (2, H)]
    assert set(operators(to_onnx(function, inputs, guards=False))) <= {"LSTM", "Reshape", "Squeeze", "Unsqueeze"}
