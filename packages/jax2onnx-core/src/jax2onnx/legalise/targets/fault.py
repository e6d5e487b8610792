"""Faults: what a runtime computes otherwise than ONNX says, and how a model avoids it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import onnx_ir as ir
from packaging.version import Version

__all__ = ["Fault", "Mend", "Span"]

Mend: TypeAlias = Callable[[ir.Graph, ir.Node], str | None]
"""Rewrites a node of a graph in place. The result is None, or why no other nodes do: the node is then refused.

What it inserts goes before the node or behind it; nodes before it are not legalised.
"""


@dataclass(frozen=True, slots=True)
class Span:
    """Versions of a runtime: from ``low`` on, and before ``high``; empty where there is no bound."""

    low: str = ""
    high: str = ""

    def meets(self, other: Span) -> bool:
        """Return whether some version may lie in both."""
        return self._starts_before(other.high) and other._starts_before(self.high)

    def _starts_before(self, high: str) -> bool:
        return not (self.low and high) or Version(self.low) < Version(high)

    def __str__(self) -> str:
        bounds = [f">={self.low}" if self.low else "", f"<{self.high}" if self.high else ""]
        return ",".join(filter(None, bounds))


@dataclass(frozen=True, slots=True)
class Fault:
    """What a runtime computes otherwise than ONNX says, or not at all.

    Attributes:
        fact: what it is, in a few words, such as ``ReduceMax loses NaN``; rules ask for it (``ctx.lacks(fact)``).
        operators: the operators whose nodes it concerns, of the default domain.
        mend: rewrites such a node, or tells why it is refused; None where the rules of primitives avoid the fault.
        versions: the versions of the runtime that have it.
        remedy: what a user can write instead, where a node is refused; without ``mend``, an export warns of the fault
            and tells what a user has to do.
    """

    fact: str
    operators: tuple[str, ...] = ()
    mend: Mend | None = None
    versions: Span = Span()
    remedy: str = ""
