"""Between which bounds the results of integer primitives lie: the rules of facts ``range`` and ``idle``.

A rule computes exact bounds; where a result may not fit into its dtype it wraps around, and its range is all the dtype.
Bounds that are symbolic dims go through sums, extrema and comparisons only.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

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
    open_jaxpr,
    raised,
)
from jax2onnx_lax.dtypes import converted

if TYPE_CHECKING:
    from jax2onnx.plugin import Atom, BoundLowerings, Eqn, KnownRanges

_Found: TypeAlias = "tuple[Sequence[Range | None], Sequence[Sequence[Range | None]]]"
_One: TypeAlias = "Callable[[Eqn, Range, Sequence[Range]], Range]"
"""Returns the range of an equation's result, given what its dtype allows and the ranges of its operands."""


def _rule(one: _One) -> Callable[[Eqn, KnownRanges], _Found]:
    """Return the rule of a primitive of one result, all of whose operands are integers or bools."""

    def rule(eqn: Eqn, known: KnownRanges) -> _Found:
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


def _of_bits(function: Callable[[int, int], int], *, lessens: bool) -> _One:
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


def _same(_eqn: Eqn, _within: Range, given: Sequence[Range]) -> Range:
    return given[0]


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


def of_argument(eqn: Eqn, known: KnownRanges) -> _Found:
    """``argmax``: a place in the axis."""
    del known
    within = limits_of(eqn.outputs[0])
    size = eqn.inputs[0].aval.shape[eqn.params["axes"][0]]
    assert within is not None
    return [fitting(0, size - 1, within)], ()


def of_places(eqn: Eqn, known: KnownRanges) -> _Found:
    """``top_k``: the numbers and their places in the last axis."""
    within = limits_of(eqn.outputs[1])
    assert within is not None
    axis = eqn.params.get("axis", -1)
    return [known.of(eqn.inputs[0]), fitting(0, eqn.inputs[0].aval.shape[axis] - 1, within)], ()


def of_each(eqn: Eqn, known: KnownRanges) -> _Found:
    """``sort``: each result has the numbers of an operand."""
    return list(map(known.of, eqn.inputs)), ()


def of_parts(eqn: Eqn, known: KnownRanges) -> _Found:
    """``split``: all results have numbers of the operand."""
    return [known.of(eqn.inputs[0])] * len(eqn.outputs), ()


def of_first(eqn: Eqn, known: KnownRanges) -> _Found:
    """``reshape``, ``dynamic_slice``: the result has numbers of the first operand, whatever the others are."""
    return [known.of(eqn.inputs[0])], ()


def of_update(eqn: Eqn, known: KnownRanges) -> _Found:
    """``scatter``: the result has numbers of the operand and of the updates."""
    place = 1 if eqn.primitive == "dynamic_update_slice" else 2
    within, one, other = limits_of(eqn.outputs[0]), known.of(eqn.inputs[0]), known.of(eqn.inputs[place])
    if within is None or one is None or other is None or _combines(eqn):
        return [within], ()
    return [joined(one, other, within=within)], ()


def _combines(eqn: Eqn) -> bool:
    """Return whether a scatter makes new values of the old ones and the updates by a function of its own."""
    jaxpr = eqn.params.get("update_jaxpr")
    if jaxpr is None:
        return False
    inner, _ = open_jaxpr(jaxpr)
    return inner.outvars[0] is not inner.invars[1]


def of_select(eqn: Eqn, known: KnownRanges) -> _Found:
    """``select_n``: a known choice, or any; where a comparison with a number chooses, each case is bounded by it."""
    within = limits_of(eqn.outputs[0])
    which, *cases = eqn.inputs
    place = _chosen(eqn, known)
    if within is None or place is not None:
        return [within and known.of(cases[place or 0])], ()
    ranges = [known.of(case) for case in cases]
    condition = known.makers.get(which)
    if condition is not None and len(cases) == 2:
        ranges = [_where(case, condition, known, holds=bool(i)) or ranges[i] for i, case in enumerate(cases)]
    given = [one for one in ranges if one is not None]
    return [joined(*given, within=within)], ()


def _chosen(eqn: Eqn, known: KnownRanges) -> int | None:
    """Return the case that ``select_n`` chooses everywhere, None if it is not known."""
    which = known.of(eqn.inputs[0])
    if which is None or which.number is None:
        return None
    return min(max(which.number, 0), len(eqn.inputs) - 2)


def _where(case: Atom, condition: Eqn, known: KnownRanges, *, holds: bool) -> Range | None:
    """Return the range of ``x`` or ``x + c`` where ``x < bound``, or another order, holds or does not."""
    order = _ORDERS.get(condition.primitive)
    if order is None:
        return None
    x, bound = condition.inputs
    limit = known.of(bound)
    within = limits_of(case)
    if limit is None or limit.number is None or within is None:
        return None
    if case is x:
        offset = 0
    else:
        maker = known.makers.get(case)
        if maker is None or maker.primitive != "add" or maker.inputs[0] is not x:
            return None
        added = known.of(maker.inputs[1])
        if added is None or added.number is None:
            return None
        offset = added.number
    one = known.of(x)
    if one is None:
        return None
    is_below, strictly = order
    if not holds:
        is_below, strictly = not is_below, not strictly
    if is_below:
        narrowed = Range(one.low, lowered(one.high, limit.number - strictly, one.high))
    else:
        narrowed = Range(raised(one.low, limit.number + strictly, one.low), one.high)
    if narrowed.is_static and narrowed.low > narrowed.high:
        return None
    return fitting(narrowed.low + offset, narrowed.high + offset, within)


_ORDERS = {"lt": (True, True), "le": (True, False), "gt": (False, True), "ge": (False, False)}
"""Primitive -> whether its first operand is the lesser one, and strictly so."""


def of_gather(eqn: Eqn, known: KnownRanges) -> _Found:
    """``gather``: numbers of the operand, and what fills in where indices are out of bounds."""
    within, one = limits_of(eqn.outputs[0]), known.of(eqn.inputs[0])
    if within is None or one is None:
        return [within], ()
    if "FILL" not in str(eqn.params["mode"]) or _is_in_bounds(eqn, known):
        return [one], ()
    if eqn.params["fill_value"] is None:
        return [within], ()
    fill = int(converted(eqn.params["fill_value"], eqn.outputs[0].aval.dtype))
    return [joined(one, Range(fill, fill), within=within)], ()


def _is_in_bounds(eqn: Eqn, known: KnownRanges) -> bool:
    shape, sizes = eqn.inputs[0].aval.shape, eqn.params["slice_sizes"]
    limits = [shape[d] - sizes[d] for d in eqn.params["dimension_numbers"].start_index_map]
    return are_within(known.components(eqn.inputs[1]), limits)


def are_within(ranges: Sequence[Range], limits: Sequence[Any]) -> bool:
    """Return whether index vectors of these components, or of this one for all, lie in ``[0, limit]``."""
    if len(ranges) == 1:
        ranges = [*ranges] * len(limits)
    if len(ranges) != len(limits):
        return False
    pairs = zip(ranges, limits, strict=True)
    return all(at_most(0, one.low) and at_most(one.high, limit) for one, limit in pairs)


def of_conjunction(eqn: Eqn, known: KnownRanges) -> _Found:
    """``and``: bits; ``x // d`` of numbers that are not negative needs no correction, as no two signs differ."""
    if _is_correction(eqn, known):
        return [Range(0, 0)], ()
    return _rule(_of_bits(operator.and_, lessens=True))(eqn, known)


def _is_correction(eqn: Eqn, known: KnownRanges) -> bool:
    """Return whether it is ``sign(x) != sign(d) and rem(x, d) != 0``, of ``x`` at least 0 and ``d`` above 0."""
    one, other = (known.makers.get(atom) for atom in eqn.inputs)
    if one is None or other is None or (one.primitive, other.primitive) != ("ne", "ne"):
        return False
    signs, remainder = known.makers.get(one.inputs[0]), known.makers.get(other.inputs[0])
    if signs is None or remainder is None or (signs.primitive, remainder.primitive) != ("sign", "rem"):
        return False
    dividend, divisor = map(known.of, remainder.inputs)
    sign, zero = known.of(one.inputs[1]), known.of(other.inputs[1])
    if signs.inputs[0] is not remainder.inputs[0] or None in (dividend, divisor, sign, zero):
        return False
    assert dividend is not None and divisor is not None and sign is not None and zero is not None  # noqa: PT018
    return at_most(0, dividend.low) and at_most(1, divisor.low) and sign.number == 1 and zero.number == 0


# -- results that are operands -----------------------------------------------------------------------------------------


def idle_choice(eqn: Eqn, known: KnownRanges) -> int | None:
    """Return the case that is chosen everywhere."""
    place = _chosen(eqn, known)
    return None if place is None else place + 1


def _idle_extremum(places: tuple[int, int], *, larger: bool) -> Callable[[Eqn, KnownRanges], int | None]:
    def idle(eqn: Eqn, known: KnownRanges) -> int | None:
        for one, other in (places, places[::-1]):
            a, b = known.of(eqn.inputs[one]), known.of(eqn.inputs[other])
            if a is not None and b is not None and (at_most(b.high, a.low) if larger else at_most(a.high, b.low)):
                return one
        return None

    return idle


def idle_clamp(eqn: Eqn, known: KnownRanges) -> int | None:
    """Return that numbers between the bounds stay."""
    low, x, high = map(known.of, eqn.inputs)
    if low is None or x is None or high is None:
        return None
    return 1 if at_most(low.high, x.low) and at_most(x.high, high.low) else None


def idle_remainder(eqn: Eqn, known: KnownRanges) -> int | None:
    """Return that numbers below the divisor stay."""
    x, y = map(known.of, eqn.inputs)
    if x is None or y is None:
        return None
    return 0 if at_most(0, x.low) and at_most(x.high + 1, y.low) else None


def idle_unit(unit: int) -> Callable[[Eqn, KnownRanges], int | None]:
    """Return that a bool stays which is combined with a known one."""

    def idle(eqn: Eqn, known: KnownRanges) -> int | None:
        for place in (0, 1):
            other = known.of(eqn.inputs[1 - place])
            if limits_of(eqn.inputs[place]) == BOOLS and other is not None and other.number == unit:
                return place
        return None

    return idle


_SAME = _rule(_same)

FACTS = {
    **dict.fromkeys(
        ("broadcast_in_dim", "copy", "copy_p", "cummax", "cummin", "expand_dims", "reshape", "rev", "slice", "squeeze",
         "transpose", "tile"),
        Facts(range=of_first),
    ),
    **dict.fromkeys(("argmax", "argmin"), Facts(range=of_argument)),
    **dict.fromkeys(("split", "unstack"), Facts(range=of_parts)),
    "abs": Facts(range=_rule(_abs)),
    "add": Facts(range=_rule(_add)),
    "and": Facts(range=of_conjunction, idle=idle_unit(1)),
    "clamp": Facts(range=_rule(_clamp), idle=idle_clamp),
    "clz": Facts(range=_rule(_bit_count)),
    "concatenate": Facts(range=_rule(_any_of), joins=lambda params: params["dimension"]),
    "convert_element_type": Facts(range=_rule(_convert)),
    "cumsum": Facts(range=_rule(_cumulated)),
    "dim_as_value": Facts(range=_rule(_size)),
    "div": Facts(range=_rule(_div)),
    "dynamic_slice": Facts(range=of_first, indexes=True),
    "dynamic_update_slice": Facts(range=of_update, indexes=True),
    "eq": Facts(range=_rule(_equal)),
    "gather": Facts(range=of_gather, indexes=True),
    "ge": Facts(range=_rule(_less(strictly=False, swapped=True))),
    "gt": Facts(range=_rule(_less(strictly=True, swapped=True))),
    "iota": Facts(range=_rule(_iota)),
    "le": Facts(range=_rule(_less(strictly=False, swapped=False))),
    "lt": Facts(range=_rule(_less(strictly=True, swapped=False))),
    "max": Facts(range=_rule(_max), idle=_idle_extremum((0, 1), larger=True)),
    "min": Facts(range=_rule(_min), idle=_idle_extremum((0, 1), larger=False)),
    "mul": Facts(range=_rule(_corners(operator.mul))),
    "ne": Facts(range=_rule(_equal)),
    "neg": Facts(range=_rule(_neg)),
    "not": Facts(range=_rule(_not)),
    "or": Facts(range=_rule(_of_bits(operator.or_, lessens=False)), idle=idle_unit(0)),
    "pad": Facts(range=_rule(_any_of)),
    "population_count": Facts(range=_rule(_bit_count)),
    "reduce_and": Facts(range=_rule(_reduced)),
    "reduce_max": Facts(range=_rule(_reduced)),
    "reduce_min": Facts(range=_rule(_reduced)),
    "reduce_or": Facts(range=_rule(_reduced)),
    "reduce_sum": Facts(range=_rule(_sum)),
    "rem": Facts(range=_rule(_rem), idle=idle_remainder),
    "scatter": Facts(range=of_update, indexes=True),
    **dict.fromkeys(("scatter-add", "scatter-sub", "scatter-mul", "scatter-min", "scatter-max"), Facts(indexes=True)),
    "select_n": Facts(range=of_select, idle=idle_choice),
    "shift_right_arithmetic": Facts(range=_rule(_shift)),
    "shift_right_logical": Facts(range=_rule(_shift)),
    "sign": Facts(range=_rule(_sign)),
    "sort": Facts(range=of_each),
    "sub": Facts(range=_rule(_sub)),
    "top_k": Facts(range=of_places),
    "xor": Facts(range=_rule(_of_bits(operator.xor, lessens=False))),
}  # fmt: skip


def register(registry: BoundLowerings) -> None:
    """Register the facts."""
    registry.facts(FACTS)
