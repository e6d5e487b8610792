"""Build layers of flax.nnx from given arrays, and emit operators that take channels second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jax2onnx.plugin import permuted, to_channels_first, to_channels_last

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir

    from jax2onnx.plugin import LoweringContext


class _NoRandom:
    """Stands for ``nnx.Rngs`` where a layer's parameters are given, so that nothing is drawn."""

    def __getattr__(self, stream: str) -> Callable[[], None]:
        if stream.startswith("__"):
            raise AttributeError(stream)
        return lambda: None


NO_RANDOM: Any = _NoRandom()
"""The ``rngs`` of a layer whose parameters are given."""


def given(array: Any) -> Callable[..., Any]:
    """Return the initializer that yields a given array."""
    return lambda *_: array


def channels_first(
    ctx: LoweringContext,
    x: ir.Value,
    shape: Sequence[Any],
    emit: Callable[[ir.Value], ir.Value],
    result_shape: Sequence[Any] | None = None,
) -> ir.Value:
    """Apply an operator that takes channels second to a channels-last array of any rank.

    ``emit`` emits the operator. ``result_shape`` is the shape of the result, channels last (default: that of ``x``).
    """
    rank = len(shape)
    if rank == 2:
        return emit(x)
    order = to_channels_first(rank)
    second = ctx.stamp(ctx.op.Transpose(x, perm=order), permuted(shape, order))
    y = ctx.stamp(emit(second), permuted(shape if result_shape is None else result_shape, order))
    return ctx.op.Transpose(y, perm=to_channels_last(rank))
