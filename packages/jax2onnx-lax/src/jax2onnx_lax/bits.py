"""Lower what concerns the bits of numbers: reinterpreting them, rounding them away, and the total order of floats.

ONNX has ``BitCast`` since opset 26 only. Before that, the bits of a float are computed from its exponent and mantissa,
and back; every step is exact. A NaN has the bits of the canonical quiet NaN then.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ml_dtypes
import numpy as np

from jax2onnx.plugin import Facts, ir_dtype, telling
from jax2onnx_lax import folding
from jax2onnx_lax.convert import convert
from jax2onnx_lax.dtypes import info, is_float, is_float8, unsigned
from jax2onnx_lax.zeros import emit_sign, emit_sign_bit, negation

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import BoundLowerings, LoweringContext


FACTS = {
    "bitcast_convert_type": Facts(zeros=telling, fold=folding.bits),
    **dict.fromkeys(("eq_to", "le_to", "lt_to"), Facts(zeros=telling)),
}


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts(FACTS)
    registry.table(
        {
            "bitcast_convert_type": bitcast_convert_type,
            "reduce_precision": reduce_precision,
            "eq_to": total_order(_same, "Equal"),
            "lt_to": total_order(_before, "Less"),
            "le_to": total_order(_not_after, "LessOrEqual"),
        }
    )


@dataclass(frozen=True, slots=True)
class _Format:
    """A binary floating-point format of ``width`` bits, and the dtype in which rules compute with its numbers.

    Attributes:
        lowest: the exponent of the smallest normal number.
        highest: the exponent of the largest number.
        infinity: the bits of infinity, or None in a format without it.
        nan: the bits of the NaN that a rule writes.
    """

    width: int
    mantissa: int
    carrier: np.dtype[Any]
    lowest: int
    highest: int
    infinity: int | None
    nan: int

    @property
    def unsigned(self) -> np.dtype[Any]:
        """The integer dtype of the same width."""
        return np.dtype(f"uint{self.width}")

    def powers(self, exponents: Any) -> Any:
        """Return powers of two in the carrier."""
        return np.ldexp(np.ones((), self.carrier), exponents).astype(self.carrier)


def _format(dtype: Any) -> _Format:
    kind = info(dtype)
    special = np.asarray([np.inf, np.nan]).astype(dtype)
    infinity, nan = special.view(f"uint{kind.bits}").tolist()
    return _Format(
        width=kind.bits,
        mantissa=kind.nmant,
        carrier=np.dtype(np.float64 if kind.bits == 64 else np.float32),
        lowest=int(kind.minexp),
        highest=int(kind.maxexp) - 1,
        infinity=infinity if np.isinf(special[0]) else None,
        nan=nan,
    )


def bitcast_convert_type(ctx: LoweringContext, x: ir.Value, *, new_dtype: Any) -> ir.Value:
    """Lower ``bitcast_convert_type``; between widths, the last axis holds the parts, lowest bits first."""
    old, new = np.dtype(ctx.avals_in[0].dtype), np.dtype(new_dtype)
    if old == new:
        return x
    narrow, wide = sorted((info(old).bits, info(new).bits))
    bits = _to_bits(ctx, x, old)
    shifts = np.arange(0, wide, narrow)
    if info(old).bits > info(new).bits:
        parts = ctx.op.Unsqueeze(bits, ctx.ints(-1))
        parts = ctx.op.BitShift(parts, shifts.astype(_word(old)), direction="RIGHT")
        bits = _lowest(ctx, ctx.cast(parts, _word(new)), narrow)
    elif info(old).bits < info(new).bits:
        bits = _joined(ctx, ctx.cast(bits, _word(new)), shifts.astype(_word(new)))
    return _from_bits(ctx, bits, new)


def _word(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the unsigned integer in which a rule holds the bits: of the same width, but of whole bytes."""
    return np.dtype(f"uint{8 * dtype.itemsize}")


def _lowest(ctx: LoweringContext, word: ir.Value, width: int) -> ir.Value:
    """Return the lowest bits of a word."""
    return word if width >= 8 else ctx.op.BitwiseAnd(word, (1 << width) - 1)


def _joined(ctx: LoweringContext, parts: ir.Value, shifts: Any) -> ir.Value:
    shifted = ctx.op.BitShift(parts, shifts, direction="LEFT")
    value = ctx.op.Gather(shifted, ctx.constant(0, np.int64), axis=-1)
    for i in range(1, len(shifts)):
        value = ctx.op.BitwiseOr(value, ctx.op.Gather(shifted, ctx.constant(i, np.int64), axis=-1))
    return value


def _to_bits(ctx: LoweringContext, x: ir.Value, dtype: np.dtype[Any]) -> ir.Value:
    if not is_float(dtype):
        return _lowest(ctx, ctx.cast(x, _word(dtype)), info(dtype).bits)
    if _native(ctx, dtype):
        return ctx.op.BitCast(x, to=int(ir_dtype(unsigned(dtype))))
    if dtype == ml_dtypes.bfloat16:
        upper = ctx.op.BitShift(encode(ctx, ctx.cast(x, np.float32), _format(np.float32)), 16, direction="RIGHT")
        return ctx.cast(upper, unsigned(dtype))
    return encode(ctx, convert(ctx, x, dtype, _format(dtype).carrier), _format(dtype))


def _from_bits(ctx: LoweringContext, bits: ir.Value, dtype: np.dtype[Any]) -> ir.Value:
    if not is_float(dtype):
        return ctx.cast(bits, dtype)
    if _native(ctx, dtype):
        return ctx.op.BitCast(bits, to=int(ir_dtype(dtype)))
    if dtype == ml_dtypes.bfloat16:
        # A bfloat16 is the upper half of a float32.
        whole = ctx.op.BitShift(ctx.cast(bits, np.uint32), 16, direction="LEFT")
        return ctx.cast(decode(ctx, whole, _format(np.float32)), dtype)
    if is_float8(dtype):
        numbers = np.arange(1 << 8, dtype=np.uint8).view(dtype).astype(np.float32)
        return convert(ctx, ctx.op.Gather(numbers, ctx.cast(bits, np.int64), axis=0), np.float32, dtype)
    return ctx.cast(decode(ctx, bits, _format(dtype)), dtype)


def _native(ctx: LoweringContext, dtype: Any) -> bool:
    return ctx.opset >= 26 and ctx.supports("BitCast", dtype)


def decode(ctx: LoweringContext, bits: ir.Value, kind: _Format) -> ir.Value:
    """Return the number with these bits, in the carrier of a format that has infinities."""
    op, m, word = ctx.op, kind.mantissa, kind.unsigned
    top = (1 << (kind.width - m - 1)) - 1
    exponent = op.BitwiseAnd(op.BitShift(bits, m, direction="RIGHT"), top)
    fraction = op.BitwiseAnd(bits, (1 << m) - 1)
    implicit = op.Where(op.Equal(exponent, 0), np.asarray(0, word), np.asarray(1 << m, word))
    scales = kind.powers(np.maximum(np.arange(top + 1), 1) - 1 + kind.lowest - m)
    scales[top] = np.inf
    scale = op.Gather(scales, ctx.cast(exponent, np.int64), axis=0)
    size = op.Mul(ctx.cast(op.Add(fraction, implicit), kind.carrier), scale)
    nan = op.And(op.Equal(exponent, top), op.Greater(fraction, 0))
    size = op.Where(nan, np.asarray(np.nan, kind.carrier), size)
    # In this order: onnxruntime's Where makes 0 of a -0 that it takes from its first choice.
    return op.Where(op.Less(bits, 1 << (kind.width - 1)), size, op.Neg(size))


def encode(ctx: LoweringContext, x: ir.Value, kind: _Format) -> ir.Value:
    """Return the bits of a number that has the format, as an unsigned integer."""
    op, m, word = ctx.op, kind.mantissa, kind.unsigned
    x = ctx.cast(x, kind.carrier)
    scaled, step = _split(ctx, x, kind)
    # ``scaled`` holds the implicit bit of a normal number: it adds the one that ``step`` lacks to the exponent.
    bits = op.Add(ctx.cast(scaled, word), op.BitShift(ctx.cast(step, word), m, direction="LEFT"))
    if kind.infinity is not None:
        bits = op.Where(op.Equal(op.Abs(x), np.inf), np.asarray(kind.infinity, word), bits)
    bits = op.Where(op.Equal(x, 0.0), np.asarray(0, word), bits)
    bits = op.Where(emit_sign_bit(ctx, x), op.BitwiseOr(bits, 1 << (kind.width - 1)), bits)
    return op.Where(op.IsNaN(x), np.asarray(kind.nan, word), bits)


def _split(ctx: LoweringContext, x: ir.Value, kind: _Format) -> tuple[ir.Value, ir.Value]:
    """Split the finite non-zero elements into mantissa and exponent.

    Returns the size as a multiple of the spacing at its exponent (below two to the mantissa's width plus one), and the
    exponent less the lowest one as an int64. For other elements both are those of one.
    """
    op, m = ctx.op, kind.mantissa
    size = op.Abs(x)
    size = op.Where(op.And(op.Greater(size, 0.0), op.Less(size, np.inf)), size, 1.0)
    guess = op.Floor(op.Div(op.Log(size), math.log(2)))
    guess = op.Sub(op.Clip(guess, kind.carrier.type(kind.lowest), kind.carrier.type(kind.highest)), float(kind.lowest))
    step = ctx.cast(guess, np.int64)
    scaled = size
    for scale in _halves(kind, m - np.arange(kind.lowest, kind.highest + 1)):
        scaled = op.Mul(scaled, op.Gather(scale, step, axis=0))
    # The logarithm is rounded: the exponent may be one off.
    high = op.And(op.Less(scaled, float(1 << m)), op.Greater(step, 0))
    scaled, step = op.Where(high, op.Mul(scaled, 2.0), scaled), op.Where(high, op.Sub(step, 1), step)
    low = op.GreaterOrEqual(scaled, float(2 << m))
    return op.Where(low, op.Mul(scaled, 0.5), scaled), op.Where(low, op.Add(step, 1), step)


def _halves(kind: _Format, exponents: Any) -> tuple[Any, Any]:
    """Return two factors for each power of two, which itself may be out of range."""
    half = exponents // 2
    return kind.powers(half), kind.powers(exponents - half)


def reduce_precision(ctx: LoweringContext, x: ir.Value, *, exponent_bits: int, mantissa_bits: int) -> ir.Value:
    """Lower ``reduce_precision``: round to the mantissa; with fewer bits of exponent, overflow and flush to zero."""
    op, dtype = ctx.op, np.dtype(ctx.aval_out.dtype)
    kind = _format(dtype)
    narrower = exponent_bits < kind.width - kind.mantissa - 1
    if not narrower and mantissa_bits >= kind.mantissa:
        return x
    wide = ctx.cast(x, kind.carrier)
    scaled, step = _split(ctx, wide, kind)
    drop = max(kind.mantissa - mantissa_bits, 0)
    size = op.Mul(op.Round(op.Mul(scaled, 2.0**-drop)), 2.0**drop)
    for scale in _halves(kind, np.arange(kind.lowest, kind.highest + 1) - kind.mantissa):
        size = op.Mul(size, op.Gather(scale, step, axis=0))
    if narrower:
        bias = (1 << (exponent_bits - 1)) - 1
        largest = float(kind.powers(bias)) * (2 - 2.0**-mantissa_bits)
        size = op.Where(op.Greater(size, largest), np.asarray(np.inf, kind.carrier), size)
        size = op.Where(op.Less(size, float(kind.powers(1 - bias))), np.asarray(0, kind.carrier), size)
    value = op.Mul(size, emit_sign(ctx, wide))
    finite = op.Less(op.Abs(wide), np.asarray(np.inf, kind.carrier))
    return ctx.cast(op.Where(negation(ctx, finite), wide, value), dtype)


def total_order(rule: Callable[[LoweringContext, ir.Value, ir.Value], ir.Value], op_type: str) -> Callable[..., Any]:
    """Return the rule of a comparison in the total order of floats, where -0 < 0 and NaN is at the ends."""

    def lowered(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> ir.Value:
        dtype = np.dtype(ctx.avals_in[0].dtype)
        if not is_float(dtype):
            return ctx.op.emit(op_type, x, y)
        if _native(ctx, dtype):
            return ctx.op.emit(op_type, *[_order_key(ctx, v, dtype) for v in (x, y)])
        return rule(ctx, x, y)

    return lowered


def _order_key(ctx: LoweringContext, x: ir.Value, dtype: np.dtype[Any]) -> ir.Value:
    """Return the bits as a signed integer, reversed for negative numbers."""
    signed = np.dtype(f"int{8 * dtype.itemsize}")
    bits = ctx.op.BitCast(x, to=int(ir_dtype(signed)))
    flipped = ctx.op.BitwiseXor(bits, np.iinfo(signed).max)
    return ctx.op.Where(ctx.op.Less(bits, 0), flipped, bits)


# Before BitCast no operator shows the sign of NaN. So every NaN is the largest number then; JAX itself makes all NaN
# alike before it sorts or searches.


def _before(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> ir.Value:
    """Emit whether x comes before y."""
    op = ctx.op
    zeros = op.And(_is_minus_zero(ctx, x), op.And(op.Equal(y, x), op.Not(_is_minus_zero(ctx, y))))
    return op.Or(op.Or(op.Less(x, y), zeros), op.And(op.Not(op.IsNaN(x)), op.IsNaN(y)))


def _not_after(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> ir.Value:
    """Emit whether x does not come after y."""
    return ctx.op.Not(_before(ctx, y, x))


def _same(ctx: LoweringContext, x: ir.Value, y: ir.Value) -> ir.Value:
    """Emit whether x and y have one place in the order."""
    op = ctx.op
    signs = op.Equal(_is_minus_zero(ctx, x), _is_minus_zero(ctx, y))
    return op.Or(op.And(op.Equal(x, y), signs), op.And(op.IsNaN(x), op.IsNaN(y)))


def _is_minus_zero(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    return ctx.op.And(ctx.op.Equal(x, 0.0), ctx.op.Less(ctx.op.Reciprocal(x), 0.0))
