"""Lower shifts and bit counts of integers."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from jax import lax

from jax2onnx.plugin import Facts, is_static
from jax2onnx_lax import folding
from jax2onnx_lax.dtypes import info, unsigned

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import BoundLowerings, LoweringContext


_FEW = 64
"""Of how many numbers the bits are counted one by one."""

_DIVIDED = frozenset({np.dtype(np.int32), np.dtype(np.int64)})
"""Dtypes of signed numbers that runtimes divide as they are."""

FACTS = {
    "shift_left": Facts(fold=folding.shifted(operator.lshift, logical=True)),
    "shift_right_arithmetic": Facts(fold=folding.shifted(operator.rshift, logical=False)),
    "shift_right_logical": Facts(fold=folding.shifted(operator.rshift, logical=True)),
}


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts(FACTS)
    registry.table(
        {
            "shift_left": shift("LEFT"),
            "shift_right_logical": shift("RIGHT"),
            "shift_right_arithmetic": shift_right_arithmetic,
        }
    )
    registry.via_jax({"population_count": population_count, "clz": count_leading_zeros})


def shift(direction: str) -> Callable[..., Any]:
    """Return the rule of a shift that moves in zeros."""

    def rule(ctx: LoweringContext, x: ir.Value, by: ir.Value) -> ir.Value:
        return ctx.cast(_shift(ctx, x, by, direction), ctx.aval_out.dtype)

    return rule


def shift_right_arithmetic(ctx: LoweringContext, x: ir.Value, by: ir.Value) -> ir.Value:
    """Lower ``shift_right_arithmetic``: a negative number is shifted as its complement, which moves in ones.

    ::

        before: f = Where(x < 0, -1, 0); (uint32(x ^ f) >> 3) ^ f     8 nodes
        after:  (x & -8) / 8                                          2, by a known number of bits: no remainder is left
    """
    op, dtype = ctx.op, ctx.aval_out.dtype
    amount = ctx.known(1)
    if amount is not None and dtype in _DIVIDED and bool(np.all((amount >= 0) & (amount < info(dtype).bits - 1))):
        powers = np.left_shift(1, amount.astype(np.int64)).astype(dtype)
        return op.Div(op.BitwiseAnd(x, -powers), powers)
    signed = np.dtype(f"int{info(dtype).bits}")
    x = ctx.cast(x, signed)
    flip = op.Where(op.Less(x, 0), np.asarray(-1, signed), np.asarray(0, signed))
    shifted = ctx.cast(_shift(ctx, op.BitwiseXor(x, flip), by, "RIGHT"), signed)
    return ctx.cast(op.BitwiseXor(shifted, flip), dtype)


def _shift(ctx: LoweringContext, x: ir.Value, by: ir.Value, direction: str) -> ir.Value:
    """Shift the bits, as an unsigned integer.

    ONNX shifts unsigned integers only, and leaves open what a shift by the width or more yields; in JAX it is zero, and
    a negative amount counts as a large one.
    """
    op, word = ctx.op, unsigned(ctx.aval_out.dtype)
    bits = info(word).bits
    x, by = ctx.cast(x, word), ctx.cast(by, word)
    amount = ctx.known(1)
    if amount is not None and bool(np.all((amount >= 0) & (amount < bits))):
        return op.BitShift(x, by, direction=direction)
    inside = op.Less(by, bits)
    return op.Where(inside, op.BitShift(x, op.Where(inside, by, 0), direction=direction), 0)


def population_count(x: Any) -> Any:
    """Count the set bits: of few numbers, each bit for itself, else by adding neighbouring fields of growing width.

    ::

        before: x & m + (x >> w) & m, for w = 1, 2, 4, 8, 16      20 nodes
        after:  (x[:, None] >> [0, 1, ... 31] & 1) @ [1, 1, ... 1]  4 nodes
    """
    count = x.astype(unsigned(x.dtype))
    if is_static(*x.shape) and 0 < math.prod(x.shape) <= _FEW:
        places = np.arange(info(x.dtype).bits, dtype=count.dtype)
        return ((count[..., None] >> places & 1) @ np.ones_like(places)).astype(x.dtype)
    for width in _doubling(x.dtype):
        mask = _fields(width, count.dtype)
        count = (count & mask) + (lax.shift_right_logical(count, lax.full_like(count, width)) & mask)
    return count.astype(x.dtype)


def count_leading_zeros(x: Any) -> Any:
    """Count the zeros above the highest set bit, which is copied into every lower bit."""
    filled = x.astype(unsigned(x.dtype))
    for width in _doubling(x.dtype):
        filled |= lax.shift_right_logical(filled, lax.full_like(filled, width))
    return population_count(~filled).astype(x.dtype)


def _doubling(dtype: Any) -> list[int]:
    """Return 1, 2, 4 … below the number of bits of a dtype."""
    return [1 << k for k in range(info(dtype).bits.bit_length() - 1)]


def _fields(width: int, dtype: Any) -> Any:
    """Return a mask of alternating fields of zeros and ones, ones lowest."""
    ones = (1 << width) - 1
    return np.asarray(sum(ones << low for low in range(0, info(dtype).bits, 2 * width)), dtype)
