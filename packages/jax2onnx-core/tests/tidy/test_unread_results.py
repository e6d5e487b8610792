"""Unread results: what nobody reads of a choice or of a loop is not computed in its bodies."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jax2onnx import check, to_onnx


def _choice(x):
    one, _, other = lax.cond(x[0] > 0, lambda: (x, x.sum(), jnp.exp(x)), lambda: (x * 2, x.prod(), jnp.sin(x)))
    return one, other


def _scan(reverse):
    def run(x):
        def step(c, row):
            c = c + row.sum()
            return c, (jnp.exp(row), jnp.sin(row) * c, jnp.cos(row), -row)

        _, (_, sines, _, rest) = lax.scan(step, jnp.float32(0), x, reverse=reverse)
        return sines, rest

    return run


def _last_only(x):
    return lax.scan(lambda c, row: (c + row.sum(), (jnp.exp(row), jnp.sin(row))), jnp.float32(0), x)[0]


def _long(x):
    """Count more steps than are scanned: a loop that stacks its results."""
    c, (one, _) = lax.scan(lambda c, _: (c * 0.5 + 1, (jnp.exp(-c), jnp.sin(c))), x, None, length=5000)
    return c, one[-3:]


CASES = {
    "choice": (_choice, [(3,)], {"ReduceSum": 0, "ReduceProd": 0, "Exp": 1, "Sin": 1}),
    "scan": (_scan(reverse=False), [("T", 3)], {"Exp": 0, "Sin": 1, "Cos": 0, "Neg": 1}),
    "scan in reverse": (_scan(reverse=True), [(5, 3)], {"Exp": 0, "Sin": 1, "Cos": 0, "Neg": 1}),
    "the last state": (_last_only, [(5, 3)], {"Exp": 0, "Sin": 0}),
    "loop": (_long, [(2,)], {"Exp": 1, "Sin": 0}),
}


def _every(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from _every(attribute.g)


@pytest.mark.parametrize("name", CASES)
def test_unread_results(name) -> None:
    function, inputs, expected = CASES[name]
    model = to_onnx(function, inputs)
    found = [node.op_type for node in _every(model.graph)]
    assert {kind: found.count(kind) for kind in expected} == expected
    check(model, function, inputs)


def test_names_of_results_stay() -> None:
    """A result that moves up keeps the name that the model's output has."""

    def choice(x):
        _, other, third = lax.cond(x[0] > 0, lambda: (x.sum(), x * 3, x), lambda: (x.prod(), x, x + 1))
        return {"first": third, "second": other}

    model = to_onnx(choice, [(3,)])
    assert [output.name for output in model.graph.output] == ["first", "second"]
    x = np.array([-1, 2, np.nan], np.float32)
    check(model, choice, [(3,)], values=[[x], [-x]])
