"""Contractions: ``dot_general`` and ``ragged_dot_general``."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Facts, blind, is_symbolic, may_be_zero

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import BoundLowerings, Eqn, LoweringContext

Shape = tuple[Any, ...]
DimensionNumbers = tuple[tuple[Sequence[int], Sequence[int]], tuple[Sequence[int], Sequence[int]]]

_PRODUCT_DTYPES = frozenset({"bfloat16", "float16", "float32", "float64", "int32", "int64", "uint32", "uint64"})
"""What ``MatMul`` takes."""


def exchanged(product: Eqn, permutation: Sequence[int]) -> Eqn | None:
    """Return the product with its operands exchanged, if that transposes its result and spares transposes."""
    ranks = [len(a.aval.shape) for a in product.inputs]
    (lc, rc), (lb, rb) = product.params["dimension_numbers"]
    lf = [i for i in range(ranks[0]) if i not in {*lc, *lb}]
    rf = [i for i in range(ranks[1]) if i not in {*rc, *rb}]
    batch, rows = len(lb), len(lb) + len(lf)
    if [*permutation] != [*range(batch), *range(rows, rows + len(rf)), *range(batch, rows)]:
        return None
    # MatMul wants batch, rows, contracted dims on the left and batch, contracted dims, columns on the right.
    before = _unsorted([[*lb, *lf, *lc], [*rb, *rc, *rf]])
    after = _unsorted([[*rb, *rf, *rc], [*lb, *lc, *lf]])
    if after > before:
        return None
    params = {**product.params, "dimension_numbers": ((rc, lc), (rb, lb))}
    if isinstance(params.get("precision"), tuple):
        params["precision"] = params["precision"][::-1]
    return replace(product, inputs=product.inputs[::-1], params=params)


def _unsorted(orders: Sequence[Sequence[int]]) -> int:
    """Return how many operands would have to be transposed."""
    return sum([*order] != sorted(order) for order in orders)


FACTS = {
    "dot_general": Facts(zeros=blind, transposed=exchanged),
    "ragged_dot_general": Facts(zeros=blind),
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
    make = _plan if any(is_symbolic(d) for d in sizes) else _static_plan
    plan = make(left.shape, right.shape, dimension_numbers, always=ctx.target is None)
    # onnxruntime's MatMul fails on an empty operand that it broadcasts, and unsigned on an empty contraction.
    if any(not is_symbolic(d) and d == 0 for d in sizes):
        return ctx.op.Expand(ctx.constant(0, dtype), ctx.shape(plan.out))
    compute = compute_dtype(left.dtype, right.dtype, dtype)
    if left.dtype != right.dtype:
        x = convert(ctx, x, left.shape, left.dtype, dtype)
        y = convert(ctx, y, right.shape, right.dtype, dtype)
    x = _arrange(ctx, ctx.cast(x, compute), plan.left)
    y = _arrange(ctx, ctx.cast(y, compute), plan.right)
    product = ctx.stamp(ctx.op.MatMul(x, y) if plan.contracts else ctx.op.Mul(x, y), plan.product)
    product = ctx.reshape(product, plan.product, plan.out)
    if plan.contracts and len(plan.product) > 2:
        product = zero_if_empty(ctx, product, plan.contracted, plan.out)
    return convert(ctx, product, plan.out, compute, dtype)


def zero_if_empty(ctx: LoweringContext, product: ir.Value, contracted: Sequence[Any], out: Shape) -> ir.Value:
    """Make a sum of no products 0; onnxruntime's MatMul of more than two matrices leaves it uninitialised."""
    dims = [d for d in contracted if may_be_zero(d) and d not in out]
    if ctx.target is None or not dims or product.dtype is None:
        return product
    none = ctx.op.Equal(ctx.dim(math.prod(dims)), np.zeros(1, np.int64))
    return ctx.stamp(ctx.op.Where(none, ctx.constant(0, product.dtype.numpy()), product), out)


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


def convert(ctx: LoweringContext, x: ir.Value, shape: Shape, old: Any, new: Any) -> ir.Value:
    """Convert as JAX does: a ``Cast``, except from floats to integers, where out-of-range values saturate."""
    if jnp.issubdtype(old, jnp.floating) and not jnp.issubdtype(new, jnp.floating):
        aval = jax.ShapeDtypeStruct(shape, old)
        return ctx.via_jax(lambda a: lax.convert_element_type(a, new), x, avals=[aval])  # type: ignore[no-any-return]
    return ctx.cast(x, new)


@dataclass(frozen=True, slots=True)
class _Operand:
    """How an operand is arranged for the product: a transpose, then a reshape."""

    old: Shape
    permutation: Sequence[int]
    new: Shape


@dataclass(frozen=True, slots=True)
class _Plan:
    """A general dot product as one ``MatMul``, or without contracted dims one ``Mul``."""

    contracts: bool
    left: _Operand
    right: _Operand
    product: Shape
    out: Shape
    contracted: Shape


def _plan(left: Shape, right: Shape, dimension_numbers: DimensionNumbers, *, always: bool) -> _Plan:
    """Plan a product; unless ``always``, so that onnxruntime can run it where a symbolic dim is 0."""
    (lc, rc), (lb, rb) = dimension_numbers
    lf = [i for i in range(len(left)) if i not in {*lb, *lc}]
    rf = [i for i in range(len(right)) if i not in {*rb, *rc}]
    orders = [sorted(zip(lc, rc, strict=True), key=operator.itemgetter(side)) for side in (0, 1)]
    perms = [([*lb, *lf, *(i for i, _ in o)], [*rb, *(j for _, j in o), *rf]) for o in orders]
    left_perm, right_perm = min(perms, key=lambda p: sum(x != sorted(x) for x in p))
    batch, m, n = [left[i] for i in lb], [left[i] for i in lf], [right[i] for i in rf]
    k = math.prod(left[i] for i in lc)
    out = [*batch, *m, *n]
    if not lc:
        a, b, product = [*batch, *m, *(1 for _ in n)], [*batch, *(1 for _ in m), *n], out
    elif batch:
        rows, columns = math.prod(m), math.prod(n)
        a, b, product = [*batch, rows, k], [*batch, k, columns], [*batch, rows, columns]
    else:
        # onnxruntime's MatMul takes no empty stack of matrices with a vector, or with a matrix if a Transpose made it.
        hazard = not always and any(map(may_be_zero, left))
        columns = [math.prod(n)] if n else [1] if hazard and m else []
        rows = [math.prod(m)] if hazard and len(m) > 1 and left_perm != sorted(left_perm) else m
        a, b, product = [*rows, k], [k, *columns], [*rows, *columns]
    return _Plan(
        bool(lc),
        _Operand(left, left_perm, tuple(a)),
        _Operand(right, right_perm, tuple(b)),
        tuple(product),
        tuple(out),
        tuple(left[i] for i in lc),
    )


_static_plan = functools.lru_cache(maxsize=1024)(_plan)


def _arrange(ctx: LoweringContext, x: ir.Value, operand: _Operand) -> ir.Value:
    shape = tuple(operand.old[i] for i in operand.permutation)
    if list(operand.permutation) != sorted(operand.permutation):
        x = ctx.stamp(ctx.op.Transpose(x, perm=list(operand.permutation)), shape)
    return ctx.reshape(x, shape, operand.new)


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
    """Lower ``ragged_dot_general``: every group's product, then the rows (or the sum) that belong to the group."""
    numbers = ragged_dot_dimension_numbers
    if group_offset is not None:
        raise ctx.unsupported("group_offset has no ONNX form", "leave group_offset out")
    if len(ctx.avals_in[2].shape) != 1:
        raise ctx.unsupported("group sizes of more than one dim", "call it on one batch element at a time")
    if numbers.lhs_ragged_dimensions[0] in numbers.dot_dimension_numbers[1][0]:
        function = _ragged_batch
    elif numbers.lhs_ragged_dimensions[0] in numbers.dot_dimension_numbers[0][0]:
        function = _ragged_contraction
    else:
        function = _ragged_rows
    return ctx.via_jax(  # type: ignore[no-any-return]
        function, x, y, group_sizes, numbers=numbers, preferred_element_type=preferred_element_type
    )


def _groups(sizes: jax.Array, length: Any) -> jax.Array:
    """Return which rows belong to which group: bool (groups, rows)."""
    ends = jnp.cumsum(sizes)
    rows = jnp.arange(length, dtype=sizes.dtype)
    return (rows >= (ends - sizes)[:, None]) & (rows < ends[:, None])


def _along(mask: jax.Array, rank: int, axis: int) -> jax.Array:
    """Place the rows of a (groups, rows) mask along ``axis`` of arrays of ``rank`` dims, groups in front."""
    shape = [mask.shape[0], *(mask.shape[1] if i == axis else 1 for i in range(rank))]
    return lax.broadcast_in_dim(mask, shape, [0, axis + 1])


def _ragged_batch(x: jax.Array, y: jax.Array, sizes: jax.Array, *, numbers: Any, **kwargs: Any) -> jax.Array:
    del sizes
    return lax.dot_general(x, y, numbers.dot_dimension_numbers, **kwargs)


def _ragged_contraction(x: jax.Array, y: jax.Array, sizes: jax.Array, *, numbers: Any, **kwargs: Any) -> jax.Array:
    (lc, rc), (lb, rb) = numbers.dot_dimension_numbers
    axis = numbers.lhs_ragged_dimensions[0]
    mask = _groups(sizes, x.shape[axis])
    # Masked on both sides: a NaN must stay in its group.
    x = jnp.where(_along(mask, x.ndim, axis), x, 0)
    y = jnp.where(_along(mask, y.ndim, rc[list(lc).index(axis)]), y, 0)
    shifted = [[i + 1 for i in dims] for dims in (lc, rc, lb, rb)]
    return lax.dot_general(x, y, ((shifted[0], shifted[1]), ([0, *shifted[2]], [0, *shifted[3]])), **kwargs)


def _ragged_rows(x: jax.Array, y: jax.Array, sizes: jax.Array, *, numbers: Any, **kwargs: Any) -> jax.Array:
    (lc, _), (lb, _) = numbers.dot_dimension_numbers
    axis, group = numbers.lhs_ragged_dimensions[0], numbers.rhs_group_dimensions[0]
    free = [i for i in range(x.ndim) if i not in {*lb, *lc}]
    taken = {*numbers.dot_dimension_numbers[0][1], *numbers.dot_dimension_numbers[1][1]}
    products = lax.dot_general(x, y, numbers.dot_dimension_numbers, **kwargs)
    place = len(lb) + len(free) + [j for j in range(y.ndim) if j not in taken].index(group)
    products = jnp.moveaxis(products, place, 0)
    mask = _along(_groups(sizes, x.shape[axis]), products.ndim - 1, len(lb) + free.index(axis))
    return jnp.sum(jnp.where(mask, products, 0), axis=0, dtype=products.dtype)
