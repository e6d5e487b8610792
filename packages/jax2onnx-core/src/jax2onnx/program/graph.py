"""A flat program seen backwards: who computes a value, who uses it, which values are a scalar's broadcast."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jax2onnx._compat import ShapedArray
from jax2onnx.program.program import Const, Program

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

    from jax2onnx.program.program import Atom, Eqn

__all__ = ["OUTPUT", "Graph", "has_effect", "if_needed", "live"]

OUTPUT = -1
"""The user of a program's outputs."""


def if_needed(eqn: Eqn, wanted: AbstractSet[Atom]) -> Eqn | None:
    """Return the equation, or None if it has no effect and none of its results is wanted."""
    if wanted.isdisjoint(eqn.outputs) and not has_effect(eqn):
        return None
    return eqn


def live(
    program: Program,
    reduce: Callable[[Eqn, AbstractSet[Atom]], Eqn | None] = if_needed,
) -> Program:
    """Return the program without the equations whose results nobody reads.

    Args:
        program: a flat program.
        reduce: returns what is left of an equation, given the values that are read after it; None if nothing is.
    """
    wanted: set[Atom] = set(program.outputs)
    kept: list[Eqn] = []
    for eqn in reversed(program.eqns):
        left = reduce(eqn, wanted)
        if left is not None:
            wanted.update(left.inputs)
            kept.append(left)
    kept.reverse()
    return Program(program.inputs, kept, program.outputs)


def has_effect(eqn: Eqn) -> bool:
    """Return whether an equation matters even if nobody reads its results."""
    if not eqn.outputs or eqn.facts.effect:
        return True
    for atom in eqn.inputs:  # noqa: SIM110 - runs for every equation; a loop takes half the time
        if not isinstance(atom.aval, ShapedArray):
            return True  # a ref or a token: the equation writes it
    return False


class Graph:
    """The producers of a program's values, and what may be read in place of them.

    Args:
        program: the program.
        through_converts: read conversions of scalars as the scalar, as a search that ignores dtypes does.

    Attributes:
        producer: value -> the position of the equation that computes it.
        maker: value -> the primitive of that equation.
        scalars: broadcast (or converted) scalar -> the scalar.
        unconverted: converted scalar -> the scalar in its own dtype.
        sizes: scalars that are computed from the sizes of inputs and constants alone.
    """

    def __init__(self, program: Program, *, through_converts: bool = False) -> None:
        self.eqns = program.eqns
        self.producer: dict[Atom, int] = {}
        self.maker: dict[Atom, str] = {}
        self.scalars: dict[Atom, Atom] = {}
        self.unconverted: dict[Atom, Atom] = {}
        self.sizes: set[Atom] = set()
        for position, eqn in enumerate(program.eqns):
            for variable in eqn.outputs:
                self.producer[variable] = position
                self.maker[variable] = eqn.primitive
            if eqn.facts.scalar and eqn.inputs:
                self._read_scalar(eqn, through_converts=through_converts)
            if self._is_size(eqn):
                self.sizes.update(eqn.outputs)

    def _read_scalar(self, eqn: Eqn, *, through_converts: bool) -> None:
        operand = eqn.inputs[0]
        output = eqn.outputs[0]
        scalar = self.scalars.get(operand, operand)
        if scalar.aval.shape != ():
            return
        if eqn.facts.scalar == "convert":
            self.unconverted[output] = self.unconverted.get(scalar, scalar)
        if eqn.facts.scalar == "broadcast" or through_converts:
            self.scalars[output] = scalar
        elif isinstance(scalar, Const):
            converted = _converted(scalar, output.aval)
            if converted is not None:
                self.scalars[output] = converted

    def _is_size(self, eqn: Eqn) -> bool:
        if eqn.facts.size:
            return True
        if not self.sizes:
            return False
        for atom in eqn.inputs:
            if not isinstance(atom, Const) and atom not in self.sizes:
                return False
        return all(output.aval.shape == () for output in eqn.outputs)

    def resolve(self, eqn: Eqn, atom: Atom) -> Atom:
        """Return what an equation may read in place of an operand."""
        if not eqn.facts.elementwise:
            return atom
        return self.scalars.get(atom, atom)

    def users(self, program: Program) -> Mapping[Atom, list[int]]:
        """Return for each value the equations that read it; :data:`OUTPUT` stands for the program itself."""
        users: dict[Atom, list[int]] = {}
        for i, eqn in enumerate(self.eqns):
            for atom in eqn.inputs:
                users.setdefault(atom, []).append(i)
        for atom in program.outputs:
            users.setdefault(atom, []).append(OUTPUT)
        return users


_FLOATS = frozenset({"bfloat16", "float16", "float32", "float64"})

_EXACT = 2**8
"""All integers up to this are exact in every floating dtype of :data:`_FLOATS`."""


def _converted(scalar: Const, aval: ShapedArray) -> Const | None:
    """Return a scalar in another dtype.

    None where numpy may not round as JAX does: only integers that are exact, and floats to smaller ones, are converted.
    """
    source = scalar.aval.dtype
    if str(aval.dtype) not in _FLOATS:
        return None
    value = np.asarray(scalar.value, source)
    if source.kind in "iu":
        converts = abs(int(value)) <= _EXACT
    elif source == np.float64:
        converts = aval.dtype == np.float32
    else:
        converts = str(source) in _FLOATS
    return Const(aval, value.astype(aval.dtype)) if converts else None
