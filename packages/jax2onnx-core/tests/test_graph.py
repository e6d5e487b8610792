"""A program seen backwards: what is computed where and read where, and what may be read in place of a value."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from programs import FACTS, VECTOR, array, flat, only, primitives

from jax2onnx._compat import ShapedArray
from jax2onnx.program.graph import OUTPUT, Graph, live
from jax2onnx.program.program import Const, Eqn, Program, Var


def test_each_value_has_one_producer_and_its_users_in_order() -> None:
    program = flat(lambda x: (jnp.sin(x) * jnp.cos(x), jnp.sin(x)))
    sin, cos, mul, _ = program.eqns
    graph = Graph(program)
    assert [graph.producer[e.outputs[0]] for e in (sin, cos, mul)] == [0, 1, 2]
    assert graph.maker[mul.outputs[0]] == "mul"
    assert program.inputs[0] not in graph.producer
    users = graph.users(program)
    assert users[program.inputs[0]] == [0, 1, 3]
    assert users[sin.outputs[0]] == [2]
    assert users[mul.outputs[0]] == [OUTPUT]


def test_dead_equations_go() -> None:
    program = flat(lambda x: (jnp.sin(jnp.cos(x)), x * 2)[1])
    assert primitives(program) == ["cos", "sin", "mul"]
    assert primitives(live(program)) == ["mul"]


def test_what_is_left_of_an_equation_decides_what_is_read_before_it() -> None:
    program = flat(lambda x, y: jnp.sin(x) * jnp.cos(y), VECTOR, VECTOR)

    def without_second_operand(eqn: Eqn, wanted: Any) -> Eqn | None:
        eqn = Eqn(eqn.primitive, eqn.inputs[:1], eqn.outputs, {}, None)
        return None if wanted.isdisjoint(eqn.outputs) else eqn

    assert primitives(live(program, without_second_operand)) == ["sin", "mul"]
    assert primitives(program) == ["sin", "cos", "mul"]


# -- scalars ---------------------------------------------------------------------------------------------------------


def test_an_elementwise_equation_may_read_the_scalar_of_a_broadcast() -> None:
    program = flat(lambda x, s: x * jnp.broadcast_to(jnp.broadcast_to(s, (3,)), (2, 3)), array(2, 3), array())
    mul = only(program, "mul")
    graph = Graph(program)
    assert graph.resolve(mul, mul.inputs[1]) is program.inputs[1]
    assert graph.resolve(mul, mul.inputs[0]) is mul.inputs[0]


def test_any_other_equation_reads_the_broadcast() -> None:
    program = flat(lambda x, s: x @ jnp.broadcast_to(s, (3,)), array(2, 3), array())
    product = only(program, "dot_general")
    assert Graph(program).resolve(product, product.inputs[1]) is product.inputs[1]


CONVERTED = [
    ("int32", 3, "float32", True),
    ("int32", -256, "bfloat16", True),
    ("int32", 257, "float32", False),  # not exact in every floating dtype
    ("float32", 0.1, "float16", True),
    ("float16", 0.1, "float32", True),
    ("float32", 2.5, "int32", False),
    ("bool", True, "float32", False),
]


@pytest.mark.parametrize(("source", "value", "target", "converts"), CONVERTED)
def test_a_known_scalar_is_converted_where_numpy_rounds_as_jax(
    source: str,
    value: Any,
    target: str,
    converts: bool,  # noqa: FBT001 - a test's parameter
) -> None:
    scalar = Const(ShapedArray((), np.dtype(source)), np.asarray(value, source))
    result = Var(ShapedArray((), jnp.dtype(target)))
    conversion = Eqn("convert_element_type", [scalar], [result], {}, None, FACTS.of("convert_element_type"))
    found = Graph(Program([], [conversion], [result])).scalars.get(result)
    assert (found is not None) is converts
    if found is not None:
        assert isinstance(found, Const)
        assert found.aval.dtype == found.value.dtype == target
        np.testing.assert_array_equal(found.value, scalar.value.astype(target))


def test_a_computed_scalar_is_read_through_a_conversion_only_where_dtypes_are_ignored() -> None:
    program = flat(lambda s: s.astype(jnp.float16), array())
    converted = program.eqns[0].outputs[0]
    assert converted not in Graph(program).scalars
    assert Graph(program, through_converts=True).scalars[converted] is program.inputs[0]


def test_sizes_are_what_is_computed_from_dims_and_constants_alone() -> None:
    (rows,) = jax.export.symbolic_shape("B")

    def mean(x: Any) -> Any:
        return x.sum() / x.shape[0]

    program = flat(mean, array(rows))
    size = only(program, "dim_as_value")
    division = only(program, "div")
    graph = Graph(program)
    assert {*size.outputs, division.inputs[1]} <= graph.sizes
    assert division.inputs[0] not in graph.sizes
    assert division.outputs[0] not in graph.sizes


def test_an_empty_program() -> None:
    program = Program([])
    assert Graph(program).producer == {}
    assert live(program).eqns == []
