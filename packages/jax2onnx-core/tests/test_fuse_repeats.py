"""Repeats: an outcome is copied where the same equations stand, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fusing import FUSIONS, evaluate, found, jax_primitives, names
from programs import FACTS, array, flat

from jax2onnx.fusion.fuse import fuse
from jax2onnx.fusion.repeats import Place
from jax2onnx.program.flatten import flatten

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax2onnx.program.program import Eqn


def gelu_of(
    x: jax.Array, y: jax.Array, *, literal: float = 0.044715, power: int = 3, squash: Any = jnp.tanh
) -> tuple[jax.Array, jax.Array]:
    """Return tanh's approximation of gelu as jax.nn writes it, if y is x; and a value from within."""
    inner = np.sqrt(2 / np.pi).astype(x.dtype) * (x + literal * (y**power))
    return x * (0.5 * (1.0 + squash(inner))), inner


ODD: dict[str, Callable[[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]] = {
    "literal": lambda x, _: gelu_of(x, x, literal=0.045),
    "parameter": lambda x, _: gelu_of(x, x, power=2),
    "primitive": lambda x, _: gelu_of(x, x, squash=jnp.sin),
    "operand": gelu_of,
    "order": lambda x, y: gelu_of(y, x),
}


@pytest.mark.parametrize("place", [0, 2, 4])
@pytest.mark.parametrize("odd", [*ODD, "read"])
def test_a_place_is_compared_in_full_with_those_before(odd: str, place: int) -> None:
    def function(x: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        read = []
        for i in range(5):
            layer = ODD[odd] if odd in ODD and i == place else lambda x, _: gelu_of(x, x)
            x, inner = layer(jnp.sin(x), jnp.cos(x))
            read += [inner] * (odd == "read" and i == place)
        return x, read

    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    jaxpr = jax.make_jaxpr(function)(x)
    program = fuse(flatten(jaxpr, FACTS), FUSIONS, FACTS, opset=23)
    assert [name for name, _ in found(program)] == ["gelu"] * 4
    for got, expected in zip(
        evaluate(program, jax_primitives(jaxpr.jaxpr), [x]), jax.tree.leaves(function(x)), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_one_place_shares_is_found_at_all(place: int) -> None:
    def function(x: jax.Array) -> list[jax.Array]:
        read = []
        for i in range(3):
            zeros = jnp.broadcast_to(jnp.float32(0), x.shape)
            read += [zeros] * (i == place)
            x = jnp.sin(jnp.maximum(x, zeros))
        return [x, *read]

    assert names(function, array(4, 5)) == ["relu"] * 3


def equations(function: Callable[..., Any], shape: tuple[int, ...] = (3,)) -> list[Eqn]:
    return flat(function, array(*shape), array(*shape)).eqns


def test_counterparts_of_a_repeated_layer() -> None:
    eqns = equations(lambda x, y: jnp.sin(jnp.sin(x * y + 1) * y + 1))
    mul, add, sin = eqns[:3]
    place = Place(eqns, 2, [0, 1, 2], [], None)
    counterparts = place.counterparts(eqns, 5)
    assert counterparts is not None
    assert [counterparts[v] for v in mul.inputs] == [sin.outputs[0], mul.inputs[1]]
    assert counterparts[add.outputs[0]] is eqns[4].outputs[0]
    assert place.positions(5) == [3, 4, 5]
    assert place.counterparts(eqns, 1) is None
    assert place.counterparts(eqns, 4) is None


@pytest.mark.parametrize(
    "other",
    [
        lambda x, y: jnp.sin(x * y + 2),
        lambda x, y: jnp.sin(x * y + x),
        lambda x, y: jnp.sin(x - y + 1),
        lambda x, y: jnp.cos(x * y + 1),
    ],
)
def test_other_equations_have_no_counterparts(other: Callable[..., Any]) -> None:
    eqns = equations(lambda x, y: jnp.sin(x * y + 1))
    others = equations(other)
    assert Place(eqns, 2, [0, 1, 2], [], None).counterparts(others, len(others) - 1) is None


def test_inputs_of_another_type_have_no_counterparts() -> None:
    def layer(x: jax.Array, y: jax.Array) -> jax.Array:
        return jnp.sin(x * y + 1)

    place = Place(equations(layer), 2, [0, 1, 2], [], None)
    assert place.counterparts(equations(layer), 2) is not None
    assert place.counterparts(equations(layer, (4,)), 2) is None


def test_an_input_that_is_computed_inside_makes_another_function() -> None:
    eqns = equations(lambda x, y: jnp.sin(x) * y)
    square = equations(lambda x, _: jnp.sin(x) * jnp.sin(x))
    inside = [square[0], square[-1]]
    inside[1].inputs = [square[0].outputs[0]] * 2
    assert Place(eqns, 1, [0, 1], [], None).counterparts(inside, 1) is None
