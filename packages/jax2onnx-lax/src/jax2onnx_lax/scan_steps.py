"""The body of a loop as steps over numbered values, from which parts can be taken and bound again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax
from jax import lax

from jax2onnx.plugin import bind_equation, is_static

__all__ = ["Open", "Step", "Steps", "Values", "made_by", "numbers_of", "read_by", "value_of"]

Values: TypeAlias = dict[int, Any]
Open: TypeAlias = Callable[[Any], tuple[Any, Sequence[Any]] | None]
"""Returns the jaxpr, and its constants, by whose equations a jaxpr's equation is replaced; None to leave it."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """An equation over numbered values; literals are read as they are."""

    eqn: Any
    reads: tuple[Any, ...]
    makes: tuple[int, ...]

    @property
    def name(self) -> str:
        """The primitive's name."""
        return str(self.eqn.primitive.name)

    def numbers(self) -> list[int]:
        """Return the numbers of the values that the step reads."""
        return [atom for atom in self.reads if isinstance(atom, int)]


@dataclass(slots=True)
class Steps:
    """The body of a scan or of a while loop: steps over numbered values, of which the first are its inputs.

    Attributes:
        constants: how many inputs are the same in all iterations.
        carries: how many inputs, after these, are carried.
        inputs: how many there are in all.
        steps: the equations, in their order.
        known: the values that are known.
        results: the numbers of the results; literals as they are.
    """

    constants: int
    carries: int
    inputs: int
    steps: list[Step] = field(default_factory=list)
    known: Values = field(default_factory=dict)
    results: list[Any] = field(default_factory=list)
    _count: int = 0

    @classmethod
    def of(cls, opened: tuple[Any, Sequence[Any]], constants: int, carries: int, open_equation: Open) -> Steps:
        """Return the steps of a jaxpr and its constants, with those of what can be opened in it."""
        jaxpr, consts = opened
        body = cls(constants, carries, len(jaxpr.invars))
        arguments = [body._new() for _ in jaxpr.invars]
        body.results = body._run(jaxpr, consts, arguments, open_equation)
        return body

    def _new(self) -> int:
        self._count += 1
        return self._count - 1

    def _run(self, jaxpr: Any, consts: Sequence[Any], arguments: Sequence[Any], open_equation: Open) -> list[Any]:
        values: dict[Any, Any] = dict(zip(jaxpr.invars, arguments, strict=True))
        for var, value in zip(jaxpr.constvars, consts, strict=True):
            values[var] = number = self._new()
            self.known[number] = value

        def read(atom: Any) -> Any:
            return atom if hasattr(atom, "val") else values[atom]

        for eqn in jaxpr.eqns:
            operands = [read(atom) for atom in eqn.invars]
            opened = open_equation(eqn)
            if opened is not None:
                makes = self._run(*opened, operands, open_equation)
            else:
                makes = [self._new() for _ in eqn.outvars]
                self.steps.append(Step(eqn, tuple(operands), tuple(makes)))
            values.update(zip(eqn.outvars, makes, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def opened_at(self, open_step: Callable[[Step], tuple[Any, Sequence[Any]] | None], open_equation: Open) -> Steps:
        """Return the steps with what some are replaced by, a jaxpr and its constants; the others as they are.

        Args:
            open_step: returns by what a step is replaced; None to leave it.
            open_equation: returns by what the equations of such a jaxpr are replaced.
        """
        new = Steps(self.constants, self.carries, self.inputs, known=dict(self.known), _count=self._count)
        renamed: Values = {}

        def read(atom: Any) -> Any:
            return renamed.get(atom, atom) if isinstance(atom, int) else atom

        for step in self.steps:
            operands = [read(atom) for atom in step.reads]
            opened = open_step(step)
            if opened is None:
                new.steps.append(Step(step.eqn, tuple(operands), step.makes))
            else:
                jaxpr, consts = opened
                renamed.update(zip(step.makes, new._run(jaxpr, consts, operands, open_equation), strict=True))
        new.results = [read(atom) for atom in self.results]
        return new

    def carried(self) -> range:
        """Return the numbers of the carried inputs."""
        return range(self.constants, self.constants + self.carries)

    def scanned(self) -> range:
        """Return the numbers of the scanned inputs."""
        return range(self.constants + self.carries, self.inputs)

    def needed(self, wanted: Collection[Any], *, given: Collection[int] = ()) -> list[Step]:
        """Return the steps that make the wanted values from inputs, and from values that are given."""
        missing = {number for number in wanted if isinstance(number, int)} - set(given)
        steps = []
        for step in reversed(self.steps):
            if missing.isdisjoint(step.makes):
                continue
            steps.append(step)
            missing.update(number for number in step.numbers() if number not in given)
        return steps[::-1]

    def evaluate(self, steps: Sequence[Step], values: Mapping[int, Any]) -> Values:
        """Return the values, and those that the steps make of them."""
        values = {**self.known, **values}
        for step in steps:
            operands = [values[atom] if isinstance(atom, int) else atom.val for atom in step.reads]
            values.update(zip(step.makes, bind_equation(step.eqn, operands), strict=True))
        return values

    def at_once(self, steps: Sequence[Step], wanted: Sequence[int], shared: Values, by_step: Values) -> Values:
        """Return the wanted values that steps make, for all iterations.

        Args:
            steps: those to evaluate.
            wanted: the numbers of the values.
            shared: the values that are the same in all iterations.
            by_step: the values that are known for all iterations at once.
        """
        read = read_by(steps)

        def one(inputs: Values) -> list[Any]:
            values = self.evaluate(steps, {**shared, **inputs})
            return [values[number] for number in wanted]

        arrays = jax.vmap(one)({number: array for number, array in by_step.items() if number in read})
        return dict(zip(wanted, arrays, strict=True))

    def ends(self, values: Values) -> list[Any]:
        """Return the carried values that an iteration leaves."""
        return [value_of(atom, values) for atom in self.results[: self.carries]]

    def scan(
        self,
        init: Values,
        steps: Sequence[Step],
        shared: Values,
        by_step: Values,
        stacked: Sequence[Any],
        *,
        length: int | None,
        reverse: bool,
    ) -> tuple[Values, list[jax.Array]]:
        """Scan some of the steps; return the last of some carried values, and those that are stacked.

        Args:
            init: the first of the carried values, by number.
            steps: the steps of an iteration.
            shared: the values that are the same in all iterations.
            by_step: the values that are scanned.
            stacked: what is stacked; literals as they are.
            length: how many iterations there are; None for as many as there are scanned elements.
            reverse: whether the last one comes first.
        """

        def step(carry: Sequence[Any], inputs: Values) -> tuple[list[Any], list[Any]]:
            values = self.evaluate(steps, {**shared, **dict(zip(init, carry, strict=True)), **inputs})
            ends = [self.results[number - self.constants] for number in init]
            return [value_of(atom, values) for atom in ends], [value_of(atom, values) for atom in stacked]

        last, results = lax.scan(step, list(init.values()), by_step, length, reverse=reverse)
        return dict(zip(init, last, strict=True)), results

    def finish(
        self,
        rest: Sequence[Step],
        operands: Sequence[Any],
        *,
        last: Values,
        shared: Values,
        by_step: Values,
        length: Any,
        reverse: bool,
    ) -> list[jax.Array]:
        """Scan the steps that are left; return the results of the whole scan.

        Args:
            rest: the steps that are left.
            operands: those of the whole scan.
            last: the last of the carried values that are computed already.
            shared: the values that are the same in all iterations.
            by_step: the values that are known for all iterations at once.
            length: how many iterations there are.
            reverse: whether the last one comes first.
        """
        shared = {**self.known, **shared}
        init = {number: operands[number] for number in self.carried() if number not in last}
        inside = made_by(rest) | set(init)
        stacked = sorted(numbers_of(self.results[self.carries :]) & inside)
        if init or stacked:
            read = read_by(rest) | numbers_of(self.results[number - self.constants] for number in init)
            scanned = {number: array for number, array in by_step.items() if number in read}
            # JAX takes a symbolic length from what is scanned only.
            count = None if scanned and not is_static(length) else length
            others, results = self.scan(init, rest, shared, scanned, stacked, length=count, reverse=reverse)
            last = {**last, **others}
            by_step = {**by_step, **dict(zip(stacked, results, strict=True))}

        def all_of(atom: Any) -> Any:
            if isinstance(atom, int) and atom in by_step:
                return by_step[atom]
            return lax.broadcast(value_of(atom, shared), (length,))

        return [*(last[number] for number in self.carried()), *map(all_of, self.results[self.carries :])]


def value_of(atom: Any, values: Values) -> Any:
    """Return a value by its number; that of a literal."""
    return values[atom] if isinstance(atom, int) else jax.numpy.asarray(atom.val, atom.aval.dtype)


def numbers_of(atoms: Iterable[Any]) -> set[int]:
    """Return the numbers among values, which may be literals."""
    return {atom for atom in atoms if isinstance(atom, int)}


def read_by(steps: Iterable[Step]) -> set[int]:
    """Return the numbers of the values that steps read."""
    return {number for step in steps for number in step.numbers()}


def made_by(steps: Iterable[Step]) -> set[int]:
    """Return the numbers of the values that steps make."""
    return {number for step in steps for number in step.makes}
