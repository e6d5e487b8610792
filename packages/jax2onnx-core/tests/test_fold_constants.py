"""Folding: which equations are computed at conversion, and which are left; lax tests how each primitive is computed."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from programs import FACTS, VECTOR, array, flat, primitives

from jax2onnx._compat import ShapedArray
from jax2onnx.fusion.fuse import fuse
from jax2onnx.plugin.fusions import Fusion
from jax2onnx.program.facts import Facts
from jax2onnx.program.fold_constants import LARGEST, Computed, Left, fold
from jax2onnx.program.program import Const, Eqn, Program, Var

THREE = Const(ShapedArray((), np.dtype(np.int32)), np.int32(3))


def scalar(dtype: Any = np.int32) -> Var:
    return Var(ShapedArray((), np.dtype(dtype)))


def equation(*operands: Any, facts: Facts, results: Any = None, **params: Any) -> Program:
    """Return a program of one equation."""
    outputs = [scalar()] if results is None else results
    return Program([], [Eqn("made_up", list(operands), outputs, params, None, facts)], list(outputs))


def test_a_chain_of_what_is_known_becomes_one_constant() -> None:
    table = np.arange(3, dtype=np.float32)
    program = fold(flat(lambda x: x * (jnp.sin(table) + jnp.cos(table))))
    (mul,) = program.eqns
    constant = mul.inputs[1]
    assert isinstance(constant, Const)
    np.testing.assert_allclose(constant.value, np.sin(table) + np.cos(table), rtol=1e-6)


def test_what_is_read_becomes_an_output_though_it_is_known() -> None:
    program = fold(flat(lambda: jnp.arange(3) * 2))
    assert program.eqns == []
    assert isinstance(program.outputs[0], Const)


ADD = Facts(fold=lambda params, *operands: sum(operands))
FILL = Facts(fold=lambda params, x: np.full(LARGEST + 1, x))
LEFT: dict[str, Program] = {
    "an_operand_is_computed": equation(THREE, scalar(), facts=ADD),
    "no_rule": equation(THREE, facts=Facts()),
    "the_rule_cannot": equation(THREE, facts=Facts(fold=lambda params, x: None)),
    "another_dtype_is_asked_for": equation(THREE, facts=ADD, out_dtype=np.float32),
    "large": equation(THREE, facts=FILL, results=[Var(ShapedArray((LARGEST + 1,), np.dtype(np.int32)))]),
    "complex": equation(THREE, facts=ADD, results=[scalar(np.complex64)]),
    "symbolic": equation(
        THREE, facts=ADD, results=[Var(ShapedArray(jax.export.symbolic_shape("B"), np.dtype(np.int32)))]
    ),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_to_the_runtime(name: str) -> None:
    program = LEFT[name]
    assert fold(program).eqns == program.eqns


def test_several_results_are_computed_at_once() -> None:
    both = Facts(fold=lambda params, x: (x + 1, x + 2))
    program = fold(equation(THREE, facts=both, results=[scalar(), scalar(np.int8)]))
    assert [(int(atom.value), atom.value.dtype) for atom in program.outputs if isinstance(atom, Const)] == [
        (4, np.int32),
        (5, np.int8),
    ]


UNIT = Facts(unit=1)
ONE = Const(THREE.aval, np.int32(1))


@pytest.mark.parametrize("unit_first", [True, False])
@pytest.mark.parametrize(
    ("dtype", "value", "gone"), [(np.int32, 1, True), (np.int32, 2, False), (np.float32, 1, False)]
)
def test_an_exact_operation_with_its_unit_is_its_operand(
    dtype: Any,
    value: int,
    gone: bool,  # noqa: FBT001 - a test's parameter
    unit_first: bool,  # noqa: FBT001
) -> None:
    operand = scalar(dtype)
    unit = Const(operand.aval, np.asarray(value, dtype))
    operands = (unit, operand) if unit_first else (operand, unit)
    program = fold(equation(*operands, facts=UNIT, results=[scalar(dtype)]))
    assert (program.eqns == []) is gone
    assert (program.outputs == [operand]) is gone


@pytest.mark.parametrize(
    ("operands", "results"),
    [
        ([ONE, scalar()], [Var(ShapedArray((3,), THREE.aval.dtype))]),  # the operand is broadcast
        ([ONE, scalar()], [scalar(), scalar()]),
    ],
)
def test_a_unit_is_looked_for_where_an_operand_can_be_the_result(operands: list[Any], results: list[Any]) -> None:
    program = equation(*operands, facts=UNIT, results=results)
    assert fold(program).eqns == program.eqns


def test_numpy_does_not_warn() -> None:
    program = equation(THREE, facts=Facts(fold=lambda params, x: x / np.int32(0)))
    with np.errstate(all="raise"):
        assert fold(program).eqns == []


# -- what is stored --------------------------------------------------------------------------------------------------

JOIN = Facts(fold=lambda params, *operands: np.concatenate(operands))


def numbers(*shape: int, dtype: Any = np.int8) -> Const:
    value = np.arange(np.prod(shape), dtype=np.int32).astype(dtype).reshape(shape)
    return Const(ShapedArray(shape, value.dtype), value)


@pytest.mark.parametrize(("count", "stored"), [(5, True), (4, False)])
def test_four_bytes_are_no_weights_that_a_constant_takes_the_place_of(count: int, stored: bool) -> None:  # noqa: FBT001
    large = Var(ShapedArray((LARGEST + count,), np.dtype(np.int8)))
    program = fold(equation(numbers(LARGEST), numbers(count), facts=JOIN, results=[large]))
    assert (program.eqns == []) is stored


@pytest.mark.parametrize(
    ("rows", "dtype", "stored"),
    [(4, np.float32, False), (8, np.float32, False), (3, np.float32, True), (4, np.int8, True), (4, np.bool_, True)],
)
def test_weights_in_few_bits_are_not_stored_in_more(rows: int, dtype: Any, stored: bool) -> None:  # noqa: FBT001
    facts = Facts(fold=lambda params, x: np.resize(x, (rows, 4)).astype(dtype))
    program = fold(equation(numbers(4, 4), facts=facts, results=[Var(ShapedArray((rows, 4), np.dtype(dtype)))]))
    assert (program.eqns == []) is stored


def test_what_is_large_is_known_until_its_last_reader() -> None:
    x = np.ones((300, 300), np.float32)

    def function() -> Any:
        large = jnp.sin(lax.broadcasted_iota(jnp.float32, x.shape, 0))
        return jnp.max(large), jnp.min(large)

    assert fold(flat(function)).eqns == []


# -- notes -----------------------------------------------------------------------------------------------------------


def noted(function: Any, *avals: Any) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the primitives that folding notes as computed, and those that it notes as left, and why."""
    notes: list[Any] = []
    fold(flat(function, *avals), notes.append)
    computed = [note.eqn.primitive for note in notes if isinstance(note, Computed)]
    return computed, [(note.eqn.primitive, note.reason) for note in notes if isinstance(note, Left)]


def test_a_note_of_what_was_computed_names_what_does_more_than_arithmetic() -> None:
    assert noted(lambda x: x + jnp.cumsum(jnp.arange(3.0)) * 2) == (["cumsum"], [])
    assert noted(lambda x: x + jnp.arange(3.0) * 2) == ([], [])


def test_a_note_of_what_is_too_large_says_so() -> None:
    def function(x: Any) -> Any:
        return x[0] + jnp.cumsum(jnp.ones(LARGEST + 1))

    computed, ((primitive, reason),) = noted(function)
    assert (computed, primitive) == ([], "cumsum")
    assert f"more than {LARGEST} elements" in reason


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[0] + jnp.ones(LARGEST + 1) * 2,  # arithmetic only
        lambda x: x[0] + jnp.cumsum(numbers(4, 4).value, 1).astype(jnp.float32),  # wide, but not large
    ],
)
def test_of_what_is_left_otherwise_there_is_no_note(function: Any) -> None:
    assert fold(flat(function)).eqns[:-1] != []
    assert noted(function)[1] == []


def test_a_note_of_what_cannot_be_computed_says_why() -> None:
    computed, ((primitive, reason),) = noted(lambda x: x + lax.while_loop(lambda n: n >= 0, lambda n: (n + 1) % 7, 0))
    assert (computed, primitive) == ([], "while")
    assert "iterations" in reason


# -- bodies ----------------------------------------------------------------------------------------------------------


def test_a_body_reads_the_constants_that_it_is_given_as_operands() -> None:
    table = np.arange(3, dtype=np.float32)
    program = fold(flat(lambda x: lax.scan(lambda c, _: (c * jnp.sin(jnp.asarray(table)), None), x, None, length=3)[0]))
    (body,) = program.eqns[-1].bodies
    assert primitives(fold(body.program)) == ["mul"]


def test_a_body_reads_no_constant_in_place_of_an_operand_that_is_computed() -> None:
    program = fold(flat(lambda x: lax.scan(lambda c, _: (c * x, None), x, None, length=3)[0]))
    (body,) = program.eqns[-1].bodies
    assert not any(isinstance(operand, Const) for eqn in body.program.eqns for operand in eqn.inputs)


# -- whole functions -------------------------------------------------------------------------------------------------

TWICE_TANH = Fusion(
    name="twice_tanh", reference=lambda x: jnp.tanh(x) * 2, examples=[[(3,)]], emit={18: lambda ctx, x: ctx.op.Tanh(x)}
)


def fused(function: Any, *avals: Any) -> Program:
    return fuse(flat(function, *avals), [TWICE_TANH], FACTS, opset=21)


def test_a_whole_function_of_constants_is_computed() -> None:
    table = np.arange(3, dtype=np.float32)
    program = fused(lambda x: x + jnp.tanh(jnp.asarray(table)) * 2, VECTOR)
    assert primitives(program) == ["twice_tanh", "add"]
    (add,) = fold(program).eqns
    np.testing.assert_allclose(add.inputs[1].value, np.tanh(table) * 2, rtol=1e-6)


def test_what_a_whole_function_reads_keeps_its_variable() -> None:
    # The equations that the function replaced name it, and are emitted if its rule declines.
    program = fused(lambda x, n: jnp.tanh(jnp.where(n > 0, x, jnp.sin(x))) * 2, VECTOR, array(dtype=jnp.int32))
    (function,) = [eqn for eqn in fold(program).eqns if eqn.fused is not None]
    assert function.fused.interior[0].inputs[0] is function.inputs[0]
