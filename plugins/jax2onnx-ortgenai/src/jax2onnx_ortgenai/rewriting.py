"""Rewriting: what is done to models for onnxruntime-genai, and to no others."""

from __future__ import annotations

import contextlib
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jax2onnx_ortgenai.grouped import group, shares_buffers
from jax2onnx_ortgenai.norms import norm_sums
from jax2onnx_ortgenai.target import NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

    from jax2onnx.plugin import Target

__all__ = ["Rewriting", "rewrite", "rewriting"]


@dataclass(slots=True)
class Rewriting:
    """What is asked for, and what is told: why attentions stay as they are, and whether the cache may be a buffer."""

    max_length: int
    grouped: bool
    grows: bool
    kept: list[str] = field(default_factory=list)
    shared: bool = False


_CURRENT: ContextVar[Rewriting | None] = ContextVar("rewriting", default=None)


@contextlib.contextmanager
def rewriting(wanted: Rewriting | None) -> Iterator[None]:
    """Rewrite the models that are exported inside."""
    token = _CURRENT.set(wanted)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def rewrite(model: ir.Model, target: Target | None) -> None:
    """Rewrite a finished model that is saved for onnxruntime-genai, or whose target it is."""
    wanted = _CURRENT.get()
    if wanted is not None:
        if wanted.grouped:
            wanted.kept += group(model, max_length=wanted.max_length, begins_empty=True)
            norm_sums(model.graph)
        wanted.shared = shares_buffers(model.graph, grows=wanted.grows)
    elif target is not None and target.name == NAME:
        group(model, max_length=None, begins_empty=False)
        norm_sums(model.graph)
