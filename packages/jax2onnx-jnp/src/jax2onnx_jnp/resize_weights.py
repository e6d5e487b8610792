"""Resize images by matrices of weights, as JAX does, in few nodes: what JAX guards against does not happen here.

JAX divides the weights of an output element by their sum where that is not 0, and drops the elements that lie outside
of the image. ``jax.image.resize`` has none of either: element i of n lies at (i + 0.5) * m / n - 0.5, between -0.5 and
m - 0.5, so that an element of the image is at most 0.5 from it. The weights then have a sum of at least 0.4.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx.plugin import Decline, is_static
from jax2onnx_lax.shape import dim_scalar, transposed

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx_ir as ir

    from jax2onnx.plugin import LoweringContext

_HALF = np.float32(0.5)
_ONE = np.float32(1)


def resized_by_weights(
    ctx: LoweringContext,
    x: ir.Value,
    shape: Sequence[Any],
    method: str,
    *,
    antialias: bool,
) -> ir.Value:
    """Emit a resize as products with a matrix of weights for each axis, two axes at a time."""
    if ctx.aval_out.dtype != np.float32:
        raise Decline("JAX computes the weights in float32, and rounds them to the dtype of the image")
    current = list(ctx.avals_in[0].shape)
    axes = [axis for axis, size in enumerate(shape) if current[axis] != size]
    while axes:
        pair, axes = axes[-2:], axes[:-2]
        x = _along(ctx, x, current, {axis: shape[axis] for axis in pair}, (method, antialias))
        for axis in pair:
            current[axis] = shape[axis]
    return x


def _along(
    ctx: LoweringContext,
    x: ir.Value,
    shape: Sequence[Any],
    sizes: Mapping[int, Any],
    kind: tuple[str, bool],
) -> ir.Value:
    """Multiply by the weights along one or two axes, which are moved to the end unless they are there."""
    rank, axes = len(shape), list(sizes)
    if len(axes) == 1 and rank > 1:
        # An axis before the last one is multiplied from the left.
        others = [axis for axis in range(rank) if axis not in {axes[0], rank - 1}]
        order = [*others, axes[0], rank - 1] if axes[0] != rank - 1 else list(range(rank))
    else:
        order = [*(axis for axis in range(rank) if axis not in axes), *axes]
    x = transposed(ctx, x, shape, order)
    current = [shape[axis] for axis in order]
    for axis, size in sizes.items():
        place = order.index(axis)
        from_left = place == rank - 2
        weights = _weights(ctx, current[place], size, kind, from_left=from_left)
        current[place] = size
        x = ctx.stamp(ctx.op.MatMul(weights, x) if from_left else ctx.op.MatMul(x, weights), current)
    return transposed(ctx, x, current, np.argsort(order).tolist())


def _weights(ctx: LoweringContext, m: Any, n: Any, kind: tuple[str, bool], *, from_left: bool) -> ir.Value:
    """Return the weights of m elements in each of n, of shape (n, m) for products from the left, else (m, n)."""
    method, antialias = kind
    shape = (n, m) if from_left else (m, n)
    step, stretch = _steps(ctx, m, n)
    centres = _column(ctx, _numbers(ctx, n, 0.5), n, is_column=from_left)
    at = ctx.op.Sub(ctx.op.Mul(centres, step), _HALF)
    of_image = _column(ctx, _numbers(ctx, m, 0.0), m, is_column=not from_left)
    distance = ctx.stamp(ctx.op.Abs(ctx.stamp(ctx.op.Sub(at, of_image), shape)), shape)
    if antialias and stretch is not None:
        distance = ctx.stamp(ctx.op.Div(distance, stretch), shape)
    weights = ctx.stamp(METHODS[method](ctx, distance), shape)
    total = ctx.op.ReduceSum(weights, ctx.ints(1 if from_left else 0), keepdims=1)
    return ctx.stamp(ctx.op.Div(weights, total), shape)


def _steps(ctx: LoweringContext, m: Any, n: Any) -> tuple[Any, Any]:
    """Return how far apart output elements are in the image, and by how much kernels are stretched for a smaller one.

    None for the latter if the image does not get smaller.
    """
    grows = _quotient(n, m)
    shrinks = _quotient(m, n)
    if grows is not None:
        return _ONE / np.float32(grows), None
    if shrinks is not None:
        stretch = _ONE / (_ONE / np.float32(shrinks))
        return stretch, stretch
    step = ctx.op.Div(_ONE, ctx.op.Div(_number(ctx, n), _number(ctx, m)))
    return step, ctx.op.Max(step, _ONE)


def _quotient(larger: Any, smaller: Any) -> int | None:
    """Return how many times one size is the other, if that is known and a whole number."""
    quotient, rest = divmod(larger, smaller)
    return int(quotient) if is_static(quotient, rest) and rest == 0 and quotient >= 1 else None


def _number(ctx: LoweringContext, size: Any) -> Any:
    return np.float32(size) if is_static(size) else ctx.cast(dim_scalar(ctx, size), np.float32)


def _numbers(ctx: LoweringContext, count: Any, first: float) -> ir.Value:
    """Return so many numbers, one apart."""
    if is_static(count):
        return ctx.constant(np.arange(count, dtype=np.float32) + np.float32(first))
    start, step = ctx.constant(first, np.float32), ctx.constant(1, np.float32)
    return ctx.stamp(ctx.op.Range(start, _number(ctx, count), step), (count,))


def _column(ctx: LoweringContext, values: ir.Value, size: Any, *, is_column: bool) -> ir.Value:
    """Return a vector as a column; a row needs no dim."""
    return ctx.reshape(values, (size,), (size, 1)) if is_column else values


def _triangle(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    """``max(0, 1 - x)``."""
    return ctx.op.Relu(ctx.op.Sub(_ONE, x))


def _keys(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    """``((1.5x - 2.5)x)x + 1`` up to 1, ``((-0.5x + 2.5)x - 4)x + 2`` up to 2, where that is 0, and 0 behind."""
    op = ctx.op
    x = op.Min(x, np.float32(2))
    near = op.Mul(op.Sub(op.Mul(np.float32(1.5), x), np.float32(2.5)), x)
    near = op.Add(op.Mul(near, x), _ONE)
    far = op.Mul(op.Add(op.Mul(np.float32(-0.5), x), np.float32(2.5)), x)
    far = op.Add(op.Mul(op.Sub(far, np.float32(4)), x), np.float32(2))
    return op.Where(op.Less(x, _ONE), near, far)


def _lanczos(radius: int) -> Callable[[LoweringContext, ir.Value], ir.Value]:
    def kernel(ctx: LoweringContext, x: ir.Value) -> ir.Value:
        """``radius * sin(pi x) * sin(pi x / radius) / (pi x)^2``, 1 near 0, and 0 behind the radius."""
        op = ctx.op
        turns = op.Mul(np.float32(math.pi), x)
        waves = op.Mul(op.Sin(turns), op.Sin(op.Div(turns, np.float32(radius))))
        height = op.Div(op.Mul(np.float32(radius), waves), op.Mul(turns, turns))
        height = op.Where(op.Greater(x, np.float32(1e-3)), height, _ONE)
        return op.Where(op.Greater(x, np.float32(radius)), np.float32(0), height)

    return kernel


METHODS: dict[str, Callable[[LoweringContext, ir.Value], ir.Value]] = {
    "linear": _triangle,
    "cubic": _keys,
    "lanczos3": _lanczos(3),
    "lanczos5": _lanczos(5),
}
"""The method -> its weight at a distance, which is not negative."""


def nearest_by_places(ctx: LoweringContext, x: ir.Value, shape: Sequence[Any]) -> ir.Value:
    """Emit a resize to the nearest elements: element i of n is element (i + 0.5) * m / n of m, rounded down."""
    current = list(ctx.avals_in[0].shape)
    for axis, n in enumerate(shape):
        m = current[axis]
        if m == n:
            continue
        place = ctx.op.Div(ctx.op.Mul(_numbers(ctx, n, 0.5), _number(ctx, m)), _number(ctx, n))
        current[axis] = n
        x = ctx.stamp(ctx.op.Gather(x, ctx.cast(ctx.stamp(place, (n,)), np.int64), axis=axis), current)
    return x
