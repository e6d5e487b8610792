"""Signed zeros: mark the equations in whose results the sign of a zero changes a number later.

It changes one at a division by the zero, at its angle, at its bits. onnxruntime's ``Where`` makes 0 of a -0 that it
takes from its first choice, and its extrema return either zero. Rules avoid that, at a cost, for marked equations only.
The sign of a zero among the results of a model does not count.
"""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from jax2onnx.program.program import Program, Var

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jax2onnx.program.program import Atom, Body, Eqn

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

    _marked: dict[tuple[Program, bool], Program] = field(default_factory=dict)
    _inside: dict[Program, bool] = field(default_factory=dict)

    def mark(self, program: Program, *, outputs: bool) -> Program:
        key = (program, outputs)
        if key not in self._marked:
            self._marked[key] = self._mark(program, outputs=outputs)
        return self._marked[key]

    def _mark(self, program: Program, *, outputs: bool) -> Program:
        values = self._matter(program, outputs=outputs)
        has_bodies = any(eqn.bodies for eqn in program.eqns)
        if not values and not has_bodies:
            return program
        mark = functools.partial(self._mark_equation, values=values)
        eqns = list(map(mark, program.eqns))
        if all(map(operator.is_, eqns, program.eqns)):
            return program
        return Program(program.inputs, eqns, program.outputs)

    def _mark_equation(self, eqn: Eqn, values: set[Var]) -> Eqn:
        """Return an equation, marked if need be; ``values`` are those of its program of which the sign matters."""
        reached = not values.isdisjoint(eqn.outputs)
        signed = reached or self._matters_within(eqn)
        # The body of a function is shared by its calls.
        outputs = bool(values) if eqn.is_call else signed
        mark = functools.partial(self._mark_body, outputs=outputs)
        bodies = tuple(map(mark, eqn.bodies))
        if not signed and all(map(operator.is_, bodies, eqn.bodies)):
            return eqn
        return replace(eqn, signed=signed, bodies=bodies)

    def _mark_body(self, body: Body, *, outputs: bool) -> Body:
        program = self.mark(body.program, outputs=outputs)
        if program is body.program:
            return body
        return replace(body, program=program)

    def _matter(self, program: Program, *, outputs: bool) -> set[Var]:
        """Return the values of a program of which the sign of a zero matters."""
        found: set[Var] = set()
        if outputs:
            _add(found, program.outputs)
        for eqn in reversed(program.eqns):
            reached = not found.isdisjoint(eqn.outputs)
            operands = self._operands(eqn, reached=reached)
            _add(found, operands)
        return found

    def _operands(self, eqn: Eqn, *, reached: bool) -> Sequence[Atom]:
        """Return the operands in which the sign of a zero matters; ``reached``: whether it does in the results."""
        if eqn.paired is not None:
            return eqn.inputs
        if eqn.facts.zeros is not None:
            return eqn.facts.zeros(eqn, reached)
        matters = reached or self._matters_within(eqn)
        return eqn.inputs if matters else ()

    def _matters_within(self, eqn: Eqn) -> bool:
        """Return whether any sign in an equation's bodies matters, whatever becomes of their results."""
        if not eqn.bodies:
            return False
        return any(map(self._matters_in, eqn.bodies))

    def _matters_in(self, body: Body) -> bool:
        program = body.program
        if program not in self._inside:
            values = self._matter(program, outputs=False)
            self._inside[program] = bool(values)
        return self._inside[program]


def _add(found: set[Var], atoms: Iterable[Atom]) -> None:
    for atom in atoms:
        if isinstance(atom, Var) and _has_signed_zeros(atom.aval.dtype):
            found.add(atom)


@functools.lru_cache(maxsize=64)
def _has_signed_zeros(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.inexact))
