"""Folding: which equations are computed at conversion, and which are left; lax tests how each primitive is computed."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from programs import FACTS, VECTOR, array, flat, primitives

from jax2onnx._compat import ShapedArray
from jax2onnx.fusion.fuse import fuse
from jax2onnx.plugin.fusions import Fusion
from jax2onnx.program.facts import Facts
from jax2onnx.program.fold_constants import LARGEST, fold
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
    "several_results": equation(THREE, facts=ADD, results=[scalar(), scalar()]),
    "another_dtype_is_asked_for": equation(THREE, facts=ADD, out_dtype=np.float32),
    "large": equation(THREE, facts=FILL, results=[Var(ShapedArray((LARGEST + 1,), np.dtype(np.int32)))]),
    "complex": equation(THREE, facts=ADD, results=[scalar(np.complex64)]),
    "symbolic": equation(THREE, facts=ADD, results=[Var(array(*jax.export.symbolic_shape("B")))]),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_is_left_to_the_runtime(name: str) -> None:
    program = LEFT[name]
    assert fold(program).eqns == program.eqns


UNIT = Facts(unit=1)


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


def test_numpy_does_not_warn() -> None:
    program = equation(THREE, facts=Facts(fold=lambda params, x: x / np.int32(0)))
    with np.errstate(all="raise"):
        assert fold(program).eqns == []


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
