"""Between which bounds sums, products, comparisons and other arithmetic of integers lie: rules of the fact ``range``.

A rule computes exact bounds; where a result may not fit into its dtype it wraps around, and its range is all the dtype.
Bounds that are symbolic dims go through sums, extrema and comparisons only.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from jax2onnx.plugin import (
    BOOLS,
    Facts,
    Range,
    at_most,
    fitting,
    has_zero,
    is_static,
    joined,
    limits_of,
    lowered,
    raised,
)

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundLowerings, Eqn, KnownRanges

Found: TypeAlias = "tuple[Sequence[Range | None], Sequence[Sequence[Range | None]]]"
"""The ranges of an equation's results, and those of the inputs of each of its bodies."""
_One: TypeAlias = "Callable[[Eqn, Range, Sequence[Range]], Range]"
"""Returns the range of an equation's result, given what its dtype allows and the ranges of its operands."""


def arithmetic(one: _One) -> Callable[[Eqn, KnownRanges], Found]:
    """Return the rule of a primitive of one result, all of whose operands are integers or bools."""

    def rule(eqn: Eqn, known: KnownRanges) -> Found:
        within = limits_of(eqn.outputs[0])
        given = [one for one in map(known.of, eqn.inputs) if one is not None]
        if within is None or len(given) < len(eqn.inputs):
            return [within], ()
        return [one(eqn, within, given)], ()

    return rule


def _is_static(*ranges: Range) -> bool:
    return all(one.is_static for one in ranges)


def _add(_eqn: Eqn, within: Range, given: Sequence[Range]) -> Range:
    a, b = given
    if not (a.is_static or b.is_static):
        return within
    return fitting(a.low + b.low, a.high + b.high, within)


def _sub(_eqn: Eqn, within: Range, given: Sequence[Range]) -> Range:
    a, b = given
    if not b.is_static:
        return within
    return fitting(a.low - b.high, a.high - b.low, within)


def _corners(function: Callable[[int, int], int]) -> _One:
    """Return the rule of a function that is monotone in each operand."""

    def one(_eqn: Eqn, within: Range, given: Sequence[Range]) -> Range:
        if not _is_static(*given):
            return within
        every = [function(x, y) for x, y in itertools.product(*given)]
        return fitting(min(every), max(every), within)

    return one


def _neg(_eqn: Eqn, within: Range, given: Sequence[Range]) -> Range:
    (a,) = given
    return fitting(-a.high, -a.low, within) if a.is_static else within


def _abs(_eqn: Eqn, within: Range, given: Sequence[Range]) -> Range:
    (a,) = given
    if not a.is_static:
        return a if at_most(0, a.low) else within
    low = 0 if a.low <= 0 <= a.high else min(abs(a.low), abs(a.high))
    return fitting(low, max(abs(a.low), abs(a.high)), within)


def _sign(_eqn: Eqn, _within: Range, given: Sequence[Range]) -> Range:
    (a,) = given
    low = 1 if at_most(1, a.low) else 0 if at_most(0, a.low) else -1
    high = -1 if at_most(a.high, -1) else 0 if at_most(a.high, 0) else 1
    return Range(low, high)


def _max(_eqn: Eqn, within: Range, given: Sequence[Range]) -> Range:
    a, b = given
    return Range(raised(a.low, b.low, a.low), raised(a.high, b.high, within.high))


def _min(_eqn: Eqn, within: Range, given: Sequence[Range]) -> Range:
    a, b = given
    return Range(lowered(a.low, b.low, within.low), lowered(a.high, b.high, a.high))


def _clamp(eqn: Eqn, within: Range, given: Sequence[Range]) -> Range:
    low, x, high = given
    return _min(eqn, within, [_max(eqn, within, [x, low]), high])


def _div(_eqn: Eqn, within: Range, given: Sequence[Range]) -> Range:
    x, y = given
    # Towards 0; by 0 it is -1.
    if not _is_static(x, y) or y.low <= 0 <= y.high:
        return within
    every = [abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1) for a, b in itertools.product(x, y)]
    if x.low <= 0 <= x.high:
        every.append(0)
    return fitting(min(every), max(every), within)


def _rem(_eqn: Eqn, _within: Range, given: Sequence[Range]) -> Range:
    x, y = given
    # It has the sign of x, and is x where y is 0.
    low, high = (0 if at_most(0, x.low) else x.low), (0 if at_most(x.high, 0) else x.high)
    if not y.is_static or y.low <= 0 <= y.high:
        return Range(low, high)
    most = max(abs(y.low), abs(y.high)) - 1
    return Range(lowered(-most, low, low) if at_most(low, -most) else low, lowered(high, most, most))


def of_bits(function: Callable[[int, int], int], *, lessens: bool) -> _One:
    """Return the rule of a bitwise operation, which on bools is monotone."""

    def one(_eqn: Eqn, within: Range, given: Sequence[Range]) -> Range:
        a, b = given
        if not _is_static(a, b):
            return within
        if a.number is not None and b.number is not None:
            return fitting(function(a.number, b.number), function(a.number, b.number), within)
        if within == BOOLS:
            return BOOLS if function(1, 1) == 0 else Range(function(a.low, b.low), function(a.high, b.high))
        positive = [one.high for one in given if one.low >= 0]
        if lessens and positive:
            return Range(0, min(positive))
        if len(positive) == 2:
            return Range(0, (1 << max(positive).bit_length()) - 1)
        return within

    return one


def _not(_eqn: Eqn, within: Range, given: Sequence[Range]) -> Range:
    (a,) = given
    return Range(within.high + within.low - a.high, within.high + within.low - a.low) if a.is_static else within


def _shift(eqn: Eqn, within: Range, given: Sequence[Range]) -> Range:
    x, by = given
    bits = 8 * eqn.outputs[0].aval.dtype.itemsize
    # JAX takes unsigned numbers for signed ones in arithmetic shifts.
    if not _is_static(x, by) or x.low < 0 or x.high >= 1 << bits - 1 or not 0 <= by.low <= by.high < bits:
        return within
    return Range(x.low >> by.high, x.high >> by.low)


def _less(*, strictly: bool, swapped: bool) -> _One:
    """Return the rule of an order of two numbers."""

    def one(_eqn: Eqn, _within: Range, given: Sequence[Range]) -> Range:
        a, b = reversed(given) if swapped else given
        if at_most(a.high + strictly, b.low):
            return Range(1, 1)
        return Range(0, 0) if at_most(b.high + (not strictly), a.low) else BOOLS

    return one


def _equal(eqn: Eqn, _within: Range, given: Sequence[Range]) -> Range:
    a, b = given
    if a.number is not None and a == b:
        found = True
    elif at_most(a.high + 1, b.low) or at_most(b.high + 1, a.low):
        found = False
    else:
        return BOOLS
    return Range(1, 1) if found is (eqn.primitive == "eq") else Range(0, 0)


def _iota(eqn: Eqn, within: Range, _given: Sequence[Range]) -> Range:
    size = eqn.params["shape"][eqn.params["dimension"]]
    return fitting(0, size - 1, within) if not has_zero(size) else Range(0, 0)


def _size(eqn: Eqn, within: Range, _given: Sequence[Range]) -> Range:
    return fitting(eqn.params["dim"], eqn.params["dim"], within)


def _convert(_eqn: Eqn, within: Range, given: Sequence[Range]) -> Range:
    (a,) = given
    if within == BOOLS:
        zero = at_most(1, a.low) or at_most(a.high, -1)
        return Range(1, 1) if zero else Range(0, 0) if a.number == 0 else BOOLS
    return fitting(a.low, a.high, within)


def _any_of(_eqn: Eqn, within: Range, given: Sequence[Range]) -> Range:
    return joined(*given, within=within)


def _reduced(eqn: Eqn, within: Range, given: Sequence[Range]) -> Range:
    """Return the range of an extremum, which of no elements is the least or the largest number."""
    return given[0] if _count(eqn) else within


def _count(eqn: Eqn) -> int:
    """Return how many elements are reduced to one; 0 if that is not known."""
    sizes = [eqn.inputs[0].aval.shape[axis] for axis in eqn.params["axes"]]
    return math.prod(sizes) if is_static(*sizes) else 0


def _sum(eqn: Eqn, within: Range, given: Sequence[Range]) -> Range:
    (a,), count = given, _count(eqn)
    return fitting(a.low * count, a.high * count, within) if count and a.is_static else within


def _cumulated(eqn: Eqn, within: Range, given: Sequence[Range]) -> Range:
    (a,), size = given, eqn.inputs[0].aval.shape[eqn.params["axis"]]
    if not a.is_static or not is_static(size):
        return within
    return fitting(min(a.low, a.low * size), max(a.high, a.high * size), within)


def _bit_count(eqn: Eqn, _within: Range, _given: Sequence[Range]) -> Range:
    return Range(0, 8 * eqn.outputs[0].aval.dtype.itemsize)


FACTS = {
    "abs": Facts(range=arithmetic(_abs)),
    "add": Facts(range=arithmetic(_add)),
    "clamp": Facts(range=arithmetic(_clamp)),
    "clz": Facts(range=arithmetic(_bit_count)),
    "concatenate": Facts(range=arithmetic(_any_of), joins=lambda params: params["dimension"]),
    "convert_element_type": Facts(range=arithmetic(_convert)),
    "cumsum": Facts(range=arithmetic(_cumulated)),
    "dim_as_value": Facts(range=arithmetic(_size)),
    "div": Facts(range=arithmetic(_div)),
    "eq": Facts(range=arithmetic(_equal)),
    "ge": Facts(range=arithmetic(_less(strictly=False, swapped=True))),
    "gt": Facts(range=arithmetic(_less(strictly=True, swapped=True))),
    "iota": Facts(range=arithmetic(_iota)),
    "le": Facts(range=arithmetic(_less(strictly=False, swapped=False))),
    "lt": Facts(range=arithmetic(_less(strictly=True, swapped=False))),
    "max": Facts(range=arithmetic(_max)),
    "min": Facts(range=arithmetic(_min)),
    "mul": Facts(range=arithmetic(_corners(operator.mul))),
    "ne": Facts(range=arithmetic(_equal)),
    "neg": Facts(range=arithmetic(_neg)),
    "not": Facts(range=arithmetic(_not)),
    "or": Facts(range=arithmetic(of_bits(operator.or_, lessens=False))),
    "pad": Facts(range=arithmetic(_any_of)),
    "population_count": Facts(range=arithmetic(_bit_count)),
    "reduce_and": Facts(range=arithmetic(_reduced)),
    "reduce_max": Facts(range=arithmetic(_reduced)),
    "reduce_min": Facts(range=arithmetic(_reduced)),
    "reduce_or": Facts(range=arithmetic(_reduced)),
    "reduce_sum": Facts(range=arithmetic(_sum)),
    "rem": Facts(range=arithmetic(_rem)),
    "shift_right_arithmetic": Facts(range=arithmetic(_shift)),
    "shift_right_logical": Facts(range=arithmetic(_shift)),
    "sign": Facts(range=arithmetic(_sign)),
    "sub": Facts(range=arithmetic(_sub)),
    "xor": Facts(range=arithmetic(of_bits(operator.xor, lessens=False))),
}


def register(registry: BoundLowerings) -> None:
    """Register the facts."""
    registry.facts(FACTS)
