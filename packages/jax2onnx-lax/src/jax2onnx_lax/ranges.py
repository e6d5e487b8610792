"""Between which bounds the results of integer primitives lie: those that index, choose and rearrange."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jax2onnx.plugin import (
    Facts,
    Range,
    at_most,
    fitting,
    is_static,
    joined,
    limits_of,
    lowered,
    open_jaxpr,
    raised,
)
from jax2onnx_lax.dtypes import converted
from jax2onnx_lax.range_arithmetic import (
    Found,
    arithmetic,
    of_bits,
)

if TYPE_CHECKING:
    from jax2onnx.plugin import Atom, BoundLowerings, Eqn, KnownRanges


def of_argument(eqn: Eqn, known: KnownRanges) -> Found:
    """``argmax``: a place in the axis."""
    del known
    within = limits_of(eqn.outputs[0])
    size = eqn.inputs[0].aval.shape[eqn.params["axes"][0]]
    assert within is not None
    return [fitting(0, size - 1, within)], ()


def of_places(eqn: Eqn, known: KnownRanges) -> Found:
    """``top_k``: the numbers and their places in the last axis."""
    within = limits_of(eqn.outputs[1])
    assert within is not None
    axis = eqn.params.get("axis", -1)
    return [known.of(eqn.inputs[0]), fitting(0, eqn.inputs[0].aval.shape[axis] - 1, within)], ()


def of_rows(eqn: Eqn, known: KnownRanges) -> Found:
    """``lu`` and its like: results that are integers are numbers of rows."""
    size = eqn.params.get("permutation_size", eqn.inputs[0].aval.shape[-2:][0])
    del known
    found = []
    for value in eqn.outputs:
        within = limits_of(value)
        found.append(None if within is None else fitting(0, size - 1, within))
    return found, ()


def of_each(eqn: Eqn, known: KnownRanges) -> Found:
    """``sort``: each result has the numbers of an operand."""
    return list(map(known.of, eqn.inputs)), ()


def of_parts(eqn: Eqn, known: KnownRanges) -> Found:
    """``split``: all results have numbers of the operand."""
    return [known.of(eqn.inputs[0])] * len(eqn.outputs), ()


def of_first(eqn: Eqn, known: KnownRanges) -> Found:
    """``reshape``, ``dynamic_slice``: the result has numbers of the first operand, whatever the others are."""
    return [known.of(eqn.inputs[0])], ()


def of_update(eqn: Eqn, known: KnownRanges) -> Found:
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


def of_select(eqn: Eqn, known: KnownRanges) -> Found:
    """``select_n``: a known choice, or any; where a comparison with a number chooses, each case is bounded by it."""
    within = limits_of(eqn.outputs[0])
    which, *cases = eqn.inputs
    place = chosen(eqn, known)
    if within is None or place is not None:
        return [within and known.of(cases[place or 0])], ()
    ranges = [known.of(case) for case in cases]
    condition = known.makers.get(which)
    if condition is not None and len(cases) == 2:
        ranges = [_where(case, condition, known, holds=bool(i)) or ranges[i] for i, case in enumerate(cases)]
    given = [one for one in ranges if one is not None]
    return [joined(*given, within=within)], ()


def chosen(eqn: Eqn, known: KnownRanges) -> int | None:
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


def of_gather(eqn: Eqn, known: KnownRanges) -> Found:
    """``gather``: numbers of the operand, and what fills in where indices are out of bounds."""
    within, one = limits_of(eqn.outputs[0]), known.of(eqn.inputs[0])
    if within is None or one is None:
        return [within], ()
    if "FILL" not in str(eqn.params["mode"]) or _is_in_bounds(eqn, known):
        return [one], ()
    if eqn.params["fill_value"] is None:
        return [within], ()
    if not is_static(eqn.params["fill_value"]):
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


def of_conjunction(eqn: Eqn, known: KnownRanges) -> Found:
    """``and``: bits; ``x // d`` of numbers that are not negative needs no correction, as no two signs differ."""
    if _is_correction(eqn, known):
        return [Range(0, 0)], ()
    return arithmetic(of_bits(operator.and_, lessens=True))(eqn, known)


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


FACTS = {
    **dict.fromkeys(
        ("broadcast_in_dim", "copy", "copy_p", "cummax", "cummin", "expand_dims", "reshape", "rev", "slice", "squeeze",
         "transpose", "tile"),
        Facts(range=of_first),
    ),
    **dict.fromkeys(("argmax", "argmin"), Facts(range=of_argument)),
    **dict.fromkeys(("lu", "lu_pivots_to_permutation"), Facts(range=of_rows)),
    **dict.fromkeys(("split", "unstack"), Facts(range=of_parts)),
    "and": Facts(range=of_conjunction),
    "dynamic_slice": Facts(range=of_first, indexes=True),
    "dynamic_update_slice": Facts(range=of_update, indexes=True),
    "gather": Facts(range=of_gather, indexes=True),
    "scatter": Facts(range=of_update, indexes=True),
    **dict.fromkeys(("scatter-add", "scatter-sub", "scatter-mul", "scatter-min", "scatter-max"), Facts(indexes=True)),
    "select_n": Facts(range=of_select),
    "sort": Facts(range=of_each),
    "top_k": Facts(range=of_places),
}  # fmt: skip


def register(registry: BoundLowerings) -> None:
    """Register the facts."""
    registry.facts(FACTS)
