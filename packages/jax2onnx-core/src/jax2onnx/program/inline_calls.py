"""Calls of ONNX functions, inlined: what a program computes, whatever is a function in it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from jax2onnx.program.program import Program

if TYPE_CHECKING:
    from jax2onnx.program.program import Atom, Eqn

__all__ = ["inline_calls"]


def inline_calls(program: Program) -> Program:
    """Return the program with the equations of ONNX functions in the place of their calls; bodies stay as they are."""
    if not any(e.is_call for e in program.eqns):
        return program
    env: dict[Atom, Atom] = {}
    eqns: list[Eqn] = []
    for eqn in program.eqns:
        inputs = [env.get(a, a) for a in eqn.inputs]
        if not eqn.is_call:
            eqns.append(replace(eqn, inputs=inputs))
            continue
        inner = inline_calls(eqn.bodies[0].program)
        env.update(zip(inner.inputs, inputs, strict=True))
        for step in inner.eqns:
            # A function may be called twice: each call has variables of its own.
            outputs = [replace(v) for v in step.outputs]
            eqns.append(replace(step, inputs=[env.get(a, a) for a in step.inputs], outputs=outputs))
            env.update(zip(step.outputs, outputs, strict=True))
        env.update((v, env.get(a, a)) for v, a in zip(eqn.outputs, inner.outputs, strict=True))
    return Program(program.inputs, eqns, [env.get(a, a) for a in program.outputs])
