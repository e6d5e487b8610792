"""Outlining: which functions a model defines, and what their calls pass."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from programs import VECTOR, array, emitted, lowered

from jax2onnx import onnx_function

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

    from jax2onnx.lowering.driver import Driver

B, T = jax.export.symbolic_shape("B, T")
TABLE = np.arange(300, dtype=np.float32)


def function(emitting: Driver, name: str) -> ir.Function:
    return emitting.outliner.functions["jax2onnx", name]


def names(emitting: Driver) -> list[str]:
    return [name for _, name in emitting.outliner.functions]


def calls(emitting: Driver) -> list[ir.Node]:
    return [node for node in emitting.op.scope.nodes if node.domain]


def inner(body: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    return onnx_function(body, name="inner") if not options else onnx_function(name="inner", **options)(body)


# -- which bodies are one function -----------------------------------------------------------------------------------

PAIRS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], int]] = {
    "equal": (lambda x: jnp.tanh(x) * 2, lambda y: jnp.tanh(y) * 2, 1),
    "another_operator": (lambda x: jnp.tanh(x) * 2, lambda x: jnp.sin(x) * 2, 2),
    "another_constant": (lambda x: jnp.tanh(x) * 2, lambda x: jnp.tanh(x) * 3, 2),
    "another_attribute": (lambda x: x.astype(jnp.float16), lambda x: x.astype(jnp.int32), 2),
    "another_wiring": (lambda x: jnp.sin(x) - jnp.cos(x), lambda x: jnp.cos(x) - jnp.sin(x), 2),
    "equal_loops": (lambda x: lax.map(jnp.sin, x), lambda x: lax.map(jnp.sin, x), 1),
    "another_loop": (lambda x: lax.map(jnp.sin, x), lambda x: lax.map(jnp.cos, x), 2),
}


@pytest.mark.parametrize("name", PAIRS)
def test_equal_bodies_are_one_function(name: str) -> None:
    first, second, count = PAIRS[name]
    emitting = lowered(lambda x: (inner(first)(x), inner(second)(x)), VECTOR)
    assert names(emitting) == ["inner", "inner_1"][:count]
    assert [call.op_type for call in calls(emitting)] == ["inner", names(emitting)[-1]]


@pytest.mark.parametrize(("other", "count"), [(array(T, 3), 1), (array(4, 3), 2), (array(B, 3, dtype=jnp.float16), 2)])
def test_operands_of_one_dtype_and_rank_share_a_function(other: Any, count: int) -> None:
    scale = inner(lambda x: x * x)
    emitting = lowered(lambda x, y: (scale(x), scale(y)), array(B, 3), other)
    assert len(names(emitting)) == count


class Settings:
    """Static values that are compared by identity, but may change."""

    def __init__(self, scale: float) -> None:
        self.scale = scale


@dataclasses.dataclass
class Unhashable(Settings):
    scale: float


STATICS: dict[str, tuple[Any, Callable[[Any, Any], None], Callable[[Any], float]]] = {
    "object": (Settings(2.0), lambda s, v: setattr(s, "scale", v), lambda s: s.scale),
    "dataclass": (Unhashable(2.0), lambda s, v: setattr(s, "scale", v), lambda s: s.scale),
    "bytearray": (bytearray([2]), lambda s, v: s.__setitem__(0, int(v)), lambda s: s[0]),
    "set": ({2.0}, lambda s, v: (s.clear(), s.add(v)), max),  # type: ignore[func-returns-value]
}


@pytest.mark.parametrize("kind", STATICS)
def test_static_values_of_any_type_may_change_between_calls(kind: str) -> None:
    static, change, read = STATICS[kind]
    scale = inner(lambda x, static: x * read(static))

    def program(x: Any) -> Any:
        change(static, 2.0)
        once = scale(scale(x, static), static)
        change(static, 3.0)
        return scale(once, static)

    emitting = lowered(program, VECTOR)
    assert [call.op_type for call in calls(emitting)] == ["inner", "inner", "inner_1"]


def test_zeros_of_both_signs_are_different_static_values() -> None:
    divide = inner(lambda x, by: x / by)
    assert names(lowered(lambda x: divide(x, 0.0) + divide(x, -0.0), VECTOR)) == ["inner", "inner_1"]


def test_a_call_site_may_have_a_function_of_its_own() -> None:
    scale = inner(lambda x: x * 2, unique=False)
    assert names(lowered(lambda x: scale(scale(x)), VECTOR)) == ["inner", "inner_1"]


def test_a_function_defines_the_functions_that_it_calls() -> None:
    scale = inner(lambda x: x * 2)
    outer = onnx_function(lambda x: scale(x) + scale(x + 1), name="outer")
    emitting = lowered(outer, VECTOR)
    assert names(emitting) == ["inner", "outer"]
    assert emitted(emitting) == ["outer"]
    assert function(emitting, "outer").opset_imports == {"jax2onnx": 1, "": 21}
    assert function(emitting, "inner").opset_imports == {"": 21}


# -- what a call passes ----------------------------------------------------------------------------------------------


def test_large_constants_are_passed_and_small_ones_are_not() -> None:
    lookup = inner(lambda x: x + TABLE[:3] + TABLE.sum() + jnp.asarray(TABLE)[x.astype(int)])
    emitting = lowered(lookup, VECTOR)
    (call,) = calls(emitting)
    assert [value.name for value in function(emitting, "inner").inputs] == ["x", "param_0"]
    np.testing.assert_array_equal(call.inputs[1].const_value.numpy(), TABLE)


def test_a_passed_constant_gives_way_to_the_name_of_an_operand() -> None:
    lookup = inner(lambda param_0: jnp.asarray(TABLE)[param_0.astype(int)])
    emitting = lowered(lookup, VECTOR)
    assert [value.name for value in function(emitting, "inner").inputs] == ["param_0", "_param_0"]


def test_a_dim_that_no_operand_shows_is_passed() -> None:
    repeat = inner(lambda row, count: jnp.broadcast_to(row, (count, 3)))
    emitting = lowered(lambda x: repeat(x[0], x.shape[0]), array(B, 3))
    assert [value.name for value in function(emitting, "inner").inputs] == ["row", "dim_B"]
    (call,) = calls(emitting)
    assert call.inputs[1].producer().op_type == "Shape"


def test_a_dim_that_an_operand_shows_is_read_off_it() -> None:
    mean = inner(lambda x: x.sum() / x.shape[0])
    emitting = lowered(mean, array(B, 3))
    assert [value.name for value in function(emitting, "inner").inputs] == ["x"]
    assert "Shape" in [node.op_type for node in function(emitting, "inner")]


def test_results_are_distinct_and_computed_inside() -> None:
    both = inner(lambda x: (x, x * 2, x))
    emitting = lowered(lambda x: [y + 1 for y in both(x)], VECTOR)
    outputs = function(emitting, "inner").outputs
    assert len(set(outputs)) == 3
    assert [value.producer().op_type for value in outputs] == ["Identity", "Mul", "Identity"]
