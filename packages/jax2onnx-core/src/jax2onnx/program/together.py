"""Together: equations that need not wait for each other are computed by one, where their primitive says how.

before: a = normal(hash(key, 0)); b = uniform(hash(key, 1))
after:  both = hash(key, [0, 1]); a = normal(both[0]); b = uniform(both[1])
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jax2onnx.program.graph import has_effect
from jax2onnx.program.inline_calls import instance
from jax2onnx.program.program import Program, substitute

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from jax2onnx.program.program import Atom, Eqn

__all__ = ["compute_together"]


def compute_together(program: Program, flatten: Callable[[Callable[..., Any], Sequence[Any], Any], Program]) -> Program:
    """Return the program with one equation in the place of independent ones of a primitive that says how.

    Args:
        program: a flat program.
        flatten: returns the flat program of a JAX function, given also the abstract values of its operands and a line.
    """
    if sum(eqn.facts.together is not None for eqn in program.eqns) < 2 or any(map(has_effect, program.eqns)):
        return program
    schedule = _Schedule(program.eqns)
    for group in _independent(program.eqns):
        members = [program.eqns[number] for number in group]
        combine = members[0].facts.together
        function = None if combine is None else combine(members)
        if function is None:
            continue
        schedule.put(schedule.before(group))
        operands = [atom for eqn in members for atom in eqn.inputs]
        combined = flatten(function, [atom.aval for atom in operands], members[0].source)
        schedule.replace(group, instance(combined, substitute(operands, schedule.env)))
    if not schedule.env:
        return program
    schedule.put(range(len(program.eqns)))
    return Program(program.inputs, schedule.eqns, substitute(program.outputs, schedule.env))


def _independent(eqns: Sequence[Eqn]) -> list[list[int]]:
    """Return the equations of each such primitive in groups: none of a group leads to another one of it."""
    level: dict[Atom, int] = defaultdict(int)
    groups: dict[tuple[int, str], list[int]] = defaultdict(list)
    for number, eqn in enumerate(eqns):
        depth = max((level[atom] for atom in eqn.inputs if atom in level), default=0)
        if eqn.facts.together is not None:
            groups[depth, eqn.primitive].append(number)
            depth += 1
        if depth:
            level.update(dict.fromkeys(eqn.outputs, depth))
    # In this order, what leads to a group comes from groups that are done.
    return [groups[key] for key in sorted(groups) if len(groups[key]) > 1]


class _Schedule:
    """Puts equations into a new order, in which each is after those that it reads the results of."""

    def __init__(self, eqns: Sequence[Eqn]) -> None:
        self._old = eqns
        self._makers: dict[Atom, int] = {output: number for number, eqn in enumerate(eqns) for output in eqn.outputs}
        self._done: set[int] = set()
        self.eqns: list[Eqn] = []
        self.env: dict[Atom, Atom] = {}

    def before(self, group: Iterable[int]) -> list[int]:
        """Return the equations that lead to those of a group and are not put yet."""
        found: set[int] = set()
        pending = [atom for number in group for atom in self._old[number].inputs]
        while pending:
            maker = self._makers.get(pending.pop())
            if maker is not None and maker not in self._done and maker not in found:
                found.add(maker)
                pending += self._old[maker].inputs
        return sorted(found)

    def put(self, numbers: Iterable[int]) -> None:
        """Put equations, but for those that are put already."""
        for number in numbers:
            if number not in self._done:
                eqn = self._old[number]
                self._done.add(number)
                self.eqns.append(replace(eqn, inputs=substitute(eqn.inputs, self.env)))

    def replace(self, group: Sequence[int], combined: Program) -> None:
        """Put the equations of a program in the place of those of a group."""
        self._done.update(group)
        self.eqns += combined.eqns
        results = [output for number in group for output in self._old[number].outputs]
        self.env.update(zip(results, combined.outputs, strict=True))
