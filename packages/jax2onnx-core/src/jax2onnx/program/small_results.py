"""Small results: mark the equations of whose results small numbers have to be right in all digits, not only near zero.

A logarithm, a denominator, a power or a comparison makes another number of one that is nearly 0, and so does a large
factor. Kernels of onnxruntime such as ``Sigmoid`` are right to 1e-7 of 1: below about -18 their result is 0. Rules
avoid them, at a cost, for marked equations only. The results of a model are compared as they are, and need no mark.
"""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp

from jax2onnx.program.facts import Need
from jax2onnx.program.large_numbers import large_values, operands_of
from jax2onnx.program.program import Program, Var

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jax2onnx.program.program import Atom, Body, Eqn

__all__ = ["mark_small"]

_MATTERS_BELOW = 5e-4
"""From here on, an error of 1e-7 is one of the fourth digit. An epsilon of 1e-6 under a root is larger than that."""
_ALL = Need()
_FACTOR = Need(sums=False)
"""Beside a large factor. Of a sum, the terms would need it only where they cancel."""
_PLAIN = Need(floor=1.0, sums=False)
"""Of any value: it is right to 1e-7 of 1, or of itself."""

_MOST_ROUNDS = 2
"""So many times, what the next iteration of a loop needs is looked at as it is."""


def mark_small(program: Program, *, outputs: bool) -> Program:
    """Return the program with the equations marked whose small results have to be exact.

    Args:
        program: a flat program.
        outputs: whether small numbers among its results have to be exact for those who read them.
    """
    return _Marker(large_values(program)).mark(program, [_ALL if outputs else None] * len(program.outputs))


@dataclass(slots=True)
class _Marker:
    """Walks through a program and its bodies; ``_large`` are the values there that may be large."""

    _large: set[Var]
    _needs: dict[tuple[Program, tuple[Need | None, ...]], dict[Var, Need]] = field(default_factory=dict)
    _marked: dict[tuple[Program, tuple[Need | None, ...]], Program] = field(default_factory=dict)

    def mark(self, program: Program, outputs: Sequence[Need | None]) -> Program:
        key = (program, tuple(outputs))
        if key not in self._marked:
            self._marked[key] = self._mark(program, outputs)
        return self._marked[key]

    def _mark(self, program: Program, outputs: Sequence[Need | None]) -> Program:
        needs = self._needed(program, outputs)
        calls = [eqn for eqn in program.eqns if eqn.is_call]
        # The body of a function is shared by its calls.
        shared = any(_is_small(eqn, needs) for eqn in calls)
        mark = functools.partial(self._mark_equation, needs=needs, shared=shared)
        eqns = list(map(mark, program.eqns))
        if all(map(operator.is_, eqns, program.eqns)):
            return program
        return Program(program.inputs, eqns, program.outputs)

    def _mark_equation(self, eqn: Eqn, needs: Mapping[Var, Need], *, shared: bool) -> Eqn:
        small = _is_small(eqn, needs)
        if not small and not eqn.bodies:
            return eqn
        bodies: list[Body] = []
        for body, results in zip(eqn.bodies, self._wanted(eqn, needs), strict=True):
            wanted = [_ALL if shared else None] * len(results) if eqn.is_call else results
            program = self.mark(body.program, wanted)
            bodies.append(body if program is body.program else replace(body, program=program))
        if not small and all(map(operator.is_, bodies, eqn.bodies)):
            return eqn
        return replace(eqn, small=small, bodies=tuple(bodies))

    def _needed(self, program: Program, outputs: Sequence[Need | None]) -> dict[Var, Need]:
        """Return the values of a program of which small numbers have to be exact, and down to where.

        Without ``outputs``, for what is in the program alone.
        """
        key = (program, tuple(outputs))
        if key not in self._needs:
            found: dict[Var, Need] = {}
            for atom, need in zip(program.outputs, outputs, strict=False):
                if need is not None:
                    _add(found, [(atom, need)])
            self._walk(program.eqns, found)
            self._needs[key] = found
        return self._needs[key]

    def _walk(self, eqns: Sequence[Eqn], found: dict[Var, Need]) -> None:
        for eqn in reversed(eqns):
            if eqn.fused is not None:
                self._walk(eqn.fused.interior, found)
            else:
                _add(found, self._operands(eqn, found))

    def _operands(self, eqn: Eqn, found: Mapping[Var, Need]) -> Iterable[tuple[Atom, Need]]:
        """Return the operands of which small numbers have to be exact."""
        if eqn.bodies:
            return self._operands_of_bodies(eqn, found)
        need = _joined(map(found.get, eqn.outputs)) or _PLAIN
        small = eqn.facts.small
        pairs = [(atom, need) for atom in eqn.inputs] if small is None else [*small(eqn, need)]
        return pairs + self._factors(eqn) if eqn.facts.multiplies else pairs

    def _factors(self, eqn: Eqn) -> list[tuple[Atom, Need]]:
        """Return the operands of a product with a large number: a small one times that is not small."""
        large = self._large.intersection(eqn.inputs)
        return [(atom, _FACTOR) for atom in eqn.inputs if large.difference([atom])]

    def _operands_of_bodies(self, eqn: Eqn, found: Mapping[Var, Need]) -> Iterable[tuple[Atom, Need]]:
        pairs: list[tuple[Atom, Need]] = []
        wanted = self._wanted(eqn, found)
        for body, outputs in zip(eqn.bodies, wanted, strict=True):
            inside = self._needed(body.program, outputs)
            operands = operands_of(eqn, body.program)
            if operands is None:
                need = _joined(inside.get(value) for value in body.program.inputs)
                pairs += [] if need is None else [(atom, need) for atom in eqn.inputs]
                continue
            for atom, value in zip(operands, body.program.inputs, strict=True):
                if value in inside:
                    pairs.append((atom, inside[value]))
        return pairs

    def _wanted(self, eqn: Eqn, found: Mapping[Var, Need]) -> list[list[Need | None]]:
        """Return, for each body of an equation, what its results are needed for."""
        results = [found.get(v) for v in eqn.outputs]
        if eqn.facts.carried is not None:
            results = self._wanted_of_loop(eqn, results)
        wanted: list[list[Need | None]] = []
        for body in eqn.bodies:
            fits = len(body.program.outputs) == len(results)
            wanted.append(results if fits else [None] * len(body.program.outputs))
        return wanted

    def _wanted_of_loop(self, eqn: Eqn, results: list[Need | None]) -> list[Need | None]:
        """Add to the need of a loop's results what its next iteration, and its condition, need of what is carried."""
        assert eqn.facts.carried is not None
        first, count = eqn.facts.carried(eqn.params)
        rounds = 0
        while count:
            rounds += 1
            carried = results[:count]
            for body in eqn.bodies:
                program = body.program
                inside = self._needed(program, results if program is eqn.bodies[-1].program else [])
                start = first - len(eqn.inputs) + len(program.inputs)
                if program is not eqn.bodies[-1].program:
                    start = len(program.inputs) - count
                values = program.inputs[start : start + count]
                carried = [_joined([need, inside.get(v)]) for need, v in zip(carried, values, strict=True)]
            if carried == results[:count]:
                break
            # What goes on changing is needed down to 0.
            if rounds > _MOST_ROUNDS:
                pairs = zip(carried, results, strict=False)
                carried = [new and (new if new == old else replace(new, floor=0.0)) for new, old in pairs]
            results = [*carried, *results[count:]]
        return results


def _is_small(eqn: Eqn, needs: Mapping[Var, Need]) -> bool:
    """Return whether small numbers among an equation's results have to be exact."""
    need = _joined(map(needs.get, eqn.outputs))
    return need is not None and need.floor < _MATTERS_BELOW


def _joined(needs: Iterable[Need | None]) -> Need | None:
    """Return the need that includes all of the given ones."""
    given = [need for need in needs if need is not None]
    if not given:
        return None
    return Need(min(need.floor for need in given), any(need.sums for need in given))


def _add(found: dict[Var, Need], pairs: Iterable[tuple[Atom, Need]]) -> None:
    for atom, need in pairs:
        if isinstance(atom, Var) and need.floor < _PLAIN.floor and _is_inexact(atom.aval.dtype):
            known = found.get(atom)
            found[atom] = need if known is None else Need(min(need.floor, known.floor), need.sums or known.sums)


@functools.lru_cache(maxsize=64)
def _is_inexact(dtype: Any) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.inexact))
