"""Match: what a search unifies with a program, and what it says of the difference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fusing import SLOPED, explained, fused, fusion, gelu_by_hand, names, traced
from programs import array, flat

from jax2onnx.fusion.match import Search
from jax2onnx.program.graph import Graph
from jax2onnx.program.program import Const


def test_finds_handwritten_function() -> None:
    def gelu(x: jax.Array) -> jax.Array:
        return x * (0.5 * (1.0 + jnp.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * (x**3)))))

    def swapped(x: jax.Array) -> jax.Array:
        return ((jnp.tanh((0.044715 * (x**3) + x) * np.sqrt(2 / np.pi)) + 1.0) * 0.5) * x

    assert names(gelu, array(3)) == ["gelu"]
    assert names(swapped, array(3)) == ["gelu"]


@pytest.mark.parametrize("name", SLOPED)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_binds_slope(name: str, dtype: str) -> None:
    program = fused(lambda x: getattr(jax.nn, name)(x, 0.3), array(4, 5, dtype=dtype))
    (eqn,) = program.eqns
    assert eqn.primitive == name
    slope = eqn.inputs[1]
    assert isinstance(slope, Const)
    assert np.asarray(slope.value).astype(slope.aval.dtype) == np.asarray(0.3, dtype)
    computed = fused(getattr(jax.nn, name), array(4, 5, dtype=dtype), array(dtype=dtype))
    assert computed.eqns[0].inputs == computed.inputs


def test_shared_broadcast_of_a_scalar_inside() -> None:
    """A broadcast of an inner scalar belongs to the function, unless it is read outside too."""

    def softmax(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        top = jnp.broadcast_to(jnp.max(x), (3,))
        shifted = jnp.exp(x - top)
        return shifted / jnp.broadcast_to(jnp.sum(shifted), (3,)), top

    private = [fusion("private", lambda x: softmax(x)[0])]
    assert names(lambda x: softmax(x)[0], array(3), fusions=private) == ["private"]
    assert names(softmax, array(3), fusions=private) == []


def test_mean_over_a_symbolic_axis() -> None:
    def centred(x: jax.Array) -> jax.Array:
        return x - jnp.mean(x, axis=0, keepdims=True)

    centre = [fusion("centre", centred)]
    batch = jax.export.symbolic_shape("B, 3")
    assert names(centred, array(5, 3), fusions=centre) == ["centre"]
    assert names(centred, array(*batch), fusions=centre) == ["centre"]
    # A size that is read outside too does not hinder: sizes are recomputed at will.
    assert names(lambda x: centred(x) * (x.shape[0] * 2), array(*batch), fusions=centre) == ["centre"]


def _leak(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    inner = jnp.tanh(0.7978845608 * (x + 0.044715 * (x**3)))
    return x * (0.5 * (1.0 + inner)), inner


def _mixed_axes(x: jax.Array) -> jax.Array:
    shifted = jnp.exp(x - jax.lax.stop_gradient(jnp.max(x, axis=1, keepdims=True)))
    return shifted / jnp.sum(shifted, axis=0, keepdims=True)


@pytest.mark.parametrize(
    ("function", "aval"),
    [
        (gelu_by_hand(0.0447), array(3)),
        (gelu_by_hand(0.044715, power=5), array(3)),
        (_leak, array(3)),
        (_mixed_axes, array(4, 4)),
        (lambda x: jnp.maximum(x, 0.5), array(3)),
        (lambda x: jnp.maximum(x, -0.0), array(3)),
        (lambda x: jnp.minimum(jnp.maximum(x, 0), 5.0) * 2, array(3, dtype=jnp.int32)),
        (lambda x: jnp.where(x > 0, x, jnp.expm1(x)), array(3)),
        (lambda x: jnp.where(x > 0.5, x, 0.1 * x), array(3)),
        (lambda x: jnp.where(x >= 0, 0.1 * x, x), array(3)),
        (lambda x: x * jax.lax.logistic(1.5 * x), array(3)),
    ],
)
def test_near_misses_stay(function: Callable[..., Any], aval: Any) -> None:
    assert set(names(function, aval)) <= {"sigmoid"}


def test_the_difference_is_the_deepest() -> None:
    """``mul`` and ``add`` are tried with their operands in both orders; the order that fits better is reported."""
    records = explained(lambda x: ((jnp.tanh((x + x**3 * 0.04) * 0.7978845608) + 1) * 0.5) * x, array(3))
    assert [(r.name, r.reason, r.matched) for r in records] == [
        ("gelu", "0.04 stands where the function has 0.044715", 7)
    ]


def test_a_loose_search_ignores_numbers_and_an_exact_one_does_not() -> None:
    program = flat(gelu_by_hand(0.5), array(3))
    graph = Graph(program)
    (anchor,) = [eqn for eqn in program.eqns if eqn.outputs == program.outputs]
    loose = Search(traced(jax.nn.gelu, array(2, 3)), graph)
    assert loose.run(anchor, anchor.outputs[0])
    assert list(loose.bindings.values()).count(program.inputs[0]) == 1
    matched, inside = loose.positions()
    assert sorted(matched) == inside == list(range(len(program.eqns)))
    exact = Search(traced(jax.nn.gelu, array(3), loose=False), graph, program.inputs)
    assert not exact.run(anchor, anchor.outputs[0])
    assert exact.difference == "0.5 stands where the function has 0.044715"


@pytest.mark.parametrize(
    ("function", "difference"),
    [
        (lambda x: x * jax.lax.logistic(x * 2), "two values stand where the function has one"),
        (lambda x: x * jax.lax.erf(x), "mul has other operands"),
        (lambda x: jax.lax.logistic(x) + x, "add stands where the function has mul"),
        (
            lambda x: (x * jax.lax.logistic(x)).astype(jnp.float16),
            "convert_element_type stands where the function has mul",
        ),
    ],
)
def test_the_difference_in_words(function: Callable[..., Any], difference: str) -> None:
    program = flat(function, array(3))
    silu = traced(jax.nn.silu, array(3), loose=False)
    search = Search(silu, Graph(program), program.inputs)
    assert not search.run(program.eqns[-1], program.eqns[-1].outputs[0])
    assert search.difference == difference


def test_the_swapped_order_is_tried_after_the_given_one() -> None:
    reference = traced(lambda x, y: jnp.sin(x) * jnp.sin(y) * x, array(3), array(3))
    program = flat(lambda x, y: jnp.sin(x) * jnp.sin(y) * y, array(3), array(3))
    search = Search(reference, Graph(program))
    assert search.run(program.eqns[-1], program.eqns[-1].outputs[0])
    bound = [search.bindings[v] for v in reference.program.inputs]
    assert bound == program.inputs[::-1]
