"""Records: what fusing and lowering a program note for the user; ``report.py`` sums them up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jax2onnx.program.program import Eqn, Fused

__all__ = ["Declined", "Found", "NearMiss", "Record"]


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


Record: TypeAlias = Found | NearMiss | Declined
