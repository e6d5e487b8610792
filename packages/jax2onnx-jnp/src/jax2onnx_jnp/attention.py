"""Emit attention: ONNX's operator where it agrees with JAX on every input, else two products around a softmax."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import numpy as np

from jax2onnx.plugin import MIN_OPSET, Decline, Fusion
from jax2onnx_lax.dot import zero_if_empty
from jax2onnx_lax.shape import transposed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import onnx_ir as ir

    from jax2onnx.plugin import LoweringContext

_HEADS_SECOND = (0, 2, 1, 3)
_HEADS_LAST = (0, 2, 3, 1)
_QUERY, _QUERY_OF_SHARED, _KEY, _SCALE = (2, 5, 3, 4), (2, 5, 6, 4), (2, 7, 3, 4), ()
_BROADCASTS = ((1, 1, 5, 7), (2, 1, 5, 7), (2, 3, 5, 7))
_BROADCASTS_OF_SHARED = ((2, 1, 5, 7), (2, 6, 5, 7))
_LARGEST_MASK = 2**16
"""Causal masks of up to this many elements are constants of the model."""

_Given: TypeAlias = tuple[str, ...]
"""Which optional arrays a variant takes, by the names of the function's arguments, in their order."""


@dataclass(frozen=True, slots=True)
class _Sizes:
    """The sizes of an attention: numbers of heads and depths are numbers, the others may be symbolic."""

    batch: Any
    queries: Any
    heads: int
    keys: Any
    shared: int
    """The number of heads of keys and values, of which each serves ``heads // shared`` heads of queries."""
    depth: int
    out_depth: int

    @classmethod
    def of(cls, ctx: LoweringContext) -> _Sizes:
        """Read the sizes off queries, keys and values: (batch, positions, heads, depth), or without a batch."""
        shapes = [a.shape if len(a.shape) != 3 else (1, *a.shape) for a in ctx.avals_in[:3]]
        if [len(s) for s in shapes] != [4, 4, 4]:
            raise Decline("there are several batch dims")
        (batch, queries, heads, depth), (_, keys, shared, _), (*_, out_depth) = shapes
        if not all(isinstance(n, int) and n > 0 for n in (heads, shared, depth, out_depth)):
            raise Decline("the number of heads or the depth is not known at conversion")
        return cls(batch, queries, heads, keys, shared, depth, out_depth)

    @property
    def inputs(self) -> list[tuple[Any, ...]]:
        """The shapes of queries, keys and values, with a batch."""
        whole, shared = (self.batch, self.queries, self.heads), (self.batch, self.keys, self.shared)
        return [(*whole, self.depth), (*shared, self.depth), (*shared, self.out_depth)]

    @property
    def out(self) -> tuple[Any, ...]:
        """The shape of the result, heads second."""
        return self.batch, self.heads, self.queries, self.out_depth


def attend(ctx: LoweringContext, *arrays: ir.Value, scale: float | None = None, causal: bool = False) -> ir.Value:
    """Emit attention: ``Attention``, which takes heads side by side, if the target has it and gains by it.

    The arrays are the equation's: queries, keys and values, float32 of (batch, positions, heads, depth) or without the
    batch; so is the result. ``scale`` multiplies the logits; by default they are divided by the root of the depth.
    ``causal`` is for targets that have the operator.

    Raises:
        Decline: there are several batch dims, or the number of heads or a depth is a symbol.
    """
    sizes = _Sizes.of(ctx)
    scale = 1 / math.sqrt(sizes.depth) if scale is None else scale
    native = _has_operator(ctx, sizes)
    inputs: list[ir.Value] = []
    for x, aval, shape in zip(arrays, ctx.avals_in, sizes.inputs, strict=False):
        batch, positions, heads, depth = shape
        new = (batch, positions, heads * depth) if native else shape
        inputs.append(ctx.reshape(x, aval.shape, new))
    if not native:
        result = _products(ctx, *inputs, ctx.constant(scale, np.float32), given=(), causal=False)
        return ctx.reshape(result, (*sizes.inputs[0][:3], sizes.out_depth), ctx.aval_out.shape)
    side_by_side = (sizes.batch, sizes.queries, sizes.heads * sizes.out_depth)
    options = {"is_causal": 1} if causal else {}
    heads = {"q_num_heads": sizes.heads, "kv_num_heads": sizes.shared}
    result = ctx.op.Attention(*inputs, scale=scale, **heads, **options)
    return ctx.reshape(ctx.stamp(result, side_by_side), side_by_side, ctx.aval_out.shape)


def _has_operator(ctx: LoweringContext, sizes: _Sizes) -> bool:
    """Return whether the target has ``Attention``, and gains by it.

    Where heads share keys, onnxruntime's copies these for each: for one query that takes longer than all else.
    """
    is_short = sizes.heads != sizes.shared and sizes.queries == 1
    return ctx.supports("Attention", np.float32) and not (is_short and ctx.target is not None)


def _operator(ctx: LoweringContext, *arrays: ir.Value, causal: bool) -> ir.Value:
    """Emit attention as ``Attention``, if that gives the same and the scale is known.

    The operator adds to the logits what hides later ones, where JAX selects: a NaN that is hidden comes through.
    """
    scale, sizes = ctx.known(3), _Sizes.of(ctx)
    hides = causal and (ctx.guards or sizes.queries != sizes.keys or not _has_operator(ctx, sizes))
    if scale is None or scale.shape or hides:
        return _products(ctx, *arrays, given=(), causal=causal)
    return attend(ctx, *arrays[:3], scale=float(scale), causal=causal)


def _products(ctx: LoweringContext, *arrays: ir.Value, given: _Given, causal: bool) -> ir.Value:
    """Emit the products, the softmax, and a selection by masks: (batch, queries, heads, depth).

    The operator adds its mask to the logits, where JAX selects: a NaN behind the mask would come through.
    """
    query, key, value, scale, *rest = arrays
    options = dict(zip(given, rest, strict=True))
    sizes = _Sizes.of(ctx)
    across = (sizes.batch, sizes.heads, sizes.queries, sizes.keys)
    logits = ctx.stamp(ctx.op.Mul(_logits(ctx, sizes, query, key), scale), across)
    if "bias" in options:
        logits = ctx.stamp(ctx.op.Add(logits, options["bias"]), across)
    for mask in _masks(ctx, sizes, options, causal=causal):
        # JAX hides a logit behind a large negative number: a row that is hidden entirely attends to all keys alike.
        hidden = np.float32(-0.7 * float(np.finfo(np.float32).max))
        logits = ctx.stamp(ctx.op.Where(mask, logits, hidden), across)
    weights = ctx.stamp(ctx.op.Softmax(logits, axis=-1), across)
    result = transposed(ctx, _weighted(ctx, sizes, weights, value), sizes.out, _HEADS_SECOND)
    if "query_seq_lengths" in options:
        inside = _within(ctx, sizes, options["query_seq_lengths"], axis=1, size=sizes.queries)
        return ctx.op.Mul(result, ctx.cast(inside, np.float32))
    return result


def _logits(ctx: LoweringContext, sizes: _Sizes, query: ir.Value, key: ir.Value) -> ir.Value:
    """Multiply queries by keys: (batch, heads, queries, keys)."""
    queries = transposed(ctx, query, sizes.inputs[0], _HEADS_SECOND)
    keys = transposed(ctx, key, sizes.inputs[1], _HEADS_LAST)
    whole = (sizes.batch, sizes.heads, sizes.queries)
    if sizes.heads == sizes.shared:
        return ctx.stamp(ctx.op.MatMul(queries, keys), (*whole, sizes.keys))
    split = _split(sizes)
    queries = ctx.reshape(queries, (*whole, sizes.depth), (*split, sizes.queries, sizes.depth))
    keys = ctx.stamp(ctx.op.Unsqueeze(keys, ctx.ints(2)), (*split[:2], 1, sizes.depth, sizes.keys))
    product = ctx.stamp(ctx.op.MatMul(queries, keys), (*split, sizes.queries, sizes.keys))
    return ctx.reshape(product, (*split, sizes.queries, sizes.keys), (*whole, sizes.keys))


def _weighted(ctx: LoweringContext, sizes: _Sizes, weights: ir.Value, value: ir.Value) -> ir.Value:
    """Multiply the weights by the values: (batch, heads, queries, depth)."""
    values = transposed(ctx, value, sizes.inputs[2], _HEADS_SECOND)
    out = sizes.out
    if sizes.heads == sizes.shared:
        return zero_if_empty(ctx, ctx.stamp(ctx.op.MatMul(weights, values), out), [sizes.keys], out)
    split = _split(sizes)
    across = (sizes.queries, sizes.keys)
    weights = ctx.reshape(weights, (*out[:2], *across), (*split, *across))
    values = ctx.stamp(ctx.op.Unsqueeze(values, ctx.ints(2)), (*split[:2], 1, sizes.keys, sizes.depth))
    product = ctx.stamp(ctx.op.MatMul(weights, values), (*split, *out[2:]))
    return ctx.reshape(zero_if_empty(ctx, product, [sizes.keys], (*split, *out[2:])), (*split, *out[2:]), out)


def _split(sizes: _Sizes) -> tuple[Any, int, int]:
    return sizes.batch, sizes.shared, sizes.heads // sizes.shared


def _masks(ctx: LoweringContext, sizes: _Sizes, options: dict[str, ir.Value], *, causal: bool) -> list[ir.Value]:
    """Return what hides logits: masks that broadcast to (batch, heads, queries, keys)."""
    masks = [options["mask"]] if "mask" in options else []
    if causal:
        masks.append(_causal(ctx, sizes.queries, sizes.keys))
    if "query_seq_lengths" in options:
        masks.append(_within(ctx, sizes, options["query_seq_lengths"], axis=2, size=sizes.queries))
    if "key_value_seq_lengths" in options:
        masks.append(_within(ctx, sizes, options["key_value_seq_lengths"], axis=3, size=sizes.keys))
    return masks


def _causal(ctx: LoweringContext, queries: Any, keys: Any) -> ir.Value:
    """Return the mask by which a query sees the keys up to its own position."""
    if isinstance(queries, int) and isinstance(keys, int) and queries * keys <= _LARGEST_MASK:
        return ctx.constant(np.tri(queries, keys, dtype=np.bool_))
    rows, columns = _positions(ctx, queries, np.int64), _positions(ctx, keys, np.int64)
    column = ctx.stamp(ctx.op.Unsqueeze(rows, ctx.ints(1)), (queries, 1))
    return ctx.stamp(ctx.op.GreaterOrEqual(column, columns), (queries, keys))


def _within(ctx: LoweringContext, sizes: _Sizes, lengths: ir.Value, *, axis: int, size: Any) -> ir.Value:
    """Return which positions along an axis of four lie before the length of their sequence."""
    line = (size, *[1] * (3 - axis))
    positions = ctx.reshape(_positions(ctx, size, np.int32), (size,), line)
    limits = ctx.reshape(lengths, (sizes.batch,), (sizes.batch, 1, 1, 1))
    return ctx.stamp(ctx.op.Less(positions, limits), (sizes.batch, *[1] * (axis - 1), *line))


def _positions(ctx: LoweringContext, size: Any, dtype: Any) -> ir.Value:
    if isinstance(size, int) and size <= _LARGEST_MASK:
        return ctx.constant(np.arange(size, dtype=dtype))
    end = ctx.cast(ctx.stamp(ctx.op.Squeeze(ctx.dim(size), ctx.ints(0)), ()), dtype)
    return ctx.stamp(ctx.op.Range(ctx.constant(0, dtype), end, ctx.constant(1, dtype)), (size,))


def _fusion(*given: str, causal: bool = False) -> Fusion:
    """Return the fusion of attention that takes some of the optional arrays, and maybe hides what comes later."""

    def reference(query: Any, key: Any, value: Any, scale: Any, *rest: Any) -> Any:
        options = dict(zip(given, rest, strict=True))
        return jax.nn.dot_product_attention(query, key, value, scale=scale, is_causal=causal, **options)

    def emit(ctx: LoweringContext, *arrays: ir.Value) -> ir.Value:
        return _products(ctx, *arrays, given=given, causal=causal)

    def operator(ctx: LoweringContext, *arrays: ir.Value) -> ir.Value:
        return _operator(ctx, *arrays, causal=causal)

    options = [*given, *["is_causal=True"] * causal]
    selects = causal or not {"bias"}.issuperset(given)
    return Fusion(
        name="jax.nn.dot_product_attention" + (f"({', '.join(options)})" if options else ""),
        reference=reference,
        examples=list(_examples(given)),
        # Of a row that a mask or a bias hides entirely, onnxruntime's operator makes zeros, and JAX the mean of all.
        emit={MIN_OPSET: emit} if given else {MIN_OPSET: emit, 23: operator},
        dtypes=frozenset({"float32"}),
        primitives=frozenset({"dot_general", "exp", *["select_n"] * selects}),
    )


def _examples(given: _Given) -> Iterator[Sequence[Any]]:
    for query, broadcasts in ((_QUERY, _BROADCASTS), (_QUERY_OF_SHARED, _BROADCASTS_OF_SHARED)):
        for rest in itertools.product(*(_inputs(argument, broadcasts) for argument in given)):
            if query == _QUERY or any(len(i.shape) == 4 for i in rest):
                yield [query, _KEY, _KEY, _SCALE, *rest]


def _inputs(argument: str, broadcasts: Sequence[Sequence[int]]) -> Sequence[jax.ShapeDtypeStruct]:
    if argument in {"bias", "mask"}:
        dtype = np.dtype(np.float32 if argument == "bias" else np.bool_)
        return [jax.ShapeDtypeStruct(s, dtype) for s in broadcasts]
    return [jax.ShapeDtypeStruct((2,), np.dtype(np.int32))]


FUSIONS: tuple[Fusion, ...] = (
    _fusion(),
    _fusion(causal=True),
    _fusion("mask"),
    _fusion("mask", causal=True),
    _fusion("bias"),
    _fusion("bias", causal=True),
    _fusion("bias", "mask"),
    _fusion("key_value_seq_lengths"),
    _fusion("key_value_seq_lengths", causal=True),
    _fusion("query_seq_lengths", "key_value_seq_lengths"),
)
