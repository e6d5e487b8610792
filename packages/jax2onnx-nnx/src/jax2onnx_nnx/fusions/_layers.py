"""What the references and rules of several layers share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jax2onnx.plugin import Decline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir

    from jax2onnx.plugin import LoweringContext

NOT_DOUBLE = frozenset({"float32", "float16", "bfloat16"})
"""Result dtypes for operators with a float32 attribute (epsilon), which would lose digits of a float64 program."""


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


def known_scalar(ctx: LoweringContext, operand: int) -> float:
    """Return the operand's value, as an attribute needs it."""
    value = ctx.known(operand)
    if value is None or value.shape != ():
        msg = "an attribute needs a constant scalar"
        raise Decline(msg)
    return float(value.astype(ctx.avals_in[operand].dtype))


def channels_first(
    ctx: LoweringContext,
    x: ir.Value,
    shape: Sequence[Any],
    emit: Callable[[ir.Value], ir.Value],
    result_shape: Sequence[Any] | None = None,
) -> ir.Value:
    """Apply to a channels-last array of any rank an operator that takes channels second.

    Args:
        ctx: the lowering context.
        x: the array.
        shape: its shape.
        emit: emits the operator.
        result_shape: the shape of the result, channels last; None for that of ``x``.
    """
    rank = len(shape)
    if rank == 2:
        return emit(x)
    to = [0, rank - 1, *range(1, rank - 1)]
    back = [0, *range(2, rank), 1]
    moved = ctx.stamp(ctx.op.Transpose(x, perm=to), [shape[i] for i in to])
    after = shape if result_shape is None else result_shape
    return ctx.op.Transpose(ctx.stamp(emit(moved), [after[i] for i in to]), perm=back)
