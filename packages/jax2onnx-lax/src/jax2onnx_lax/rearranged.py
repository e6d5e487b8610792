"""Choose among rearrangements of a value by looking up the places of its elements.

before: If(i == 0) {Transpose(x)} else If(i == 1) {Slice(x, reversed)} else {...}     about 2 nodes a branch tried
after:  Gather(x, Gather(places, i))                                                 whichever is chosen
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx.plugin import is_static
from jax2onnx_lax.ranges import are_within

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import LoweringContext, Program

__all__ = ["emit_rearranged"]

_FEWEST = 3
"""Of how many branches a choice takes longer than looking up places."""
_MOST_PLACES = 64
"""How many elements a result has at most: to look up an element takes longer than to move it."""


def emit_rearranged(
    ctx: LoweringContext, index: ir.Value, operands: Sequence[ir.Value], programs: Sequence[Program]
) -> list[ir.Value] | None:
    """Emit a choice by looking up places; None if not all branches only rearrange few elements of one operand each."""
    if len(programs) < _FEWEST or not all(_is_few(aval) for aval in ctx.avals_out):
        return None
    by_branch = [_places(program) for program in programs]
    results = [[results[k] for results in by_branch if results is not None] for k in range(len(ctx.avals_out))]
    sources = [{source for source, _ in found} for found in results]
    if None in by_branch or any(len(source) != 1 for source in sources):
        return None
    last = len(programs) - 1
    if not are_within(ctx.ranges(0), [last]):
        # An index out of range takes the last branch.
        index = ctx.op.Min(ctx.op.Where(ctx.op.Less(index, 0), last, index), last)
    values = []
    for aval, found, (source,) in zip(ctx.avals_out, results, sources, strict=True):
        table = np.stack([places for _, places in found])
        chosen = ctx.stamp(ctx.op.Gather(table, index, axis=0), aval.shape)
        shape = ctx.avals_in[source + 1].shape
        flat = ctx.reshape(operands[source], shape, (math.prod(shape),))
        values.append(ctx.stamp(ctx.op.Gather(flat, chosen, axis=0), aval.shape))
    return values


def _is_few(aval: Any) -> bool:
    is_plain = isinstance(aval.dtype, np.dtype) and aval.dtype.kind in "biuf"
    return is_plain and is_static(*aval.shape) and 0 < math.prod(aval.shape) <= _MOST_PLACES


def _places(program: Program) -> list[tuple[int, Any]] | None:
    """Return of each result from which input its elements are, and from which places; None if one is computed."""
    known: dict[Any, tuple[int, Any]] = {}
    for number, var in enumerate(program.inputs):
        if _is_source(var.aval):
            known[var] = number, np.arange(math.prod(var.aval.shape)).reshape(var.aval.shape)
    for eqn in program.eqns:
        move = _MOVES.get(eqn.primitive) if eqn.fused is None else None
        inputs = [known.get(atom) for atom in eqn.inputs]
        if move is None or len(inputs) != 1 or inputs[0] is None:
            continue
        source, places = inputs[0]
        known[eqn.outputs[0]] = source, move(eqn.params, places)
    found = [known.get(atom) for atom in program.outputs]
    return None if None in found else [one for one in found if one is not None]


def _is_source(aval: Any) -> bool:
    return is_static(*aval.shape) and 0 < math.prod(aval.shape) <= _MOST_PLACES


def _broadcast(params: Mapping[str, Any], x: Any) -> Any:
    kept = dict(zip(params["broadcast_dimensions"], x.shape, strict=True))
    return np.broadcast_to(x.reshape([kept.get(dim, 1) for dim in range(len(params["shape"]))]), params["shape"])


def _slice(params: Mapping[str, Any], x: Any) -> Any:
    strides = params["strides"] or [1] * x.ndim
    bounds = zip(params["start_indices"], params["limit_indices"], strides, strict=True)
    return x[tuple(slice(*one) for one in bounds)]


_MOVES: dict[str, Callable[[Mapping[str, Any], Any], Any]] = {
    "broadcast_in_dim": _broadcast,
    "copy": lambda _, x: x,
    "expand_dims": lambda params, x: np.expand_dims(x, tuple(params["dimensions"])),
    "reshape": lambda params, x: x.reshape(params["new_sizes"]),
    "rev": lambda params, x: np.flip(x, tuple(params["dimensions"])),
    "slice": _slice,
    "squeeze": lambda params, x: np.squeeze(x, tuple(params["dimensions"])),
    "tile": lambda params, x: np.tile(x, params["reps"]),
    "transpose": lambda params, x: np.transpose(x, params["permutation"]),
}
"""Primitives that move elements, and to which places."""
