"""Rows that the steps of a loop write into an array one after the other are stacked, with JAX's numbers."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators


def _walk(x):
    return lax.fori_loop(0, 50, lambda i, p: p.at[i + 1].set(jnp.sin(p[i]) + 1), jnp.zeros((51, 2)).at[0].set(x))


def _columns(x):
    return lax.fori_loop(0, 50, lambda i, s: (s[0].at[:, i].set(s[1]), s[1] * 1.01), (jnp.full((2, 60), 7.0), x))


def _slices(x):
    def step(i, state):
        path, row = state
        return lax.dynamic_update_slice(path, row[None], (i, 0)), row * 1.01

    return lax.fori_loop(0, 40, step, (jnp.zeros((40, 2)), x))


def _backwards(x):
    return lax.fori_loop(0, 20, lambda i, p: p.at[19 - i].set(jnp.cos(p[20 - i])), jnp.zeros((21, 2)).at[20].set(x))


def _every_other(x):
    return lax.fori_loop(0, 10, lambda i, p: p.at[2 * i + 1].set(x * i), jnp.ones((21, 2)))


def _from_the_end(x):
    return lax.fori_loop(-20, 0, lambda i, p: p.at[i].set(x * i), jnp.ones((21, 2)))


def _two(x):
    """Read of both arrays what the step before has written."""

    def step(i, state):
        one, other = state
        return one.at[i + 1].set(one[i] + other[i]), other.at[i + 1].set(other[i] * 0.5 - one[i])

    return lax.fori_loop(0, 20, step, (jnp.zeros((21, 2)).at[0].set(x), jnp.ones((21, 2))))


def _numbers(x):
    return lax.fori_loop(0, 20, lambda i, p: p.at[i + 1].set(p[i] * 0.9 + x[0]), jnp.zeros(21))


def _scanned(x):
    """Stack results, and scan an array, besides."""

    def step(state, row):
        i, rows = state
        return (i + 1, rows.at[i].set(row * 2)), row.sum()

    return lax.scan(step, (0, jnp.zeros((12, 2))), jnp.ones((12, 2)) * x)


def _counted_in_bytes(x, length, stride):
    def step(state, _):
        i, rows = state
        return (i + jnp.int8(1), rows.at[i * jnp.int8(stride)].set(x)), None

    return lax.scan(step, (np.int8(0), jnp.ones((100, 2))), None, length=length)


def _bytes(x):
    return _counted_in_bytes(x, 20, 3)


def _beyond(x):
    """Write rows that are not there, which JAX drops."""
    return lax.fori_loop(0, 30, lambda i, p: p.at[i].set(x * i), jnp.ones((21, 2)))


def _twice(x):
    """Write each row twice."""
    return lax.fori_loop(0, 10, lambda i, p: p.at[i // 2].set(x * i), jnp.ones((21, 2)))


def _all_read(x):
    return lax.fori_loop(0, 20, lambda i, p: p.at[i].set(x + p.sum(0) / 50), jnp.ones((21, 2)))


def _earlier(x):
    """Read what the step before the last has written."""
    return lax.fori_loop(1, 20, lambda i, p: p.at[i + 1].set(p[i] + p[i - 1] * 0.1), jnp.ones((21, 2)) * x)


def _returned(x):
    """Return the array as each step finds it."""
    return lax.scan(lambda s, _: ((s[0] + 1, s[1].at[s[0]].set(x)), s[1]), (0, jnp.zeros((12, 2))), None, length=12)


def _wrapping(x):
    """Count in bytes beyond what they hold."""
    return _counted_in_bytes(x, 40, 4)


STACKED = [_walk, _columns, _slices, _backwards, _every_other, _from_the_end, _two, _numbers, _scanned]
CARRIED = [_bytes, _beyond, _twice, _all_read, _earlier, _returned, _wrapping]
WRITES = {"ScatterND", "ScatterElements"}


@pytest.mark.parametrize("function", STACKED)
def test_rows_are_stacked(function):
    model = to_onnx(function, [(2,)])
    assert not WRITES & set(operators(model))
    check(model, function, [(2,)], kinds=("ordinary", "special"))


@pytest.mark.parametrize("function", CARRIED)
def test_arrays_that_need_more_are_carried(function):
    model = to_onnx(function, [(2,)])
    assert {"Where", *WRITES} & set(operators(model))
    check(model, function, [(2,)], kinds=("ordinary", "special"))


@pytest.mark.parametrize("seed", range(20))
def test_random_writes(seed):
    """Write to, and read of, rows at any affine places: as many as not are out of bounds, or written twice."""
    rng = np.random.default_rng(seed)
    size, count = int(rng.integers(3, 30)), int(rng.integers(2, 20))
    start, stride, shift, lag = (int(number) for number in rng.integers([-3, -1, -2, -1], [4, 3, 3, 2]))

    def run(x):
        def step(i, state):
            rows, total = state
            place = stride * i + shift
            total = total * 0.5 + rows[place - lag]
            return rows.at[place].set(total + i), total

        return lax.fori_loop(start, start + count, step, (jnp.arange(2.0 * size).reshape(size, 2), x))

    check(to_onnx(run, [(2,)]), run, [(2,)])


def test_rows_of_a_batch():
    def run(x):
        return lax.fori_loop(0, 20, lambda i, p: p.at[i + 1].set(p[i] * 0.5 + x), jnp.zeros((21, *x.shape)))

    model = to_onnx(run, [("B", 2)])
    assert not WRITES & set(operators(model))
    check(model, run, [("B", 2)], sizes=[0, 1, 7])
