"""A flat program seen backwards: who computes a value, who uses it, which values are a scalar's broadcast."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jax2onnx._compat import ShapedArray
from jax2onnx.program.program import Const, Program

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jax2onnx.program.program import Atom, Eqn

COMMUTATIVE = frozenset({"add", "mul", "max", "min", "and", "or", "xor", "eq", "ne", "add_any"})
ELEMENTWISE = COMMUTATIVE | {
    *("sub", "div", "rem", "pow", "atan2", "nextafter"),
    *("lt", "le", "gt", "ge", "select_n", "clamp"),
}
"""Primitives that read a scalar operand as if it were broadcast."""

PLUMBING = ELEMENTWISE | {
    *("broadcast_in_dim", "concatenate", "convert_element_type", "expand_dims", "iota", "neg", "pad"),
    *("reshape", "slice", "squeeze", "transpose"),
}
"""Primitives that tell nothing about which function they belong to."""

EFFECTS = frozenset({"debug_callback", "debug_print", "io_callback", "infeed", "outfeed"})
"""Primitives that matter even if nobody reads their results."""

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
    """Tell whether an equation matters even if nobody reads its results."""
    return not eqn.outputs or eqn.primitive in EFFECTS or not all(isinstance(a.aval, ShapedArray) for a in eqn.inputs)


class Graph:
    """The producers of a program's values, and what may be read in place of them.

    Args:
        program: the program.
        through_converts: read conversions of scalars as the scalar, as a search that ignores dtypes does.
    """

    def __init__(self, program: Program, *, through_converts: bool = False) -> None:
        self.eqns = program.eqns
        self.producer: dict[Atom, int] = {v: i for i, e in enumerate(program.eqns) for v in e.outputs}
        self.maker: dict[Atom, str] = {v: e.primitive for e in program.eqns for v in e.outputs}
        self.scalars: dict[Atom, Atom] = {}
        self.sizes: set[Atom] = set()
        for eqn in program.eqns:
            if eqn.primitive in _SCALAR_READERS and eqn.inputs:
                self._read_scalar(eqn, through_converts=through_converts)
            if eqn.primitive == "dim_as_value" or (self.sizes and self._is_size(eqn)):
                self.sizes.update(eqn.outputs)

    def _read_scalar(self, eqn: Eqn, *, through_converts: bool) -> None:
        (operand, *_), (output,) = eqn.inputs, eqn.outputs
        scalar = self.scalars.get(operand, operand)
        if scalar.aval.shape != ():
            return
        if eqn.primitive == "broadcast_in_dim" or through_converts:
            self.scalars[output] = scalar
        elif isinstance(scalar, Const) and (folded := _converted(scalar, output.aval)) is not None:
            self.scalars[output] = folded

    def _is_size(self, eqn: Eqn) -> bool:
        """A scalar that is computed from the sizes of inputs and constants alone."""
        return all(o.aval.shape == () for o in eqn.outputs) and all(
            isinstance(a, Const) or a in self.sizes for a in eqn.inputs
        )

    def is_elementwise(self, eqn: int) -> bool:
        """Tell whether an equation may read a scalar where it has a broadcast of it."""
        return self.eqns[eqn].primitive in ELEMENTWISE

    def commutes(self, eqn: int) -> bool:
        """Tell whether the operands of an equation may be swapped."""
        return self.eqns[eqn].primitive in COMMUTATIVE

    def resolve(self, eqn: int, atom: Atom) -> Atom:
        """Return what an equation may read in place of an operand."""
        return self.scalars.get(atom, atom) if self.is_elementwise(eqn) else atom

    def users(self, program: Program) -> Mapping[Atom, list[int]]:
        """Return for each value the equations that read it; :data:`OUTPUT` stands for the program itself."""
        users: dict[Atom, list[int]] = {}
        for i, eqn in enumerate(self.eqns):
            for atom in eqn.inputs:
                users.setdefault(atom, []).append(i)
        for atom in program.outputs:
            users.setdefault(atom, []).append(OUTPUT)
        return users


_SCALAR_READERS = frozenset({"broadcast_in_dim", "convert_element_type"})
_FLOATS = frozenset({"bfloat16", "float16", "float32", "float64"})
_INTS = frozenset({"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"})
_EXACT = 2**8
"""All integers up to this are exact in every floating dtype of :data:`_FLOATS`."""


def _converted(scalar: Const, aval: ShapedArray) -> Const | None:
    """Fold a conversion between floating dtypes that numpy rounds as JAX does, or one from an integer that is exact."""
    source, target = str(scalar.aval.dtype), str(aval.dtype)
    if source in _INTS and target in _FLOATS:
        whole = np.asarray(scalar.value)
        return Const(aval, whole.astype(aval.dtype)) if abs(int(whole)) <= _EXACT else None
    if source not in _FLOATS or target not in _FLOATS or (source == "float64" and target != "float32"):
        return None
    return Const(aval, np.asarray(scalar.value).astype(scalar.aval.dtype).astype(aval.dtype))
