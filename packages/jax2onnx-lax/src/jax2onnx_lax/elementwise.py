"""Lower elementwise arithmetic, rounding, powers, comparison, logic and selection."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from jax import lax

from jax2onnx.plugin import Const, Facts, blind, is_static, telling
from jax2onnx_lax import folding
from jax2onnx_lax.dtypes import info, is_bool, is_float, is_integer, is_unsigned, unsigned
from jax2onnx_lax.folding import plain
from jax2onnx_lax.zeros import emit_difference, emit_select, emit_sign, emit_signed, emit_sum, negation

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import Atom, BoundLowerings, Eqn, LoweringContext

_T = TypeVar("_T")

OPERATORS = {
    "abs": "Abs",
    "floor": "Floor",
    "ceil": "Ceil",
    "eq": "Equal",
}
"""Primitives for which ONNX has exactly the operator."""


def _zeros_of_sum(eqn: Eqn, matters: bool) -> Sequence[Atom]:  # noqa: FBT001 - a fact's signature
    """Return the operands whose sign of zero decides the sum: none, if one operand is a constant without zeros."""
    for atom in eqn.inputs:
        if isinstance(atom, Const) and np.all(np.asarray(atom.value) != 0):
            return ()
    return eqn.inputs if matters else ()


def _zeros_of_product(eqn: Eqn, matters: bool) -> Sequence[Atom]:  # noqa: FBT001 - a fact's signature
    """Return the operands whose sign of zero decides the product: none of a square."""
    is_square = eqn.inputs[0] is eqn.inputs[1]
    return eqn.inputs if matters and not is_square else ()


def _zeros_of_extremum(sign: int, eqn: Eqn, matters: bool) -> Sequence[Atom]:  # noqa: FBT001 - a fact's signature
    """Return the operands whose sign of zero decides the maximum, or with -1 the minimum: none beside 0 or more."""
    for atom in eqn.inputs:
        if isinstance(atom, Const) and is_float(atom.aval.dtype):
            bound = sign * np.asarray(atom.value)
            if np.all(bound >= 0) and not np.any(np.signbit(bound)):
                return ()
    return eqn.inputs if matters else ()


def _zeros_of_quotient(eqn: Eqn, matters: bool) -> Sequence[Atom]:  # noqa: FBT001 - a fact's signature
    """Return the operands whose sign of zero decides the quotient: a divisor 0 gives an infinity of its sign."""
    return eqn.inputs if matters else eqn.inputs[1:]


def _zeros_of_power(eqn: Eqn, matters: bool) -> Sequence[Atom]:  # noqa: FBT001 - a fact's signature
    """Return the operand, unless the power is even: that drops the sign. A negative odd one gives infinities."""
    odd = eqn.params["y"] % 2 == 1
    return eqn.inputs if odd and (matters or eqn.params["y"] < 0) else ()


def _operator(function: Callable[..., Any] | None = None, **further: Any) -> Facts:
    """Return the facts of an operator of two operands, which occurs everywhere."""
    fold = None if function is None else plain(function)
    return Facts(**{"elementwise": True, "common": True, "fold": fold, **further})


def _power_of_one(_params: object, base: Any, _exponent: Any) -> float | None:
    """Return 1 for powers of 1, also by NaN."""
    return 1.0 if base is not None and np.all(base == 1) else None


FACTS = {
    "abs": Facts(fold=plain(np.abs), zeros=blind),
    "add": _operator(operator.add, commutes=True, unit=0, zeros=_zeros_of_sum),
    "add_any": _operator(commutes=True),
    "and": _operator(operator.and_, commutes=True),
    "ceil": Facts(fold=plain(np.ceil)),
    "clamp": _operator(fold=folding.clamp),
    "div": _operator(fold=folding.quotient, zeros=_zeros_of_quotient),
    "eq": _operator(operator.eq, commutes=True),
    "floor": Facts(fold=plain(np.floor)),
    "ge": _operator(operator.ge),
    "gt": _operator(operator.gt),
    "integer_pow": Facts(fold=folding.integer_power, zeros=_zeros_of_power),
    "is_finite": Facts(fold=plain(np.isfinite)),
    "le": _operator(operator.le),
    "lt": _operator(operator.lt),
    "max": _operator(
        commutes=True,
        fold=folding.extremum(np.maximum, operator.add),
        zeros=functools.partial(_zeros_of_extremum, 1),
    ),
    "min": _operator(
        commutes=True,
        fold=folding.extremum(np.minimum, lambda x, y: -(-x + -y)),
        zeros=functools.partial(_zeros_of_extremum, -1),
    ),
    "mul": _operator(operator.mul, commutes=True, unit=1, zeros=_zeros_of_product),
    "ne": _operator(operator.ne, commutes=True),
    "neg": Facts(common=True, fold=plain(operator.neg)),
    "nextafter": _operator(),
    "not": Facts(fold=lambda _params, x: ~x),
    "or": _operator(operator.or_, commutes=True),
    "pow": _operator(zeros=telling, decided=_power_of_one),
    "rem": _operator(fold=folding.remainder),
    "select_n": _operator(fold=folding.select),
    "sign": Facts(fold=folding.sign),
    "square": Facts(fold=plain(np.square), zeros=blind),
    "sub": _operator(operator.sub, zeros=_zeros_of_sum),
    "xor": _operator(operator.xor, commutes=True),
}


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts(FACTS)
    registry.table(OPERATORS)
    registry.via_jax({"polynomial": horner})
    registry.table(
        {
            "add": emit_sum,
            "add_any": emit_sum,
            "sub": emit_difference,
            "mul": mul,
            "mulhi": mulhi,
            "div": div,
            "rem": rem,
            "neg": neg,
            "sign": sign,
            "square": lambda ctx, x: ctx.op.Mul(x, x),
            "one_minus_square": one_minus_square,
            "integer_pow": integer_pow,
            "pow": power,
            "round": round_,
            "max": extremum("Max", "Or"),
            "min": extremum("Min", "And"),
            "ne": unequal,
            "lt": comparison("Less"),
            "le": comparison("LessOrEqual"),
            "gt": comparison("Greater"),
            "ge": comparison("GreaterOrEqual"),
            "and": logical("And", "BitwiseAnd"),
            "or": logical("Or", "BitwiseOr"),
            "xor": logical("Xor", "BitwiseXor"),
            "not": logical("Not", "BitwiseNot"),
            "is_finite": is_finite,
            "nextafter": nextafter,
            "select_n": select_n,
            "clamp": clamp,
        }
    )


def unequal(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> ir.Value:
    """Lower ``ne``; a number is unequal to 0 if it is true, and NaN is."""
    dtype = ctx.avals_in[0].dtype
    if is_bool(dtype):
        return ctx.op.Xor(x, y)
    for place, number in enumerate((x, y)):
        other, is_whole = ctx.known(1 - place), ctx.avals_in[place].shape == ctx.aval_out.shape
        if other is not None and not np.any(other) and is_whole and _is_true_alone(dtype):
            return ctx.cast(number, np.bool_)
    return ctx.op.Not(ctx.op.Equal(x, y))


def _is_true_alone(dtype: Any) -> bool:
    """Return whether a conversion to bool is one node, and as exact as a comparison with 0."""
    return is_integer(dtype) or dtype in (np.float32, np.float64)


def mul(ctx: LoweringContext, x: ir.Value, y: ir.Value, *, out_dtype: Any = None) -> ir.Value:
    """Lower ``mul``."""
    if out_dtype is not None:
        x, y = ctx.cast(x, out_dtype), ctx.cast(y, out_dtype)
    return ctx.op.Mul(x, y)


def mulhi(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> ir.Value:
    """Lower ``mulhi``, the upper half of the double-width product, from products of half words."""
    op, dtype = ctx.op, ctx.aval_out.dtype
    bits, word = info(dtype).bits, unsigned(dtype)
    half, mask = np.asarray(bits // 2, word), np.asarray((1 << bits // 2) - 1, word)
    u, v = ctx.cast(x, word), ctx.cast(y, word)
    u0, v0 = op.BitwiseAnd(u, mask), op.BitwiseAnd(v, mask)
    u1, v1 = _shift_right(ctx, u, half), _shift_right(ctx, v, half)
    middle = op.Add(op.Mul(u1, v0), _shift_right(ctx, op.Mul(u0, v0), half))
    carry = op.Add(op.Mul(u0, v1), op.BitwiseAnd(middle, mask))
    high = op.Add(op.Mul(u1, v1), op.Add(_shift_right(ctx, middle, half), _shift_right(ctx, carry, half)))
    if is_unsigned(dtype):
        return high
    high = ctx.cast(high, dtype)
    for negative, other in ((x, y), (y, x)):
        high = op.Sub(high, op.Where(op.Less(negative, 0), other, np.zeros((), dtype)))
    return high


def _shift_right(ctx: LoweringContext, x: ir.Value, by: np.ndarray[Any, Any]) -> ir.Value:
    return ctx.op.BitShift(x, by, direction="RIGHT")


def div(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> ir.Value:
    """Lower ``div``."""
    dtype = ctx.aval_out.dtype
    if not is_integer(dtype):
        return ctx.op.Div(x, y)
    if _is_harmless(ctx.known(1)):
        return ctx.op.Div(x, y)
    # In JAX x / 0 is -1 (all bits set) and INT_MIN / -1 is INT_MIN; ONNX leaves both open, and onnxruntime traps.
    op = ctx.op
    zero = op.Equal(y, 0)
    if is_unsigned(dtype):
        return op.Where(zero, info(dtype).max, op.Div(x, op.Where(zero, 1, y)))
    minus = op.Equal(y, -1)
    quotient = op.Div(x, op.Where(op.Or(zero, minus), 1, y))
    return op.Where(zero, np.asarray(-1, dtype), op.Where(minus, op.Neg(x), quotient))


def rem(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> ir.Value:
    """Lower ``rem``, whose sign is the dividend's."""
    op, dtype = ctx.op, ctx.aval_out.dtype
    if not is_integer(dtype):
        return op.Mod(x, y, fmod=1)
    if _is_harmless(ctx.known(1)):
        if ctx.supports("Mod", dtype) and _divides_at_once(ctx, dtype):
            return op.Mod(x, y, fmod=0 if is_unsigned(dtype) else 1)
        return op.Sub(x, op.Mul(op.Div(x, y), y))
    zero = op.Equal(y, 0)
    trivial = zero if is_unsigned(dtype) else op.Or(zero, op.Equal(y, -1))
    safe = op.Where(trivial, 1, y)
    remainder = op.Sub(x, op.Mul(op.Div(x, safe), safe))
    return op.Where(zero, x, remainder)


def _divides_at_once(ctx: LoweringContext, dtype: Any) -> bool:
    """Return whether ``Mod`` is exact, and faster than a quotient, a product and a difference.

    onnxruntime computes the C remainder of signed integers in float64: exactly, if they have at most 32 bits.
    """
    shape = ctx.aval_out.shape
    return is_unsigned(dtype) or (info(dtype).bits <= 32 and is_static(*shape) and math.prod(shape) <= _FEW)


_FEW = 1024
"""Of how many signed integers the remainder is faster by one node."""


def _is_harmless(divisor: np.ndarray[Any, Any] | None) -> bool:
    """Return whether a divisor is a constant without 0 and -1."""
    return divisor is not None and not bool(np.any((divisor == 0) | (divisor == -1)))


def neg(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    """Lower ``neg``."""
    dtype = ctx.aval_out.dtype
    if is_unsigned(dtype):
        return ctx.op.Sub(np.zeros((), dtype), x)
    return ctx.op.Neg(x)


def sign(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    """Lower ``sign``; onnxruntime's is wrong for some int64."""
    op, dtype = ctx.op, ctx.aval_out.dtype
    if dtype == np.int64:
        return op.Sub(ctx.cast(op.Greater(x, 0), dtype), ctx.cast(op.Less(x, 0), dtype))
    return emit_sign(ctx, x) if is_float(dtype) else op.Sign(x)


def one_minus_square(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    """Lower ``one_minus_square``, factored to keep its digits near one."""
    one = np.ones((), ctx.aval_out.dtype)
    return ctx.op.Mul(ctx.op.Add(x, one), ctx.op.Sub(one, x))


def integer_pow(ctx: LoweringContext, x: ir.Value, *, y: int) -> ir.Value:
    """Lower ``integer_pow`` by repeated squaring, as JAX does; ``Pow`` saturates integers instead of wrapping."""
    dtype = ctx.aval_out.dtype
    if y == 0:
        return ctx.op.Expand(np.ones((), dtype), ctx.shape(ctx.aval_out.shape))
    result = repeated_product(x, abs(y), ctx.op.Mul)
    return ctx.op.Div(np.ones((), dtype), result) if y < 0 else result


def repeated_product(x: _T, count: int, multiply: Callable[[_T, _T], _T]) -> _T:
    """Return the product of ``count`` times ``x`` (at least once), by repeated squaring in the order of JAX."""
    result: _T | None = None
    while True:
        if count & 1:
            result = x if result is None else multiply(result, x)
        count >>= 1
        if not count:
            assert result is not None
            return result
        x = multiply(x, x)


def power(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> ir.Value:
    """Lower ``pow``; an integer exponent is converted first, as JAX does."""
    return ctx.op.Pow(x, ctx.cast(y, ctx.aval_out.dtype))


def round_(ctx: LoweringContext, x: ir.Value, *, rounding_method: lax.RoundingMethod) -> ir.Value:
    """Lower ``round``; ONNX's ``Round`` takes ties to even."""
    if rounding_method == lax.RoundingMethod.TO_NEAREST_EVEN:
        return ctx.op.Round(x)
    op = ctx.op
    size = op.Abs(x)
    below = op.Floor(size)
    up = op.GreaterOrEqual(op.Sub(size, below), 0.5)
    # The product with the sign keeps NaN and the sign of zero.
    return op.Mul(op.Where(up, op.Add(below, 1.0), below), emit_sign(ctx, x))


def extremum(number: str, truth: str) -> Callable[..., Any]:
    """Return the rule of ``max`` or ``min``, which on booleans are ``or`` and ``and``."""

    def rule(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> ir.Value:
        if is_bool(ctx.aval_out.dtype):
            return ctx.op.emit(truth, x, y)
        return emit_extremum(ctx, number, x, y, ctx.aval_out.dtype)

    return rule


def emit_extremum(ctx: LoweringContext, op_type: str, x: ir.Value, y: ir.Value, dtype: Any) -> ir.Value:
    """Emit ``Max`` or ``Min``; onnxruntime's kernels compare the halves of 64-bit integers wrongly."""
    if is_integer(dtype) and info(dtype).bits == 64:
        first = ctx.op.Greater(x, y) if op_type == "Max" else ctx.op.Less(x, y)
        return ctx.op.Where(first, x, y)
    return emit_signed(ctx, op_type, functools.partial(ctx.op.emit, op_type), x, y)


def comparison(op_type: str) -> Callable[..., Any]:
    """Return the rule of a comparison; ONNX does not order booleans."""

    def rule(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> ir.Value:
        if is_bool(ctx.avals_in[0].dtype):
            x, y = ctx.cast(x, np.uint8), ctx.cast(y, np.uint8)
        return ctx.op.emit(op_type, x, y)

    return rule


def logical(truth: str, bits: str) -> Callable[..., Any]:
    """Return the rule of a logical operation, which on integers is bitwise."""

    def rule(ctx: LoweringContext, *operands: ir.Value) -> ir.Value:
        return ctx.op.emit(truth if is_bool(ctx.aval_out.dtype) else bits, *operands)

    return rule


def horner(x: Any, *coefficients: Any, unroll: int | None = None) -> Any:
    """Return the polynomial in x with these coefficients, lowest power first."""
    del unroll
    return functools.reduce(lambda value, c: value * x + c, coefficients[-2::-1], coefficients[-1])


def is_finite(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    """Lower ``is_finite``."""
    return ctx.op.Less(ctx.op.Abs(x), np.asarray(np.inf, ctx.avals_in[0].dtype))


def nextafter(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> ir.Value:
    """Lower ``nextafter``, for which ONNX has no operator."""
    op, dtype = ctx.op, ctx.aval_out.dtype
    assert is_float(dtype)
    infinite = op.Equal(op.Abs(x), np.asarray(np.inf, dtype))
    inward = op.Mul(op.Sign(x), np.asarray(info(dtype).max, dtype))
    neighbour = op.Where(infinite, inward, _neighbour(ctx, x, op.Less(x, y), dtype))
    # Either operand may be NaN; of equal ones the result is the second one, which decides the sign of zero.
    nan = op.Or(op.IsNaN(x), op.IsNaN(y))
    return op.Where(nan, np.asarray(np.nan, dtype), op.Where(negation(ctx, op.Equal(x, y)), neighbour, y))


def _neighbour(ctx: LoweringContext, x: ir.Value, up: ir.Value, dtype: Any) -> ir.Value:
    """Return the next greater, or smaller, number of a finite one.

    It is ``x + sign * u (1 + 2u) |x|``, rounded to nearest, where u is half the spacing at one (Rump, Zimmermann, Boldo
    and Melquiond, 2009). Numbers below one are scaled, lest the product is subnormal; the smallest ones are spaced like
    the subnormals.
    """
    op, kind = ctx.op, info(dtype)
    u, size = float(kind.eps) / 2, op.Abs(x)
    one, spacing = np.asarray(1, dtype), np.asarray(kind.smallest_subnormal, dtype)
    below = op.Less(size, one)
    scale, back = op.Where(below, np.asarray(1 / u, dtype), one), op.Where(below, np.asarray(u, dtype), one)
    step = op.Mul(op.Mul(size, scale), np.asarray(u * (1 + 2 * u), dtype))
    normal = op.Mul(op.Add(op.Mul(x, scale), op.Where(up, step, op.Neg(step))), back)
    least = op.Add(x, op.Where(up, spacing, -spacing))
    return op.Where(op.Less(size, np.asarray(2 * kind.tiny, dtype)), least, normal)


def select_n(ctx: LoweringContext, which: ir.Value, *cases: ir.Value) -> ir.Value:
    """Lower ``select_n``; an index out of range selects the first or last case."""
    if len(cases) == 1:
        return cases[0]
    if is_bool(ctx.avals_in[0].dtype):
        return emit_select(ctx, which, cases[1], cases[0])
    # Where selects between two arrays only: there is one for each further case.
    value = cases[-1]
    for i in range(len(cases) - 1, 0, -1):
        value = emit_select(ctx, ctx.op.Less(which, i), cases[i - 1], value)
    return value


def clamp(ctx: LoweringContext, low: ir.Value, x: ir.Value, high: ir.Value) -> ir.Value:
    """Lower ``clamp``."""
    dtype = ctx.aval_out.dtype
    if is_bool(dtype):
        return ctx.op.And(ctx.op.Or(x, low), high)
    if _is_clip(ctx, dtype):
        return ctx.op.Clip(x, low, high)
    return emit_extremum(ctx, "Min", emit_extremum(ctx, "Max", x, low, dtype), high, dtype)


def _is_clip(ctx: LoweringContext, dtype: Any) -> bool:
    """Return whether ``Clip`` does what ``clamp`` does: it takes scalar bounds only, and passes over a NaN in them."""
    if not (dtype.itemsize < 8 or is_float(dtype)):
        return False
    zero = False
    for bound in (ctx.known(0), ctx.known(2)):
        if bound is None or bound.ndim > 0 or (is_float(dtype) and np.isnan(bound)):
            return False
        zero = zero or bool(bound == 0)
    return not (zero and is_float(dtype) and ctx.sign_of_zero_matters())
