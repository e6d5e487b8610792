"""Calls of ONNX functions: results that nobody reads and operands that nothing uses are left out.

So a state that a framework's module hands through its functions costs nothing where nobody reads it.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from jax2onnx.program.graph import if_needed, live
from jax2onnx.program.program import Eqn, Program

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from jax2onnx.program.program import Atom

__all__ = ["CallPruner"]

_Mask: TypeAlias = tuple[bool, ...]
"""Which results are read, or which operands are used."""


@dataclass(frozen=True, slots=True)
class _Pruned:
    """What is left of a function of which a caller reads some results: its program, and which operands it takes."""

    program: Program
    used: _Mask


class CallPruner:
    """Prunes the calls of one export; calls that read the same results of a function share what is left of it."""

    def __init__(self) -> None:
        self._pruned: dict[tuple[Program, _Mask], _Pruned] = {}

    def prune(self, program: Program) -> Program:
        """Return the program with calls that take only operands they use and give only results that are read."""
        if not any(eqn.is_call for eqn in program.eqns):
            return program
        return live(program, self._if_needed)

    def _if_needed(self, eqn: Eqn, wanted: AbstractSet[Atom]) -> Eqn | None:
        """Return what is left of an equation, or None if nobody reads its results."""
        if not eqn.is_call:
            return if_needed(eqn, wanted)
        read = tuple([variable in wanted for variable in eqn.outputs])
        if not any(read):
            return None
        body = eqn.bodies[0]
        key = body.program, read
        if key not in self._pruned:
            self._pruned[key] = self._prune_function(body.program, read)
        pruned = self._pruned[key]
        inputs = itertools.compress(eqn.inputs, pruned.used)
        names = itertools.compress(eqn.params["inputs"], pruned.used)
        outputs = itertools.compress(eqn.outputs, read)
        return replace(
            eqn,
            inputs=list(inputs),
            outputs=list(outputs),
            params={**eqn.params, "inputs": list(names)},
            bodies=(replace(body, program=pruned.program),),
        )

    def _prune_function(self, function: Program, read: _Mask) -> _Pruned:
        outputs = list(itertools.compress(function.outputs, read))
        program = live(Program(function.inputs, function.eqns, outputs), self._if_needed)
        needed: set[Atom] = set(outputs)
        for eqn in program.eqns:
            needed.update(eqn.inputs)
        used = tuple([variable in needed for variable in function.inputs])
        inputs = list(itertools.compress(function.inputs, used))
        return _Pruned(Program(inputs, program.eqns, outputs), used)
