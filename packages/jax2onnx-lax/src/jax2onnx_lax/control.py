"""Lower control flow: while and a linear solve's solver; facts of choices and loops."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jax2onnx.plugin import Facts, evaluate, may_be_zero, open_jaxpr, scan_counts
from jax2onnx_lax.alike_loops import join_loops
from jax2onnx_lax.branches import emit_loop, moving
from jax2onnx_lax.choices import cond, platform_index
from jax2onnx_lax.counted_loops import scan_of_while
from jax2onnx_lax.done_after import do_after
from jax2onnx_lax.done_before import do_before
from jax2onnx_lax.hash_openings import scan_with_hashes_ahead, while_with_earlier_hashes
from jax2onnx_lax.known_apart import known_apart
from jax2onnx_lax.written_rows import stack_rows
from jax2onnx_lax.zeros import emit_select

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import BoundLowerings, Eqn, LoweringContext


def _bounded(eqn: Eqn, most: int) -> Callable[..., Any]:
    """Return the function that computes a ``while`` in at most so many iterations."""
    return functools.partial(_bounded_loop, eqn.params, most)


def _read_by_branches(eqn: Eqn) -> list[dict[int, int]]:
    """Return that each branch reads all operands but the index."""
    operands = {position: position + 1 for position in range(len(eqn.inputs) - 1)}
    return [operands for _ in eqn.bodies]


def _read_by_steps(eqn: Eqn) -> list[dict[int, int]]:
    """Return that the body of ``scan`` reads its constants."""
    count, _ = scan_counts(eqn.params)
    return [{position: position for position in range(count)}]


def _read_by_loop(eqn: Eqn) -> list[dict[int, int]]:
    """Return that the condition and the body of ``while`` read the constants of each."""
    start = eqn.params["cond_nconsts"]
    by_condition = {position: position for position in range(start)}
    by_body = {position: position + start for position in range(eqn.params["body_nconsts"])}
    condition = eqn.params["cond_jaxpr"]
    return [by_condition if body.jaxpr is condition else by_body for body in eqn.bodies]


def _carried_by_while(params: Mapping[str, Any]) -> tuple[int, int]:
    count = len(params["body_jaxpr"].in_avals) - params["body_nconsts"]
    return params["cond_nconsts"] + params["body_nconsts"], count


def _in_fewer(eqn: Any, known: Mapping[int, Any]) -> Callable[..., Any] | None:
    """Return the function that does the work of ``while`` in a known number of steps, or with fewer hashes."""
    return scan_of_while(eqn, known) or while_with_earlier_hashes(eqn)


def _in_parts(eqn: Any, known: Mapping[int, Any]) -> Callable[..., Any] | None:
    """Return the function that does the work of ``scan`` in fewer steps."""
    return stack_rows(eqn) or known_apart(eqn, known) or scan_with_hashes_ahead(eqn) or do_before(eqn) or do_after(eqn)


FACTS = {
    "cond": Facts(
        border=True,
        unchanged=_read_by_branches,
        work=lambda _eqn, bodies: max(bodies, default=0.0),
        indexes=True,
    ),
    "scan": Facts(
        border=True,
        unchanged=_read_by_steps,
        work=lambda eqn, bodies: eqn.params["length"] * sum(bodies),
        carried=scan_counts,
        instead=_in_parts,
    ),
    "while": Facts(
        border=True,
        unchanged=_read_by_loop,
        bounded=_bounded,
        carried=_carried_by_while,
        instead=_in_fewer,
        joined=join_loops,
    ),
    "custom_linear_solve": Facts(border=True, bodies=lambda params: [params["jaxprs"].solve]),
}


def _bounded_loop(params: Any, most: int, *operands: jax.Array) -> tuple[Any, jax.Array]:
    """Compute ``while`` in at most so many iterations; return the carries, and whether it ended."""
    start = params["cond_nconsts"]
    end = start + params["body_nconsts"]
    cond, cond_consts = open_jaxpr(params["cond_jaxpr"])
    body, body_consts = open_jaxpr(params["body_jaxpr"])

    def lanes(carry: Sequence[jax.Array]) -> Any:
        (going,) = evaluate(cond, cond_consts, *operands[:start], *carry)
        return going

    def goes_on(state: tuple[Any, list[jax.Array]]) -> Any:
        count, carry = state
        return (count < most) & jax.numpy.any(lanes(carry))

    def step(state: tuple[Any, list[jax.Array]]) -> tuple[Any, list[jax.Array]]:
        count, carry = state
        going = lanes(carry)
        kept = []
        for new, old in zip(evaluate(body, body_consts, *operands[start:end], *carry), carry, strict=True):
            # The lanes of a batched predicate that have ended stay as they are; lanes are the leading dims.
            mask = jax.lax.broadcast_in_dim(going, old.shape, range(going.ndim))
            kept.append(jax.lax.select(mask, new, old))
        return count + 1, kept

    _, carry = jax.lax.while_loop(goes_on, step, (0, list(operands[end:])))
    return carry, ~jax.numpy.any(lanes(carry))


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts(FACTS)
    registry.table(
        {
            "cond": cond,
            "while": while_loop,
            "custom_linear_solve": custom_linear_solve,
            "platform_index": platform_index,
        }
    )


def while_loop(
    ctx: LoweringContext,
    *operands: ir.Value,
    cond_nconsts: int,
    cond_jaxpr: Any,
    body_nconsts: int,
    body_jaxpr: Any,
) -> Sequence[ir.Value]:
    """Lower ``while`` to ``Loop``; a batched predicate freezes the lanes that have ended."""
    cond_consts, rest = operands[:cond_nconsts], operands[cond_nconsts:]
    body_consts, init = rest[:body_nconsts], rest[body_nconsts:]
    if not init:
        return []

    # What no iteration changes is not carried.
    state = moving(ctx.program(body_jaxpr), body_nconsts, len(init)) or list(range(len(init)))

    def whole(carry: Sequence[ir.Value]) -> list[ir.Value]:
        values = [*init]
        for place, value in zip(state, carry, strict=True):
            values[place] = value
        return values

    def test(carry: Sequence[ir.Value]) -> ir.Value:
        return ctx.inline(cond_jaxpr, *cond_consts, *whole(carry))[0]

    def body(carry: Sequence[ir.Value]) -> list[ir.Value]:
        new = ctx.inline(body_jaxpr, *body_consts, *whole(carry))
        return [new[place] for place in state]

    start, avals = [init[place] for place in state], [ctx.avals_out[place] for place in state]
    lanes = ctx.program(cond_jaxpr).outputs[0].aval
    if lanes.shape:
        return whole(_while_any(ctx, (lanes, avals), start, test, body))

    # A Loop tests what its body returns: the condition of the next iteration, hence on the new carries.
    def step(values: list[ir.Value]) -> list[ir.Value]:
        new = body(values[2:])
        return [test(new), *new]

    return whole(emit_loop(ctx, (None, test(start)), start, avals, step))


def _while_any(
    ctx: LoweringContext,
    types: tuple[Any, Sequence[Any]],
    init: Sequence[ir.Value],
    test: Callable[[Sequence[ir.Value]], ir.Value],
    body: Callable[[Sequence[ir.Value]], list[ir.Value]],
) -> Sequence[ir.Value]:
    """Emit a ``Loop`` that goes on while any of the lanes does, and also carries which do.

    ``types`` are the abstract values of the lanes and of what is carried.
    """
    lanes, avals = types

    def step(state: list[ir.Value]) -> list[ir.Value]:
        _, _, running, *carry = state
        kept: list[ir.Value] = []
        for new, old, aval in zip(body(carry), carry, avals, strict=True):
            # Lanes are the leading dims.
            wide = (*lanes.shape, *[1] * (len(aval.shape) - len(lanes.shape)))
            mask = ctx.reshape(running, lanes.shape, wide)
            kept.append(ctx.stamp(emit_select(ctx, mask, new, old), aval.shape))
        running = test(kept)
        return [_any(ctx, running, lanes.shape), running, *kept]

    first = test(init)
    return emit_loop(ctx, (None, _any(ctx, first, lanes.shape)), [first, *init], [lanes, *avals], step)[1:]


def _any(ctx: LoweringContext, lanes: ir.Value, sizes: Sequence[Any]) -> ir.Value:
    """Emit whether one of the lanes is true, of which there may be none; ONNX reduces bools since opset 20."""
    if ctx.opset >= 20 and not any(map(may_be_zero, sizes)):
        return ctx.stamp(ctx.op.ReduceMax(lanes, keepdims=0), ())
    count = ctx.stamp(ctx.op.ReduceSum(ctx.cast(lanes, np.int32), keepdims=0), ())
    return ctx.stamp(ctx.op.Greater(count, 0), ())


def custom_linear_solve(
    ctx: LoweringContext, *operands: ir.Value, const_lengths: Any, jaxprs: Any
) -> Sequence[ir.Value]:
    """Lower ``custom_linear_solve`` to its solver; operands are constants of four functions, then the right side."""
    start = const_lengths.matvec + const_lengths.vecmat
    end = start + const_lengths.solve
    right = end + const_lengths.transpose_solve
    return ctx.inline(jaxprs.solve, *operands[start:end], *operands[right:])
