"""Joined: equations of one jaxpr that need not wait for each other and do the same, as one equation.

before: a = while(x); b = f(a); c = while(y); d = a + c
after:  a, c = while(x, y); b = f(a); d = a + c
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jax2onnx.program.facts import FactTable

__all__ = ["Joined", "join_alike"]


@dataclass(frozen=True, slots=True)
class Joined:
    """Some equations, and the function of the operands of all that returns the results of all."""

    eqns: Sequence[Any]
    function: Callable[..., Any]

    @property
    def invars(self) -> list[Any]:
        """The operands of all."""
        return [atom for eqn in self.eqns for atom in eqn.invars]

    @property
    def outvars(self) -> list[Any]:
        """The results of all."""
        return [variable for eqn in self.eqns for variable in eqn.outvars]


def join_alike(eqns: Sequence[Any], facts: FactTable) -> Sequence[Any]:
    """Return the equations in an order in which they can be evaluated, with ``Joined`` in the place of some."""
    counts = Counter(eqn.primitive.name for eqn in eqns)
    names = [name for name, count in counts.items() if count > 1 and facts.of(name).joined is not None]
    if not names or any(eqn.effects for eqn in eqns):
        return eqns
    order = list(eqns)
    for name in names:
        while (pair := _pair(order, name, facts)) is not None:
            order = _put(order, pair)
    return order


def _pair(order: Sequence[Any], name: str, facts: FactTable) -> Joined | None:
    """Return the first two equations of a primitive that can be joined."""
    join = facts.of(name).joined
    assert join is not None
    members = [eqn for eqn in order if not isinstance(eqn, Joined) and eqn.primitive.name == name]
    for number, first in enumerate(members):
        after = _depending(order, first)
        for second in members[number + 1 :]:
            function = None if second in after else join([first, second])
            if function is not None:
                return Joined([first, second], function)
    return None


def _depending(order: Sequence[Any], first: Any) -> list[Any]:
    """Return the equations that wait for one."""
    made = set(first.outvars)
    after = []
    for eqn in order:
        if not made.isdisjoint(_variables(eqn)):
            after.append(eqn)
            made.update(eqn.outvars)
    return after


def _variables(eqn: Any) -> list[Any]:
    return [atom for atom in eqn.invars if not hasattr(atom, "val")]


def _put(order: Sequence[Any], pair: Joined) -> list[Any]:
    """Return the order in which what waits for the first equation of a pair is after both."""
    first, second = pair.eqns
    after = _depending(order, first)
    start, end = order.index(first), order.index(second)
    between = order[start + 1 : end]
    waiting = [eqn for eqn in between if eqn in after]
    return [*order[:start], *(eqn for eqn in between if eqn not in after), pair, *waiting, *order[end + 1 :]]
