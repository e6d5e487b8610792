"""Repeats: places where a function was looked for, and whether the same equations stand at another place.

A model repeats its layers. What comes of a search depends on the equations that it compares, and on nothing else. So
where the same equations stand, its outcome is copied. Whether a value inside is used outside is asked at each place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jax2onnx.fusion.equality import same_equation
from jax2onnx.program.program import Var

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jax2onnx.fusion.records import NearMiss
    from jax2onnx.program.program import Atom, Eqn

__all__ = ["Call", "Place"]


@dataclass(frozen=True, slots=True, eq=False)
class Call:
    """A function as it was found at a place.

    Attributes:
        kwargs: how it is called.
        inputs: what it takes.
        results: which outputs of the anchor it gives.
        matched: the equations that were matched, by how far before the anchor they stand.
    """

    kwargs: Mapping[str, Any]
    inputs: Sequence[Atom]
    results: Sequence[int]
    matched: Sequence[int]


class Place:
    """What came of looking for a function at an anchor, and so comes of it wherever the same equations stand.

    Args:
        eqns: all equations of the program.
        anchor: the position of the last equation compared.
        positions: the positions of all that were compared, in program order.
        misses: configurations of the function that were compared and that it is not.
        call: the function, if it was found.
    """

    def __init__(
        self,
        eqns: Sequence[Eqn],
        anchor: int,
        positions: Sequence[int],
        misses: Sequence[NearMiss],
        call: Call | None,
    ) -> None:
        self.misses = misses
        self.call = call
        self._eqns = [(anchor - position, eqns[position]) for position in positions]
        self._inputs: set[Atom] = set()
        self._computed: set[Atom] = set()
        for _, eqn in self._eqns:
            self._inputs.update(a for a in eqn.inputs if isinstance(a, Var) and a not in self._computed)
            self._computed.update(eqn.outputs)

    def positions(self, anchor: int) -> list[int]:
        """Return the positions of the equations, in program order, where they end in an anchor."""
        return [anchor - offset for offset, _ in self._eqns]

    def counterparts(self, eqns: Sequence[Eqn], anchor: int) -> Mapping[Atom, Atom] | None:
        """Return what stands for the place's variables at another anchor; None if other equations stand there.

        Operands, parameters, constants and the types of the inputs are compared. Then all other types are the same too.
        """
        if anchor < self._eqns[0][0]:
            return None
        counterparts: dict[Atom, Atom] = {}
        for offset, eqn in self._eqns:
            if not same_equation(eqn, eqns[anchor - offset], counterparts):
                return None
        inputs = map(counterparts.get, self._inputs)
        computed = set(map(counterparts.get, self._computed))
        # An input that is computed inside would make another function of the equations.
        return counterparts if computed.isdisjoint(inputs) else None
