"""Structures: which configurations, examples and dtypes of a function are looked for."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fusing import FUSIONS, found, fused, fusion, names
from programs import FACTS, array

from jax2onnx.fusion.structures import Structures


@pytest.mark.parametrize("approximate", [True, False])
def test_reads_configuration(approximate: bool) -> None:  # noqa: FBT001 - a test's parameter
    program = fused(lambda x: jax.nn.gelu(x, approximate=approximate) * 2, array(3))
    assert found(program) == [("gelu", {"approximate": approximate})]


@pytest.mark.parametrize(("inner", "outer"), [(0, 1), (1, 2), (-1, 2), (-2, 1)])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_under_vmap_takes_the_axis_of_the_whole_array(name: str, inner: int, outer: int) -> None:
    function = functools.partial(getattr(jax.nn, name), axis=inner)
    assert found(fused(jax.vmap(function), array(6, 4, 5))) == [(name, {"axis": outer})]


def test_softmax_over_several_axes_stays() -> None:
    assert names(lambda x: jax.nn.softmax(x, axis=(0, 1)), array(4, 5)) == []


def test_dtypes() -> None:
    only = [fusion("relu", jax.nn.relu, dtypes=["bfloat16", "int32"])]
    assert names(jax.nn.relu, array(3), fusions=only) == []
    assert names(jax.nn.relu, array(3, dtype=jnp.bfloat16), fusions=only) == ["relu"]
    assert names(jax.nn.relu, array(3, dtype=jnp.int32), fusions=only) == ["relu"]
    assert names(jax.nn.relu, array(3, dtype=jnp.int32)) == []


FLOAT = np.dtype("float32")


def test_the_largest_structure_comes_first() -> None:
    structures = Structures(FUSIONS, frozenset({"max", "min", "pjit", "jit"}), FACTS)
    assert [s.fusion.name for s in structures.ending_in("max", FLOAT)] == ["relu"]
    assert [s.fusion.name for s in structures.ending_in("min", FLOAT)] == ["relu6"]
    both = [fusion("small", jnp.sin), fusion("large", lambda x: jnp.sin(jnp.cos(x) * 2))]
    structures = Structures(both, frozenset({"sin", "cos", "mul"}), FACTS)
    assert [s.fusion.name for s in structures.ending_in("sin", FLOAT)] == ["large", "small"]


def test_what_the_program_lacks_is_not_traced() -> None:
    def traced(x: jax.Array) -> jax.Array:
        raise AssertionError(x)

    fusions = [fusion("traced", traced, primitives=frozenset({"scan"}))]
    assert not Structures(fusions, frozenset({"sin"}), FACTS).ending_in("sin", FLOAT)
    unlike = [fusion("erf_of_sin", lambda x: jnp.sin(jax.lax.erf(x)))]
    assert not Structures(unlike, frozenset({"sin"}), FACTS).ending_in("sin", FLOAT)
    assert Structures(unlike, frozenset({"sin", "erf"}), FACTS).ending_in("sin", FLOAT)


def test_examples_of_one_form_are_one_structure() -> None:
    examples: list[list[Any]] = [[(2, 3)], [(4, 5)], [(2, 3, 4)]]
    (structure,) = Structures([fusion("tanh", jnp.tanh, examples)], frozenset({"tanh"}), FACTS).ending_in("tanh", FLOAT)
    assert structure.kwargs == {}
