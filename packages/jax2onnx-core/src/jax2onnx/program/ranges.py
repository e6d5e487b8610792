"""Value ranges: between which bounds integers lie, so that rules need not guard indices that cannot be out of range.

The facts of primitives say what follows from the ranges of operands. Equations whose result is then an operand, or a
known number, are left out; those that index get the ranges of their indices.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx._compat import ShapedArray
from jax2onnx.program.bounds import Range, limits
from jax2onnx.program.graph import has_effect, live
from jax2onnx.program.program import Atom, Const, Eqn, Program, substitute
from jax2onnx.program.shapes import is_static

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["KnownRanges", "known_ranges", "limits_of", "use_ranges"]

_MOST_READ = 2**16
"""Of constants of more elements the range is not looked for."""

_MOST_STORED = 64
"""Constants of up to this many elements are stored in place of equations."""

_COMPONENTS = 8
"""Index vectors of up to this many components have a range for each."""


def use_ranges(program: Program) -> Program:
    """Return the program without guards that are idle, its indexing equations marked with the ranges of their indices.

    Args:
        program: a flat program, of whose inputs nothing is known; it is not changed.
    """
    walker = _Walker()
    if not walker.has_indices(program):
        return program
    return walker.rewritten(program, [limits_of(variable) for variable in program.inputs])


def known_ranges(program: Program) -> KnownRanges:
    """Return the ranges of a program's values, of whose inputs nothing is known."""
    return _Walker().known(program, list(map(limits_of, program.inputs)))


def limits_of(atom: Atom) -> Range | None:
    """Return what the dtype of a value allows, None if it is not one of integers or bools."""
    return limits(getattr(atom.aval, "dtype", None))


@dataclass(slots=True)
class KnownRanges:
    """The ranges of one program's values, for ranges that its inputs have.

    Attributes:
        program: the program.
        makers: value -> the equation that computes it.
    """

    program: Program
    _walker: _Walker
    _ranges: dict[Atom, Range]
    makers: dict[Atom, Eqn] = field(default_factory=dict)
    _inside: dict[Eqn, Sequence[Sequence[Range | None]]] = field(default_factory=dict)

    def of(self, atom: Atom) -> Range | None:
        """Return the range of a value, None if it is not one of integers or bools."""
        if isinstance(atom, Const):
            return self._walker.range_of_constant(atom)
        return self._ranges.get(atom) or limits_of(atom)

    def outputs(self) -> list[Range | None]:
        """Return the ranges of the program's results."""
        return list(map(self.of, self.program.outputs))

    def of_body(self, program: Program, given: Sequence[Range | None]) -> KnownRanges:
        """Return the ranges of a body's values, for ranges that its inputs have."""
        return self._walker.known(program, given)

    def components(self, atom: Atom) -> tuple[Range, ...]:
        """Return the ranges of the components of index vectors (last axis), or one for all; none if it is no index."""
        maker = self.makers.get(atom)
        rank = len(atom.aval.shape)
        if maker is not None and maker.facts.joins is not None and maker.facts.joins(maker.params) == rank - 1:
            ranges: list[Range] = []
            for operand in maker.inputs:
                count, one = operand.aval.shape[-1], self.of(operand)
                if one is None or not is_static(count) or count > _COMPONENTS:
                    break
                ranges += [one] * count
            else:
                return tuple(ranges)
        whole = self.of(atom)
        return () if whole is None else (whole,)

    def learn(self, eqn: Eqn) -> None:
        """Note the ranges of an equation's results."""
        self.makers.update(dict.fromkeys(eqn.outputs, eqn))
        if eqn.facts.range is None or eqn.fused is not None:
            return
        if not eqn.bodies and all(limits_of(output) is None for output in eqn.outputs):
            return
        results, bodies = eqn.facts.range(eqn, self)
        if bodies:
            self._inside[eqn] = bodies
        for output, one in zip(eqn.outputs, results, strict=True):
            if one is not None:
                self._ranges[output] = one

    def inside(self, eqn: Eqn) -> Sequence[Sequence[Range | None]]:
        """Return the ranges of the inputs of an equation's bodies."""
        known = self._inside.get(eqn)
        if known is not None:
            return known
        return [[limits_of(variable) for variable in body.program.inputs] for body in eqn.bodies]


@dataclass(slots=True)
class _Walker:
    """Walks through programs and their bodies, once for each combination of ranges of inputs."""

    _known: dict[tuple[Program, tuple[Range | None, ...]], KnownRanges] = field(default_factory=dict)
    _rewritten: dict[tuple[Program, tuple[Range | None, ...]], Program] = field(default_factory=dict)
    _constants: dict[Const, Range | None] = field(default_factory=dict)
    _indexing: dict[Program, bool] = field(default_factory=dict)

    def has_indices(self, program: Program) -> bool:
        """Return whether an equation of a program, or of a body in it, asks for ranges."""
        if program not in self._indexing:
            self._indexing[program] = any(map(self._asks, program.eqns))
        return self._indexing[program]

    def _asks(self, eqn: Eqn) -> bool:
        return eqn.facts.indexes or any(self.has_indices(body.program) for body in eqn.bodies)

    def range_of_constant(self, const: Const) -> Range | None:
        """Return the range of a constant's numbers."""
        if const not in self._constants:
            self._constants[const] = _range_of_array(const)
        return self._constants[const]

    def known(self, program: Program, given: Sequence[Range | None]) -> KnownRanges:
        """Return the ranges of a program's values, for ranges that its inputs have."""
        key = (program, tuple(given))
        if key not in self._known:
            ranges: dict[Atom, Range] = {
                v: one for v, one in zip(program.inputs, given, strict=True) if one is not None
            }
            found = KnownRanges(program, self, ranges)
            for eqn in program.eqns:
                found.learn(eqn)
            self._known[key] = found
        return self._known[key]

    def rewritten(self, program: Program, given: Sequence[Range | None]) -> Program:
        """Return a program without what is idle, for ranges that its inputs have."""
        if not self.has_indices(program):
            return program
        key = (program, tuple(given))
        if key not in self._rewritten:
            self._rewritten[key] = self._rewrite(program, self.known(program, given))
        return self._rewritten[key]

    def _rewrite(self, program: Program, known: KnownRanges) -> Program:
        same: dict[Atom, Atom] = {}
        eqns: list[Eqn] = []
        for eqn in program.eqns:
            left = self._without_idle(eqn, known, same)
            if left is not None:
                eqns.append(left)
        return live(Program(program.inputs, eqns, substitute(program.outputs, same)))

    def _without_idle(self, eqn: Eqn, known: KnownRanges, same: dict[Atom, Atom]) -> Eqn | None:
        """Return what an equation becomes; None, with a note in ``same``, if its result is known otherwise."""
        if len(eqn.outputs) == 1 and eqn.fused is None and not eqn.bodies:
            result = eqn.outputs[0]
            instead = _number(eqn, known) or _idle_operand(eqn, known)
            if instead is not None:
                same[result] = same.get(instead, instead)
                return None
        ranges = tuple(map(known.components, eqn.inputs)) if eqn.facts.indexes else ()
        if not ranges and not eqn.bodies and same.keys().isdisjoint(eqn.inputs):
            return eqn
        bodies = []
        if eqn.bodies:
            for body, given in zip(eqn.bodies, known.inside(eqn), strict=True):
                bodies.append(replace(body, program=self.rewritten(body.program, given)))
        return replace(eqn, inputs=substitute(eqn.inputs, same), bodies=tuple(bodies), ranges=ranges)


def _range_of_array(const: Const) -> Range | None:
    within = limits(getattr(const.aval, "dtype", None))
    if within is None:
        return None
    array = np.asarray(const.value)
    if not 0 < array.size <= _MOST_READ:
        return within
    return Range(int(array.min()), int(array.max()))


def _number(eqn: Eqn, known: KnownRanges) -> Const | None:
    """Return the constant that an equation's result is, None if it is none, or large."""
    aval = eqn.outputs[0].aval
    one = limits_of(eqn.outputs[0]) and known.of(eqn.outputs[0])
    if one is None or one.number is None or has_effect(eqn) or not isinstance(aval, ShapedArray):
        return None
    if not is_static(*aval.shape) or aval.size > _MOST_STORED:
        return None
    return Const(aval, np.full(aval.shape, one.number, aval.dtype))


def _idle_operand(eqn: Eqn, known: KnownRanges) -> Atom | None:
    """Return the operand that an equation's result is, None if there is none."""
    if eqn.facts.idle is None:
        return None
    place: int | None = eqn.facts.idle(eqn, known)
    if place is None:
        return None
    operand: Any = eqn.inputs[place]
    aval = eqn.outputs[0].aval
    fits = tuple(operand.aval.shape) == tuple(aval.shape) and operand.aval.dtype == aval.dtype
    return operand if fits else None
