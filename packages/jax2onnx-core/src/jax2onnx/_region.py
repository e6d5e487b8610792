"""Places where functions were looked for, and whether another is, equation by equation, one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jax2onnx._equal import same_constant, same_params
from jax2onnx._reference import same_type
from jax2onnx.program import Const

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jax2onnx.program import Atom, Eqn


class Region:
    """Some equations of a program that end in one, their anchor.

    Args:
        eqns: all of the program.
        anchor: the position of the last one of the region.
        positions: those of all of the region.
    """

    def __init__(self, eqns: Sequence[Eqn], anchor: int, positions: Iterable[int]) -> None:
        self._rows = [(anchor - i, eqns[i]) for i in sorted(positions)]

    def at(self, eqns: Sequence[Eqn], anchor: int) -> Mapping[Atom, Atom] | None:
        """Return the variables that stand for this region's at another anchor, if the same equations stand there."""
        if anchor < self._rows[0][0]:
            return None
        read: dict[Atom, Atom] = {}
        made: dict[Atom, Atom] = {}
        for back, eqn in self._rows:
            other = eqns[anchor - back]
            if eqn.primitive != other.primitive or len(eqn.inputs) != len(other.inputs):
                return None
            for a, b in zip(eqn.inputs, other.inputs, strict=True):
                if isinstance(a, Const):
                    if not isinstance(b, Const) or not same_constant(a, b):
                        return None
                elif (known := made.get(a) or read.get(a)) is None:
                    if isinstance(b, Const) or not same_type(a.aval, b.aval):
                        return None
                    read[a] = b
                elif known is not b:
                    return None
            if not same_params(eqn.params, other.params) or eqn.paired != other.paired:
                return None
            made.update(zip(eqn.outputs, other.outputs, strict=True))
        return None if not set(made.values()).isdisjoint(read.values()) else made | read


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
