"""Constants: what does not depend on an input of a program is computed at conversion.

Tables of positions, schedules, masks, inverses of matrices and random numbers of a fixed key are chains of equations in
a jaxpr; computed here, what uses them sees constants. A constant is stored where the model does not grow much by it:
arrays that are larger than what they are made of stay equations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from jax2onnx.program.known import LARGEST, Known, holds_nothing
from jax2onnx.program.program import Atom, Const, Eqn, Program, Var, substitute

__all__ = ["LARGEST", "Computed", "Folding", "Left", "fold"]

_FEW = 4
"""Constants of this many bytes are no weights."""

_QUANTISED = frozenset({"int2", "uint2", "int4", "uint4", "int8", "uint8"})
"""Dtypes of matrices that are weights in few bits: what is computed of them in wider dtypes is not stored."""

_LEAST_QUANTISED = 16
"""Of fewer elements nothing is saved."""


@dataclass(frozen=True, slots=True)
class Computed:
    """A constant that was computed, and the equation that tells most about it."""

    eqn: Eqn
    result: Var


@dataclass(frozen=True, slots=True)
class Left:
    """An equation that does not depend on an input, and that the model computes nevertheless."""

    eqn: Eqn
    reason: str


Folding: TypeAlias = Computed | Left
"""What folding notes for the user."""


def fold(program: Program, note: Callable[[Folding], object] | None = None) -> Program:
    """Return the program without the equations whose results are known.

    Args:
        program: a flat program; it is not changed.
        note: receives what was computed and what was left.
    """
    folder = _Folder(note)
    candidates = folder.learn(program)
    return folder.store(program, candidates)


class _Folder:
    """Folds one program: computes what is known from the first equation on, and stores what is read from the last."""

    def __init__(self, note: Callable[[Folding], object] | None) -> None:
        self._receive = note
        self._known = Known()
        self._same: dict[Atom, Atom] = {}
        self._weights: dict[Atom, tuple[Const, ...]] = {}
        """Known value -> the large constants that it is made of."""
        self._makers: dict[Atom, Eqn] = {}
        """Known value -> the last equation on the way to it that does more than arithmetic and rearranging."""

    def learn(self, program: Program) -> list[tuple[Eqn, bool]]:
        """Compute all that is known; return the equations, those that do nothing left out, and whether each is."""
        equations = []
        last = {operand: index for index, eqn in enumerate(program.eqns) for operand in eqn.inputs}
        for index, eqn in enumerate(program.eqns):
            new = _reading(eqn, self._same)
            operand = _operand_besides_unit(new)
            if operand is not None:
                result = new.outputs[0]
                self._same[result] = operand
                last[operand] = max(last.get(operand, index), last.get(result, index))
                continue
            is_known = self._learn(new)
            if is_known:
                self._weigh(new)
            for operand in new.inputs:
                if last[operand] == index and self._known.has_computed(operand) and self._is_never_stored(operand):
                    self._known.forget(operand)
            equations.append((new, is_known))
        return equations

    def _is_never_stored(self, atom: Atom) -> bool:
        """Return whether a value is large, and takes more room than all that it is made of."""
        is_large: bool = atom.aval.size > LARGEST
        return is_large and sum(map(_bytes, self._weights.get(atom, ()))) < _bytes(atom)

    def _learn(self, eqn: Eqn) -> bool:
        if eqn.fused is None or holds_nothing(eqn):
            return self._known.learn(eqn)
        if not all(operand in self._known for operand in eqn.inputs):
            return False
        interior = eqn.fused.interior_of(list(map(self._known.const, eqn.inputs)))
        made = {result for inner in interior for result in inner.outputs}.difference(eqn.outputs)
        # An equation that others read too stands in the program as well, and its results are still asked for.
        passing = [result for result in made if result not in self._known]
        for inner in interior:
            self._known.learn(inner)
        for result in passing:
            self._known.forget(result)
        return all(output in self._known for output in eqn.outputs)

    def _weigh(self, eqn: Eqn) -> None:
        """Note the large constants that the results of an equation are made of, and what made them at last."""
        maker = None if eqn.facts.fold is not None else eqn
        for operand in eqn.inputs:
            maker = maker or self._makers.get(operand)
        if maker is not None:
            self._makers.update(dict.fromkeys(eqn.outputs, maker))
        weights: dict[Const, None] = {}
        for operand in eqn.inputs:
            found = self._weights.get(operand, ())
            if isinstance(operand, Const) and _bytes(operand) > _FEW:
                found = (operand,)
            weights.update(dict.fromkeys(found))
        if weights:
            self._weights.update(dict.fromkeys(eqn.outputs, tuple(weights)))

    def store(self, program: Program, equations: Sequence[tuple[Eqn, bool]]) -> Program:
        """Return the program of the equations that stay, which read constants."""
        outputs = substitute(program.outputs, self._same)
        read = set(outputs)
        held: set[int] = set()
        for eqn, is_known in equations:
            if not is_known:
                read.update(eqn.inputs)
                held.update(_arrays(eqn.inputs))
        ends = frozenset(read)
        constants: dict[Atom, Atom] = {}
        kept: list[Eqn] = []
        for eqn, is_known in reversed(equations):
            results = [output for output in eqn.outputs if output in read]
            if is_known and all(self._is_storable(result, held) for result in results):
                constants.update({result: self._known.const(result) for result in results})
                self._note(eqn, results)
                continue
            if is_known:
                read.update(eqn.inputs)
                held.update(_arrays(eqn.inputs))
                self._note_large(eqn, ends.intersection(results))
            self._note(eqn, [])
            kept.append(eqn)
        kept.reverse()
        eqns = [_with_constants_inside(_reading(eqn, constants)) for eqn in kept]
        return Program(program.inputs, eqns, substitute(outputs, constants))

    def _is_storable(self, result: Var, held: set[int]) -> bool:
        """Return whether the model does not grow much by a constant; the constants that it replaces are held then."""
        weights = self._weights.get(result, ())
        if any(_is_wider(result, weight) for weight in weights):
            return False
        if result.aval.size <= LARGEST:
            return True
        free = [weight for weight in weights if id(weight.value) not in held]
        if sum(map(_bytes, free)) < _bytes(result):
            return False
        held.update(_arrays(free))
        return True

    def _note(self, eqn: Eqn, results: Sequence[Var]) -> None:
        if self._receive is None:
            return
        for result in results:
            maker = self._makers.get(result)
            if maker is not None:
                self._receive(Computed(maker, result))
        reason = self._known.refused.get(eqn)
        if reason is not None:
            self._receive(Left(eqn, reason))

    def _note_large(self, eqn: Eqn, results: Iterable[Atom]) -> None:
        """Note that results of an equation, which what is not known reads, are too large to be stored."""
        if self._receive is None:
            return
        for result in results:
            if result in self._makers and result.aval.size > LARGEST:
                size = result.aval.str_short()
                reason = f"{size} has more than {LARGEST} elements, and takes more room than what it is made of"
                self._receive(Left(eqn, reason))


def _is_wider(result: Var, weight: Const) -> bool:
    """Return whether a result has the elements of quantised weights in a wider dtype."""
    given, made = weight.aval, result.aval
    if str(given.dtype) not in _QUANTISED or len(given.shape) < 2 or given.size < _LEAST_QUANTISED:
        return False
    is_wider: bool = made.size >= given.size and str(made.dtype) not in {"bool", str(given.dtype)}
    return is_wider


def _reading(eqn: Eqn, known: dict[Atom, Atom]) -> Eqn:
    """Return an equation that reads what its operands are known to be."""
    if known.keys().isdisjoint(eqn.inputs):
        return eqn
    return replace(eqn, inputs=substitute(eqn.inputs, known))


def _with_constants_inside(eqn: Eqn) -> Eqn:
    """Return an equation whose bodies read the constants among its operands, which they take as inputs.

    ``scan(body, W, x)``, whose body multiplies by the inverse of its first input, gets a body that inverts ``W``, which
    is then computed in its turn. The inputs of the body stay, unread.
    """
    if eqn.facts.unchanged is None or not any(isinstance(operand, Const) for operand in eqn.inputs):
        return eqn
    bodies = []
    for body, positions in zip(eqn.bodies, eqn.facts.unchanged(eqn), strict=True):
        known: dict[Atom, Atom] = {}
        for inner, outer in positions.items():
            operand = eqn.inputs[outer]
            if isinstance(operand, Const):
                known[body.program.inputs[inner]] = operand
        bodies.append(replace(body, program=_program_reading(body.program, known)))
    return replace(eqn, bodies=tuple(bodies))


def _program_reading(program: Program, known: dict[Atom, Atom]) -> Program:
    eqns = [_reading(eqn, known) for eqn in program.eqns]
    return Program(program.inputs, eqns, substitute(program.outputs, known))


def _arrays(atoms: Iterable[Atom]) -> list[int]:
    """Return what tells the arrays of the constants among the atoms apart."""
    return [id(atom.value) for atom in atoms if isinstance(atom, Const)]


def _bytes(atom: Atom) -> int:
    size: int = atom.aval.size * np.dtype(atom.aval.dtype).itemsize
    return size


def _operand_besides_unit(eqn: Eqn) -> Atom | None:
    """Return the operand that is the result, since the other one is a scalar unit; None if there is none."""
    unit = eqn.facts.unit
    if unit is None or len(eqn.outputs) != 1 or not _is_exact(eqn.outputs[0].aval):
        return None
    shape = eqn.outputs[0].aval.shape
    for operand, other in (eqn.inputs, eqn.inputs[::-1]):
        if _is_scalar(other, unit) and operand.aval.shape == shape:
            return operand
    return None


def _is_scalar(atom: Atom, value: int) -> bool:
    return isinstance(atom, Const) and atom.aval.shape == () and int(atom.value) == value


def _is_exact(aval: Any) -> bool:
    """Return whether numpy and any runtime agree on arrays of this abstract value to the last bit."""
    dtype = getattr(aval, "dtype", None)  # a token has none
    return isinstance(dtype, np.dtype) and dtype.kind in "iub"
