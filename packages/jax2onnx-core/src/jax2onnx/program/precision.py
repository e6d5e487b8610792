"""Precision: a prepared program in float32 that computes, or stores weights, in float16 or bfloat16.

What computes in half is decided for whole equations, fused functions included: products of arrays and convolutions do
(fact ``half`` is ``computes``), what is elementwise or moves elements does behind them (``follows``), everything else
stays in float32: norms, softmax, sums, exponentials, quotients, loops. Conversions stand at the borders only:

    y = dot_general(x, w)                        float32
    z = exp(add(y, b))                           float32

becomes

    h = convert_element_type(x)                  float16
    y = dot_general(h, w)                        float16, as the weight w and the bias b
    s = convert_element_type(add(y, b))          float32
    z = exp(s)                                   float32

For a runtime without kernels for half, nothing computes in it: only the weights of these equations are rounded to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from jax2onnx.program.keep import module_path
from jax2onnx.program.program import Atom, Const, Eqn, Program, Var

if TYPE_CHECKING:
    from jax2onnx.program.keep import KeepList

__all__ = ["HALVES", "SMALLEST", "Choice", "choose", "computed_in_half", "rounded", "survives", "weights"]

HALVES = ("float16", "bfloat16")
SMALLEST = 256
"""Weights of fewer elements are not stored in half where nothing computes in it: they would not make a file smaller."""

_LARGEST_LOSS = 0.01
_PART = 1 << 18
"""How many numbers are looked at in one go: what a cache holds."""
_FULL = np.dtype(np.float32)

Array: TypeAlias = "np.ndarray[Any, Any]"


@dataclass(frozen=True, slots=True)
class Choice:
    """What computes in half.

    Attributes:
        dtype: float16 or bfloat16.
        eqns: the equations, by identity; those of bodies too.
        kept: the weights that stay in float32.
    """

    dtype: np.dtype[Any]
    eqns: frozenset[int]
    kept: frozenset[Var]

    def __contains__(self, eqn: Eqn) -> bool:
        return id(eqn) in self.eqns


def survives(array: Array, dtype: np.dtype[Any]) -> bool:
    """Return whether numbers stay nearly the same in half: none becomes infinite, not many become 0."""
    flat = np.asarray(array, np.float32).ravel()
    error = size = 0.0
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for start in range(0, flat.size, _PART):
            part = flat[start : start + _PART]
            near = part.astype(dtype).astype(np.float32)
            finite = np.isfinite(part)
            if not np.array_equal(np.isfinite(near), finite):
                return False
            size += _squares(part[finite])
            error += _squares((near - part)[finite])
    return error <= _LARGEST_LOSS**2 * size


def _squares(array: Array) -> float:
    wide = array.astype(np.float64)
    return float(wide @ wide)


def choose(
    program: Program,
    weights: frozenset[Var],
    kept: frozenset[Var],
    *,
    dtype: np.dtype[Any],
    keep: KeepList,
    outputs: Sequence[str],
) -> Choice:
    """Return what computes in half.

    Args:
        program: a prepared program.
        weights: the inputs that are weights.
        kept: those that stay in float32.
        dtype: float16 or bfloat16.
        keep: what the user keeps in float32.
        outputs: the names of the program's outputs.
    """
    chooser = _Chooser(dtype, keep, kept, weights - kept)
    named = {atom for atom, name in zip(program.outputs, outputs, strict=False) if keep.has_name(name)}
    chooser.program(program, "", named)
    return Choice(dtype, frozenset(chooser.chosen), kept)


@dataclass(slots=True)
class _Chooser:
    """Chooses equations.

    Attributes:
        dtype: float16 or bfloat16.
        keep: what the user keeps.
        kept: weights that stay in float32.
        weights: the other ones.
        chosen: the identities of the equations.
        done: the identities of the programs that were looked at.
    """

    dtype: np.dtype[Any]
    keep: KeepList
    kept: frozenset[Var]
    weights: frozenset[Var]
    chosen: set[int] = field(default_factory=set)
    done: set[int] = field(default_factory=set)

    def program(self, program: Program, around: str, named: set[Atom] | frozenset[Atom] = frozenset()) -> None:
        """Choose among the equations of a program, and of the bodies in it."""
        if id(program) in self.done:
            return
        self.done.add(id(program))
        half: set[Atom] = set()
        possible: list[Eqn] = []
        for eqn in program.eqns:
            self._inside(eqn, around)
            is_kept = self.keep.has(eqn, around) or not named.isdisjoint(eqn.outputs)
            what = "" if is_kept else self._what(eqn)
            if what == "computes" or (what == "follows" and not half.isdisjoint(eqn.inputs)):
                self.chosen.add(id(eqn))
                half.update(eqn.outputs)
            elif what == "follows" and self._only_weights(eqn):
                possible.append(eqn)
        self._before(program, possible)

    def _inside(self, eqn: Eqn, around: str) -> None:
        """Choose in the bodies of an equation, and of those that a fused one replaces."""
        path = ".".join(filter(None, (around, module_path(eqn))))
        for part in (eqn, *(eqn.fused.interior if eqn.fused is not None else ())):
            for body in part.bodies:
                self.program(body.program, path)

    def _before(self, program: Program, possible: Sequence[Eqn]) -> None:
        """Choose what only moves weights that chosen equations read."""
        wanted = {atom for eqn in program.eqns if id(eqn) in self.chosen for atom in eqn.inputs}
        for eqn in reversed(possible):
            if not wanted.isdisjoint(eqn.outputs):
                self.chosen.add(id(eqn))
                wanted.update(eqn.inputs)

    def _only_weights(self, eqn: Eqn) -> bool:
        return all(isinstance(atom, Const) or atom in self.weights or not _is_full(atom) for atom in eqn.inputs)

    def _what(self, eqn: Eqn) -> str:
        """Return what an equation may do in half: ``computes``, ``follows`` or nothing."""
        if eqn.bodies or eqn.paired is not None or eqn.undefined is not None:
            return ""
        if not all(map(_is_full, eqn.outputs)) or not self.kept.isdisjoint(eqn.inputs):
            return ""
        parts = eqn.fused.interior_of(eqn.inputs) if eqn.fused is not None else [eqn]
        found = ""
        for part in parts:
            if part.bodies or not all(map(self._fits, part.inputs)):
                return ""
            half = part.facts.half
            if not half and any(map(_is_full, part.outputs)):
                return ""
            found = "computes" if "computes" in (found, half) else found or half
        return found

    def _fits(self, atom: Atom) -> bool:
        """Return whether an operand can be in half."""
        if str(getattr(atom.aval, "dtype", "")) in {"float64", "complex64", "complex128"}:
            return False
        return not (isinstance(atom, Const) and _is_full(atom)) or survives(np.asarray(atom.value), self.dtype)


def _is_full(atom: Atom) -> bool:
    return getattr(atom.aval, "dtype", None) == _FULL


def computed_in_half(program: Program, keep: KeepList) -> frozenset[int]:
    """Return the identities of the equations in half whose numbers would be the same in float32, but for rounding.

    Those with programs inside, and those that read the bits of numbers, are left out; so is what the user keeps.
    """
    chosen: set[int] = set()
    done: set[int] = set()

    def visit(program: Program, around: str) -> None:
        if id(program) in done:
            return
        done.add(id(program))
        for eqn in program.eqns:
            path = ".".join(filter(None, (around, module_path(eqn))))
            parts = eqn.fused.interior if eqn.fused is not None else (eqn,)
            for part in (eqn, *parts):
                for body in part.bodies:
                    visit(body.program, path)
            is_plain = eqn.paired is None and eqn.undefined is None and not eqn.bodies
            of_bits = any(part.bodies or part.facts.half == "bits" for part in parts)
            is_half = any(_is_half(atom) for part in parts for atom in (*part.inputs, *part.outputs))
            if is_half and is_plain and not of_bits and not keep.has(eqn, around):
                chosen.add(id(eqn))

    visit(program, "")
    return frozenset(chosen)


def _is_half(atom: Atom) -> bool:
    return str(getattr(atom.aval, "dtype", "")) in HALVES


# -- weights that are stored in half -----------------------------------------------------------------------------------


def weights(program: Program, choice: Choice) -> set[Atom]:
    """Return the variables and constants whose numbers, moved or not, equations multiply that compute in half."""
    reading = _Reading(choice)
    reading.program(program, set())
    return reading.found - choice.kept


@dataclass(slots=True)
class _Reading:
    """Follows products back to the weights that they read."""

    choice: Choice
    found: set[Atom] = field(default_factory=set)

    def program(self, program: Program, wanted: set[Atom]) -> set[Atom]:
        """Return ``wanted`` with what is read for it, and for the products of the program."""
        for eqn in reversed(program.eqns):
            wanted |= self._read(eqn, wanted)
        self.found |= wanted
        return wanted

    def _read(self, eqn: Eqn, wanted: set[Atom]) -> set[Atom]:
        if eqn.fused is not None and any(part.bodies for part in eqn.fused.interior):
            inner: set[Atom] = set()
            for part in reversed(eqn.fused.interior_of(eqn.inputs)):
                inner |= self._read(part, inner)
            return inner
        if eqn.bodies:
            return self._through_bodies(eqn)
        is_read = eqn in self.choice and self._multiplies(eqn)
        moves = eqn.facts.half == "follows" and not wanted.isdisjoint(eqn.outputs)
        return {atom for atom in eqn.inputs if _is_full(atom)} if is_read or moves else set()

    def _multiplies(self, eqn: Eqn) -> bool:
        parts = eqn.fused.interior if eqn.fused is not None else (eqn,)
        return any(part.facts.half == "computes" for part in parts)

    def _through_bodies(self, eqn: Eqn) -> set[Atom]:
        read: set[Atom] = set()
        unchanged = eqn.facts.unchanged(eqn) if eqn.facts.unchanged is not None else [{} for _ in eqn.bodies]
        for body, positions in zip(eqn.bodies, unchanged, strict=True):
            inputs = body.program.inputs
            inside = self.program(body.program, set())
            places = dict(enumerate(range(len(inputs)))) if len(inputs) == len(eqn.inputs) else dict(positions)
            for inner, outer in places.items():
                atom = eqn.inputs[outer]
                if inputs[inner] in inside and _is_full(atom):
                    read.add(atom)
        return read


def rounded(array: Array, dtype: np.dtype[Any]) -> Array:
    """Return an array of float32 rounded to half."""
    return np.asarray(array).astype(dtype).astype(np.float32)
