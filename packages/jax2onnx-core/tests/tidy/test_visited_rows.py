"""Visited rows: what a body computes of one row after the other is computed of all rows, and looked up."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, to_onnx
from jax2onnx.testing import operators

INPUTS = ["float32[9,3]", "int32[9,3]", "float32[9]", "int32[20]"]
NANS = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1e38, 1e-40, 1, -1], np.float32)


def _arrays(seed, values=None):
    rng = np.random.default_rng(seed)
    children = rng.integers(0, 9, (9, 3)).astype(np.int32)
    found = rng.normal(size=9).astype(np.float32) if values is None else rng.permutation(values)
    return [rng.normal(size=(9, 3)).astype(np.float32), children, found, rng.integers(0, 9, 20).astype(np.int32)]


def _searched(score):
    """Return a search that goes down four levels of a tree, which each step changes."""

    def search(prior, children, value, starts):
        def step(value, start):
            node, path = start, []
            for _ in range(4):
                best = jnp.argmax(score(prior[node], value, children[node]))
                node = children[node, best]
                path.append(node)
            return value.at[node].add(1), jnp.stack(path)

        return lax.scan(step, value, starts)

    return search


def _exploring(prior, value, children):
    return jnp.sin(prior) * jnp.exp(-prior) + value[children] * 2


def _divided(_prior, _value, children):
    return (7 * children) // (children - 4)


@pytest.mark.parametrize("values", [None, NANS], ids=["numbers", "edges"])
def test_scores_of_all_nodes_are_computed_at_once(values):
    function = _searched(_exploring)
    model = to_onnx(function, INPUTS)
    # Those of the first level are computed before the loop.
    assert operators(model)["Sin"] == operators(model)["ArgMax"] == 2
    check(model, function, INPUTS, values=[_arrays(seed, values) for seed in range(6)])


def test_children_that_no_level_reaches_may_be_anywhere():
    """JAX clips a place: what is read at one outside the array is computed for all rows, too."""
    function = _searched(_exploring)
    arrays = _arrays(0)
    arrays[1] = np.array([[1, -1, 900], [2, 0, -900], [0, 1, 2], *([[5000, -5000, 2**31 - 1]] * 6)], np.int32)
    arrays[3] %= 3
    check(to_onnx(function, INPUTS), function, INPUTS, values=[arrays])


def test_integers_are_divided_where_a_level_is_alone():
    """A row that nothing visits may hold a 0, by which no processor divides."""
    function = _searched(_divided)
    arrays = _arrays(1)
    arrays[1] = np.array([[1, 2, 3], [2, 0, 1], [0, 1, 2], [1, 1, 0], *([[4, 4, 4]] * 5)], np.int32)
    arrays[3] %= 4
    model = to_onnx(function, INPUTS)
    check(model, function, INPUTS, values=[arrays])


def test_two_levels_stay():
    """Of two rows it is fewer nodes to compute than of all, and a lookup for each."""

    def function(prior, starts):
        def step(total, start):
            first = jnp.argmin(jnp.sin(prior[start]))
            return total + jnp.argmin(jnp.sin(prior[first])), first

        return lax.scan(step, 0, starts)

    inputs = ["float32[9,9]", "int32[20]"]
    model = to_onnx(function, inputs)
    assert operators(model)["Sin"] == 2
    check(model, function, inputs)


def test_large_arrays_stay_as_they_are():
    """A row of few is read: to compute all rows would take longer."""

    def function(table, starts):
        def step(total, start):
            place = start
            for _ in range(3):
                place = jnp.argmax(jnp.tanh(table[place])).astype(jnp.int32)
            return total + place, place

        return lax.scan(step, 0, starts)

    inputs = ["float32[512,512]", "int32[2]"]
    model = to_onnx(function, inputs)
    assert operators(model)["Tanh"] == 3
    check(model, function, inputs)


def test_a_row_that_the_loop_does_not_change_takes_part():
    """The row of the root is taken before the loop, and the others of the same array in it."""

    def function(prior, table):
        def step(table, _):
            node, path = jnp.int32(0), []
            for _ in range(4):
                node = jnp.argmin(jnp.cos(prior[node] + table[node])).astype(jnp.int32)
                path.append(node)
            return table.at[node].add(0.25), jnp.stack(path)

        return lax.scan(step, table, length=25)

    inputs = ["float32[6,6]", "float32[6,6]"]
    model = to_onnx(function, inputs)
    assert operators(model)["Cos"] == 1
    check(model, function, inputs, values=[list(jax.random.normal(jax.random.key(0), (2, 6, 6)))])
