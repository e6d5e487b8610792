"""Lower contractions (``dot_general`` and ``ragged_dot_general``)."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Facts, blind, has_zero, is_static, may_be_zero, other_axes, permuted
from jax2onnx_lax.convert import convert
from jax2onnx_lax.dtypes import is_float, is_float8
from jax2onnx_lax.folding import work_of_matrices
from jax2onnx_lax.shape import may_be_negative, transposed

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import Atom, BoundLowerings, Eqn, LoweringContext

Shape = tuple[Any, ...]
DimensionNumbers = tuple[tuple[Sequence[int], Sequence[int]], tuple[Sequence[int], Sequence[int]]]

_PRODUCT_DTYPES = frozenset({"bfloat16", "float16", "float32", "float64", "int32", "int64", "uint32", "uint64"})
"""What ``MatMul`` takes."""
_LONGEST_VECTOR = 64
"""Of vectors of up to so many numbers the products are added one by one."""


def exchanged(product: Eqn, permutation: Sequence[int]) -> Eqn | None:
    """Return the product with its operands exchanged, if that transposes its result and spares transposes."""
    (lc, rc), (lb, rb) = product.params["dimension_numbers"]
    left_rank, right_rank = (len(a.aval.shape) for a in product.inputs)
    lf, rf = other_axes(left_rank, {*lc, *lb}), other_axes(right_rank, {*rc, *rb})
    batch, rows = len(lb), len(lb) + len(lf)
    if [*permutation] != [*range(batch), *range(rows, rows + len(rf)), *range(batch, rows)]:
        return None
    # MatMul wants batch, rows, contracted dims on the left and batch, contracted dims, columns on the right.
    before = _is_transposed([*lb, *lf, *lc]) + _is_transposed([*rb, *rc, *rf])
    after = _is_transposed([*rb, *rf, *rc]) + _is_transposed([*lb, *lc, *lf])
    if after > before:
        return None
    params = {**product.params, "dimension_numbers": ((rc, lc), (rb, lb))}
    if isinstance(params.get("precision"), tuple):
        params["precision"] = params["precision"][::-1]
    return replace(product, inputs=product.inputs[::-1], params=params)


def _work(eqn: Eqn, _bodies: Sequence[float]) -> float:
    """Return how many products there are."""
    (contracted, _), _ = eqn.params["dimension_numbers"]
    left = eqn.inputs[0].aval
    sizes = [left.shape[axis] for axis in contracted]
    work: float = eqn.outputs[0].aval.size * math.prod(sizes)
    return work


def _zeros(eqn: Eqn, matters: bool) -> Sequence[Atom]:  # noqa: FBT001 - a fact's signature
    """Return the operands whose sign of zero decides the product: none of a sum, which starts at 0.

    XLA makes a sum of one product the product, so that it may be -0.
    """
    (contracted, _), _ = eqn.params["dimension_numbers"]
    left = eqn.inputs[0].aval
    return eqn.inputs if matters and _is_one_product(permuted(left.shape, contracted)) else ()


def _is_one_product(contracted: Shape) -> bool:
    return all(is_static(dim) and dim == 1 for dim in contracted)


FACTS = {
    "dot_general": Facts(zeros=_zeros, transposed=exchanged, work=_work),
    "ragged_dot_general": Facts(zeros=blind, work=work_of_matrices),
}


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts(FACTS)
    registry.table({"dot_general": dot_general, "ragged_dot_general": ragged_dot_general})


def dot_general(
    ctx: LoweringContext,
    x: ir.Value,
    y: ir.Value,
    *,
    dimension_numbers: DimensionNumbers,
    preferred_element_type: Any,
) -> ir.Value:
    """Lower ``dot_general``."""
    del preferred_element_type  # the dtype of the result says it
    left, right = ctx.avals_in
    dtype = ctx.aval_out.dtype
    sizes = (*left.shape, *right.shape)
    make_plan = _static_plan if is_static(*sizes) else _plan
    signed = ctx.target is not None and ctx.sign_of_zero_matters()
    if _are_short_vectors(left, right, dtype, dimension_numbers) and not has_zero(*sizes) and not signed:
        return _products_of_vectors(ctx, x, y, dimension_numbers[0][0][0])
    plan = make_plan(left.shape, right.shape, dimension_numbers, always=ctx.target is None, signed=signed)
    # onnxruntime's MatMul fails on an empty operand that it broadcasts, and unsigned on an empty contraction.
    if has_zero(*sizes):
        return ctx.op.Expand(ctx.constant(0, dtype), ctx.shape(plan.out))
    dtypes = (left.dtype, right.dtype)
    compute = compute_dtype(*dtypes, dtype)
    if ctx.target is not None and compute.kind == "u" and any(map(may_be_zero, plan.contracted)):
        # onnxruntime's kernel of unsigned numbers fails where it contracts nothing; the signed one has the same bits.
        compute = np.dtype(f"int{8 * compute.itemsize}")
    if left.dtype != right.dtype and narrow_dtypes(left.dtype, right.dtype, compute) is None:
        x, y = convert(ctx, x, left.dtype, dtype), convert(ctx, y, right.dtype, dtype)
        dtypes = (dtype, dtype)
    narrow = narrow_dtypes(left.dtype, right.dtype, compute) if plan.contracted else None
    x = _arrange(ctx, convert(ctx, x, dtypes[0], narrow[0] if narrow else compute), plan.left)
    y = _arrange(ctx, convert(ctx, y, dtypes[1], narrow[1] if narrow else compute), plan.right)
    # MatMul multiplies the last two dims as matrices. Without contracted dims the product is elementwise.
    multiply = ctx.op.MatMulInteger if narrow else ctx.op.MatMul if plan.contracted else ctx.op.Mul
    product = ctx.stamp(multiply(x, y), plan.product)
    product = ctx.reshape(product, plan.product, plan.out)
    if plan.contracted and (narrow or len(plan.product) > 2):
        product = zero_if_empty(ctx, product, plan.contracted, plan.out)
    return from_product(ctx, product, compute, dtypes[0], dtype)


def _are_short_vectors(left: Any, right: Any, dtype: Any, dimension_numbers: DimensionNumbers) -> bool:
    """Return whether a batch of short vectors, arranged alike, is multiplied by another one, in the floats of both."""
    (lc, rc), (lb, rb) = dimension_numbers
    is_alike = list(lc) == list(rc) and len(lc) == 1 and list(lb) == list(rb) == sorted(lb)
    if not is_alike or not lb or len(left.shape) != len(right.shape) or len(left.shape) != len(lb) + 1:
        return False
    length = left.shape[lc[0]]
    is_short = is_static(length) and 1 < length <= _LONGEST_VECTOR
    return is_short and left.dtype == right.dtype == dtype and str(dtype) in {"float32", "float64"}


def _products_of_vectors(ctx: LoweringContext, x: ir.Value, y: ir.Value, axis: int) -> ir.Value:
    """Emit the sums of products, along an axis: ``MatMul`` of onnxruntime takes 0.2 us for each pair of vectors.

    A sum of no nodes but this one starts with its first term, so that it may be -0 where that of JAX, which starts at
    0, is 0.
    """
    products = ctx.stamp(ctx.op.Mul(x, y), ctx.avals_in[0].shape)
    return ctx.stamp(ctx.op.ReduceSum(products, np.asarray([axis], np.int64), keepdims=0), ctx.aval_out.shape)


def from_product(ctx: LoweringContext, product: ir.Value, compute: Any, operand: Any, dtype: Any) -> ir.Value:
    """Convert a product from the dtype in which it was computed; JAX rounds one of float8 before it makes integers."""
    if is_float8(operand) and not is_float(dtype):
        product, compute = convert(ctx, product, compute, operand), operand
    return convert(ctx, product, compute, dtype)


def zero_if_empty(ctx: LoweringContext, product: ir.Value, contracted: Sequence[Any], out: Shape) -> ir.Value:
    """Make a sum of no products 0, which onnxruntime leaves uninitialised for integers and more than two matrices."""
    dims = [d for d in contracted if may_be_zero(d) and d not in out]
    if ctx.target is None or not dims or product.dtype is None:
        return product
    if any(map(may_be_negative, dims)):  # B - 1 where B is 0
        none = ctx.op.LessOrEqual(ctx.op.ReduceMin(ctx.shape(dims)), np.zeros(1, np.int64))
    else:
        none = ctx.op.Equal(ctx.dim(math.prod(dims)), np.zeros(1, np.int64))
    chosen = ctx.op.Where(none, ctx.constant(0, product.dtype.numpy()), product)
    return ctx.stamp(chosen, out) if out else ctx.reshape(chosen, (1,), ())


_NARROW: Mapping[str, np.dtype[Any]] = {
    **dict.fromkeys(("int2", "int4", "int8"), np.dtype(np.int8)),
    **dict.fromkeys(("uint2", "uint4", "uint8"), np.dtype(np.uint8)),
}


def narrow_dtypes(left: Any, right: Any, compute: np.dtype[Any]) -> tuple[np.dtype[Any], np.dtype[Any]] | None:
    """Return the dtypes in which ``MatMulInteger`` and ``ConvInteger`` take operands, None where they take none."""
    if compute != np.int32 or left.name not in _NARROW or right.name not in _NARROW:
        return None
    return _NARROW[left.name], _NARROW[right.name]


@functools.cache
def compute_dtype(left: Any, right: Any, out: Any) -> np.dtype[Any]:
    """Return the dtype in which ONNX multiplies and adds what JAX multiplies and adds into ``out``.

    Operands of one dtype are converted after the product, operands of two dtypes before it.
    """
    dtypes: list[np.dtype[Any]] = [np.dtype(d) for d in (left, right, out)]
    if left == right and jnp.issubdtype(left, jnp.floating) and not jnp.issubdtype(out, jnp.floating):
        dtypes[2] = dtypes[0]
    if not jnp.issubdtype(dtypes[2], jnp.floating):
        return dtypes[2] if dtypes[2].name in _PRODUCT_DTYPES else np.dtype(np.int32)
    if len(set(dtypes)) == 1 and dtypes[0].name in _PRODUCT_DTYPES:
        return dtypes[0]
    return np.dtype(np.float64 if np.dtype(np.float64) in dtypes else np.float32)


@dataclass(frozen=True, slots=True)
class _Operand:
    """How an operand is arranged for the product: a transpose, then a reshape."""

    old: Shape
    permutation: Sequence[int]
    new: Shape


@dataclass(frozen=True, slots=True)
class _Plan:
    """A general dot product as one ``MatMul``, or without contracted dims one ``Mul``.

    Attributes:
        left: the arrangement of the left operand.
        right: the arrangement of the right operand.
        product: the shape of the operator's result.
        out: the shape of the equation's result: batch dims, free dims of the left and of the right operand.
        contracted: the dims over which it sums; without any, ``Mul`` does it.
    """

    left: _Operand
    right: _Operand
    product: Shape
    out: Shape
    contracted: Shape


def _plan(left: Shape, right: Shape, dimension_numbers: DimensionNumbers, *, always: bool, signed: bool) -> _Plan:
    """Plan a product; unless ``always``, so that onnxruntime can run it where a symbolic dim is 0.

    Where the sign of a zero matters (``signed``), one product is no sum: ``MatMul`` makes 0 of -0.
    """
    (lc, rc), (lb, rb) = dimension_numbers
    left_free, right_free = other_axes(len(left), {*lb, *lc}), other_axes(len(right), {*rb, *rc})
    left_order, right_order = min(
        _orders(dimension_numbers, left_free, right_free), key=lambda orders: sum(map(_is_transposed, orders))
    )
    batch, contracted = permuted(left, lb), permuted(left, lc)
    if signed and _is_one_product(contracted):
        contracted = ()
    m, n = permuted(left, left_free), permuted(right, right_free)
    out = (*batch, *m, *n)
    if contracted:
        rows, columns = m, n
        if batch:
            rows, columns = (math.prod(m),), (math.prod(n),)
        else:
            # onnxruntime's MatMul takes no empty stack of matrices with a vector, or with a matrix if a Transpose
            # made it.
            hazard = not always and any(map(may_be_zero, left))
            if n or (hazard and m):
                columns = (math.prod(n),)
            if hazard and len(m) > 1 and _is_transposed(left_order):
                rows = (math.prod(m),)
        k = math.prod(contracted)
        left_shape, right_shape, product = (*batch, *rows, k), (*batch, k, *columns), (*batch, *rows, *columns)
    else:
        left_shape, right_shape, product = (*batch, *m, *[1] * len(n)), (*batch, *[1] * len(m), *n), out
    left_plan, right_plan = _Operand(left, left_order, left_shape), _Operand(right, right_order, right_shape)
    return _Plan(left_plan, right_plan, product, out, contracted)


def _orders(
    dimension_numbers: DimensionNumbers, left_free: Sequence[int], right_free: Sequence[int]
) -> Iterator[tuple[list[int], list[int]]]:
    """Yield orders of both operands' dims: the contracted ones as the left operand has them, or as the right one."""
    (lc, rc), (lb, rb) = dimension_numbers
    for contracted in (lc, rc):
        order = sorted(range(len(contracted)), key=contracted.__getitem__)
        yield [*lb, *left_free, *permuted(lc, order)], [*rb, *permuted(rc, order), *right_free]


def _is_transposed(order: Sequence[int]) -> bool:
    return list(order) != sorted(order)


_static_plan = functools.lru_cache(maxsize=1024)(_plan)


def _arrange(ctx: LoweringContext, x: ir.Value, operand: _Operand) -> ir.Value:
    x = transposed(ctx, x, operand.old, operand.permutation)
    return ctx.reshape(x, permuted(operand.old, operand.permutation), operand.new)


def ragged_dot_general(
    ctx: LoweringContext,
    x: ir.Value,
    y: ir.Value,
    group_sizes: ir.Value,
    *,
    ragged_dot_dimension_numbers: Any,
    preferred_element_type: Any,
    group_offset: Any,
) -> ir.Value:
    """Lower ``ragged_dot_general`` to a product, in which the elements of other groups are zero."""
    numbers = ragged_dot_dimension_numbers
    if group_offset is not None:
        raise ctx.unsupported("group_offset has no ONNX form", "leave group_offset out")
    (contracted, _), (batch, _) = numbers.dot_dimension_numbers
    function = _ragged_rows
    if numbers.lhs_ragged_dimensions[0] in batch:
        function = _ragged_batch
    elif numbers.lhs_ragged_dimensions[0] in contracted:
        function = _ragged_contraction
    return ctx.via_jax(  # type: ignore[no-any-return]
        function, x, y, group_sizes, numbers=numbers, preferred_element_type=preferred_element_type
    )


def _groups(sizes: jax.Array, length: Any) -> jax.Array:
    """Return which rows belong to which group: bool (groups, ..., rows) of sizes (..., groups)."""
    ends = jnp.moveaxis(jnp.cumsum(sizes, axis=-1), -1, 0)
    starts = ends - jnp.moveaxis(sizes, -1, 0)
    rows = jnp.arange(length, dtype=sizes.dtype)
    return (rows >= starts[..., None]) & (rows < ends[..., None])


def _along(mask: jax.Array, rank: int, axes: Sequence[int]) -> jax.Array:
    """Place the dims of a mask after the first, the groups, along ``axes`` of arrays of ``rank`` dims."""
    places = [0, *[axis + 1 for axis in axes]]
    order = np.argsort(places).tolist()
    mask = lax.transpose(mask, order)
    shape: list[Any] = [1] * (rank + 1)
    for place, dim in zip(sorted(places), mask.shape, strict=True):
        shape[place] = dim
    return lax.broadcast_in_dim(mask, shape, sorted(places))


def _ragged_batch(x: jax.Array, y: jax.Array, sizes: jax.Array, *, numbers: Any, **kwargs: Any) -> jax.Array:
    del sizes
    return lax.dot_general(x, y, numbers.dot_dimension_numbers, **kwargs)


def _ragged_contraction(x: jax.Array, y: jax.Array, sizes: jax.Array, *, numbers: Any, **kwargs: Any) -> jax.Array:
    (lc, rc), (lb, rb) = numbers.dot_dimension_numbers
    axis = numbers.lhs_ragged_dimensions[0]
    mask = _groups(sizes, x.shape[axis])
    # Sizes of more than one dim are for each element of the batch and of what is contracted before.
    before = list(lc).index(axis)
    left, right = [[*batch, *contracted[: before + 1]][-sizes.ndim :] for batch, contracted in ((lb, lc), (rb, rc))]
    # Masked on both sides: a NaN must stay in its group.
    x = jnp.where(_along(mask, x.ndim, left), x, 0)
    y = jnp.where(_along(mask, y.ndim, right), y, 0)
    shifted = [[i + 1 for i in dims] for dims in (lc, rc, lb, rb)]
    return lax.dot_general(x, y, ((shifted[0], shifted[1]), ([0, *shifted[2]], [0, *shifted[3]])), **kwargs)


def _ragged_rows(x: jax.Array, y: jax.Array, sizes: jax.Array, *, numbers: Any, **kwargs: Any) -> jax.Array:
    """Contract the groups too: a row is zero in all groups but its own, as it is to JAX."""
    (lc, rc), (lb, rb) = numbers.dot_dimension_numbers
    axis = numbers.lhs_ragged_dimensions[0]
    free = other_axes(x.ndim, {*lb, *lc})
    # Sizes of more than one dim are for each element of all dims before the ragged one.
    before = [*lb, *free[: free.index(axis) + 1]][-sizes.ndim :]
    x = jnp.where(_along(_groups(sizes, x.shape[axis]), x.ndim, before), x, 0)
    contracted = [0, *[i + 1 for i in lc]], [*numbers.rhs_group_dimensions, *rc]
    return lax.dot_general(x, y, (contracted, ([i + 1 for i in lb], rb)), **kwargs)
