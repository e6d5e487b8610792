"""Between which bounds the integers that loops and branches carry lie: the rules of facts ``range``.

What is carried starts with the range of its first value and grows by that of each iteration, until nothing grows. A
counter, to which each iteration adds the same number, is known at once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from jax2onnx.plugin import (
    Const,
    Facts,
    Range,
    at_most,
    fitting,
    is_static,
    joined,
    limits_of,
    lowered,
    raised,
    scan_counts,
)
from jax2onnx_lax.range_arithmetic import Found

if TYPE_CHECKING:
    from jax2onnx_lax.range_arithmetic import Found
from jax2onnx.plugin import Atom, BoundLowerings, Eqn, KnownRanges

_Ranges: TypeAlias = "list[Range | None]"

_PATIENCE = 3
"""After so many iterations a bound that still grows is taken to grow on."""


def register(registry: BoundLowerings) -> None:
    """Register the facts."""
    rules = {"cond": of_cond, "custom_linear_solve": of_linear_solve, "scan": of_scan, "while": of_while}
    registry.facts({name: Facts(range=rule) for name, rule in rules.items()})


def of_cond(eqn: Eqn, known: KnownRanges) -> Found:
    """``cond``: what any of the branches returns."""
    given = list(map(known.of, eqn.inputs[1:]))
    if any(len(body.program.inputs) != len(given) for body in eqn.bodies):
        return _nothing(eqn)
    found = [known.of_body(body.program, given).outputs() for body in eqn.bodies]
    results = [_join(eqn.outputs[i], *[outputs[i] for outputs in found]) for i in range(len(eqn.outputs))]
    return results, [given] * len(eqn.bodies)


def of_linear_solve(eqn: Eqn, known: KnownRanges) -> Found:
    """``custom_linear_solve``: its solvers read constants, such as permutations; its results are no integers."""
    given = list(map(known.of, eqn.inputs))
    lengths, start = eqn.params["const_lengths"], 0
    constants = {}
    for name in lengths._fields:
        end = start + getattr(lengths, name)
        constants[id(getattr(eqn.params["jaxprs"], name))] = given[start:end]
        start = end
    inside = []
    for body in eqn.bodies:
        own = [*constants.get(id(body.jaxpr), ()), *given[start:]]
        inputs = body.program.inputs
        inside.append(own if len(own) == len(inputs) else list(map(limits_of, inputs)))
    return list(map(limits_of, eqn.outputs)), inside


def of_scan(eqn: Eqn, known: KnownRanges) -> Found:
    """``scan``: carries from the first value on; scanned arrays have the range of their elements."""
    consts, carries = scan_counts(eqn.params)
    given = list(map(known.of, eqn.inputs))
    (body,) = (body.program for body in eqn.bodies)
    start, trips = given[consts : consts + carries], eqn.params["length"]
    # A bound of what is carried, at the beginning of an iteration and at the end of all.
    inner: dict[int, Range] = {}
    last: dict[int, Range] = {}
    steps = _increments(known.of_body(body, given), consts, carries)
    for place, step in steps.items():
        within, first = limits_of(eqn.outputs[place]), start[place]
        assert within is not None and first is not None  # noqa: PT018
        inner[place], last[place] = _counted(first, step, trips, within)

    def iterate(state: _Ranges) -> _Ranges:
        carried = [inner.get(place, one) for place, one in enumerate(state)]
        return known.of_body(body, [*given[:consts], *carried, *given[consts + carries :]]).outputs()

    state, results = _settled(start, eqn.outputs[:carries], iterate, frozenset(inner))
    carried = [inner.get(place, one) for place, one in enumerate(state)]
    results = [last.get(place, one) for place, one in enumerate(results)]
    return results, [[*given[:consts], *carried, *given[consts + carries :]]]


def _counted(start: Range, step: int, trips: Any, within: Range) -> tuple[Range, Range]:
    """Return the ranges of a counter at the beginning of the iterations, and of all that it ever is."""
    if not is_static(trips) and step not in {0, 1}:
        return within, within
    ranges = []
    for count in (trips - 1, trips):
        reach = step * count
        low, high = (start.low, start.high + reach) if step >= 0 else (start.low + reach, start.high)
        if is_static(count) and count < 0:
            low, high = start
        ranges.append(fitting(low, high, within))
    return ranges[0], joined(start, ranges[1], within=within)


def _increments(body: KnownRanges, first: int, carries: int) -> dict[int, int]:
    """Return to which carries, from an input of a body on, each iteration adds the same number, and the number."""
    found = {}
    for place in range(carries):
        variable, result = body.program.inputs[first + place], body.program.outputs[place]
        if limits_of(variable) is None:
            continue
        step = 0 if result is variable else _increment(body, variable, result)
        if step is not None:
            found[place] = step
    return found


def _increment(body: KnownRanges, variable: Atom, result: Atom) -> int | None:
    """Return the constant that is added to a value to make another, None if another equation makes it."""
    maker = body.makers.get(result)
    if maker is None or maker.primitive not in {"add", "sub"}:
        return None
    sign = 1 if maker.primitive == "add" else -1
    pairs = [maker.inputs] if sign < 0 else [maker.inputs, maker.inputs[::-1]]
    for one, other in pairs:
        added = body.of(other)
        if one is variable and isinstance(other, Const) and added is not None and added.number is not None:
            return sign * added.number
    return None


def of_while(eqn: Eqn, known: KnownRanges) -> Found:
    """``while``: carries from the first value on; the condition bounds what an iteration begins with."""
    params = eqn.params
    first, second = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    given = list(map(known.of, eqn.inputs))
    start = given[second:]
    programs = {body.jaxpr is params["cond_jaxpr"]: body.program for body in eqn.bodies}
    if len(programs) != 2:
        return _nothing(eqn)
    condition, body = programs[True], programs[False]

    def guarded(state: _Ranges) -> _Ranges:
        tested = known.of_body(condition, [*given[:first], *state])
        return [one and _bounded(tested, condition.inputs[first + i], one) for i, one in enumerate(state)]

    def iterate(state: _Ranges) -> _Ranges:
        return known.of_body(body, [*given[first:second], *guarded(state)]).outputs()

    state, results = _settled(start, eqn.outputs, iterate, frozenset())
    inside = {True: [*given[:first], *state], False: [*given[first:second], *guarded(state)]}
    return results, [inside[body.jaxpr is params["cond_jaxpr"]] for body in eqn.bodies]


def _bounded(condition: KnownRanges, variable: Atom, one: Range) -> Range:
    """Return the range of a carry where a scalar condition, a conjunction of comparisons, holds."""
    pending = list(condition.program.outputs)
    if pending[0].aval.shape:  # lanes that have ended stay while others go on
        return one
    while pending:
        maker = condition.makers.get(pending.pop())
        if maker is None:
            continue
        if maker.primitive == "and":
            pending += maker.inputs
        elif maker.primitive in _ORDERS:
            one = _narrowed(condition, maker, variable, one)
    return one


def _narrowed(condition: KnownRanges, order: Eqn, variable: Atom, one: Range) -> Range:
    """Return the range of a value for which a comparison holds."""
    swapped, strictly = _ORDERS[order.primitive]
    lesser, larger = order.inputs[::-1] if swapped else order.inputs
    low, high = one
    bound = condition.of(larger if lesser is variable else lesser)
    if bound is not None and lesser is variable and larger is not variable:
        high = lowered(high, bound.high - strictly, high)
    elif bound is not None and larger is variable and lesser is not variable:
        low = raised(low, bound.low + strictly, low)
    # Where the condition cannot hold there is no iteration.
    return Range(low, high) if at_most(low, high) or not one.is_static else one


_ORDERS = {"lt": (False, True), "le": (False, False), "gt": (True, True), "ge": (True, False)}
"""Primitive -> whether its second operand is the lesser one, and strictly so."""


def _settled(
    start: _Ranges, values: Sequence[Any], iterate: Callable[[_Ranges], _Ranges], counted: frozenset[int]
) -> tuple[_Ranges, _Ranges]:
    """Return the ranges of carries in all iterations, and those of all results of a loop.

    Args:
        start: the ranges of the first values.
        values: the results that they become.
        iterate: returns the ranges of an iteration's results, given those of the carries that it begins with.
        counted: the carries of which the range is known otherwise.
    """
    state = list(start)
    for round_ in itertools.count():
        results = iterate(state)
        grown = [_join(v, one, new) for v, one, new in zip(values, state, results, strict=False)]
        changed = [i for i, one in enumerate(grown) if one != state[i] and i not in counted]
        if not changed:
            break
        for i in changed:
            state[i] = grown[i] if round_ < _PATIENCE else _widened(state[i], grown[i], values[i], round_)
    # What a bound grew to too far is made up for by what the iterations return.
    state = [_join(v, one, new) for v, one, new in zip(values, start, results, strict=False)]
    results = iterate(state)
    joined_ = [_join(v, one, new) for v, one, new in zip(values, start, results, strict=False)]
    return state, [*joined_, *results[len(joined_) :]]


def _widened(before: Range | None, after: Range | None, value: Any, round_: int) -> Range | None:
    """Return a range whose growing bounds are those of the dtype; after long, both are."""
    within = limits_of(value)
    if before is None or after is None or within is None or round_ > 2 * _PATIENCE:
        return within
    return Range(
        before.low if before.low == after.low else within.low, before.high if before.high == after.high else within.high
    )


def _join(value: Any, *ranges: Range | None) -> Range | None:
    """Return the range of what lies in any of some ranges; None if the value is not one of integers or bools."""
    within = limits_of(value)
    if within is None:
        return None
    given = [within if one is None else one for one in ranges]
    return joined(*given, within=within)


def _nothing(eqn: Eqn) -> Found:
    """Return that nothing is known."""
    return list(map(limits_of, eqn.outputs)), [list(map(limits_of, body.program.inputs)) for body in eqn.bodies]
