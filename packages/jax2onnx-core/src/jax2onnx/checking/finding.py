"""Findings: who may be at fault for a value that differs from JAX's, and what tells so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    import onnx

__all__ = ["Culprit", "Finding"]

Culprit: TypeAlias = Literal[
    "none", "ill-conditioned", "rule", "fusion", "rewrite", "kernel", "optimiser", "model", "program", "unknown"
]
"""Who is at fault; docs/inspecting.md describes each."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is at fault for a suspect.

    Attributes:
        culprit: who.
        certain: whether this is known without trying the rest of the model.
        node: the node that is at fault.
        evidence: what agreed with JAX and what did not, in words.
        what: what is wrong with the node, if that is known.
    """

    culprit: Culprit
    certain: bool
    node: onnx.NodeProto | None
    evidence: tuple[str, ...]
    what: str = ""
