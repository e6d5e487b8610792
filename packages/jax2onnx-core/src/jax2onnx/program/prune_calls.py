"""Calls of ONNX functions: results that nobody reads and operands that nothing uses are left out.

So a state that a framework's module hands through its functions costs nothing where nobody reads it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jax2onnx.program.graph import has_effect, live
from jax2onnx.program.program import Body, Eqn, Program

if TYPE_CHECKING:
    from jax2onnx.program.program import Atom

__all__ = ["CallPruner"]


@dataclass(frozen=True, slots=True)
class _Pruned:
    """What is left of a function of which a caller reads some results: its program, and which operands it takes."""

    program: Program
    used: tuple[int, ...]


class CallPruner:
    """Prunes the calls of one export; calls that read the same results of a function share what is left of it."""

    def __init__(self) -> None:
        self._pruned: dict[tuple[Program, tuple[bool, ...]], _Pruned] = {}

    def prune(self, program: Program) -> Program:
        """Return the program with calls that take only operands they use and give only results that are read."""
        if not any(e.is_call for e in program.eqns):
            return program
        wanted: set[Atom] = set(program.outputs)
        kept: list[Eqn] = []
        for eqn in reversed(program.eqns):
            if eqn.is_call:
                left = self._call(eqn, tuple(v in wanted for v in eqn.outputs))
            else:
                left = eqn if not wanted.isdisjoint(eqn.outputs) or has_effect(eqn) else None
            if left is not None:
                wanted.update(left.inputs)
                kept.append(left)
        return Program(program.inputs, kept[::-1], program.outputs)

    def _call(self, eqn: Eqn, read: tuple[bool, ...]) -> Eqn | None:
        """Return the call of the function with only the results that are read, or None if none is."""
        if not any(read):
            return None
        body = eqn.bodies[0]
        key = body.program, read
        if key not in self._pruned:
            self._pruned[key] = self._function(body.program, read)
        pruned = self._pruned[key]
        names = eqn.params["inputs"]
        return replace(
            eqn,
            inputs=[eqn.inputs[i] for i in pruned.used],
            outputs=[v for v, r in zip(eqn.outputs, read, strict=True) if r],
            params={**eqn.params, "inputs": [names[i] for i in pruned.used]},
            bodies=(Body(body.jaxpr, pruned.program),),
        )

    def _function(self, inner: Program, read: tuple[bool, ...]) -> _Pruned:
        outputs = [o for o, r in zip(inner.outputs, read, strict=True) if r]
        program = self.prune(live(Program(inner.inputs, inner.eqns, outputs)))
        needed: set[Atom] = set(program.outputs)
        for eqn in program.eqns:
            needed.update(eqn.inputs)
        used = tuple(i for i, v in enumerate(inner.inputs) if v in needed)
        return _Pruned(Program([inner.inputs[i] for i in used], program.eqns, outputs), used)
