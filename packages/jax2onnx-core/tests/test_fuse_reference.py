"""References: what their traces hold, and when there is no trace."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from fusing import ARRAY, fused, fusion, gelu_by_hand, names, traced
from programs import FACTS, array

from jax2onnx.fusion.reference import NoTrace, trace_pattern


def test_reference_that_does_not_trace_is_no_match() -> None:
    def broken(x: jax.Array) -> jax.Array:
        if x.shape != ARRAY:
            msg = "only examples"
            raise ValueError(msg)
        return jnp.sin(x) * 2

    records: list[Any] = []
    program = fused(lambda x: jnp.sin(x) * 2, array(7), fusions=[fusion("broken", broken)], explain=records)
    assert [e.primitive for e in program.eqns] == ["sin", "mul"]
    assert [r.reason for r in records] == ["the reference does not trace here: ValueError: only examples"]


class _LibraryError(Exception):
    """As flax's ``ScopeParamShapeError``: of no class that Python knows more about."""


@pytest.mark.parametrize("error", [_LibraryError("no such shape"), UserWarning("odd"), StopIteration(), OSError()])
def test_whatever_a_reference_raises_it_is_no_match(error: Exception) -> None:
    def broken(x: jax.Array) -> jax.Array:
        if x.shape != ARRAY:
            raise error
        return jnp.sin(x) * 2

    records: list[Any] = []
    program = fused(lambda x: jnp.sin(x) * 2, array(7), fusions=[fusion("broken", broken)], explain=records)
    assert [e.primitive for e in program.eqns] == ["sin", "mul"]
    assert [type(error).__name__ in r.reason for r in records] == [True]


def test_a_configuration_that_cannot_be_read_is_no_match() -> None:
    def read(_candidate: Any) -> Any:
        raise KeyError("axis")

    records: list[Any] = []
    odd = replace(fusion("odd", lambda x: jnp.sin(x) * 2), kwargs=read)
    program = fused(lambda x: jnp.sin(x) * 2, array(7), fusions=[odd], explain=records)
    assert [e.primitive for e in program.eqns] == ["sin", "mul"]
    assert [r.reason for r in records] == ["its configuration cannot be read here: KeyError: 'axis'"]


def test_a_configuration_that_has_no_hash_is_no_match() -> None:
    def scaled(x: jax.Array, *, factors: Any = (2,)) -> jax.Array:
        return jnp.sin(x) * factors[0]

    odd = replace(fusion("odd", scaled), kwargs=lambda _: [{"factors": [2]}])
    assert names(lambda x: jnp.sin(x) * 2, array(7), fusions=[odd]) == []


def test_what_a_reference_warns_of_is_not_told() -> None:
    def loud(x: jax.Array) -> jax.Array:
        warnings.warn("old", DeprecationWarning, stacklevel=2)
        return jnp.sin(x) * 2

    assert names(lambda x: jnp.sin(x) * 2, array(7), fusions=[fusion("loud", loud)]) == ["loud"]


def test_does_not_look_for_results_of_several_equations() -> None:
    fusions = [fusion("both", lambda x: (jnp.sin(x), jnp.cos(x)))]
    assert names(lambda x: (jnp.sin(x), jnp.cos(x)), array(3), fusions=fusions) == []


def test_symbolic_scopes_do_not_mix() -> None:
    for _ in range(2):
        assert names(jax.nn.gelu, array(*jax.export.symbolic_shape("B, 3"))) == ["gelu"]


def test_a_pattern_is_the_graph_of_the_function() -> None:
    pattern = traced(jax.nn.silu, array(3))
    x, logistic = pattern.anchor.operands
    assert pattern.anchor.primitive == "mul"
    assert (x.atom, x.node) == (pattern.program.inputs[0], None)
    assert logistic.node is not None
    assert logistic.node.primitive == "logistic"
    assert logistic.node.operands[0].atom is x.atom
    assert pattern.results == (0,)
    assert pattern.distinctive == {"logistic"}


def test_the_form_of_a_pattern_is_without_shapes_and_numbers() -> None:
    form = traced(gelu_by_hand(0.1), array(3)).form
    assert traced(gelu_by_hand(0.2), array(4, 5)).form == form
    assert traced(lambda x, y: x - y, array(3), array(3)).form != traced(lambda x, y: y - x, array(3), array(3)).form


def test_a_trace_is_made_once_for_each_configuration_and_type() -> None:
    assert traced(jax.nn.gelu, array(3)) is traced(jax.nn.gelu, array(3))
    assert traced(jax.nn.gelu, array(3)) is not traced(jax.nn.gelu, array(4))
    assert traced(jax.nn.gelu, array(3)) is not traced(jax.nn.gelu, array(3), approximate=False)
    with jax.default_matmul_precision("highest"):
        precise = traced(jax.nn.gelu, array(3))
    assert precise is not traced(jax.nn.gelu, array(3))


def test_what_computes_nothing_has_no_trace() -> None:
    nothing = NoTrace("the reference computes nothing here", is_usual=True)
    assert trace_pattern(lambda x: x, [array(3)], {}, FACTS, loose=True) == nothing
    assert trace_pattern(lambda _: 2.0, [array(3)], {}, FACTS, loose=True) == nothing
