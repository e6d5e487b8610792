"""Absorb transposes: an equation computes its result transposed where that spares a transpose.

JAX puts the free dims of a product's left operand first. ``jax.vmap`` of ``weights @ x`` leaves the batch of ``x``
behind the weights' dims, and a transpose brings it to the front::

    y[o, b] = dot_general(weights[o, k], x[b, k]);  z[b, o] = transpose(y)      before
    z[b, o] = dot_general(x[b, k], weights[o, k])                               after
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from jax2onnx.program.program import Program

if TYPE_CHECKING:
    from jax2onnx.program.program import Atom, Eqn

__all__ = ["absorb_transposes"]


def absorb_transposes(program: Program) -> Program:
    """Return the program in which equations that can give their result transposed do so where that pays."""
    candidates = _candidates(program)
    if not candidates:
        return program
    reads = _count_reads(program)
    absorbed: set[int] = set()
    eqns = list(program.eqns)
    for producer, transpose in candidates:
        read_once = reads[eqns[producer].outputs[0]] == 1
        new = _transposed(eqns[producer], eqns[transpose]) if read_once else None
        if new is not None:
            eqns[transpose] = new
            absorbed.add(producer)
    kept = [eqn for position, eqn in enumerate(eqns) if position not in absorbed]
    return Program(program.inputs, kept, program.outputs)


def _candidates(program: Program) -> list[tuple[int, int]]:
    """Return the positions of equations that can give their result transposed, each with that of a transpose of it."""
    producers: dict[Atom, int] = {}
    found = []
    for position, eqn in enumerate(program.eqns):
        if eqn.facts.transposed is not None and not eqn.paired:
            producers[eqn.outputs[0]] = position
        if eqn.facts.permutation is not None and eqn.inputs[0] in producers:
            found.append((producers[eqn.inputs[0]], position))
    return found


def _count_reads(program: Program) -> Counter[Atom]:
    reads = Counter(program.outputs)
    for eqn in program.eqns:
        reads.update(eqn.inputs)
    return reads


def _transposed(eqn: Eqn, transpose: Eqn) -> Eqn | None:
    """Return the equation that computes what ``transpose`` makes of the result of ``eqn``, or None."""
    assert eqn.facts.transposed is not None
    assert transpose.facts.permutation is not None
    permutation = transpose.facts.permutation(transpose.params)
    new: Eqn | None = eqn.facts.transposed(eqn, permutation)
    return None if new is None else replace(new, outputs=transpose.outputs)
