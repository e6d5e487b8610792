"""Equations that do nothing in the ranges that their operands have: rules of the fact ``idle``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from jax2onnx.plugin import (
    BOOLS,
    Facts,
    at_most,
    limits_of,
)
from jax2onnx_lax.ranges import chosen

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundLowerings, Eqn, KnownRanges


def idle_choice(eqn: Eqn, known: KnownRanges) -> int | None:
    """Return the case that is chosen everywhere."""
    place = chosen(eqn, known)
    return None if place is None else place + 1


def idle_extremum(places: tuple[int, int], *, larger: bool) -> Callable[[Eqn, KnownRanges], int | None]:
    """Return the rule of an extremum: an operand that is never less, or never larger, than the other stays."""

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


FACTS = {
    "and": Facts(idle=idle_unit(1)),
    "eq": Facts(idle=idle_unit(1)),
    "clamp": Facts(idle=idle_clamp),
    "max": Facts(idle=idle_extremum((0, 1), larger=True)),
    "min": Facts(idle=idle_extremum((0, 1), larger=False)),
    "ne": Facts(idle=idle_unit(0)),
    "or": Facts(idle=idle_unit(0)),
    "rem": Facts(idle=idle_remainder),
    "select_n": Facts(idle=idle_choice),
}


def register(registry: BoundLowerings) -> None:
    """Register the facts."""
    registry.facts(FACTS)
