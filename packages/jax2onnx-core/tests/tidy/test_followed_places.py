"""Followed places: loops that only look up where the next step looks up are lookups in one array."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators

INPUTS = ["int32[9,4]", "int32[]"]


def _rows(shape, size, seed=0):
    return np.random.default_rng(seed).integers(0, size, shape).astype(np.int32)


def _back(rows, start):
    """Trace back a path: each row says from where each state is reached."""
    return lax.scan(lambda s, row: (row[s], s), jnp.clip(start, 0, 3), jnp.clip(rows, 0, 3), reverse=True)


def _forth(rows, start):
    return lax.scan(lambda s, row: (row[s], row[s]), jnp.clip(start, 0, 3), jnp.clip(rows, 0, 3))


def _both(rows, start):
    def step(state, row):
        found = row[state]
        return found, (state, found)

    return lax.scan(step, jnp.clip(start, 0, 3), jnp.clip(rows, 0, 3), reverse=True)[1]


def _last(rows, start):
    return lax.scan(lambda s, row: (row[s], None), jnp.clip(start, 0, 3), jnp.clip(rows, 0, 3))[0]


def _several(rows, start):
    """Trace several paths at once."""
    states = jnp.clip(jnp.stack([start, start + 1, 3 - start]), 0, 3)
    return lax.scan(lambda s, row: (row[s], s), states, jnp.clip(rows, 0, 3), reverse=True)


def _floats(rows, start):
    return lax.scan(lambda s, row: (row[s], row[s] * 0.5), jnp.clip(start, 0, 3), jnp.clip(rows, 0, 3))


@pytest.mark.parametrize("function", [_back, _forth, _both, _last, _several, _floats])
def test_paths_are_followed_without_a_loop(function):
    model = to_onnx(function, INPUTS)
    assert "Scan" not in operators(model)
    assert operators(model)["Gather"] <= 10
    assert "Mod" not in operators(model)
    check(model, function, INPUTS, values=[[_rows((9, 4), 4, seed), np.int32(seed)] for seed in range(8)])


def test_the_best_path_is_found():
    def viterbi(emissions, transitions):
        def forward(scores, emission):
            reached = scores[:, None] + transitions
            return jnp.max(reached, axis=0) + emission, jnp.argmax(reached, axis=0)

        scores, came_from = lax.scan(forward, emissions[0], emissions[1:])
        last = jnp.argmax(scores)
        _, path = lax.scan(lambda s, row: (row[s], row[s]), last, came_from, reverse=True)
        return jnp.append(path, last)

    inputs = [(12, 5), (5, 5)]
    model = to_onnx(viterbi, inputs)
    assert operators(model)["Scan"] == 1
    assert "Mod" not in operators(model)
    check(model, viterbi, inputs, kinds=("ordinary", "special"))


def test_places_that_count_from_the_end():
    def function(rows, start):
        return lax.scan(lambda s, row: (row.at[s].get(mode="promise_in_bounds"), s), start, rows)

    model = to_onnx(function, INPUTS)
    rows = _rows((9, 4), 4)
    check(model, function, INPUTS, values=[[rows, np.int32(2)], [rows[::-1].copy(), np.int32(0)]])


def test_places_that_may_be_negative_are_returned_as_they_are(graphs):
    """A lookup counts them from the end of their own row."""
    before = graphs.parse("""
        (int32[9, 4] rows, int32 start) => (int32 y, int32[9] z) {
            y, z = Scan <num_scan_inputs = 1, body = body (int32 state, int32[4] row) => (int32 next, int32 r) {
                next = Gather (row, state)
                r = Identity (next)
            }> (start, rows)
        }""")
    after = graphs.tidied(before)
    rows = np.random.default_rng(0).integers(-4, 4, (9, 4)).astype(np.int32)
    for start in (-4, 0, 3):
        graphs.same_bits(before, after, {"rows": rows, "start": np.array(start, np.int32)})


def _long(rows, start):
    return lax.scan(lambda s, row: (row[s], s), jnp.clip(start, 0, 3), jnp.clip(jnp.tile(rows, (20, 1)), 0, 3))


def _counted(rows, start):
    """Count on the way."""
    return lax.scan(lambda s, row: (row[s] // 2, s), jnp.clip(start, 0, 3), jnp.clip(rows, 0, 3))


@pytest.mark.parametrize("function", [_long, _counted])
def test_other_loops_stay(function):
    model = to_onnx(function, INPUTS)
    assert "Scan" in operators(model)
    check(model, function, INPUTS, values=[[_rows((9, 4), 4, seed), np.int32(seed)] for seed in range(3)])


def test_paths_in_a_loop():
    def function(rows, start):
        def step(state, shift):
            rows_now = jnp.clip(rows + shift, 0, 3)
            best = jnp.argmax(rows_now[0] * state)
            return lax.scan(lambda s, row: (row[s], s), best, rows_now, reverse=True)

        return lax.scan(step, jnp.clip(start, 0, 3), jnp.arange(12, dtype=jnp.int32))

    model = to_onnx(function, INPUTS)
    assert operators(model)["Scan"] == 1
    check(model, function, INPUTS, values=[[_rows((9, 4), 4, seed), np.int32(seed)] for seed in range(3)])
