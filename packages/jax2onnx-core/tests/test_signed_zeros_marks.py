"""Which equations are marked: those in whose results the sign of a zero changes a number later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax
from programs import VECTOR, flat, flat_with_functions, programs

from jax2onnx import onnx_function
from jax2onnx.program.signed_zeros import mark_signs

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax2onnx.program.program import Program


def marked(program: Program) -> list[str]:
    """Return the primitives of the marked equations, in bodies too, in order."""
    found = []
    for one in programs(program):
        found += [eqn.primitive for eqn in one.eqns if eqn.signed]
    return sorted(found)


def select(x: Any) -> Any:
    return lax.select(x > 1, x, x)


def squared(x: Any) -> Any:
    return x * x


PLAIN: dict[str, tuple[Callable[..., Any], list[str]]] = {
    "nothing_divides": (lambda x: jnp.tanh(select(x)), []),
    "a_division": (lambda x: 1 / select(x), ["select_n"]),
    "through_what_keeps_the_sign": (lambda x: 1 / jnp.tanh(select(x)), ["select_n", "tanh"]),
    "an_angle": (lambda x: jnp.arctan2(select(x), x), ["select_n"]),
    "bits": (lambda x: lax.bitcast_convert_type(select(x), jnp.int32), ["select_n"]),
    "a_square_forgets_it": (lambda x: 1 / jnp.abs(select(x)), ["abs"]),
    "a_product_with_itself_forgets_it": (lambda x: 1 / (select(x) * select(x)), ["mul", "select_n", "select_n"]),
    "a_square_of_one_value": (lambda x: 1 / squared(select(x)), ["mul"]),
    "a_maximum_of_no_less_than_0": (lambda x: 1 / lax.max(select(x), 0.0), ["max"]),
    "a_maximum_of_less": (lambda x: 1 / lax.max(select(x), -1.0), ["max", "select_n"]),
    "a_maximum_of_minus_zero": (lambda x: 1 / lax.max(select(x), -0.0), ["max", "select_n"]),
    "a_minimum_of_minus_zero": (lambda x: 1 / lax.min(select(x), -0.0), ["min"]),
    "a_minimum_of_more": (lambda x: 1 / lax.min(select(x), 0.0), ["min", "select_n"]),
    "a_comparison_forgets_it": (lambda x: jnp.where(select(x) > 0, 1 / (x + 3), 0), ["add"]),
    "integers_have_none": (lambda x: 1 // select(x.astype(jnp.int32)), []),
}


@pytest.mark.parametrize("name", PLAIN)
def test_equations_before_a_place_where_the_sign_counts(name: str) -> None:
    function, expected = PLAIN[name]
    assert marked(mark_signs(flat(function), outputs=False)) == expected


def test_the_results_of_a_program_count_where_that_is_said() -> None:
    program = flat(lambda x: jnp.tanh(select(x)))
    assert marked(mark_signs(program, outputs=True)) == ["select_n", "tanh"]


def test_a_program_without_marks_is_the_same() -> None:
    program = flat(lambda x: lax.map(lambda row: jnp.tanh(row), x))  # noqa: PLW0108 - tanh itself is a jitted function
    assert mark_signs(program, outputs=False) is program


def looped(body: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: lax.fori_loop(0, 3, lambda _, y: body(y), x)


def chosen(body: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda x: lax.cond(x[0] > 0, body, lambda y: y, x)


WRAPPERS: dict[str, Callable[..., Callable[[Any], Any]]] = {
    "scan": looped,
    "cond": chosen,
    "onnx_function": lambda body: onnx_function(body, name="inner"),
}


CARRIED: dict[str, tuple[Callable[[Any, Any], Any], list[bool]]] = {
    "nothing": (lambda x, y: (jnp.tanh(x), jnp.tanh(y)), [False, False]),
    "one": (lambda x, y: (jnp.tanh(x), 1 / jnp.tanh(y)), [False, True]),
    "one_after_the_other": (lambda x, y: (jnp.tanh(x), 1 / (1 + x + 1 / jnp.tanh(y))), [False, True]),
    "by_the_next_step": (lambda x, y: (jnp.tanh(x), jnp.tanh(x) / (1 / y)), [True, True]),
    "a_divisor_of_the_step_alone": (lambda x, y: (jnp.tanh(x), jnp.tanh(y) / jnp.sqrt(x * x + 1)), [False, False]),
    "in_a_branch": (lambda x, y: lax.cond(x[0] > 0, lambda a, b: (a, 1 / b), lambda a, b: (a, b), x, y), [False, True]),
}
"""What a step makes of two numbers that a loop carries, and of which of them the sign of a zero matters."""


@pytest.mark.parametrize("name", CARRIED)
def test_what_a_loop_carries_is_looked_at_one_by_one(name: str) -> None:
    body, expected = CARRIED[name]

    def function(x: Any) -> Any:
        before = jnp.sin(x), jnp.cos(x) * jnp.sinh(x)
        return lax.fori_loop(0, 3, lambda _, state: body(*state), before)

    found = marked(collected(function))
    assert [primitive in found for primitive in ("sin", "mul")] == expected


def collected(function: Callable[[Any], Any]) -> Program:
    return mark_signs(flat_with_functions(function, VECTOR), outputs=False)


@pytest.mark.parametrize("primitive", WRAPPERS)
def test_a_body_whose_result_is_divided_by(primitive: str) -> None:
    body = WRAPPERS[primitive](select)
    assert "select_n" not in marked(collected(body))
    assert {primitive, "select_n"} <= set(marked(collected(lambda x: 1 / body(x))))


@pytest.mark.parametrize("primitive", WRAPPERS)
def test_a_division_inside_a_body(primitive: str) -> None:
    body = WRAPPERS[primitive](lambda x: 1 / select(x))
    assert {primitive, "select_n"} <= set(marked(collected(body)))
    before = marked(collected(lambda x: body(jnp.tanh(x))))
    assert {primitive, "select_n", "tanh"} <= set(before)


def test_a_division_inside_a_body_of_which_no_operand_has_a_sign() -> None:
    def function(n: Any) -> Any:
        return lax.map(lambda i: 1 / lax.select(i > 1, 1.0 * i, 0.0 * i), n)

    program = flat(function, jax.ShapeDtypeStruct((3,), jnp.int32))
    assert "select_n" in marked(mark_signs(program, outputs=False))


def test_a_function_is_marked_for_all_its_calls() -> None:
    inner = onnx_function(select, name="inner")
    program = collected(lambda x: (inner(x), 1 / inner(x + 1)))
    calls = [eqn for eqn in program.eqns if eqn.is_call]
    first, second = [call.bodies[0].program for call in calls]
    assert first is second
    assert marked(first) == ["select_n"]


def test_complex_numbers_left_to_a_lowering_may_do_anything_with_a_sign() -> None:
    def function(x: Any) -> Any:
        return jnp.linalg.eigvals(select(x)).real

    program = flat(function, jax.ShapeDtypeStruct((3, 3), jnp.complex64))
    assert "select_n" in marked(mark_signs(program, outputs=False))
