"""Attention: ONNX's operator where it agrees with JAX on every input, else two products around a softmax."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from flax import nnx

from jax2onnx.fuse import Decline
from jax2onnx.registry import MIN_OPSET, Fusion
from jax2onnx_lax.dot import zero_if_empty

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from jax2onnx.lower import LoweringContext

_HEADS_SECOND = [0, 2, 1, 3]
_Q, _K = (2, 5, 3, 4), (2, 7, 3, 4)
_BROADCASTS = ((1, 1, 5, 7), (2, 1, 5, 7), (2, 3, 5, 7))


def _plain(query: Any, key: Any, value: Any, *, is_causal: bool = False) -> Any:
    return nnx.dot_product_attention(query, key, value, is_causal=is_causal)


def _masked(*arrays: Any, bias: bool, mask: bool) -> Any:
    query, key, value, *rest = arrays
    given = {name: rest.pop(0) for name, taken in (("bias", bias), ("mask", mask)) if taken}
    return nnx.dot_product_attention(query, key, value, **given)


def _sizes(ctx: LoweringContext) -> tuple[tuple[Any, ...], Any, int]:
    """Return the query's shape, the number of keys and the depth; one head of keys per head of queries."""
    query, key = ctx.avals_in[0].shape, ctx.avals_in[1].shape
    if len(query) != 4 or not isinstance(query[3], int) or query[2] != key[2]:
        msg = "heads are shared, or the depth is not known at conversion"
        raise Decline(msg)
    return query, key[1], query[3]


def _heads_second(ctx: LoweringContext, x: ir.Value, operand: int) -> ir.Value:
    shape = ctx.avals_in[operand].shape
    return ctx.stamp(ctx.op.Transpose(x, perm=_HEADS_SECOND), [shape[i] for i in _HEADS_SECOND])


def _operator(
    ctx: LoweringContext, query: ir.Value, key: ir.Value, value: ir.Value, *, is_causal: bool = False
) -> ir.Value:
    # The operator adds its mask to the logits, where JAX selects: a NaN behind the mask would come through.
    if is_causal or not ctx.supports("Attention", np.float32):
        return _products(ctx, query, key, value, is_causal=is_causal)
    depth = _sizes(ctx)[2]
    q, k, v = (_heads_second(ctx, x, i) for i, x in enumerate((query, key, value)))
    return _heads_back(ctx, ctx.op.Attention(q, k, v, scale=1 / math.sqrt(depth)))


def _products(
    ctx: LoweringContext, query: ir.Value, key: ir.Value, value: ir.Value, *, is_causal: bool = False
) -> ir.Value:
    return _combine(ctx, query, key, value, mask=_causal(ctx) if is_causal else None)


def _causal(ctx: LoweringContext) -> ir.Value:
    """Return the mask by which a query sees the keys up to its own position."""
    (_, queries, *_), keys, _ = _sizes(ctx)
    rows, columns = (_positions(ctx, size) for size in (queries, keys))
    column = ctx.stamp(ctx.op.Unsqueeze(rows, ctx.ints(1)), (queries, 1))
    return ctx.stamp(ctx.op.GreaterOrEqual(column, columns), (queries, keys))


def _positions(ctx: LoweringContext, size: Any) -> ir.Value:
    end = ctx.stamp(ctx.op.Squeeze(ctx.dim(size), ctx.ints(0)), ())
    return ctx.stamp(ctx.op.Range(ctx.constant(0, np.int64), end, ctx.constant(1, np.int64)), (size,))


def _combine(
    ctx: LoweringContext,
    query: ir.Value,
    key: ir.Value,
    value: ir.Value,
    *,
    bias: ir.Value | None = None,
    mask: ir.Value | None = None,
) -> ir.Value:
    (batch, queries, heads, depth), keys, _ = _sizes(ctx)
    q, v = _heads_second(ctx, query, 0), _heads_second(ctx, value, 2)
    k = ctx.stamp(ctx.op.Transpose(key, perm=[0, 2, 3, 1]), (batch, heads, depth, keys))
    shape = (batch, heads, queries, keys)
    logits = ctx.stamp(ctx.op.MatMul(q, k), shape)
    logits = ctx.stamp(ctx.op.Mul(logits, np.float32(1 / math.sqrt(depth))), shape)
    if bias is not None:
        logits = ctx.stamp(ctx.op.Add(logits, bias), shape)
    if mask is not None:
        # JAX hides a logit behind a large negative number: a row that is hidden entirely attends to all keys alike.
        hidden = np.float32(-0.7 * float(np.finfo(np.float32).max))
        logits = ctx.stamp(ctx.op.Where(mask, logits, hidden), shape)
    weights = ctx.stamp(ctx.op.Softmax(logits, axis=-1), shape)
    result = tuple(ctx.aval_out.shape[i] for i in _HEADS_SECOND)
    return _heads_back(ctx, zero_if_empty(ctx, ctx.stamp(ctx.op.MatMul(weights, v), result), [keys], result))


def _heads_back(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    shape = ctx.aval_out.shape
    return ctx.op.Transpose(ctx.stamp(x, [shape[i] for i in _HEADS_SECOND]), perm=_HEADS_SECOND)


def _with(*, bias: bool, mask: bool) -> Fusion:
    """Return the fusion of attention with a bias, a mask or both."""

    def reference(*arrays: Any) -> Any:
        return _masked(*arrays, bias=bias, mask=mask)

    def emit(ctx: LoweringContext, *arrays: ir.Value) -> ir.Value:
        query, key, value, *rest = arrays
        added = rest.pop(0) if bias else None
        shown = rest.pop(0) if mask else None
        return _combine(ctx, query, key, value, bias=added, mask=shown)

    kinds: list[Sequence[Any]] = [_BROADCASTS] if bias else []
    if mask:
        kinds.append([jax.ShapeDtypeStruct(s, np.dtype(np.bool_)) for s in _BROADCASTS])
    parts = ", ".join(name for name, taken in (("bias", bias), ("mask", mask)) if taken)
    return Fusion(
        name=f"flax.nnx.dot_product_attention({parts})",
        reference=reference,
        examples=[[_Q, _K, _K, *rest] for rest in itertools.product(*kinds)],
        emit={MIN_OPSET: emit},
        dtypes=frozenset({"float32"}),
    )


FUSIONS: tuple[Fusion, ...] = (
    Fusion(
        name="flax.nnx.dot_product_attention",
        reference=_plain,
        examples=[[_Q, _K, _K]],
        kwargs=[{}, {"is_causal": True}],
        emit={MIN_OPSET: _products, 23: _operator},
        dtypes=frozenset({"float32"}),
    ),
    _with(bias=False, mask=True),
    _with(bias=True, mask=False),
    _with(bias=True, mask=True),
)
