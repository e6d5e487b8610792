"""Prefilter: it leaves out what cannot end in an equation, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import pytest
from fusing import FUSIONS, SLOPED, UNARY, fusion
from programs import FACTS, array, flat

from jax2onnx.fusion.prefilter import DEPTH, Prefilter
from jax2onnx.program.graph import Graph

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from jax2onnx.fusion.structures import Structure
    from jax2onnx.plugin.fusions import Fusion


def candidates(function: Callable[..., Any], *avals: Any, fusions: Iterable[Fusion] = FUSIONS) -> Sequence[Structure]:
    """Return the structures that may end in the last equation of a function."""
    program = flat(function, *avals)
    last = program.eqns[-1]
    return Prefilter(Graph(program), [*fusions], FACTS).candidates(last, last.outputs[0])


def listed(function: Callable[..., Any], *avals: Any, **options: Any) -> list[str]:
    return [structure.fusion.name for structure in candidates(function, *avals, **options)]


@pytest.mark.parametrize("name", [*UNARY, *SLOPED, "gelu", "softmax", "log_softmax"])
def test_leaves_no_function_out(name: str) -> None:
    assert name in listed(getattr(jax.nn, name), array(4, 5))


def test_sees_primitives_but_not_numbers_or_whether_values_are_one() -> None:
    assert listed(lambda x, y: x * jax.lax.logistic(y), array(3), array(3)) == ["silu"]
    assert listed(lambda x: jax.lax.logistic(x * 2) * x, array(3)) == ["silu"]
    assert listed(lambda x: jax.lax.erf(x) * x, array(3)) == []
    assert listed(lambda x: jnp.maximum(x, 5.0), array(3)) == ["relu"]
    assert listed(jnp.maximum, array(3), array(3)) == []


@pytest.mark.parametrize("depth", range(2, DEPTH + 3))
def test_sees_some_equations_deep(depth: int) -> None:
    def chain(x: jax.Array, first: Callable[..., Any]) -> jax.Array:
        x = first(x)
        for _ in range(depth - 1):
            x = jnp.tanh(x)
        return x

    fusions = [fusion("chain", lambda x: chain(x, jnp.sin))]
    program = flat(lambda x: (jnp.sin(x), chain(x, jnp.cos)), array(3))
    (tanh,) = [eqn for eqn in program.eqns if eqn.outputs[0] is program.outputs[1]]
    shown = Prefilter(Graph(program), fusions, FACTS).candidates(tanh, tanh.outputs[0])
    assert bool(shown) is (depth > DEPTH + 1)


def test_like_equations_share_one_list() -> None:
    program = flat(lambda x, y: (jax.nn.silu(x), jax.nn.silu(y)), array(3), array(4, 5))
    first, second = (eqn for eqn in program.eqns if eqn.primitive == "mul")
    prefilter = Prefilter(Graph(program), FUSIONS, FACTS)
    assert prefilter.candidates(first, first.outputs[0]) is prefilter.candidates(second, second.outputs[0])
    assert candidates(jax.nn.silu, array(3)) is candidates(jax.nn.silu, array(7))


def test_a_library_that_is_not_imported_has_no_functions() -> None:
    assert listed(jax.nn.relu, array(3), fusions=[fusion("relu", jax.nn.relu, library="jax")]) == ["relu"]
    assert listed(jax.nn.relu, array(3), fusions=[fusion("relu", jax.nn.relu, library="not_a_library")]) == []
