"""Emit searches in a short sorted array as comparisons with all its elements, where JAX bisects in a loop.

Also of an array that is not sorted the place is the one that bisection finds.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jax2onnx.plugin import MIN_OPSET, Decline, Fusion, is_static

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import LoweringContext

_LONGEST = 64
"""Comparisons with so many elements take less time than a loop does, for any number of queries."""
_FLOATS = frozenset({"float32", "float64"})
_INTEGERS = frozenset({"int32", "int64"})


def _searched(x: Any, queries: Any, *, side: str = "left") -> Any:
    return jnp.searchsorted(x, queries, side=side)


def _emit(ctx: LoweringContext, x: ir.Value, queries: ir.Value, *, side: str) -> ir.Value:
    """Emit ``ArgMax`` of how many of the comparisons on the way to a place come out as they would on this way.

    ::

        x[n], queries[m] -> goes_left[m, n] -> Gemm(., ways[n, n + 1], agreements[n + 1]) -> ArgMax [m]
    """
    first, other = ctx.avals_in
    if not is_static(*first.shape) or not 0 < first.shape[0] <= _LONGEST:
        raise Decline(f"the array has not between 1 and {_LONGEST} elements")
    if first.dtype != other.dtype or str(first.dtype) not in _FLOATS | _INTEGERS:
        raise Decline(f"{first.dtype} is not compared with {other.dtype} in one node")
    (count,) = first.shape
    column = ctx.stamp(ctx.op.Unsqueeze(queries, ctx.ints(-1)), (*other.shape, 1))
    left = _goes_left(ctx, x, column, side)
    shape = (*other.shape, count)
    numbers = ctx.stamp(ctx.cast(ctx.stamp(left, shape), np.float32), shape)
    ways, agreements, places = _ways(count)
    scores = ctx.stamp(ctx.op.MatMul(numbers, ways), (*other.shape, len(places)))
    scores = ctx.stamp(ctx.op.Add(scores, agreements), (*other.shape, len(places)))
    best = ctx.op.ArgMax(scores, axis=-1, keepdims=0)
    if places.tolist() != list(range(len(places))):
        best = ctx.op.Gather(places.astype(np.int64), best, axis=0)
    return ctx.cast(ctx.stamp(best, other.shape), ctx.aval_out.dtype)


def _goes_left(ctx: LoweringContext, x: ir.Value, column: ir.Value, side: str) -> ir.Value:
    """Return whether each query lies before each element; NaN is the largest of all numbers."""
    before = ctx.op.LessOrEqual(column, x) if side == "left" else ctx.op.Less(column, x)
    if str(ctx.avals_in[0].dtype) in _INTEGERS:
        return before
    last = ctx.op.IsNaN(x)
    if side == "right":
        last = ctx.op.And(last, ctx.op.Not(ctx.op.IsNaN(column)))
    return ctx.op.Or(before, last)


@functools.cache
def _ways(count: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the ways of bisection to the places in an array, what makes 0 of the right one, and where they lead.

    A way is a column: 1 for an element before which the query has to lie, -1 for one before which it may not. With the
    number of the former subtracted, the sum over the comparisons is 0 on the way that is taken, and less on others.
    """
    steps = int(np.ceil(np.log2(count + 1)))
    found: list[tuple[dict[int, bool], int]] = []
    pending: list[tuple[int, int, int, dict[int, bool]]] = [(0, count, 0, {})]
    while pending:
        low, high, step, outcomes = pending.pop()
        if step == steps:
            found.append((outcomes, high))
            continue
        middle = low + (high - low) // 2
        for left in (True, False):
            if outcomes.get(middle, left) == left:
                bounds = (low, middle) if left else (middle, high)
                pending.append((*bounds, step + 1, {**outcomes, middle: left}))
    found.sort(key=lambda way: way[1])
    ways = np.zeros((count, len(found)), np.float32)
    for column, (outcomes, _) in enumerate(found):
        for element, left in outcomes.items():
            ways[element, column] = 1 if left else -1
    agreements = -np.sum(ways > 0, axis=0, dtype=np.float32)
    return ways, agreements, np.asarray([place for _, place in found])


def _examples() -> list[list[Any]]:
    """Return examples of floats and of integers, with one, several and many queries: JAX traces each otherwise."""
    shapes: list[tuple[int, ...]] = [(), (3,), (2, 3)]
    return [
        [jax.ShapeDtypeStruct((5,), dtype), jax.ShapeDtypeStruct(shape, dtype)]
        for dtype in ("float32", "int32")
        for shape in shapes
    ]


FUSIONS = (
    Fusion(
        name="jax.numpy.searchsorted",
        reference=_searched,
        examples=_examples(),
        kwargs=[{"side": "left"}, {"side": "right"}],
        emit={MIN_OPSET: _emit},
        dtypes=frozenset({"int32"}),
        primitives=frozenset({"scan"}),
    ),
)
