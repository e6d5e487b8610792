"""Choose: ``cond`` and the choice by platform."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx_ir as ir

from jax2onnx.plugin import Const
from jax2onnx_lax.branches import Body, choose
from jax2onnx_lax.rearranged import emit_rearranged
from jax2onnx_lax.zeros import emit_select

if TYPE_CHECKING:
    from jax2onnx.plugin import LoweringContext, Program

__all__ = ["cond", "platform_index"]

_Platforms: TypeAlias = Sequence[str] | None
"""For which platforms a branch is; None: for all others."""


_IN_A_ROW = 8
"""Branches up to this many are tried one after the other; among more of them, halves are chosen first."""


def cond(
    ctx: LoweringContext,
    index: ir.Value,
    *operands: ir.Value,
    branches: Sequence[Any],
    branches_platforms: Sequence[_Platforms] | None = None,
) -> Sequence[ir.Value]:
    """Lower ``cond`` to nested ``If``; an index out of range takes the last branch."""
    if branches_platforms is not None:
        return ctx.inline(branches[_of_cpu(ctx, branches_platforms)], *operands)
    if index.const_value is not None:
        chosen = int(index.const_value.numpy())
        return ctx.inline(branches[chosen if 0 <= chosen < len(branches) else -1], *operands)
    if len(branches) == 2:
        return _one_of_two(ctx, _nonzero(ctx, index), branches, operands)
    rearranged = emit_rearranged(ctx, index, operands, [ctx.program(branch) for branch in branches])
    if rearranged is not None:
        return rearranged
    bodies = [functools.partial(ctx.inline, branch, *operands) for branch in branches]
    if len(bodies) > _IN_A_ROW:
        index = ctx.stamp(ctx.op.Where(ctx.op.Less(index, 0), len(bodies) - 1, index), ())
    return _switch(ctx, index, bodies, 0)


def _one_of_two(
    ctx: LoweringContext, predicate: ir.Value, branches: Sequence[Any], operands: Sequence[ir.Value]
) -> Sequence[ir.Value]:
    """Choose between two branches; without them where each result is one of two values that are known before.

    ::

        before: If(p) {a' = Identity(a), b' = Identity(b)} else {c' = Identity(c), b' = Identity(b)}
        after:  Where(p, a, c), b

    A branch takes a node for each of its results that it only passes on.
    """
    no, yes = (_passed_on(ctx, ctx.program(branch), operands) for branch in branches)
    same = [one if one is other else None for one, other in zip(yes, no, strict=True)]
    left = [place for place, value in enumerate(same) if value is None]
    pairs = [(yes[place], no[place]) for place in left]
    known = [(one, other) for one, other in pairs if one is not None and other is not None]
    if len(known) == len(left) and all(_is_where(ctx, one) for one, _ in known):
        values = [emit_select(ctx, predicate, one, other) for one, other in known]
    else:
        bodies = [functools.partial(_some, ctx, branch, operands, left) for branch in branches]
        values = list(choose(ctx, predicate, bodies[1], bodies[0], avals=[ctx.avals_out[place] for place in left]))
    rest = iter(values)
    return [next(rest) if value is None else value for value in same]


def _some(ctx: LoweringContext, branch: Any, operands: Sequence[ir.Value], places: Sequence[int]) -> list[ir.Value]:
    """Emit a branch; return some of its results."""
    values = ctx.inline(branch, *operands)
    return [values[place] for place in places]


def _passed_on(ctx: LoweringContext, program: Program, operands: Sequence[ir.Value]) -> list[ir.Value | None]:
    """Return the results of a branch that are operands or constants; None for what it computes."""
    given: dict[Any, ir.Value] = dict(zip(program.inputs, operands, strict=True))
    return [
        ctx.constant(atom.value, atom.aval.dtype) if isinstance(atom, Const) else given.get(atom)
        for atom in program.outputs
    ]


def _is_where(ctx: LoweringContext, value: ir.Value) -> bool:
    """Return whether a value is chosen by one ``Where``."""
    if value.dtype is None or (value.dtype.is_floating_point() and ctx.sign_of_zero_matters()):
        return False
    return ctx.target is None or ctx.target.supports("Where", ctx.opset, [ir.DataType.BOOL, value.dtype])


def _switch(ctx: LoweringContext, index: ir.Value, bodies: Sequence[Body], first: int) -> Sequence[ir.Value]:
    """Choose among bodies, the first of which is that of the index ``first``; any other index takes the last one."""
    if len(bodies) == 1:
        return bodies[0]()
    if len(bodies) <= _IN_A_ROW:
        predicate = ctx.stamp(ctx.op.Equal(index, first), ())
        return choose(ctx, predicate, bodies[0], lambda: _switch(ctx, index, bodies[1:], first + 1))
    # Graphs in one another may not be deep.
    half = len(bodies) // 2
    lower, upper = bodies[:half], bodies[half:]
    predicate = ctx.stamp(ctx.op.Less(index, first + half), ())
    return choose(
        ctx,
        predicate,
        lambda: _switch(ctx, index, lower, first),
        lambda: _switch(ctx, index, upper, first + half),
    )


def _nonzero(ctx: LoweringContext, index: ir.Value) -> ir.Value:
    """Return the index as bool: the predicate it was converted from, where there is one."""
    node = index.producer()
    source = node.inputs[0] if node is not None and node.op_type == "Cast" else None
    if source is not None and source.dtype == ir.DataType.BOOL:
        return source
    return ctx.cast(index, np.bool_)


def platform_index(ctx: LoweringContext, *, platforms: Sequence[_Platforms]) -> ir.Value:
    """Lower ``platform_index``."""
    return ctx.constant(_of_cpu(ctx, platforms), ctx.aval_out.dtype)


def _of_cpu(ctx: LoweringContext, platforms: Sequence[_Platforms]) -> int:
    """Return the index of the branch that JAX takes on a CPU: the CPU's own, or else the default one."""
    default: int | None = None
    for index, names in enumerate(platforms):
        if names is None:
            default = index
        elif "cpu" in names:
            return index
    if default is None:
        raise ctx.unsupported(
            f"no branch is for the CPU or the default; they are for {platforms}",
            "pass default= or cpu= to jax.lax.platform_dependent",
        )
    return default
