"""Records: what tracing, fusing and lowering a program note for the user; ``report.py`` sums them up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import jax

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jax2onnx.program.program import Eqn, Fused

__all__ = ["Declined", "Found", "MadeConstant", "NearMiss", "Record"]


@dataclass(frozen=True, slots=True)
class Found:
    """A function that was found; ``equations`` counts those that it replaces."""

    fused: Fused
    equations: int

    @property
    def name(self) -> str:
        """The function's name."""
        return self.fused.fusion.name

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """How it was called."""
        return self.fused.kwargs

    @property
    def anchor(self) -> Eqn:
        """The function's last equation."""
        return self.fused.interior[-1]


@dataclass(frozen=True, slots=True)
class NearMiss:
    """A place that has a function's structure but is not that function.

    Attributes:
        name: the function's name.
        kwargs: the configuration that was compared.
        reason: the first difference.
        anchor: the equation that would be the function's last.
        matched: how many equations were equal before the difference.
        complete: whether all were equal, so that something else stands against the function.
    """

    name: str
    kwargs: Mapping[str, Any]
    reason: str
    anchor: Eqn
    matched: int
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Declined:
    """A function that was found, and whose emit rule declined it."""

    fused: Fused
    reason: str


@dataclass(frozen=True, slots=True)
class MadeConstant:
    """An array of the model that is a constant without its name.

    Attributes:
        name: its name in the model.
        type: its dtype and shape: ``float32[8]``.
        where: the user's line that needs its value, ``file:line (function)``; None if none is known.
    """

    name: str
    type: str
    where: str | None

    @classmethod
    def of(cls, name: str, array: Any, where: str | None) -> MadeConstant:
        """Return the record of an array."""
        aval = jax.typeof(array)
        dims = ",".join(map(str, aval.shape))
        return cls(name, f"{aval.dtype}[{dims}]", where)

    def __str__(self) -> str:
        text = f"{self.name}: {self.type}"
        if self.where:
            text += f"\n    at {self.where}"
        return text


Record: TypeAlias = Found | NearMiss | Declined | MadeConstant
