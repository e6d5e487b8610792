"""Calls of ONNX functions, inlined: what a program computes, whatever is a function in it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from jax2onnx.program.program import Program, substitute

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.program.program import Atom, Eqn

__all__ = ["inline_calls", "instance"]


def inline_calls(program: Program) -> Program:
    """Return the program with the equations of ONNX functions in the place of their calls; bodies stay as they are."""
    if not any(eqn.is_call for eqn in program.eqns):
        return program
    env: dict[Atom, Atom] = {}
    eqns: list[Eqn] = []
    for eqn in program.eqns:
        inputs = substitute(eqn.inputs, env)
        if eqn.is_call:
            called = instance(eqn.bodies[0].program, inputs)
            eqns += called.eqns
            env.update(zip(eqn.outputs, called.outputs, strict=True))
        else:
            eqns.append(replace(eqn, inputs=inputs))
    outputs = substitute(program.outputs, env)
    return Program(program.inputs, eqns, outputs)


def instance(function: Program, operands: Sequence[Atom]) -> Program:
    """Return a function as one call computes it: of these operands, with variables of its own."""
    function = inline_calls(function)
    env: dict[Atom, Atom] = dict(zip(function.inputs, operands, strict=True))
    eqns = []
    for eqn in function.eqns:
        inputs = substitute(eqn.inputs, env)
        outputs = [replace(variable) for variable in eqn.outputs]
        eqns.append(replace(eqn, inputs=inputs, outputs=outputs))
        env.update(zip(eqn.outputs, outputs, strict=True))
    return Program([], eqns, substitute(function.outputs, env))
