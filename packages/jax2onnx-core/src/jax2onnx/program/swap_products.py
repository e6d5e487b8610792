"""Transposed results: an equation computes its result transposed where that spares transposes.

JAX puts the free dims of a product's left operand first. ``jax.vmap`` of ``weights @ x`` leaves the batch of ``x``
behind the weights' dims, and a transpose brings it to the front::

    y[o, b] = dot_general(weights[o, k], x[b, k]);  z[b, o] = transpose(y)      before
    z[b, o] = dot_general(x[b, k], weights[o, k])                               after
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jax2onnx.program.program import Program

if TYPE_CHECKING:
    from jax2onnx.program.program import Atom, Eqn

__all__ = ["absorb_transposes"]


def absorb_transposes(program: Program) -> Program:
    """Return the program in which equations that can give their result transposed do so where that pays."""
    positions: dict[Atom, int] = {}
    for i, eqn in enumerate(program.eqns):
        if eqn.facts.transposed is not None and not eqn.paired:
            positions[eqn.outputs[0]] = i
    transposes: dict[int, int] = {}
    for i, eqn in enumerate(program.eqns):
        if eqn.facts.permutation is not None and eqn.inputs[0] in positions:
            transposes[positions[eqn.inputs[0]]] = i
    if not transposes:
        return program
    reads = _reads(program)
    eqns: list[Eqn | None] = list(program.eqns)
    for position, after in transposes.items():
        eqn, transpose = program.eqns[position], program.eqns[after]
        assert eqn.facts.transposed is not None
        assert transpose.facts.permutation is not None
        if reads[eqn.outputs[0]] > 1:
            continue
        new = eqn.facts.transposed(eqn, transpose.facts.permutation(transpose.params))
        if new is not None:
            new.outputs = transpose.outputs
            eqns[position], eqns[after] = None, new
    return Program(program.inputs, [e for e in eqns if e is not None], program.outputs)


def _reads(program: Program) -> dict[Atom, int]:
    """Return how often each value is read."""
    reads: dict[Atom, int] = dict.fromkeys(program.outputs, 0)
    for eqn in program.eqns:
        for atom in eqn.inputs:
            reads[atom] = reads.get(atom, 0) + 1
    for atom in program.outputs:
        reads[atom] += 1
    return reads
