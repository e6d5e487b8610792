"""Hash the key of a while loop's next step at the end of a step, at once with the hashes of that step's own keys.

before: while: key, one = split(key); x = x + normal(one)                   two hashes, one after the other
after:  key, one = split(key)
        while: noise = normal(one); key, one = split(key); x = x + noise    two hashes at once

What is hashed after the last step is not used. A loop of n steps has n + 1 hashes in the place of 2 n.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax import lax

from jax2onnx.plugin import evaluate, open_jaxpr
from jax2onnx_lax.hash_equations import bytes_made, holds_hash, is_hash, may_be_ahead
from jax2onnx_lax.hashes_of_choices import steps_of_while
from jax2onnx_lax.scan_steps import Open, Step, Steps, made_by, numbers_of, read_by

__all__ = ["hash_earlier"]

_MOST_BYTES = 2**10
"""How much what is hashed for the next step may take: keys are few bytes."""
_LATE = 2
"""The level of what depends on the hash of a hash."""


def hash_earlier(eqn: Any, open_equation: Open) -> Callable[..., Any] | None:
    """Return the function of a ``while`` that hashes for the next step; None where no hash waits for another.

    Args:
        eqn: the jaxpr's equation.
        open_equation: returns by what an equation is replaced from which hashes may be taken out.
    """
    body = steps_of_while(eqn, open_equation, is_scan=False)
    if body is None:
        return None
    first = _first(body)
    return _Turned(eqn.params, body, first) if first else None


def _first(body: Steps) -> list[Step]:
    """Return the hashes that others wait for, and that what they hash in the next step does not wait for."""
    levels: dict[int, int] = {}
    for step in body.steps:
        level = max((levels.get(number, 0) for number in step.numbers()), default=0)
        if is_hash(step) and may_be_ahead(step):
            level = min(level + 1, _LATE)
        elif holds_hash(step.eqn):
            level = _LATE
        levels.update(dict.fromkeys(step.makes, level))
    first = [
        step for step in body.steps if is_hash(step) and levels[step.makes[0]] == 1 and _is_early(body, step, levels)
    ]
    after = made_by(first)
    waits = False
    for step in body.steps:
        if step in first or after.isdisjoint(step.numbers()):
            continue
        after.update(step.makes)
        waits = waits or (is_hash(step) and may_be_ahead(step))
    return first if waits else []


def _is_early(body: Steps, step: Step, levels: dict[int, int]) -> bool:
    """Return whether few bytes are hashed from what is cheap and known at the end of the step before."""
    leading = body.needed(step.numbers())
    read = (read_by(leading) | set(step.numbers())) & set(body.carried())
    ends = numbers_of(body.results[number - body.constants] for number in read)
    is_known = bool(read) and all(levels.get(number, 0) < _LATE for number in ends)
    return is_known and all(map(may_be_ahead, leading)) and bytes_made(step) <= _MOST_BYTES


@dataclass(frozen=True, slots=True)
class _Turned:
    """The function of a loop's operands that hashes for the next step."""

    params: Any
    body: Steps
    first: list[Step]

    def __call__(self, *operands: jax.Array) -> list[jax.Array]:
        """Return the last carries."""
        body, params = self.body, self.params
        start = params["cond_nconsts"]
        shared = dict(enumerate(operands[start : start + body.constants]))
        condition, consts = open_jaxpr(params["cond_jaxpr"])
        hashed = sorted(made_by(self.first))
        leading = body.needed(hashed)
        rest = body.needed(body.results, given=hashed)

        def hashes(carry: Sequence[Any]) -> list[Any]:
            values = body.evaluate(leading, {**shared, **dict(zip(body.carried(), carry, strict=True))})
            return [values[number] for number in hashed]

        def goes_on(state: tuple[Sequence[Any], Sequence[Any]]) -> Any:
            return evaluate(condition, consts, *operands[:start], *state[0])[0]

        def step(state: tuple[Sequence[Any], Sequence[Any]]) -> tuple[list[Any], list[Any]]:
            carried = dict(zip((*body.carried(), *hashed), (*state[0], *state[1]), strict=True))
            carry = body.ends(body.evaluate(rest, {**shared, **carried}))
            return carry, hashes(carry)

        init = list(operands[start + body.constants :])
        return lax.while_loop(goes_on, step, (init, hashes(init)))[0]
