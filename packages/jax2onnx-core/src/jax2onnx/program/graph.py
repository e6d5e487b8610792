"""A flat program seen backwards: who computes a value, who uses it, which values are a scalar's broadcast."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jax2onnx._compat import ShapedArray
from jax2onnx.program.program import Const, Program

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jax2onnx.program.program import Atom, Eqn

__all__ = ["OUTPUT", "Graph", "has_effect", "live"]

OUTPUT = -1
"""The user of a program's outputs."""


def live(program: Program) -> Program:
    """Return the program without the equations whose results nobody reads."""
    wanted: set[Atom] = set(program.outputs)
    kept: list[Eqn] = []
    for eqn in reversed(program.eqns):
        if not wanted.isdisjoint(eqn.outputs) or has_effect(eqn):
            wanted.update(eqn.inputs)
            kept.append(eqn)
    kept.reverse()
    return Program(program.inputs, kept, program.outputs)


def has_effect(eqn: Eqn) -> bool:
    """Return whether an equation matters even if nobody reads its results."""
    return not eqn.outputs or eqn.facts.effect or not all(isinstance(a.aval, ShapedArray) for a in eqn.inputs)


class Graph:
    """The producers of a program's values, and what may be read in place of them.

    Args:
        program: the program.
        through_converts: read conversions of scalars as the scalar, as a search that ignores dtypes does.

    Attributes:
        producer: value -> the position of the equation that computes it.
        maker: value -> the primitive of that equation.
        scalars: broadcast (or converted) scalar -> the scalar.
        sizes: scalars that are computed from the sizes of inputs and constants alone.
    """

    def __init__(self, program: Program, *, through_converts: bool = False) -> None:
        self.eqns = program.eqns
        self.producer: dict[Atom, int] = {v: i for i, e in enumerate(program.eqns) for v in e.outputs}
        self.maker: dict[Atom, str] = {v: e.primitive for e in program.eqns for v in e.outputs}
        self.scalars: dict[Atom, Atom] = {}
        self.sizes: set[Atom] = set()
        for eqn in program.eqns:
            if eqn.facts.scalar and eqn.inputs:
                self._read_scalar(eqn, through_converts=through_converts)
            if eqn.facts.size or (self.sizes and self._is_size(eqn)):
                self.sizes.update(eqn.outputs)

    def _read_scalar(self, eqn: Eqn, *, through_converts: bool) -> None:
        operand, output = eqn.inputs[0], eqn.outputs[0]
        scalar = self.scalars.get(operand, operand)
        if scalar.aval.shape != ():
            return
        if eqn.facts.scalar == "broadcast" or through_converts:
            self.scalars[output] = scalar
        elif isinstance(scalar, Const):
            converted = _converted(scalar, output.aval)
            if converted is not None:
                self.scalars[output] = converted

    def _is_size(self, eqn: Eqn) -> bool:
        for atom in eqn.inputs:
            if not isinstance(atom, Const) and atom not in self.sizes:
                return False
        return all(output.aval.shape == () for output in eqn.outputs)

    def resolve(self, eqn: Eqn, atom: Atom) -> Atom:
        """Return what an equation may read in place of an operand."""
        return self.scalars.get(atom, atom) if eqn.facts.elementwise else atom

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
_INTS = frozenset({"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"})
_EXACT = 2**8
"""All integers up to this are exact in every floating dtype of :data:`_FLOATS`."""


def _converted(scalar: Const, aval: ShapedArray) -> Const | None:
    """Return a scalar in another dtype.

    None where numpy may not round as JAX does: only integers that are exact, and floats to smaller ones, are converted.
    """
    source, target = str(scalar.aval.dtype), str(aval.dtype)
    if source in _INTS and target in _FLOATS:
        whole = np.asarray(scalar.value)
        return Const(aval, whole.astype(aval.dtype)) if abs(int(whole)) <= _EXACT else None
    if source not in _FLOATS or target not in _FLOATS or (source == "float64" and target != "float32"):
        return None
    return Const(aval, np.asarray(scalar.value).astype(scalar.aval.dtype).astype(aval.dtype))
