"""Places where functions were looked for, and whether another is, equation by equation, one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jax2onnx.fusion.equality import difference, same_constant
from jax2onnx.fusion.reference import same_type
from jax2onnx.program.program import Const, Var

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jax2onnx.program.program import Atom, Eqn


class Region:
    """Some equations of a program that end in one, their anchor.

    Their variables are numbered in the order in which they are met, so that those of other equations, met in the same
    order, stand for them.

    Args:
        eqns: all of the program.
        anchor: the position of the last one of the region.
        positions: those of all of the region.
    """

    def __init__(self, eqns: Sequence[Eqn], anchor: int, positions: Iterable[int]) -> None:
        self._rows: list[tuple[int, Eqn, list[tuple[int, Atom]]]] = []
        self._numbers: dict[Atom, int] = {}
        self._read: list[int] = []
        for position in sorted(positions):
            eqn = eqns[position]
            operands: list[tuple[int, Atom]] = []
            for atom in eqn.inputs:
                if isinstance(atom, Var) and atom not in self._numbers:
                    self._read.append(len(self._numbers))
                operands.append((self._number(atom), atom))
            for output in eqn.outputs:
                self._number(output)
            self._rows.append((anchor - position, eqn, operands))

    def _number(self, atom: Atom) -> int:
        return _CONST if isinstance(atom, Const) else self._numbers.setdefault(atom, len(self._numbers))

    def at(self, eqns: Sequence[Eqn], anchor: int) -> list[Atom] | None:
        """Return the variables that stand for this region's at another anchor, if the same equations stand there.

        None of those that they read may be one that they make.
        """
        if anchor < self._rows[0][0]:
            return None
        met: list[Atom] = []
        for back, eqn, operands in self._rows:
            other = eqns[anchor - back]
            if eqn.primitive != other.primitive or len(operands) != len(other.inputs):
                return None
            for (number, atom), there in zip(operands, other.inputs, strict=True):
                if number == len(met):
                    if isinstance(there, Const) or not same_type(atom.aval, there.aval):
                        return None
                    met.append(there)
                elif number == _CONST:
                    assert isinstance(atom, Const)
                    if not isinstance(there, Const) or not same_constant(atom, there):
                        return None
                elif met[number] is not there:
                    return None
            if len(eqn.outputs) != len(other.outputs) or eqn.paired != other.paired:
                return None
            if difference(other, eqn) is not None:
                return None
            met += other.outputs
        read = {met[i] for i in self._read}
        return met if len({*met}) == len(met) - len(self._read) + len(read) else None

    def there(self, atom: Atom, met: Sequence[Atom]) -> Atom:
        """Return what stands for an atom of this region's where ``met`` was met."""
        return met[self._numbers[atom]] if atom in self._numbers else atom


_CONST = -1


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A function as it was found at a place; equations are told by how far before the anchor they stand.

    Attributes:
        kwargs: how it is called.
        inputs: what it takes, by the place's variables.
        results: which outputs of the anchor it gives.
        found: the equations that it replaces.
        passed: broadcasts of scalars and sizes, which it replaces where nothing else reads them.
    """

    kwargs: Mapping[str, Any]
    inputs: tuple[Atom, ...]
    results: tuple[int, ...]
    found: frozenset[int]
    passed: frozenset[int]


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """What came of looking for a function at a place, and so comes of it wherever the same equations stand.

    Attributes:
        region: the equations that were compared.
        call: the function, if it was found.
        misses: configurations that it is not, with the reason and how many equations were equal before it.
    """

    region: Region
    call: Call | None
    misses: Sequence[tuple[Mapping[str, Any], str, int]]
