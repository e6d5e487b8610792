"""Bounds: between which integers all elements of a value lie; a bound is a number or a symbolic dim."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from jax2onnx._compat import is_symbolic
from jax2onnx.program.dims import linear, never_negative

__all__ = ["BOOLS", "Range", "at_most", "fitting", "joined", "limits", "lowered", "raised", "surely_within"]

_LARGEST_STEP = 2**16
"""What may be added to a symbolic dim: with it, one of 32 bits does not wrap around."""


class Range(NamedTuple):
    """The least and the largest number that an element may be; for a value without elements, any."""

    low: Any
    high: Any

    @property
    def is_static(self) -> bool:
        """Return whether both bounds are numbers."""
        return not (is_symbolic(self.low) or is_symbolic(self.high))

    @property
    def number(self) -> int | None:
        """Return the one number that all elements are, None if they may differ."""
        return int(self.low) if self.is_static and self.low == self.high else None


BOOLS = Range(0, 1)
"""The range of bools."""


@functools.lru_cache(maxsize=64)
def limits(dtype: Any) -> Range | None:
    """Return what integers and bools of a dtype may be; None for any other dtype."""
    if not isinstance(dtype, np.dtype) or dtype.kind not in "iub":
        return None
    if dtype.kind == "b":
        return BOOLS
    info = np.iinfo(dtype)
    return Range(int(info.min), int(info.max))


def at_most(a: Any, b: Any) -> bool:
    """Return whether a bound is no larger than another, whatever the sizes are, 0 included."""
    if not is_symbolic(a) and not is_symbolic(b):
        return bool(a <= b)
    return never_negative(b - a)


def surely_within(one: Range, other: Range) -> bool:
    """Return whether a range lies in another one."""
    return at_most(other.low, one.low) and at_most(one.high, other.high)


def joined(*ranges: Range, within: Range) -> Range:
    """Return the range of what lies in any of some ranges; a bound that cannot be told is that of ``within``."""
    low, high = ranges[0]
    for other in ranges[1:]:
        low = lowered(low, other.low, within.low)
        high = raised(high, other.high, within.high)
    return Range(low, high)


def lowered(a: Any, b: Any, otherwise: Any) -> Any:
    """Return the lesser of two bounds, ``otherwise`` if it cannot be told."""
    if at_most(a, b):
        return a
    return b if at_most(b, a) else otherwise


def raised(a: Any, b: Any, otherwise: Any) -> Any:
    """Return the larger of two bounds, ``otherwise`` if it cannot be told."""
    if at_most(a, b):
        return b
    return a if at_most(b, a) else otherwise


def fitting(low: Any, high: Any, within: Range) -> Range:
    """Return the range of exact results that are stored in a dtype: all it has, where they may wrap around."""
    for bound in (low, high):
        if not _fits(bound, within):
            return within
    return Range(low, high)


def _fits(bound: Any, within: Range) -> bool:
    if not is_symbolic(bound):
        return bool(within.low <= bound <= within.high)
    return within.high >= 2**31 - 1 and _is_near_dim(bound) and at_most(within.low, bound)


def _is_near_dim(bound: Any) -> bool:
    """Return whether a bound is one dim and a small number besides, so that integers of 32 bits hold it."""
    terms = dict(linear(bound) or {})
    offset = terms.pop("", 0)
    return list(terms.values()) == [1] and abs(offset) <= _LARGEST_STEP
