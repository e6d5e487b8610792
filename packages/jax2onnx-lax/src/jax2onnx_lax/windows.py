"""Windows over the dims of an array, for convolutions and window reductions: padding, dilation, unfolding."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from jax import lax

from jax2onnx.plugin import is_symbolic

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import LoweringContext

Shape = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Window:
    """A window over every dim of arrays of one shape, and the shape of what there is one of per window."""

    size: Sequence[Any]
    strides: Sequence[int]
    padding: Sequence[tuple[Any, Any]]
    base_dilation: Sequence[int]
    dilation: Sequence[int]
    out: Shape

    def is_whole(self, axis: int) -> bool:
        """Tell whether the axis is nothing but itself: a window of one element at every position."""
        return bool(
            self.size[axis] == 1
            and self.strides[axis] == self.base_dilation[axis] == 1
            and all(p == 0 for p in self.padding[axis])
        )


@dataclass(frozen=True, slots=True)
class Operand:
    """An array to be cut into windows, and the scalar that stands for what lies outside of it."""

    value: ir.Value
    aval: Any
    fill: ir.Value


Reduce = Callable[[Sequence[jax.Array], Sequence[jax.Array], Sequence[int]], Sequence[jax.Array]]
"""A JAX function ``reduce(arrays, fills, axes)``."""


def aval(shape: Sequence[Any], dtype: Any) -> jax.ShapeDtypeStruct:
    """Return an abstract value, for ``ctx.via_jax``."""
    return jax.ShapeDtypeStruct(tuple(shape), dtype)


def known(*dims: Any) -> bool:
    """Tell whether every dim (or padding) is a number."""
    return not any(is_symbolic(d) for d in dims)


def transpose(ctx: LoweringContext, x: ir.Value, shape: Shape, permutation: Sequence[int]) -> tuple[ir.Value, Shape]:
    """Permute dims; return the value and its shape."""
    new = tuple(shape[i] for i in permutation)
    if list(permutation) == list(range(len(shape))):
        return x, new
    return ctx.stamp(ctx.op.Transpose(x, perm=list(permutation)), new), new


def pad(
    ctx: LoweringContext, x: ir.Value, shape: Shape, padding: Sequence[tuple[Any, Any]], fill: Any
) -> tuple[ir.Value, Shape]:
    """Pad every dim by (low, high), ints or symbolic, negative to crop; return the value and its shape.

    Args:
        ctx: the context of the rule.
        x: the array.
        shape: its shape.
        padding: low and high padding of every dim.
        fill: a number, a scalar array of the dtype of ``x``, or a value.
    """
    if all(known(p) and p == 0 for pair in padding for p in pair):
        return x, shape
    new = tuple(d + low + high for d, (low, high) in zip(shape, padding, strict=True))
    amounts = ctx.shape([*(low for low, _ in padding), *(high for _, high in padding)])
    return ctx.stamp(ctx.op.Pad(x, amounts, fill), new), new


def dilate(
    ctx: LoweringContext, x: ir.Value, shape: Shape, *, dtype: Any, dilation: Sequence[int], fill: ir.Value
) -> tuple[ir.Value, Shape]:
    """Spread the elements of every dim ``dilation`` apart; return the value and its shape."""
    if all(d == 1 for d in dilation):
        return x, shape
    config = [(0, 0, d - 1) for d in dilation]
    avals = [aval(shape, dtype), aval((), dtype)]
    value = ctx.via_jax(lambda a, b: lax.pad(a, b, config), x, fill, avals=avals)
    return value, tuple(
        (s - 1) * d + 1 if d != 1 and not (known(s) and s == 0) else s for s, d in zip(shape, dilation, strict=True)
    )


def is_same(
    shape: Sequence[Any], window: Sequence[Any], strides: Sequence[int], padding: Sequence[tuple[Any, Any]]
) -> bool:
    """Tell whether symbolic padding is JAX's ``SAME`` and ``auto_pad=SAME_UPPER`` means the same."""
    flat = [p for pair in padding for p in pair]
    if known(*flat) or not known(*window) or any(w < s for w, s in zip(window, strides, strict=True)):
        return False
    same = [p for pair in lax.padtype_to_pads(shape, window, strides, "SAME") for p in pair]
    return all(bool(a == b) for a, b in zip(flat, same, strict=True))


def onnx_pads(padding: Sequence[tuple[Any, Any]]) -> list[int]:
    """Return padding as ONNX has it: all low ones, then all high ones."""
    return [*(int(low) for low, _ in padding), *(int(high) for _, high in padding)]


def unfold(
    ctx: LoweringContext,
    x: ir.Value,
    shape: Shape,
    *,
    out: Sequence[Any],
    window: Sequence[Any],
    strides: Sequence[int],
    dilation: Sequence[int],
) -> tuple[ir.Value, Shape]:
    """Turn every dim into two: the position of a window and the place in the window; return value and shape.

    A dim whose window is 1 keeps its place and gets none for the window.
    """
    for axis in reversed(range(len(out))):
        if known(window[axis]) and window[axis] == 1:
            if strides[axis] != 1:
                x = ctx.op.Slice(
                    x, ctx.ints(0), ctx.ints(np.iinfo(np.int64).max), ctx.ints(axis), ctx.ints(strides[axis])
                )
                shape = (*shape[:axis], out[axis], *shape[axis + 1 :])
                ctx.stamp(x, shape)
            continue
        index = _positions(ctx, out[axis], strides[axis], window[axis], dilation[axis])
        shape = (*shape[:axis], out[axis], window[axis], *shape[axis + 1 :])
        x = ctx.stamp(ctx.op.Gather(x, index, axis=axis), shape)
    return x, shape


def places(window: Sequence[Any]) -> list[int]:
    """Return the dims of an unfolded array that hold the place in the window."""
    wide = [not (known(size) and size == 1) for size in window]
    return [axis + sum(wide[:axis]) + 1 for axis in range(len(window)) if wide[axis]]


def _positions(ctx: LoweringContext, out: Any, stride: int, window: Any, dilation: int) -> ir.Value:
    """Return where every element of every window lies: int64 (out, window)."""
    if known(out, window):
        return ctx.constant(np.arange(out)[:, None] * stride + np.arange(window) * dilation, np.int64)
    starts = ctx.op.Unsqueeze(_multiples(ctx, out, stride), ctx.ints(1))
    return ctx.stamp(ctx.op.Add(starts, _multiples(ctx, window, dilation)), (out, window))


def _multiples(ctx: LoweringContext, count: Any, step: int) -> ir.Value:
    if known(count):
        return ctx.constant(np.arange(count) * step, np.int64)
    end = ctx.op.Squeeze(ctx.dim(count), ctx.ints(0))
    numbers = ctx.stamp(ctx.op.Range(np.int64(0), end, np.int64(1)), (count,))
    return numbers if step == 1 else ctx.stamp(ctx.op.Mul(numbers, np.int64(step)), (count,))


def reduce(ctx: LoweringContext, operands: Sequence[Operand], window: Window, function: Reduce) -> list[ir.Value]:
    """Give the windows dims of their own and let ``function`` reduce over these."""
    pieces = [_unfold(ctx, o, window) for o in operands]
    count, axes = len(pieces), places(window.size)
    unfolded = [aval(shape, o.aval.dtype) for (_, shape), o in zip(pieces, operands, strict=True)]
    scalars = [aval((), o.aval.dtype) for o in operands]
    return ctx.via_jax(  # type: ignore[no-any-return]
        lambda *arrays: tuple(function(arrays[:count], arrays[count:], axes)),
        *(x for x, _ in pieces),
        *(o.fill for o in operands),
        avals=[*unfolded, *scalars],
    )


def _unfold(ctx: LoweringContext, operand: Operand, window: Window) -> tuple[ir.Value, Shape]:
    dtype, fill = operand.aval.dtype, operand.fill
    x, shape = dilate(ctx, operand.value, operand.aval.shape, dtype=dtype, dilation=window.base_dilation, fill=fill)
    x, shape = pad(ctx, x, shape, window.padding, fill)
    return unfold(ctx, x, shape, out=window.out, window=window.size, strides=window.strides, dilation=window.dilation)


def single(reduction: Callable[..., jax.Array]) -> Reduce:
    """Return the reduction of one array by a JAX function ``reduction(array, axes)``."""
    return lambda arrays, _, axes: [reduction(arrays[0], axes)]
