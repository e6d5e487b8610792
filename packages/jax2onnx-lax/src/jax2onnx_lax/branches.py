"""Emit ``If`` and ``Loop``: what the rules of control flow share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import numpy as np

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import LoweringContext, Program

__all__ = ["Body", "choose", "emit_loop", "moving"]

Body: TypeAlias = "Callable[[], Sequence[ir.Value]]"
"""Emits a branch, and returns its results."""

_BOOL = jax.ShapeDtypeStruct((), np.dtype(np.bool_))
_INT64 = jax.ShapeDtypeStruct((), np.dtype(np.int64))


def choose(
    ctx: LoweringContext, predicate: ir.Value, yes: Body, no: Body, *, avals: Sequence[Any] | None = None
) -> Sequence[ir.Value]:
    """Emit ``If``, whose branches compute the equation's results, or values of ``avals``, in one of two ways."""
    avals = ctx.avals_out if avals is None else avals
    then = ctx.subgraph("then", [], lambda _: yes())
    otherwise = ctx.subgraph("else", [], lambda _: no())
    if not avals:
        return []
    outputs = ctx.op.many("If", predicate, outputs=len(avals), then_branch=then, else_branch=otherwise)
    return [ctx.stamp(v, a.shape) for v, a in zip(outputs, avals, strict=True)]


def emit_loop(
    ctx: LoweringContext,
    bounds: tuple[ir.Value | None, ir.Value | None],
    init: Sequence[ir.Value],
    avals: Sequence[Any],
    step: Callable[[list[ir.Value]], Sequence[ir.Value]],
    *,
    emitted: int = 0,
) -> list[ir.Value]:
    """Emit ``Loop``, bounded by trip count and condition.

    ``step`` maps iteration, condition and carries to condition, carries and ``emitted`` scan outputs.
    """
    body = ctx.subgraph("loop", [_INT64, _BOOL, *avals], step)
    outputs = ctx.op.many("Loop", *bounds, *init, outputs=len(init) + emitted, body=body)
    for value, aval in zip(outputs, avals, strict=False):
        ctx.stamp(value, aval.shape)
    return outputs


def moving(program: Program, consts: int, carries: int) -> list[int]:
    """Return which carries of a body, whose first inputs are constants, an iteration may change."""
    pairs = zip(program.inputs[consts : consts + carries], program.outputs, strict=False)
    return [place for place, (before, after) in enumerate(pairs) if before is not after]
