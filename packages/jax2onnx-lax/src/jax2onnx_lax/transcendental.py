"""Lower exponentials, logarithms, trigonometry and the error function."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Facts, blind, is_static, telling
from jax2onnx_lax.convert import convert
from jax2onnx_lax.dtypes import is_float8, is_narrow, needs_double, widened
from jax2onnx_lax.folding import plain
from jax2onnx_lax.zeros import emit_sign_bit, negation

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from jax2onnx.plugin import BoundLowerings, LoweringContext

OPERATORS = {
    "exp": "Exp",
    "log": "Log",
    "sqrt": "Sqrt",
    "tanh": "Tanh",
    "sin": "Sin",
}
"""Primitives for which ONNX has exactly the operator, and runtimes have it in float64 too."""

LN2 = math.log(2)


FACTS = {
    "acos": Facts(zeros=blind),
    "atan2": Facts(elementwise=True, common=True, zeros=telling),
    "cos": Facts(zeros=blind),
    "cosh": Facts(zeros=blind),
    "erfc": Facts(zeros=blind),
    "exp": Facts(zeros=blind),
    "exp2": Facts(zeros=blind),
    "log": Facts(zeros=blind),
    "logistic": Facts(zeros=blind),
    "rsqrt": Facts(zeros=telling),
    "sqrt": Facts(fold=plain(np.sqrt)),
}


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts(FACTS)
    registry.table(OPERATORS)
    registry.table(
        {
            "cos": single("Cos", cos64),
            "tan": single("Tan", lambda x: lax.sin(x) / cos64(x)),
            "asin": single("Asin", lambda x: 2 * lax.atan(x / (1 + lax.sqrt((1 - x) * (1 + x))))),
            "acos": single("Acos", lambda x: 2 * lax.atan(lax.sqrt((1 - x) / (1 + x)))),
            "atan": atan,
            "sinh": single("Sinh", lambda x: lax.tanh(x) * lax.cosh(x)),
            "cosh": single("Cosh", lambda x: lax.exp(x - LN2) + lax.exp(-x - LN2)),
            "asinh": single("Asinh", asinh64),
            "acosh": single("Acosh", acosh64),
            "atanh": single("Atanh", lambda x: (lax.log1p(x) - lax.log1p(-x)) / 2),
            "erf": in_float32(erf),
            "logistic": logistic,
            "exp2": lambda ctx, x: ctx.op.Exp(ctx.op.Mul(x, np.asarray(LN2, ctx.aval_out.dtype))),
            "expm1": in_float32(expm1),
            "log1p": in_float32(log1p),
            "log2": in_float32(lambda ctx, x: ctx.op.Div(ctx.op.Log(x), LN2)),
            "rsqrt": in_float32(lambda ctx, x: ctx.op.Reciprocal(ctx.op.Sqrt(x))),
            "cbrt": in_float32(cbrt),
            "atan2": in_float32(atan2),
        }
    )
    registry.via_jax({"erfc": upcast(erfc), "erf_inv": upcast(erf_inv)})


def single(op_type: str, double: Callable[..., Any]) -> Callable[..., Any]:
    """Return the rule of a primitive that is an operator; ``double`` replaces it in float64 if the target lacks it."""

    def rule(ctx: LoweringContext, x: ir.Value) -> ir.Value:
        if needs_double(ctx, op_type):
            value: ir.Value = ctx.via_jax(double, x)
            return value
        return ctx.op.emit(op_type, x)

    return rule


def in_float32(rule: Callable[..., ir.Value]) -> Callable[..., Any]:
    """Return a rule that computes float16 and bfloat16 in float32: a composition would round at every step."""

    def wide(ctx: LoweringContext, *operands: ir.Value) -> ir.Value:
        value, dtype = rule(ctx, *widened(ctx, *operands)), ctx.aval_out.dtype
        return convert(ctx, value, np.float32, dtype) if is_float8(dtype) else ctx.cast(value, dtype)

    return wide


def upcast(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a JAX function that computes float16 and bfloat16 in float32."""

    def wide(*operands: Any) -> Any:
        dtype = operands[0].dtype
        if not is_narrow(dtype):
            return function(*operands)
        return function(*[x.astype(jnp.float32) for x in operands]).astype(dtype)

    return wide


def polynomial(x: Any, coefficients: Sequence[float]) -> Any:
    """Return the polynomial with these coefficients, highest power first."""
    return functools.reduce(lambda value, c: value * x + c, coefficients[1:], jnp.full_like(x, coefficients[0]))


def expm1(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    """Lower ``expm1`` as ``tanh(x/2) (exp(x) + 1)``, which has no cancellation."""
    op = ctx.op
    return op.Mul(op.Tanh(op.Mul(x, 0.5)), op.Add(op.Exp(x), 1.0))


def log1p(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    """Lower ``log1p``: ``x`` times what ``log(u)`` is to ``u - 1``, which undoes the error that ``u = 1 + x`` makes.

    Between 0 and 1, it is ``log(u) + e / u``: the error ``e = x - (u - 1)`` is exact there.
    """
    op = ctx.op
    u = op.Add(x, 1.0)
    rounded = op.Sub(u, 1.0)
    if _is_share(x):
        return op.Add(op.Log(u), op.Div(op.Sub(x, rounded), u))
    small = op.Less(op.Abs(x), 0.5)
    # A product, since onnxruntime's Where makes 0 of -0, and log(u) / log1p(-0) is then infinite the wrong way.
    one = op.Or(op.Equal(rounded, 0.0), op.Equal(x, math.inf))
    divisor = op.Where(small, rounded, x)
    return op.Mul(x, op.Where(one, 1.0, op.Div(op.Log(u), op.Where(one, 1.0, divisor))))


def _is_share(x: ir.Value) -> bool:
    """Return whether numbers are powers of e that are no larger than 1, as in ``logaddexp``; NaN may be among them."""
    kinds: list[str] = []
    value: ir.Value | None = x
    while value is not None and len(kinds) < len(_SHARE):
        node = value.producer()
        kinds.append("" if node is None or node.domain else node.op_type)
        value = None if node is None else node.inputs[0]
    return tuple(kinds) == _SHARE


_SHARE = ("Exp", "Neg", "Abs")
"""What computes a power of e that is at most 1."""


def cbrt(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    """Lower ``cbrt``: a power, with one Newton step for the digits that the rounded exponent costs."""
    op = ctx.op
    size = op.Abs(x)
    # Zero, infinity and NaN are their own cube roots; Newton's step would make NaN of them.
    plain = op.And(op.Greater(size, 0.0), op.Less(size, math.inf))
    a = op.Where(plain, size, 1.0)
    root = op.Pow(a, 1 / 3)
    root = op.Div(op.Add(op.Add(root, root), op.Div(a, op.Mul(root, root))), 3.0)
    return op.Where(plain, op.Mul(root, op.Sign(x)), x)


def logistic(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    """Lower ``logistic``; onnxruntime's ``Sigmoid`` is right to 1e-7 of 1, also in float64: below -18 it is 0.

    The sum overflows where the result is smaller than the smallest normal number, which is 0 to JAX.
    """
    op, dtype = ctx.op, ctx.aval_out.dtype
    if ctx.target is None or not (ctx.small_results_matter() or dtype == np.float64):
        return op.Sigmoid(x)
    (wide,) = widened(ctx, x)
    return ctx.cast(op.Reciprocal(op.Add(op.Exp(op.Neg(wide)), 1.0)), dtype)


def atan2(ctx: LoweringContext, y: ir.Value, x: ir.Value) -> ir.Value:
    """Lower ``atan2`` from the angle in the first quadrant; ONNX has ``Atan`` only."""
    op = ctx.op
    height, width = op.Abs(y), op.Abs(x)
    # Equal operands include zeros and infinities, whose quotient is NaN.
    quotient = op.Where(op.Equal(height, width), 1.0, op.Div(height, width))
    origin = op.And(op.Equal(height, 0.0), op.Equal(width, 0.0))
    angle = op.Where(origin, 0.0, atan(ctx, quotient))
    angle = op.Where(emit_sign_bit(ctx, x), op.Sub(math.pi, angle), angle)
    # In this order: onnxruntime's Where makes 0 of a -0 that it takes from its first choice.
    angle = op.Where(negation(ctx, emit_sign_bit(ctx, y)), angle, op.Neg(angle))
    return op.Where(op.Or(op.IsNaN(x), op.IsNaN(y)), math.nan, angle)


def atan(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    """Lower ``atan``; in float64, where the target lacks it, from the float32 angle and one step of correction.

    With ``a`` near ``atan(x)``: ``atan(x) = a + atan((x cos a - sin a) / (cos a + x sin a))``.
    """
    op = ctx.op
    if not needs_double(ctx, "Atan"):
        return op.Atan(x)
    # A larger operand would be infinity times zero below, and has the same angle.
    x = op.Clip(x, np.asarray(-1e300), np.asarray(1e300))
    near = ctx.cast(op.Atan(ctx.cast(x, np.float32)), np.float64)
    sin, half = op.Sin(near), op.Sin(op.Mul(near, 0.5))
    cos = op.Sub(np.asarray(1.0), op.Mul(op.Mul(half, half), 2.0))
    angle = op.Add(near, op.Div(op.Sub(op.Mul(x, cos), sin), op.Add(cos, op.Mul(x, sin))))
    return op.Where(ctx.cast(x, np.bool_), angle, x)


def cos64(x: Any) -> Any:
    """Return the cosine from the sine of half the angle, which is exact where a shifted angle is not."""
    half = lax.sin(x / 2)
    return 1 - 2 * half * half


def asinh64(x: Any) -> Any:
    """Return the inverse hyperbolic sine."""
    size = lax.abs(x)
    large = size > 1e100
    a = jnp.where(large, 1.0, size)
    small = lax.log1p(a + a * a / (1 + lax.sqrt(1 + a * a)))
    value = jnp.where(large, lax.log(size) + LN2, small)
    return jnp.where(x < 0, -value, jnp.where(x == 0, x, value))


def acosh64(x: Any) -> Any:
    """Return the inverse hyperbolic cosine."""
    large = x > 1e100
    t = jnp.where(large, 1.0, x) - 1
    value = jnp.where(large, lax.log(x) + LN2, lax.log1p(t + lax.sqrt(t * (t + 2))))
    return jnp.where(x < 1, jnp.nan, value)


# Rational approximations, fitted for this project in 90-digit arithmetic; relative errors 2e-9 (32) and 2e-17 (64).
_ERFCX_32 = (  # exp(x^2) erfc(x) on [0.4, 11]
    (0.042361147194556845, 0.26874223649611156, 0.8093195899168413, 1.3069077453299753, 1.000005687624798),
    (0.07508289640612024, 0.4763453334867419, 1.4717977045812884, 2.557020033231849, 2.4353481805840427, 1.0),
)
_ERFCX_64 = (  # exp(x^2) erfc(x) on [0.4, 30]
    (
        9.034205905261644e-05, 0.0015974902162109845, 0.014077674352392348, 0.0793420512063744, 0.3117725931065216,
        0.8810557513956558, 1.7883970389100066, 2.5216933969906186, 2.2603049508941546, 0.999999999989763,
    ),
    (
        0.0001601271304666188, 0.0028314776854948044, 0.025032091683823584, 0.14204586300254018, 0.5649984849396188,
        1.6305299569732823, 3.4338770502458753, 5.183619444654508, 5.345413960859389, 3.3886841178103118, 1.0,
    ),
)  # fmt: skip
_ERF_64 = (  # erf(x) / x as a function of x^2 on [0, 1.1]
    (
        0.00019481765806484574, 0.0018269751839000755, 0.045299762727485815, 0.14215427177585543, 1.1283791670955126,
    ),
    (
        2.027588231136209e-05, 0.000680932240924441, 0.0105807535193874, 0.09325062829550529, 0.4593142765492239, 1.0,
    ),
)  # fmt: skip


def rational(x: Any, fit: tuple[Sequence[float], Sequence[float]]) -> Any:
    """Return the quotient of two polynomials."""
    return polynomial(x, fit[0]) / polynomial(x, fit[1])


def erf(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    """Lower ``erf``; onnxruntime 1.24 takes that of NaN for one."""
    if needs_double(ctx, "Erf"):
        value: ir.Value = ctx.via_jax(erf64, x)
        return value
    value = ctx.op.Erf(x)
    return ctx.op.Where(ctx.op.IsNaN(x), x, value) if ctx.guards else value


def erf64(x: Any) -> Any:
    """Return the error function in float64."""
    size = lax.abs(x)
    small = jnp.minimum(size, 1.0)
    tail = 1 - _erfc_tail(size)
    return jnp.where(size < 1, x * rational(small * small, _ERF_64), jnp.where(x < 0, -tail, tail))


def _erfc_tail(x: Any) -> Any:
    """Return ``erfc(x)`` for x of at least 0.4."""
    fit, last = (_ERFCX_64, 30.0) if x.dtype == jnp.float64 else (_ERFCX_32, 11.0)
    return lax.exp(-x * x) * rational(jnp.clip(x, 0.4, last), fit)


def erfc(x: Any) -> Any:
    """Return the complementary error function; ``1 - erf(x)`` has no digits left in the tail."""
    return jnp.where(x < 0.5, 1 - lax.erf(x), _erfc_tail(x))


# The two branches of Giles, "Approximating the erfinv function" (2012), single precision.
_ERF_INV_CENTRE = (
    2.81022636e-08, 3.43273939e-07, -3.5233877e-06, -4.39150654e-06, 0.00021858087, -0.00125372503, -0.00417768164,
    0.246640727, 1.50140941,
)  # fmt: skip
_ERF_INV_TAIL = (
    -0.000200214257, 0.000100950558, 0.00134934322, -0.00367342844, 0.00573950773, -0.0076224613, 0.00943887047,
    1.00167406, 2.83297682,
)  # fmt: skip


_FEW = 64
"""Of up to so many numbers, all powers are computed at once: for more, they cost more than their nodes did."""


def erf_inv(x: Any) -> Any:
    """Return the inverse error function.

    Its polynomials are of ``-log(1 - x * x)`` minus a number: where 1 is so large beside ``x * x`` that the sum is
    rounded, the error is no larger than that of the difference. So ``log1p`` is not needed.
    """
    log = lax.log(1 - x * x)
    size, is_central = lax.abs(log), log > -5
    if is_static(*x.shape) and x.size <= _FEW:
        # before: centre -> 9 products and sums; tail -> as many
        # after:  one of the two [...] -> its powers [..., 9], times the coefficients of one of the two -> their sum
        numbers = jnp.asarray([_ERF_INV_TAIL, _ERF_INV_CENTRE], x.dtype)
        coefficients = jnp.take(numbers, is_central.astype(jnp.int32), axis=0, mode="clip")
        place = jnp.where(is_central, size, lax.sqrt(size)) - jnp.where(is_central, 2.5, 3).astype(x.dtype)
        powers = place[..., None] ** jnp.arange(8.0, -1.0, -1.0, dtype=x.dtype)
        factor = jnp.sum(coefficients * powers, axis=-1)
    else:
        centre, tail = polynomial(size - 2.5, _ERF_INV_CENTRE), polynomial(lax.sqrt(size) - 3, _ERF_INV_TAIL)
        factor = jnp.where(is_central, centre, tail)
    y = x * jnp.where(log == -jnp.inf, jnp.inf, factor)
    if x.dtype != jnp.float64:
        return y
    y = _refined(_refined(y, x), x)
    return jnp.where(lax.abs(x) == 1, x * jnp.inf, jnp.where(x == 0, x, y))


def _refined(y: Any, x: Any) -> Any:
    """Return a better ``y`` with ``erf(y) = x``, by a step of Halley's method."""
    size, target = lax.abs(y), lax.abs(x)
    # Away from zero the complement keeps the digits.
    error = jnp.where(target < 0.5, lax.erf(size) - target, (1 - target) - lax.erfc(size))
    step = error * (math.sqrt(math.pi) / 2) * lax.exp(size * size)
    better = size - step / (1 + size * step)
    return jnp.where(x < 0, -better, better)
