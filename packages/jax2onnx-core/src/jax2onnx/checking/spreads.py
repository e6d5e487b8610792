"""Spreads: between which numbers each result of a program lies, when it is rounded in several ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax.numpy as jnp
import numpy as np

__all__ = ["Spreads"]

Array = np.ndarray[Any, Any]

_MOST_NOTED = 4_000_000
"""Of how many numbers of a program it is noted how they spread."""


@dataclass(slots=True)
class Spreads:
    """Between which numbers results of equations lie, depending on how a program is rounded.

    Attributes:
        known: an equation, and how often it was evaluated before -> the least and the largest numbers of its results.
        left: of how many further numbers they are noted.
        held: the equations, some of which are made for one evaluation: a later one must not have the id of an earlier.
    """

    known: dict[tuple[int, int], list[tuple[Array, Array]]] = field(default_factory=dict)
    left: int = _MOST_NOTED
    held: dict[int, Any] = field(default_factory=dict)

    def note(self, place: tuple[int, int], results: Sequence[Any]) -> None:
        """Note the results of an equation."""
        arrays = list(map(np.asarray, results))
        known = self.known.get(place)
        if known is None:
            self.left -= sum(array.size for array in arrays)
            if self.left > 0:
                self.known[place] = [(array, array) for array in arrays]
            return
        pairs = zip(arrays, known, strict=True)
        with np.errstate(invalid="ignore"):  # NumPy warns of a NaN among bfloat16 numbers
            self.known[place] = [(np.minimum(low, array), np.maximum(high, array)) for array, (low, high) in pairs]

    def cancelled(self, place: tuple[int, int], results: Sequence[Any]) -> list[Any]:
        """Return the results of an equation with 0 for numbers that are no farther from it than they spread."""
        known = self.known.get(place)
        return list(results) if known is None else list(map(_or_zero, results, known))


def _or_zero(result: Any, spread: tuple[Array, Array]) -> Any:
    """Return a result with 0 where it may be: its numbers lie on both sides, or nearer to it than to each other."""
    low, high = (bound.astype(np.float64) for bound in spread)
    with np.errstate(invalid="ignore"):
        room = high - low
        may_be = (low - room <= 0) & (high + room >= 0)
    return jnp.where(may_be, 0, result).astype(result.dtype)
