"""Draw the random numbers of a while loop's first steps before it, where this is ahead of a scan around it.

before: scan: while: key, one = split(key); x = f(x, normal(one))          one hash, or more, in each step of each loop
after:  keys and normals of the first steps, for all steps of the scan     some hashes in all
        scan: while: x = f(x, normals[i] if i < block else normal(...))    none, unless a loop has many steps

What is drawn for steps that a loop does not do is not used: a hash of few numbers takes as long as one of a number.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jax2onnx.plugin import evaluate, open_jaxpr
from jax2onnx_lax.draws_ahead import Plan
from jax2onnx_lax.hash_equations import BEYOND, bytes_made
from jax2onnx_lax.hashes_of_choices import steps_of_while
from jax2onnx_lax.scan_steps import Open, Step, Steps, Values, numbers_of, read_by, value_of

__all__ = ["draw_in_blocks"]

_STEPS = 4
"""How many steps of a loop are drawn before it."""
_MOST_BYTES = 2**10
"""How much one step may draw: of many numbers, a hash that is not used takes its time."""


def draw_in_blocks(eqn: Any, open_equation: Open) -> Callable[..., Any] | None:
    """Return the function of a ``while`` that draws for its first steps before it; None if keys do not decide what.

    Args:
        eqn: the jaxpr's equation.
        open_equation: returns by what an equation is replaced from which hashes may be taken out.
    """
    params = eqn.params
    condition, _ = open_jaxpr(params["cond_jaxpr"])
    body = steps_of_while(eqn, open_equation, is_scan=True)
    if body is None:
        return None
    plan = Plan.of(body)
    if plan is None or sum(map(bytes_made, (*plan.links, *plan.ahead))) > _MOST_BYTES:
        return None
    tested = {var for step in condition.eqns for var in step.invars if not hasattr(var, "val")} | {*condition.outvars}
    carried = condition.invars[params["cond_nconsts"] :]
    if not plan.chain or any(carried[number - body.constants] in tested for number in plan.chain):
        return None
    return _InBlocks(params, body, plan)


@dataclass(frozen=True, slots=True)
class _InBlocks:
    """The function of a loop's operands that draws before the loop."""

    params: Any
    body: Steps
    plan: Plan

    def __call__(self, *operands: jax.Array) -> list[jax.Array]:
        """Return the last carries."""
        body, chain = self.body, self.plan.chain
        start = self.params["cond_nconsts"]
        condition, consts = open_jaxpr(self.params["cond_jaxpr"])
        shared = dict(enumerate(operands[start : start + body.constants]))
        init = dict(zip(body.carried(), operands[start + body.constants :], strict=True))
        drawn = self._drawn()
        block, firsts, keys = self._block(shared, {number: init.pop(number) for number in chain}, drawn)
        anew = body.needed([*drawn, *self._ends()])

        def within(place: Any, later: Sequence[Any]) -> tuple[list[Any], Sequence[Any]]:
            return [lax.dynamic_index_in_dim(block[number], place, keepdims=False) for number in drawn], later

        def beyond(_: Any, later: Sequence[Any]) -> tuple[list[Any], Sequence[Any]]:
            values = body.evaluate(anew, {**shared, **dict(zip(chain, later, strict=True))})
            return [values[number] for number in drawn], [value_of(atom, values) for atom in self._ends()]

        beyond.__name__ = BEYOND

        def goes_on(state: tuple[Any, Any, Values]) -> Any:
            carry = {**state[2], **dict(zip(chain, state[1], strict=True))}
            return evaluate(condition, consts, *operands[:start], *(carry[number] for number in body.carried()))[0]

        def step(state: tuple[Any, Any, Values]) -> tuple[Any, Any, Values]:
            place, later, carry = state
            found, later = lax.cond(place < _STEPS, within, jax.jit(beyond), place, later)
            values = body.evaluate(self.plan.rest, {**shared, **carry, **dict(zip(drawn, found, strict=True))})
            ends = {number: value_of(body.results[number - body.constants], values) for number in carry}
            return place + 1, later, ends

        place, later, last = lax.while_loop(goes_on, step, (0, keys, init))
        is_within = place < _STEPS
        for number, first, key in zip(chain, firsts, later, strict=True):
            own = lax.dynamic_index_in_dim(first, jnp.minimum(place, _STEPS - 1), keepdims=False)
            last[number] = jnp.where(is_within, own, key)
        return [last[number] for number in body.carried()]

    def _ends(self) -> list[Any]:
        """Return what the keys are after a step."""
        return [self.body.results[number - self.body.constants] for number in self.plan.chain]

    def _drawn(self) -> list[int]:
        """Return the values that are drawn and that the other steps read."""
        body, plan = self.body, self.plan
        wanted = [body.results[n - body.constants] for n in body.carried() if n not in plan.chain]
        return sorted({*plan.linked, *plan.passed} & (read_by(plan.rest) | numbers_of(wanted)))

    def _block(self, shared: Values, keys: Values, drawn: Collection[int]) -> tuple[Values, list[Any], list[Any]]:
        """Return what the first steps draw, the keys before each of them, and the keys after them."""
        body, plan = self.body, self.plan
        links: list[Step] = body.needed([*self._ends(), *plan.linked], given=plan.chain)
        by_step: list[Values] = []
        for _ in range(_STEPS):
            values = body.evaluate(links, {**shared, **keys})
            by_step.append({number: values[number] for number in {*plan.linked, *plan.chain}})
            keys = {number: value_of(end, values) for number, end in zip(plan.chain, self._ends(), strict=True)}
        linked = {number: jnp.stack([values[number] for values in by_step]) for number in by_step[0]}
        block = {**linked, **body.at_once(plan.ahead, plan.passed, shared, linked)}
        return {number: block[number] for number in drawn}, [linked[number] for number in plan.chain], [*keys.values()]
