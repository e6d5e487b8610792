"""Caches: what a step writes behind all that a cache holds is appended to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
from jax import lax

from jax2onnx.plugin import MIN_OPSET, Fusion

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import Candidate, LoweringContext

__all__ = ["FUSIONS", "lengthened"]


def lengthened(x: Any, axis: int, by: Any) -> Any:
    """Return an array with zeros behind it, as a cache that has room for more."""
    room = [(0, by if i == axis else 0, 0) for i in range(x.ndim)]
    return lax.pad(x, jnp.zeros((), x.dtype), room)


def _appended(past: Any, new: Any, *, axis: int) -> Any:
    start: list[Any] = [0] * past.ndim
    start[axis] = jnp.asarray(past.shape[axis], jnp.int32)
    return lax.dynamic_update_slice(lengthened(past, axis, new.shape[axis]), new, start)


def _axis(candidate: Candidate) -> Sequence[Mapping[str, int]]:
    """Read which axis is longer."""
    config = candidate.params("pad")[0]["padding_config"]
    return [{"axis": axis} for axis, (_, after, _) in enumerate(config) if not isinstance(after, int) or after][:1]


def _emit(ctx: LoweringContext, past: ir.Value, new: ir.Value, *, axis: int) -> ir.Value:
    """Emit ``Concat(past, new)``; ``Concat(Transpose(p), new)`` as ``Transpose(Concat(p, Transpose(new)))``.

    So what is long is not transposed before it is stored: the transposes behind it merge, or cancel.
    """
    before = past.producer()
    if before is None or before.domain or before.op_type != "Transpose" or "perm" not in before.attributes:
        return ctx.op.Concat(past, new, axis=axis)
    order = list(before.attributes["perm"].as_ints())
    back = sorted(range(len(order)), key=order.__getitem__)
    shapes = [[ctx.avals_in[1].shape[i] for i in back], [ctx.aval_out.shape[i] for i in back]]
    turned = ctx.stamp(ctx.op.Transpose(new, perm=back), shapes[0])
    source = before.inputs[0]
    assert source is not None
    joined = ctx.stamp(ctx.op.Concat(source, turned, axis=order[axis]), shapes[1])
    return ctx.op.Transpose(joined, perm=order)


FUSIONS: tuple[Fusion, ...] = (
    Fusion(
        name="jax.lax.dynamic_update_slice(behind all)",
        reference=lambda past, new, *, axis=1: _appended(past, new, axis=axis),
        examples=[[(2, 5, 3, 4), (2, 7, 3, 4)]],
        kwargs=_axis,
        emit={MIN_OPSET: _emit},
        primitives=frozenset({"dynamic_update_slice", "pad"}),
    ),
)
