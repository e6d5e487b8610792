"""The context of a rule: what it reads of its equation, and the nodes that its helpers emit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx_ir as ir
import pytest
from jax import lax
from programs import VECTOR, array, driver, emitted, flat

from jax2onnx.legalise import targets
from jax2onnx.lowering.dims import find_sources
from jax2onnx.plugin.context import LoweringContext, graph_input, ir_dtype

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax2onnx.lowering.driver import Driver

B, T = jax.export.symbolic_shape("B, T")


def context_of(function: Callable[..., Any], *avals: Any, **options: Any) -> tuple[LoweringContext, Driver]:
    """Return the context of the last equation of a program, and its driver."""
    eqn = flat(function, *avals).eqns[-1]
    emitting = driver(**options)
    return LoweringContext(emitting, eqn, emitting.op, derived=False), emitting


def context(*shape: Any) -> tuple[LoweringContext, ir.Value, Driver]:
    """Return a context, an input of a shape and the driver."""
    ctx, emitting = context_of(jnp.negative)
    x = graph_input(array(*shape), "x")
    emitting.op.scope.sources.update(find_sources([x], [array(*shape)]))
    return ctx, x, emitting


def known(value: ir.Value) -> list[int] | None:
    """Return what a value is if it is a constant, else None."""
    return None if value.const_value is None else value.const_value.numpy().tolist()


# -- what a rule reads -----------------------------------------------------------------------------------------------


def test_what_a_rule_reads_of_its_equation() -> None:
    ctx, _ = context_of(lambda x: x * 2)
    assert [aval.shape for aval in ctx.avals_in] == [(3,), ()]
    assert ctx.avals_out == [ctx.aval_out]
    assert ctx.aval_out.dtype == np.float32
    assert ctx.known(0) is None
    assert ctx.known(1) == 2
    assert ctx.where is not None
    assert "test_context.py" in ctx.where


@pytest.mark.parametrize(("target", "expected"), [(None, True), (targets.load(targets.DEFAULT), False)])
def test_what_the_target_can_run(target: Any, expected: bool) -> None:  # noqa: FBT001 - a test's parameter
    ctx, _ = context_of(jnp.negative, target=target)
    assert ctx.supports("Neg", np.float32)
    assert ctx.supports("Neg", np.uint64) is expected


def test_a_case_that_is_not_covered_names_the_primitive_the_line_and_the_remedy() -> None:
    ctx, _ = context_of(lambda x: x * 2)
    message = str(ctx.unsupported("numbers that are odd", "make them even"))
    assert "mul: numbers that are odd" in message
    assert "test_context.py" in message
    assert "make them even" in message


# -- shapes ----------------------------------------------------------------------------------------------------------

SHAPES = [
    ((2, 3), [2, 3], []),
    ((), [], []),
    ((B,), None, ["Shape"]),
    ((2, B, 3, 4, T), None, ["Shape", "Shape", "Concat"]),
    ((B, B), None, ["Shape", "Concat"]),
]


@pytest.mark.parametrize(("shape", "constant", "operators"), SHAPES, ids=str)
def test_a_shape_as_a_vector(shape: Any, constant: list[int] | None, operators: list[str]) -> None:
    ctx, _, emitting = context(B, T)
    assert known(ctx.shape(shape)) == constant
    assert emitted(emitting) == operators


RESHAPES = [
    ((2, 3), (2, 3), None, None),
    ((2, 3), (3, 2), "Reshape", [3, 2]),
    ((2, 0), (0, 5), "Reshape", [0, 5]),
    ((B, 3), (B, 1, 3), "Unsqueeze", [1]),
    ((1, B, 3), (B, 3), "Squeeze", [0]),
    ((B, 6), (B, 2, 3), "Reshape", [0, 2, 3]),
    ((B, T), (B * T,), "Reshape", [-1]),
    ((B, 2 * T), (B, T, 2), "Reshape", None),
]


@pytest.mark.parametrize(("old", "new", "operator", "target"), RESHAPES, ids=str)
def test_reshape(old: Any, new: Any, operator: str | None, target: list[int] | None) -> None:
    ctx, x, emitting = context(*old)
    result = ctx.reshape(x, old, new)
    if operator is None:
        assert result is x
        return
    node = emitting.op.scope.nodes[-1]
    assert node.op_type == operator
    assert result is node.outputs[0]
    assert result.shape == ir.Shape([d if isinstance(d, int) else str(d) for d in new])
    assert known(node.inputs[1]) == target
    # In a target that is computed, or that has a literal one, 0 is a size.
    is_size = operator == "Reshape" and (target is None or 0 in new)
    assert ("allowzero" in node.attributes) is is_size


def test_what_is_a_reshape_is_not_reshaped_twice() -> None:
    ctx, x, emitting = context(2, 3)
    once = ctx.reshape(x, (2, 3), (6,))
    twice = ctx.reshape(once, (6,), (3, 2))
    assert twice.producer().inputs[0] is x
    assert ctx.reshape(twice, (3, 2), (2, 3)) is x
    assert emitted(emitting) == ["Reshape", "Reshape"]


def test_a_constant_is_reshaped_at_conversion() -> None:
    ctx, _, emitting = context(2, 3)
    constant = ctx.constant(np.arange(6, dtype=np.float32))
    assert known(ctx.reshape(constant, (6,), (3, 2))) == [[0, 1], [2, 3], [4, 5]]
    assert emitted(emitting) == []


# -- values ----------------------------------------------------------------------------------------------------------


def test_constants() -> None:
    ctx, _ = context_of(jnp.negative)
    assert ctx.constant(2, np.float16).dtype == ir.DataType.FLOAT16
    assert ctx.constant(np.float32(2)).dtype == ir.DataType.FLOAT
    assert known(ctx.ints(1, 2)) == [1, 2]
    assert ctx.ints(1, 2) is ctx.ints(1, 2)


def test_a_cast_is_emitted_where_the_dtype_differs() -> None:
    ctx, x, emitting = context(B, 3)
    assert ctx.cast(x, np.float32) is x
    cast = ctx.cast(x, jnp.bfloat16)
    assert (cast.dtype, cast.shape) == (ir.DataType.BFLOAT16, x.shape)
    assert emitted(emitting) == ["Cast"]
    assert ir_dtype(bool) == ir.DataType.BOOL


# -- programs inside programs ----------------------------------------------------------------------------------------


def test_a_subgraph_is_built_apart() -> None:
    ctx, x, emitting = context(3)
    outer = ctx.op.Neg(x)
    graph = ctx.subgraph("body", [VECTOR], lambda inputs: [ctx.op.Add(inputs[0], outer), outer])
    assert emitted(emitting) == ["Neg"]
    # An output that the graph around it computes is copied.
    assert [node.op_type for node in graph] == ["Add", "Identity"]
    assert [value.shape for value in graph.inputs] == [ir.Shape([3])]


def test_a_body_of_the_equation_is_not_prepared_again() -> None:
    ctx, emitting = context_of(lambda x: lax.scan(lambda c, _: (c * 2, None), x, None, length=3)[0])
    (body,) = ctx.eqn.bodies
    assert ctx.program(body.jaxpr) is body.program
    (result,) = ctx.inline(body.jaxpr, graph_input(VECTOR, "x"))
    assert emitted(emitting) == ["Mul"]
    assert result.shape == ir.Shape([3])


RESULTS: dict[str, tuple[Callable[..., Any], type]] = {
    "one": (lambda x, y, *, factor: x * y * factor, ir.Value),
    "dict": (lambda x, y, *, factor: {"a": x * factor, "b": (y,)}, list),
    "tuple": (lambda x, y, *, factor: (x * factor, y), list),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_jax_function_in_place_of_nodes(name: str) -> None:
    function, expected = RESULTS[name]
    ctx, emitting = context_of(lambda x: x * x)
    x = graph_input(VECTOR, "x")
    result = ctx.via_jax(function, x, x, factor=3.0)
    assert isinstance(result, expected)
    assert "Mul" in emitted(emitting)
    # What is traced has the line of the equation that it does the work of.
    where = emitting.op.scope.nodes[0].metadata_props["jax2onnx.source"]
    assert where == ctx.where
