"""Constants that flattening needs: keys, complex numbers, and what leads to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from jax2onnx.program.border import size_of
from jax2onnx.program.known import LARGEST, Known, is_constant
from jax2onnx.program.program import Atom, Const, Eqn


@dataclass(frozen=True, slots=True)
class ComputedLater(Mapping[int, Any]):
    """Arrays that are computed when they are read, by their positions; None where that takes too long."""

    atoms: Mapping[int, Atom]
    compute: Callable[[Atom], Any]

    def __getitem__(self, position: int) -> Any:
        """Return an array."""
        return self.compute(self.atoms[position])

    def __contains__(self, position: object) -> bool:
        """Return whether an array depends on no input; nothing is computed."""
        return position in self.atoms

    def __iter__(self) -> Iterator[int]:
        """Return the positions."""
        return iter(self.atoms)

    def __len__(self) -> int:
        """Return how many arrays there are."""
        return len(self.atoms)


@dataclass(slots=True)
class EarlyConstants:
    """Computes keys and complex numbers that depend on no input, while JAX's own operations on them are at hand.

    Real arrays that depend on no input are computed only where such an operation reads them. All others are left to
    folding, which comes after the search for whole functions.
    """

    known: Known = field(default_factory=Known)
    producers: dict[Atom, Eqn] = field(default_factory=dict)

    def add(self, eqn: Eqn) -> None:
        """Note an equation of real arrays if it depends on no input."""
        if all(map(self.is_constant, eqn.inputs)) and is_constant(eqn):
            self.producers.update(dict.fromkeys(eqn.outputs, eqn))

    def compute(self, eqn: Eqn) -> list[Any] | None:
        """Return the results of an equation at a border if it depends on no input, else None."""
        if not all(map(self.is_constant, eqn.inputs)) or not is_constant(eqn):
            return None
        if size_of(eqn.outputs) > max(LARGEST, size_of(eqn.inputs)):
            return None
        if not all(map(self._learn, eqn.inputs)) or not self.known.learn(eqn):
            return None
        return list(map(self.known.array, eqn.outputs))

    def array(self, atom: Atom) -> Any | None:
        """Return a value if it depends on no input, else None."""
        if not self.is_constant(atom) or not self._learn(atom):
            return None
        return self.known.array(atom)

    def is_constant(self, atom: Atom) -> bool:
        """Return whether a value depends on no input."""
        return isinstance(atom, Const) or atom in self.producers

    def _learn(self, wanted: Atom) -> bool:
        """Compute a value and all that leads to it; return whether it is known then."""
        pending = [wanted]
        while pending:
            atom = pending[-1]
            if atom in self.known:
                pending.pop()
                continue
            eqn = self.producers[atom]
            missing = [operand for operand in eqn.inputs if operand not in self.known]
            if not missing and not self.known.learn(eqn):
                return False
            pending.extend(missing)
        return True
