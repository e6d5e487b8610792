"""Calls of ONNX functions take the operands that they use and give the results that are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import pytest
from programs import VECTOR, flat, flat_with_functions, primitives

from jax2onnx import onnx_function
from jax2onnx.program.prune_calls import CallPruner

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax2onnx.program.program import Eqn, Program


@onnx_function
def both(x: Any, y: Any) -> tuple[Any, Any]:
    return jnp.sin(x), jnp.cos(y)


@onnx_function
def around(x: Any, y: Any) -> tuple[Any, Any]:
    return both(x, y)


def pruned(function: Callable[..., Any]) -> Program:
    return CallPruner().prune(flat_with_functions(function, VECTOR, VECTOR))


def signature(call: Eqn) -> tuple[list[str], int, list[str]]:
    """Return the names of the operands, the number of results, and the primitives inside."""
    body = call.bodies[0].program
    assert len(call.inputs) == len(body.inputs)
    assert len(call.outputs) == len(body.outputs)
    return call.params["inputs"], len(call.outputs), primitives(body)


READ = {
    "both": (both, (["x", "y"], 2, ["sin", "cos"])),
    "first": (lambda x, y: both(x, y)[0], (["x"], 1, ["sin"])),
    "second": (lambda x, y: both(x, y)[1], (["y"], 1, ["cos"])),
}


@pytest.mark.parametrize("name", READ)
def test_a_call_gives_what_is_read_and_takes_what_that_needs(name: str) -> None:
    function, expected = READ[name]
    (call,) = pruned(function).eqns
    assert signature(call) == expected


def test_a_call_whose_results_nobody_reads_goes_with_what_computes_its_operands() -> None:
    program = pruned(lambda x, y: (both(jnp.tanh(x), y), x * 2)[1])
    assert primitives(program) == ["mul"]


def test_a_call_inside_a_function_is_pruned_too() -> None:
    (outer,) = pruned(lambda x, y: around(x, y)[1]).eqns
    assert signature(outer) == (["y"], 1, ["onnx_function"])
    (inner,) = outer.bodies[0].program.eqns
    assert signature(inner) == (["y"], 1, ["cos"])


def test_calls_that_read_the_same_results_share_what_is_left() -> None:
    program = pruned(lambda x, y: (both(x, y)[0], both(y, x)[0], both(x, x)[1]))
    first, same, other = [call.bodies[0].program for call in program.eqns]
    assert first is same
    assert other is not first


def test_calls_of_several_programs_share_too() -> None:
    pruner = CallPruner()
    program = flat_with_functions(lambda x, y: both(x, y)[0], VECTOR, VECTOR)
    first, second = [pruner.prune(program).eqns[0].bodies[0].program for _ in range(2)]
    assert first is second


def test_a_program_without_calls_is_the_same() -> None:
    program = flat(lambda x: (jnp.sin(x), x * 2)[1])
    assert CallPruner().prune(program) is program
