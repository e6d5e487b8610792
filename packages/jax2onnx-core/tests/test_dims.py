"""Symbolic dims: what is known of them, and the arithmetic that computes them in a model."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import onnx_ir as ir
import pytest
from programs import array, driver, emitted

from jax2onnx.errors import UnsupportedCaseError
from jax2onnx.lowering.dims import Dims, find_sources
from jax2onnx.lowering.scope import Scope
from jax2onnx.output.proto import add_weights, without_weights
from jax2onnx.plugin.context import graph_input
from jax2onnx.program.dims import inferred_dims, inserted_ones, linear, may_be_zero, never_negative
from jax2onnx.testing import Runner, concrete

if TYPE_CHECKING:
    from collections.abc import Sequence

SCOPE = jax.export.SymbolicScope()


def dims(text: str) -> tuple[Any, ...]:
    """Return the dims of a spec such as ``B, 3*T``; equal symbols compare equal across calls."""
    return jax.export.symbolic_shape(text, scope=SCOPE)


def dim(text: str) -> Any:
    (found,) = dims(text)
    return found


# -- what is known of a dim ------------------------------------------------------------------------------------------

LINEAR = {
    "7": {"": 7},
    "B": {"B": 1},
    "3*B - 1": {"B": 3, "": -1},
    "B - 2*T + 4": {"B": 1, "T": -2, "": 4},
    "4 - B": {"B": -1, "": 4},
    "B*T": None,
    "B^2": None,
    "floordiv(B, 2)": None,
    "2*mod(B, 3) + 1": None,
    "max(B, T)": None,
}


@pytest.mark.parametrize("text", LINEAR)
def test_coefficients_of_a_linear_dim(text: str) -> None:
    assert linear(dim(text)) == LINEAR[text]


INFERRED = [
    ("B, 6", "B, 2, 3", [0, 2, 3]),
    ("B, T", "B, T", [0, 0]),
    ("B, 6", "2, 3, B", [2, 3, -1]),
    ("B, 4", "2*B, 2", [-1, 2]),
    ("B, T", "B*T", [-1]),
    ("B, 6", "6", [6]),
    ("B, 6", "2, 3, 1, B", [2, 3, 1, -1]),
    ("B, T", "T, B", None),  # two dims cannot be inferred
    ("B, 2*T", "B, T, 2", None),  # B may be 0, and then anything fits
    ("B, 0", "0, B", None),  # a 0 would be read as "the same as before"
]


@pytest.mark.parametrize(("old", "new", "expected"), INFERRED)
def test_the_target_of_a_reshape(old: str, new: str, expected: list[int] | None) -> None:
    assert inferred_dims(dims(old), dims(new)) == expected


INSERTED = [
    ("B, 3", "B, 1, 3", [1]),
    ("B", "1, B, 1", [0, 2]),
    ("1, B", "1, 1, B", [1]),
    ("", "1", [0]),
    ("B, 3", "B, 3", None),
    ("B, 3", "B, 1", None),
    ("B, 3", "3, 1, B", None),
]


@pytest.mark.parametrize(("short", "long", "expected"), INSERTED)
def test_where_dims_of_size_1_were_inserted(short: str, long: str, expected: list[int] | None) -> None:
    assert inserted_ones(dims(short), dims(long)) == expected


MAY_BE_ZERO = [
    ("0", (), True),
    ("3", (), False),
    ("B", (), True),
    ("B + 1", (), False),
    ("2*B + T", (), True),
    ("B - 1", (), True),
    ("B*T", (), True),
    ("B", ("B >= 1",), False),
    ("B", ("B >= 0",), True),
    ("B - 2", ("B >= 3",), False),
    ("B - T", ("B >= T + 1",), False),
    ("B - T", ("B >= T",), True),
    ("B*T + 1", (), False),
    ("B^2 + floordiv(T, 2) + 1", (), False),
    ("mod(B - T, 2) + 1", (), False),
    ("max(B - T, 0) + 1", (), False),
    ("min(B, T) + 1", (), False),
    ("min(B, T - 1) + 1", (), True),
    ("floordiv(B - 1, 2) + 1", (), True),
    ("mod(B, T - 4) + 1", (), True),
    ("B*T - T + 1", (), True),
]


@pytest.mark.parametrize(("text", "constraints", "expected"), MAY_BE_ZERO)
def test_whether_a_dim_may_be_zero(text: str, constraints: Sequence[str], expected: bool) -> None:  # noqa: FBT001
    (found,) = jax.export.symbolic_shape(text, constraints=constraints)
    assert may_be_zero(found) is expected


NEVER_NEGATIVE = [
    ("0", (), True),
    ("3", (), True),
    ("-1", (), False),
    ("B", (), True),
    ("B - 1", (), False),  # JAX takes B to be at least 1, a model runs at 0
    ("B - 4", ("B >= 4",), True),
    ("B - 3", ("B >= 4",), True),
    ("B - 5", ("B >= 4",), False),
    ("B - T", ("B >= T",), True),
    ("T - B", ("B >= T",), False),
    ("2*B - 8", ("B >= 4",), False),  # follows from two constraints, which are not added up
    ("B*T", (), True),
    ("B*T - 1", (), False),
]


@pytest.mark.parametrize(("text", "constraints", "expected"), NEVER_NEGATIVE)
def test_whether_a_dim_is_never_negative(text: str, constraints: Sequence[str], expected: bool) -> None:  # noqa: FBT001
    (found,) = jax.export.symbolic_shape(text, constraints=constraints) if text != "-1" else (-1,)
    assert never_negative(found) is expected


# -- dims as values --------------------------------------------------------------------------------------------------

COMPUTED = {
    "5": 5,
    "B": 4,
    "B + T": 11,
    "B - T": -3,
    "3*B*T - 1": 83,
    "-1*B": -4,
    "B^3": 64,
    "floordiv(T, 2)": 3,
    "floordiv(B - T, 2)": -2,  # JAX rounds down, ONNX to zero
    "mod(B - T, 2)": 1,
    "floordiv(T, N)": 7,  # N is 0: anything but a crash
    "mod(T, B)": 3,
    "max(B, T) + min(B, N)": 7,
}
SIZES = {"B": 4, "T": 7, "N": 0}


def computed(text: str, *shapes: str) -> int:
    """Return the value of a dim in a model whose inputs have these shapes."""
    emitting = driver()
    avals = [array(*dims(shape)) for shape in shapes]
    inputs = [graph_input(aval, f"x{i}") for i, aval in enumerate(avals)]
    emitting.op.scope.sources.update(find_sources(inputs, avals))
    (output,) = emitting.op.distinct([Dims(emitting.op).value(dim(text))])
    output.name = "size"
    root = emitting.op.scope
    graph = ir.Graph(
        inputs, [output], nodes=root.nodes, initializers=root.initializers, opset_imports={"": 21}, name="g"
    )
    model = ir.Model(graph, ir_version=10)
    runner = Runner(add_weights(without_weights(model), model))
    (value,) = runner.run([np.zeros(concrete(aval.shape, SIZES), np.float32) for aval in avals])
    assert value.shape == (1,)
    return int(value[0])


@pytest.mark.parametrize("text", COMPUTED)
def test_a_dim_is_computed_as_jax_does(text: str) -> None:
    assert computed(text, "B, T, N") == COMPUTED[text]


@pytest.mark.parametrize("shape", ["2*B, 3", "3*B + 1", "8 - B", "5, B - 2"])
def test_a_symbol_is_solved_for_where_a_dim_is_linear_in_it(shape: str) -> None:
    assert computed("B", shape) == 4


def test_the_cheapest_source_of_a_symbol() -> None:
    avals = [array(*dims("2*B, 3")), array(*dims("T, B")), array(*dims("B, B*N"))]
    inputs = [graph_input(aval) for aval in avals]
    sources = find_sources(inputs, avals)
    assert sources.keys() == {"B", "T"}
    assert (sources["B"].value, sources["B"].axis) == (inputs[1], 1)


def test_an_expression_is_computed_once_where_every_subgraph_can_see_it() -> None:
    emitting = driver()
    aval = array(*dims("B, T"))
    emitting.op.scope.sources.update(find_sources([graph_input(aval)], [aval]))
    root = emitting.op.scope
    with emitting.op.within(Scope(parent=root)):
        first = Dims(emitting.op).value(dim("B + T"))
        assert emitting.op.scope.nodes == []
    assert Dims(emitting.op).value(dim("B + T")) is first
    assert emitted(emitting) == ["Shape", "Shape", "Add"]


def test_a_function_is_passed_the_dims_that_no_operand_shows() -> None:
    emitting = driver()
    scope = Scope(function=True)
    with emitting.op.within(scope):
        value = Dims(emitting.op).value("B")
    assert scope.hoisted == [(value, "B")]
    assert value.name == "dim_B"


def test_a_symbol_that_no_input_shows_is_refused() -> None:
    with pytest.raises(UnsupportedCaseError, match=r"no input determines .*'B'[\s\S]*linear in it"):
        computed("B", "B*T")


def test_an_unknown_expression_is_refused() -> None:
    with pytest.raises(UnsupportedCaseError, match=r"expression sqrt\(3\) has no ONNX form"):
        Dims(driver().op).visit(ast.parse("sqrt(3)", mode="eval").body)
