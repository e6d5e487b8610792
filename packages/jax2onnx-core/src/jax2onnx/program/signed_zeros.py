"""Where the sign of a zero changes a number: at a division by it, at its angle, at its bits.

onnxruntime's ``Where`` makes 0 of a -0 that it takes from its first choice, and its extrema return either zero. What
that costs to undo is spent only on values whose sign of zero comes to such a place; a result of the model is none.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from jax2onnx.program.program import Body, Eqn, Program, Var

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jax2onnx.program.program import Atom

__all__ = ["mark_signs"]


def mark_signs(program: Program, *, outputs: bool) -> Program:
    """Return the program with the equations marked in whose results, or bodies, the sign of a zero matters.

    Args:
        program: a flat program.
        outputs: whether the sign of a zero among its results matters to those who read them.
    """
    return _Marker().mark(program, outputs=outputs)


@dataclass(slots=True)
class _Marker:
    """Walks through a program and its bodies, once through each."""

    marked: dict[tuple[Program, bool], Program] = field(default_factory=dict)
    inside: dict[Program, bool] = field(default_factory=dict)

    def mark(self, program: Program, *, outputs: bool) -> Program:
        key = program, outputs
        if key not in self.marked:
            self.marked[key] = self._mark(program, outputs=outputs)
        return self.marked[key]

    def _mark(self, program: Program, *, outputs: bool) -> Program:
        found = self._matter(program, outputs=outputs)
        if not found and not any(e.bodies for e in program.eqns):
            return program
        eqns = []
        for eqn in program.eqns:
            signed = not found.isdisjoint(eqn.outputs)
            bodies = eqn.bodies
            if bodies:
                signed = signed or self._within(eqn)
                # The body of a function is shared by its calls.
                matters = bool(found) if eqn.is_call else signed
                bodies = tuple(Body(b.jaxpr, self.mark(b.program, outputs=matters)) for b in bodies)
            changed = signed or any(a.program is not b.program for a, b in zip(bodies, eqn.bodies, strict=True))
            eqns.append(replace(eqn, signed=signed, bodies=bodies) if changed else eqn)
        unchanged = all(a is b for a, b in zip(eqns, program.eqns, strict=True))
        return program if unchanged else Program(program.inputs, eqns, program.outputs)

    def _matter(self, program: Program, *, outputs: bool) -> set[Var]:
        """Return the values of a program of which the sign of a zero matters."""
        found: set[Var] = set()
        if outputs:
            _add(found, program.outputs)
        for eqn in reversed(program.eqns):
            reached = not found.isdisjoint(eqn.outputs)
            if eqn.paired is not None:
                _add(found, eqn.inputs)
            elif eqn.facts.zeros is not None:
                _add(found, eqn.facts.zeros(eqn, reached))
            elif reached or (eqn.bodies and self._within(eqn)):
                _add(found, eqn.inputs)
        return found

    def _within(self, eqn: Eqn) -> bool:
        """Return whether any sign in an equation's bodies matters, whatever becomes of their results."""
        for body in eqn.bodies:
            if body.program not in self.inside:
                self.inside[body.program] = bool(self._matter(body.program, outputs=False))
            if self.inside[body.program]:
                return True
        return False


def _add(found: set[Var], atoms: Iterable[Atom]) -> None:
    for atom in atoms:
        if isinstance(atom, Var) and _has_signed_zeros(atom.aval.dtype):
            found.add(atom)


@functools.lru_cache(maxsize=64)
def _has_signed_zeros(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.inexact))
