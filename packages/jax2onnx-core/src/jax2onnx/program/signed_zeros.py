"""Signed zeros: mark the equations in whose results the sign of a zero changes a number later.

It changes one at a division by the zero, at its angle, at its bits. onnxruntime's ``Where`` makes 0 of a -0 that it
takes from its first choice, and its extrema return either zero. Rules avoid that, at a cost, for marked equations only.
The sign of a zero among the results of a model does not count.
"""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import jax.numpy as jnp

from jax2onnx.program.large_numbers import operands_of
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
    return _Marker().mark(program, _all(program) if outputs else _NONE)


Places: TypeAlias = frozenset[int]
"""Which of the results of a program or an equation."""

_NONE: Places = frozenset()

_MOST_ROUNDS = 4
"""So many times it is looked at what the next iteration of a loop does with what is carried; then all of it counts."""


@dataclass(slots=True)
class _Marker:
    """Walks through a program and its bodies, once through each for the results of which the sign matters."""

    _marked: dict[tuple[Program, Places], Program] = field(default_factory=dict)
    _values: dict[tuple[Program, Places], set[Var]] = field(default_factory=dict)

    def mark(self, program: Program, results: Places) -> Program:
        key = (program, results)
        if key not in self._marked:
            self._marked[key] = self._mark(program, results)
        return self._marked[key]

    def _mark(self, program: Program, results: Places) -> Program:
        values = self._matter(program, results)
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
        if not eqn.bodies:
            return replace(eqn, signed=True) if reached else eqn
        signed = reached or self._matters_within(eqn)
        bodies: list[Body] = []
        for body, wanted in zip(eqn.bodies, self._wanted(eqn, values), strict=True):
            # The body of a function is shared by its calls.
            results = (_all(body.program) if values else _NONE) if eqn.is_call else wanted
            program = self.mark(body.program, results)
            bodies.append(body if program is body.program else replace(body, program=program))
        if not signed and all(map(operator.is_, bodies, eqn.bodies)):
            return eqn
        return replace(eqn, signed=signed, bodies=tuple(bodies))

    def _matter(self, program: Program, results: Places) -> set[Var]:
        """Return the values of a program of which the sign of a zero matters, if it does in some of its results."""
        key = (program, results)
        if key not in self._values:
            found: set[Var] = set()
            _add(found, [program.outputs[place] for place in results])
            for eqn in reversed(program.eqns):
                _add(found, self._operands(eqn, found))
            self._values[key] = found
        return self._values[key]

    def _operands(self, eqn: Eqn, found: set[Var]) -> Sequence[Atom]:
        """Return the operands in which the sign of a zero matters; ``found``: the values after it in which it does."""
        reached = not found.isdisjoint(eqn.outputs)
        if eqn.paired is not None:
            return eqn.inputs
        if eqn.facts.zeros is not None:
            return eqn.facts.zeros(eqn, reached)
        if eqn.bodies:
            return self._operands_of_bodies(eqn, found)
        return eqn.inputs if reached else ()

    def _operands_of_bodies(self, eqn: Eqn, found: set[Var]) -> list[Atom]:
        operands: list[Atom] = []
        for body, results in zip(eqn.bodies, self._wanted(eqn, found), strict=True):
            program = body.program
            inside = self._matter(program, results)
            given = operands_of(eqn, program) if _is_known(eqn) else None
            if given is not None:
                pairs = zip(given, program.inputs, strict=True)
                operands += [atom for atom, value in pairs if value in inside]
            elif not inside.isdisjoint(program.inputs):
                operands += eqn.inputs
        return operands

    def _wanted(self, eqn: Eqn, values: set[Var]) -> list[Places]:
        """Return, for each body of an equation, in which of its results the sign of a zero matters."""
        results = frozenset(place for place, value in enumerate(eqn.outputs) if value in values)
        if not _is_known(eqn):
            # Results of a body may be given to it, or to another one, in the next step.
            matters = bool(results) or self._matters_within(eqn)
            return [_all(body.program) if matters else _NONE for body in eqn.bodies]
        if eqn.facts.carried is not None:
            results = self._wanted_of_loop(eqn, results)
        sizes = [len(body.program.outputs) for body in eqn.bodies]
        return [results if size == len(eqn.outputs) else _NONE for size in sizes]

    def _wanted_of_loop(self, eqn: Eqn, results: Places) -> Places:
        """Add to a loop's results those that its next iteration, or its condition, reads as something with a sign."""
        assert eqn.facts.carried is not None
        _, count = eqn.facts.carried(eqn.params)
        for _ in range(_MOST_ROUNDS):
            carried = self._read_of_carried(eqn, results, count)
            if carried <= results:
                return results
            results |= carried
        return results.union(range(count))

    def _read_of_carried(self, eqn: Eqn, results: Places, count: int) -> Places:
        """Return which of what a loop carries is read as something with a sign, if some results are."""
        found: set[int] = set()
        for body in eqn.bodies:
            program = body.program
            inside = self._matter(program, results if len(program.outputs) == len(eqn.outputs) else _NONE)
            first = _first_carried(eqn, program, count)
            found.update(place for place in range(count) if program.inputs[first + place] in inside)
        return frozenset(found)

    def _matters_within(self, eqn: Eqn) -> bool:
        """Return whether the sign of what an equation's bodies are given matters there, whatever their results become.

        That a sign matters between two equations of a body, as that of a divisor which is computed there, says nothing
        of what goes in and out.
        """
        return any(self._matters_in(body.program) for body in eqn.bodies)

    def _matters_in(self, program: Program) -> bool:
        return not self._matter(program, _NONE).isdisjoint(program.inputs)


def _all(program: Program) -> Places:
    return frozenset(range(len(program.outputs)))


def _is_known(eqn: Eqn) -> bool:
    """Return whether it is known which results of an equation's bodies are given to them again."""
    if eqn.facts.carried is not None:
        return True
    if eqn.facts.unchanged is None:
        return False
    # What reads operands alone, as branches do, is given no results.
    positions = eqn.facts.unchanged(eqn)
    return all(len(read) == len(body.program.inputs) for read, body in zip(positions, eqn.bodies, strict=True))


def _first_carried(eqn: Eqn, program: Program, count: int) -> int:
    """Return which input of a loop's body, or of its condition, is the first of what is carried."""
    assert eqn.facts.carried is not None
    if program is eqn.bodies[-1].program:
        return eqn.facts.carried(eqn.params)[0] - len(eqn.inputs) + len(program.inputs)
    return len(program.inputs) - count


def _add(found: set[Var], atoms: Iterable[Atom]) -> None:
    for atom in atoms:
        if isinstance(atom, Var) and _has_signed_zeros(atom.aval.dtype):
            found.add(atom)


@functools.lru_cache(maxsize=64)
def _has_signed_zeros(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.inexact))
