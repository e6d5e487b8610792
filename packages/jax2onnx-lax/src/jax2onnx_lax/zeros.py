"""Emit operators with the sign that JAX gives a zero, where it matters: a choice keeps it, and -0 is less than 0.

onnxruntime's ``Where`` makes 0 of a -0 that it takes from its first choice. It keeps a -0 of its second choice, unless
that is broadcast to a greater shape.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

if TYPE_CHECKING:
    from jax2onnx.plugin import LoweringContext


_FOLLOWED = frozenset({"Expand", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_FEW = 4096
"""Up to how many numbers a constant is looked at."""
_DEEP = 6
"""So many operators deep it is looked for constants of which a number is computed."""


def source(x: ir.Value, operators: Collection[str]) -> ir.Value:
    """Return the value from which operators of these types, one after the other, compute ``x``."""
    while (node := x.producer()) is not None and node.op_type in operators and node.inputs[0] is not None:
        x = node.inputs[0]
    return x


def emit_select(ctx: LoweringContext, which: ir.Value, yes: ir.Value, no: ir.Value) -> ir.Value:
    """Emit ``Where`` of two values of one shape."""
    op = ctx.op
    node = which.producer()
    if node is not None and node.op_type == "Not" and node.inputs[0] is not None:
        which, yes, no = node.inputs[0], no, yes  # as onnxruntime would
    if yes.dtype == ir.DataType.BOOL and not _chooses_bools(ctx):
        return _chosen_truth(ctx, which, yes, no)
    if not _signed(ctx, yes) or ctx.has_no_minus_zero(yes):
        return op.Where(which, yes, no)
    other = negation(ctx, which)
    if ctx.has_no_minus_zero(no):
        return op.Where(other, no, yes)
    return op.Mul(op.Where(which, 1.0, no), op.Where(other, 1.0, yes))


def _chooses_bools(ctx: LoweringContext) -> bool:
    bools = [ir.DataType.BOOL, ir.DataType.BOOL]
    return ctx.target is None or ctx.target.supports("Where", ctx.opset, bools)


def _chosen_truth(ctx: LoweringContext, which: ir.Value, yes: ir.Value, no: ir.Value) -> ir.Value:
    """Emit a choice between bools by logic, which has kernels for them."""
    op = ctx.op
    known = [_truth(yes), _truth(no)]
    if known[0] is not None:
        return op.Or(which, no) if known[0] else op.And(op.Not(which), no)
    if known[1] is not None:
        return op.Or(op.Not(which), yes) if known[1] else op.And(which, yes)
    return op.Xor(no, op.And(which, op.Xor(yes, no)))


def _truth(x: ir.Value) -> bool | None:
    """Return the truth value that all elements of a constant have, None for any other value."""
    constant = source(x, _FOLLOWED).const_value
    if constant is None or not constant.size:
        return None
    flags = constant.numpy()
    return bool(flags.flat[0]) if np.all(flags == flags.flat[0]) else None


def negation(ctx: LoweringContext, condition: ir.Value) -> ir.Value:
    """Emit ``Not``, in a form for which onnxruntime does not exchange a ``Where``'s choices."""
    return ctx.op.Equal(condition, np.bool_(0))


def emit_sign_bit(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    """Emit whether a float is negative; -0 is."""
    return ctx.op.Or(ctx.op.Less(x, 0.0), ctx.op.Less(ctx.op.Reciprocal(x), 0.0))


def emit_sign(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    """Emit ``Sign`` of floats; onnxruntime's makes 0 of -0, and of a float16 NaN."""
    op = ctx.op
    if ctx.target is None:
        return op.Sign(x)
    wide = ctx.cast(x, np.float32) if x.dtype != ir.DataType.DOUBLE else x
    sign = op.Where(ctx.cast(wide, np.bool_), op.Sign(wide), wide)
    return sign if sign.dtype == x.dtype or x.dtype is None else op.Cast(sign, to=int(x.dtype))


def emit_signed(ctx: LoweringContext, op_type: str, emit: Callable[..., ir.Value], *operands: ir.Value) -> ir.Value:
    """Emit an extremum of floats; the maximum of -0 and 0 is 0, and their minimum -0.

    ``emit`` emits the operator (``Max`` or ``Min``, or a reduction by it); of zeros of both signs it may return either.
    """
    op = ctx.op
    result = emit(*operands)
    if not all(_signed(ctx, x) and _may_be_zero(x) for x in operands):
        return result
    plus = [ctx.has_no_minus_zero(x) for x in operands]
    if all(plus):
        return result
    if op_type == "Max" and any(plus):
        return emit_plus_zero(ctx, result)
    # The zeros have reciprocals of different sign.
    worst = -np.inf if op_type == "Max" else np.inf
    signs = emit(*[op.Where(op.Equal(x, 0.0), op.Reciprocal(x), worst) for x in operands])
    return op.Where(negation(ctx, op.Equal(result, 0.0)), result, op.Reciprocal(signs))


def emit_plus_zero(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    """Replace -0 by 0, where the sign matters."""
    return ctx.op.Sum(x, 0.0) if _signed(ctx, x) else x


def emit_sum(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> ir.Value:
    """Emit ``Add``, or ``Sum`` where onnxruntime would drop the addition of 0, which makes 0 of -0.

    Where the sign of a zero does not matter, 0 is not added at all. What is computed of constants alone, such as the
    counter of a loop that is unrolled, may be 0 once it is known.
    """
    for one, other in ((x, y), (y, x)):
        if one.const_value is not None and _adds_nothing(ctx, one, other):
            return other
    is_dropped = _signed(ctx, x) and (_may_become_zero(x) or _may_become_zero(y))
    return ctx.op.Sum(x, y) if is_dropped else ctx.noted(ctx.op.Add(x, y))


def _adds_nothing(ctx: LoweringContext, x: ir.Value, other: ir.Value) -> bool:
    """Return whether the sum of a constant and another float is the latter, but for a sign of zero that is free."""
    tensor = x.const_value
    if tensor is None or tensor.size > _FEW or ctx.is_parameter(x) or x.shape not in ((), other.shape):
        return False
    if not tensor.dtype.is_floating_point() or np.any(tensor.numpy()):
        return False
    return not ctx.sign_of_zero_matters() or ctx.has_no_minus_zero(other)


def emit_difference(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> ir.Value:
    """Emit ``Sub``, or ``Sum`` where onnxruntime would drop the subtraction of -0, which makes 0 of -0."""
    is_dropped = _signed(ctx, x) and _may_become_zero(y, minus=True)
    return ctx.op.Sum(x, ctx.op.Neg(y)) if is_dropped else ctx.noted(ctx.op.Sub(x, y))


def _may_become_zero(x: ir.Value, *, minus: bool = False) -> bool:
    return _is_zero(x, minus=minus) if x.const_value is not None else _is_of_constants(x, _DEEP)


def _is_of_constants(x: ir.Value, depth: int) -> bool:
    node = x.producer()
    if node is None or node.op_type == "Constant":
        return x.const_value is not None
    operands = [operand for operand in node.inputs if operand is not None]
    return depth > 0 and bool(operands) and all(_is_of_constants(operand, depth - 1) for operand in operands)


def _is_zero(x: ir.Value, *, minus: bool) -> bool:
    """Return whether all elements are known to be 0, or with ``minus`` -0."""
    constant: Any = x.const_value
    return constant is not None and not np.any(constant.numpy()) and bool(np.all(np.signbit(constant.numpy()) == minus))


def _signed(ctx: LoweringContext, x: ir.Value) -> bool:
    """Return whether the target confuses zeros, and the sign of one may change a number."""
    if ctx.target is None or not ctx.sign_of_zero_matters():
        return False
    return x.dtype is not None and x.dtype.is_floating_point()


def _may_be_zero(x: ir.Value) -> bool:
    constant: Any = x.const_value
    return constant is None or bool(np.any(constant.numpy() == 0))
