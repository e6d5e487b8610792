"""Lower reductions over axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import onnx_ir as ir
from jax import lax
from jax.extend.core import jaxpr_as_fun

from jax2onnx.plugin import Facts, blind, has_zero, is_static, may_be_zero, other_axes, permuted
from jax2onnx_lax import folding
from jax2onnx_lax.bounded_floats import is_never_nan
from jax2onnx_lax.dtypes import bound, has_infinity, info, is_bool, is_float, is_integer
from jax2onnx_lax.monoids import Combine, reduce_last
from jax2onnx_lax.shape import transposed
from jax2onnx_lax.zeros import emit_signed, source

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundLowerings, LoweringContext


_COUNTED = 2**24
"""float32 holds all integers up to here."""
_EXACT = 2**21
"""So many integers of 32 bits have a sum that float64 holds."""
_FOLLOWED = frozenset({"Cast", "Expand", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


FACTS = {
    "reduce_and": Facts(fold=folding.reduction(np.bitwise_and.reduce)),
    "reduce_max": Facts(fold=folding.reduction(np.max)),
    "reduce_min": Facts(fold=folding.reduction(np.min)),
    "reduce_or": Facts(fold=folding.reduction(np.bitwise_or.reduce)),
    "reduce_sum": Facts(zeros=blind),
}


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts(FACTS)
    registry.table(
        {
            "reduce_sum": reduce_sum,
            "reduce_prod": reduce_prod,
            "reduce_max": reduce_extremum("ReduceMax", "Max"),
            "reduce_min": reduce_extremum("ReduceMin", "Min"),
            "reduce_and": reduce_logical("ReduceMin", "BitwiseAnd", -1),
            "reduce_or": reduce_logical("ReduceMax", "BitwiseOr", 0),
            "reduce_xor": reduce_xor,
            "argmax": arg_extremum("ArgMax"),
            "argmin": arg_extremum("ArgMin"),
            "reduce": reduce,
        }
    )


def _emit(ctx: LoweringContext, op_type: str, x: ir.Value, axes: Sequence[int]) -> ir.Value:
    """Emit a reduction over axes of the equation's first operand."""
    return ctx.stamp(ctx.op.emit(op_type, x, ctx.ints(*axes), keepdims=0), ctx.aval_out.shape)


def _sizes(ctx: LoweringContext, axes: Sequence[int]) -> tuple[Any, ...]:
    """Return the dims that are reduced."""
    return permuted(ctx.avals_in[0].shape, axes)


def reduce_sum(ctx: LoweringContext, x: ir.Value, *, axes: Sequence[int]) -> ir.Value:
    """Lower ``reduce_sum``; onnxruntime adds integers in float64 and saturates, but not in a cumulative sum."""
    if not axes:
        return x
    dtype = ctx.aval_out.dtype
    if ctx.target is None or not is_integer(dtype):
        return _emit(ctx, "ReduceSum", x, axes)
    count = math.prod(_sizes(ctx, axes))
    if _is_truth(x) and (carrier := _counter(ctx, dtype, count)) is not None:
        return ctx.cast(_emit(ctx, "ReduceSum", ctx.cast(x, carrier), axes), dtype)
    few = is_static(count) and count <= _EXACT
    if info(dtype).bits <= 32 and few and ctx.supports("ReduceSum", np.int64):
        return ctx.cast(_emit(ctx, "ReduceSum", ctx.cast(x, np.int64), axes), dtype)
    last, aval = _to_last(ctx, x, ctx.avals_in[0], axes)
    # The zero in front is the sum of no elements.
    before = [0] * (len(aval.shape) - 1)
    longer = ctx.op.Pad(last, ctx.ints(*before, 1, *before, 0), np.zeros((), aval.dtype))
    sums = ctx.op.CumSum(longer, ctx.constant(-1, np.int64))
    return ctx.op.Gather(sums, ctx.constant(-1, np.int64), axis=-1)


def _counter(ctx: LoweringContext, dtype: Any, count: Any) -> np.dtype[Any] | None:
    """Return the dtype in which booleans are counted; of integers, there are never enough for a sum to be rounded."""
    carrier = dtype if dtype.name in {"int32", "int64"} else np.dtype(np.int64)
    if ctx.supports("ReduceSum", carrier):
        return carrier
    return np.dtype(np.float32) if is_static(count) and count <= _COUNTED else None


def _is_truth(x: ir.Value) -> bool:
    """Return whether integers are converted booleans."""
    return source(x, _FOLLOWED).dtype == ir.DataType.BOOL


def reduce_prod(ctx: LoweringContext, x: ir.Value, *, axes: Sequence[int]) -> ir.Value:
    """Lower ``reduce_prod``; onnxruntime multiplies integers in float64 and saturates."""
    if not axes:
        return x
    if ctx.target is None or not is_integer(ctx.aval_out.dtype):
        return _emit(ctx, "ReduceProd", x, axes)
    return _reduced(ctx, x, axes, 1, "Mul")


def reduce_extremum(op_type: str, pair: str) -> Callable[..., Any]:
    """Return the rule of ``reduce_max`` or ``reduce_min``."""

    def rule(ctx: LoweringContext, x: ir.Value, *, axes: Sequence[int]) -> ir.Value:
        op, dtype = ctx.op, ctx.aval_out.dtype
        if not axes:
            return x
        if has_zero(*_sizes(ctx, axes)):
            # Of no elements, runtimes return different extrema, or fail.
            return _filled(ctx, bound(dtype, is_max=pair == "Max"))
        if is_bool(dtype):
            return _truth(ctx, op_type, x, axes)
        if is_float(dtype) and not ctx.guards and ctx.target is not None:
            return _emit(ctx, op_type, x, axes)
        if is_never_nan(x) and not any(map(may_be_zero, _sizes(ctx, axes))):
            return emit_signed(ctx, pair, lambda a: _emit(ctx, op_type, a, axes), x)
        if is_float(dtype):
            if not has_infinity(dtype):
                x = _with_one_more(ctx, x, axes, bound(dtype, is_max=pair == "Max"))
            # onnxruntime's kernels pass over NaN. The sum of magnitudes is NaN if a number is, and no extremum is above
            # it: of two numbers without a sign, none is above their rounded sum.
            is_short = _is_small(ctx) and has_infinity(dtype)
            if _is_magnitude(x):
                value, total = _emit(ctx, op_type, x, axes), _emit(ctx, "ReduceSum", x, axes)
                return op.Min(value, total) if is_short else op.Where(op.IsNaN(total), np.asarray(np.nan, dtype), value)
            value = emit_signed(ctx, pair, lambda a: _emit(ctx, op_type, a, axes), x)
            if is_short and ctx.supports("ReduceL1", dtype) and not ctx.sign_of_zero_matters():
                # Of -0 and 0, ``Min`` may return either. The sum stands second, where all runtimes keep NaN.
                return op.Min(value, _emit(ctx, "ReduceL1", x, axes))
            nan = _truth(ctx, "ReduceMax", op.IsNaN(x), axes)
            return op.Where(nan, np.asarray(np.nan, dtype), value)
        x = _with_one_more(ctx, x, axes, bound(dtype, is_max=pair == "Max"))
        if dtype in {np.dtype(np.int64), np.dtype(np.uint64)}:
            return _indexed(ctx, f"Arg{pair}", x, axes)
        if dtype == np.int16:
            return ctx.cast(_emit(ctx, op_type, ctx.cast(x, np.int32), axes), dtype)
        return _emit(ctx, op_type, x, axes)

    return rule


def _is_magnitude(x: ir.Value) -> bool:
    """Return whether numbers have no sign: their sum is NaN if one of them is, and none of them is -0."""
    made = x.producer()
    return made is not None and made.op_type == "Abs"


def _with_one_more(ctx: LoweringContext, x: ir.Value, axes: Sequence[int], identity: np.ndarray[Any, Any]) -> ir.Value:
    """Add an element that never wins to each dim that is reduced and may be empty at run time.

    The extremum of no elements is that of the dtype in which they are compared, which may be a larger one than theirs;
    of integers it is 0 in onnxruntime 1.25 and before.
    """
    shape = list(ctx.avals_in[0].shape)
    after = [int(axis in axes and may_be_zero(size)) for axis, size in enumerate(shape)]
    if ctx.target is None or not any(after):
        return x
    padded = ctx.op.Pad(x, ctx.ints(*[0] * len(shape), *after), identity)
    return ctx.stamp(padded, [size + more for size, more in zip(shape, after, strict=True)])


def _indexed(ctx: LoweringContext, op_type: str, x: ir.Value, axes: Sequence[int]) -> ir.Value:
    """Take the extremum at its index; onnxruntime's kernels for 64-bit extrema compare the halves wrongly."""
    last, _ = _to_last(ctx, x, ctx.avals_in[0], axes)
    index = ctx.op.emit(op_type, last, axis=-1, keepdims=1)
    if any(map(may_be_zero, ctx.aval_out.shape)):
        # Of no rows, onnxruntime 1.25 and before has as many indices as a row has elements.
        sizes = [*ctx.aval_out.shape, 1]
        index = ctx.stamp(ctx.op.Slice(index, ctx.ints(0), ctx.ints(1), ctx.ints(len(sizes) - 1)), sizes)
    return ctx.op.Squeeze(ctx.op.GatherElements(last, index, axis=-1), ctx.ints(-1))


def _truth(ctx: LoweringContext, op_type: str, x: ir.Value, axes: Sequence[int]) -> ir.Value:
    """Reduce booleans: ONNX's reductions take them since opset 20, onnxruntime's only if there are any elements.

    The least of no uint8 is 255; in onnxruntime 1.25 and before it is 0, as the largest is.
    """
    may_be_empty = any(map(may_be_zero, _sizes(ctx, axes))) and ctx.target is not None
    if ctx.opset >= 20 and not may_be_empty:
        return _emit(ctx, op_type, x, axes)
    if op_type == "ReduceMin" and may_be_empty:
        return ctx.op.Not(_truth(ctx, "ReduceMax", ctx.op.Not(x), axes))
    return ctx.cast(_emit(ctx, op_type, ctx.cast(x, np.uint8), axes), np.bool_)


def _filled(ctx: LoweringContext, value: np.ndarray[Any, Any]) -> ir.Value:
    return ctx.op.Expand(value, ctx.shape(ctx.aval_out.shape))


def reduce_logical(truth: str, bits: str, identity: int) -> Callable[..., Any]:
    """Return the rule of ``reduce_and`` or ``reduce_or``, which on integers are bitwise."""

    def rule(ctx: LoweringContext, x: ir.Value, *, axes: Sequence[int]) -> ir.Value:
        if not axes:
            return x
        if not is_bool(ctx.aval_out.dtype):
            return _reduced(ctx, x, axes, identity, bits)
        if has_zero(*_sizes(ctx, axes)):
            return _filled(ctx, np.asarray(bool(identity)))
        return _truth(ctx, truth, x, axes)

    return rule


def reduce_xor(ctx: LoweringContext, x: ir.Value, *, axes: Sequence[int]) -> ir.Value:
    """Lower ``reduce_xor``."""
    return _reduced(ctx, x, axes, 0, "Xor" if is_bool(ctx.aval_out.dtype) else "BitwiseXor") if axes else x


def _reduced(ctx: LoweringContext, x: ir.Value, axes: Sequence[int], identity: int, op_type: str) -> ir.Value:
    """Reduce by a binary operator for which ONNX has no reduction."""
    last, aval = _to_last(ctx, x, ctx.avals_in[0], axes)

    def combine(left: Sequence[ir.Value], right: Sequence[ir.Value], _: Sequence[Any]) -> Sequence[ir.Value]:
        return [ctx.op.emit(op_type, left[0], right[0])]

    initial = ctx.constant(np.asarray(identity).astype(aval.dtype))
    return reduce_last(ctx, [last], [aval], initial=[initial], combine=combine)[0]


def _to_last(ctx: LoweringContext, x: ir.Value, aval: Any, axes: Sequence[int]) -> tuple[ir.Value, Any]:
    """Move the axes to the end and merge them; return the value and its shape and dtype."""
    kept = other_axes(len(aval.shape), axes)
    perm = [*kept, *sorted(axes)]
    merged = (*permuted(aval.shape, kept), math.prod(permuted(aval.shape, axes)))
    x = ctx.reshape(transposed(ctx, x, aval.shape, perm), permuted(aval.shape, perm), merged)
    return x, jax.ShapeDtypeStruct(merged, aval.dtype)


def arg_extremum(op_type: str) -> Callable[..., Any]:
    """Return the rule of ``argmax`` or ``argmin``: the first of equals, and the first NaN before any number."""

    def rule(ctx: LoweringContext, x: ir.Value, *, axes: Sequence[int], index_dtype: Any) -> ir.Value:
        op, dtype = ctx.op, ctx.avals_in[0].dtype
        axis = int(axes[0])
        if is_bool(dtype):
            x = ctx.cast(x, np.uint8)
        may_be_nan = is_float(dtype) and not _replaces_nan(x) and not is_never_nan(x)
        if may_be_nan and _is_small(ctx) and dtype.itemsize in {2, 4} and ctx.supports(op_type, np.float64):
            x, may_be_nan = _with_nan_beyond(ctx, x, largest=op_type == "ArgMax"), False
        index = ctx.stamp(op.emit(op_type, x, axis=axis, keepdims=0), ctx.aval_out.shape)
        if may_be_nan:
            # onnxruntime's kernels compare with NaN, which is never true.
            nan = op.IsNaN(x)
            first = ctx.stamp(op.ArgMax(ctx.cast(nan, np.uint8), axis=axis, keepdims=0), ctx.aval_out.shape)
            index = op.Where(_truth(ctx, "ReduceMax", nan, [axis]), first, index)
        return ctx.cast(index, index_dtype)

    return rule


_SMALL = 1024
"""Of arrays of up to so many elements, each node takes about as long as any other."""


def _is_small(ctx: LoweringContext) -> bool:
    size = math.prod(ctx.avals_in[0].shape)
    return is_static(size) and size <= _SMALL


def _with_nan_beyond(ctx: LoweringContext, x: ir.Value, *, largest: bool) -> ir.Value:
    """Return numbers in float64 of which NaN alone is infinite, in the direction of the extremum.

    That is a node less than to look for a number and for NaN. The order of all other numbers stays.
    """
    op = ctx.op
    bounded = op.Min(ctx.cast(x, np.float64), 1e300) if largest else op.Max(ctx.cast(x, np.float64), -1e300)
    return op.Where(op.IsNaN(x), np.asarray(np.inf if largest else -np.inf), bounded)


def _replaces_nan(x: ir.Value) -> bool:
    """Return whether a value is ``Where(LessOrEqual(y, z), y, constant)``, the constant being no NaN."""
    node = x.producer()
    if node is None or node.op_type != "Where":
        return False
    condition, y, instead = node.inputs
    assert condition is not None
    assert instead is not None
    asked = condition.producer()
    # What is compared with a NaN is not less.
    if asked is None or asked.op_type not in {"Equal", "LessOrEqual"} or asked.inputs[0] is not y:
        return False
    constant = source(instead, {"Expand", "Reshape", "Unsqueeze"}).const_value
    return constant is not None and not np.isnan(constant.numpy()).any()


def reduce(
    ctx: LoweringContext, *operands: ir.Value, jaxpr: Any, dimensions: Sequence[int], computation: Any
) -> Sequence[ir.Value]:
    """Lower the generic ``reduce`` of one or more arrays by any associative computation."""
    del computation  # The jaxpr again, as a Python function.
    count = len(operands) // 2
    arrays = list(zip(operands[:count], ctx.avals_in[:count], strict=True))
    if set(_sizes(ctx, dimensions)) <= {1}:  # XLA leaves out the initial value
        return [ctx.via_jax(lambda a: lax.squeeze(a, dimensions), x, avals=[aval]) for x, aval in arrays]
    last, avals = zip(*(_to_last(ctx, x, aval, dimensions) for x, aval in arrays), strict=True)
    return reduce_last(ctx, last, avals, initial=operands[count:], combine=_computation(ctx, jaxpr))


def _computation(ctx: LoweringContext, jaxpr: Any) -> Combine:
    """Return a jaxpr of scalars, mapped over arrays, as a combination."""
    function = jaxpr_as_fun(jaxpr)

    def combine(left: Sequence[ir.Value], right: Sequence[ir.Value], avals: Sequence[Any]) -> Sequence[ir.Value]:
        mapped = function
        for _ in avals[0].shape:
            mapped = jax.vmap(mapped)
        results: list[ir.Value] = ctx.via_jax(mapped, *left, *right, avals=[*avals, *avals])
        return results

    return combine
