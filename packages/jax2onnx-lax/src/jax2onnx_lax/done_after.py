"""Do what no later step of a scan reads after the scan, for all steps at once.

before: scan: h, x -> h = cell(h, x); y = softmax(h @ v)      two nodes or more in each step for y
after:  scan: h, x -> h = cell(h, x); h                       none
        ys = softmax(hs @ v), over all steps                  as many in all

What is left is often a step that has an operator of its own, such as that of a recurrent layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jax2onnx.plugin import is_static, open_jaxpr, scan_counts
from jax2onnx_lax.apart import FREE, Memory, can_be_traced, is_loop, opened
from jax2onnx_lax.scan_steps import Step, Steps, Values, made_by, numbers_of, read_by

if TYPE_CHECKING:
    import jax

__all__ = ["do_after"]

_MOVES = frozenset({"expand_dims", "reshape", "squeeze", "transpose"})


def do_after(eqn: Any) -> Callable[..., Any] | None:
    """Return the function that does part of the work of a ``scan`` after it; None if there is no such work.

    Args:
        eqn: the jaxpr's equation.
    """
    jaxpr, consts = open_jaxpr(eqn.params["jaxpr"])
    length = eqn.params["length"]
    constants, carries = scan_counts(eqn.params)
    if jaxpr.effects or len(jaxpr.outvars) == carries or not is_loop(length):
        return None
    body = Steps.of((jaxpr, consts), constants, carries, opened)
    memory = Memory.of(jaxpr, constants, carries, length, jaxpr.outvars[carries:])
    plan = _Plan.of(body, memory)
    if plan is None or not memory.is_enough_for(plan.after):
        return None
    if not is_static(length) and _read_in_scan(body, plan).isdisjoint(body.scanned()):
        return None
    function = _Split(body, plan, length, reverse=eqn.params["reverse"])
    return function if can_be_traced(function, [v.aval for v in eqn.invars]) else None


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is computed where.

    Attributes:
        steps: the steps of the scan.
        after: the steps that are done after it.
        passed: the values that these read of the scan, which it stacks for them.
    """

    steps: list[Step]
    after: list[Step]
    passed: list[int]

    @classmethod
    def of(cls, body: Steps, memory: Memory) -> _Plan | None:
        """Return the plan of a body; None if no step spares a node."""
        ends, results = body.results[: body.carries], body.results[body.carries :]
        needed = body.needed(body.results)
        fixed = [number for step in needed if not memory.may_be_apart(step) for number in step.makes]
        stay = body.needed([*ends, *fixed])
        stay = body.needed([*ends, *_moved(needed, stay)])
        kept = set(stay)
        after = [step for step in needed if step not in kept]
        given = made_by(stay) | set(body.carried())
        passed = sorted(given & (read_by(after) - made_by(after)))
        varying = made_by(stay) | set(range(body.constants, body.inputs))
        if varying.isdisjoint(read_by(after)):
            return None
        # To stack what is carried takes a node in each step, and several equations are often one node.
        stacked = numbers_of(results) & given
        new = set(passed) - stacked
        taken = len(new & (numbers_of(ends) | set(body.carried())))
        spared = sum(step.name not in FREE for step in after) - 2 * taken
        return cls(stay, after, passed) if spared > 0 else None


def _moved(needed: Sequence[Step], stay: Sequence[Step]) -> list[int]:
    """Return what the steps that stay make, in other shapes too: with these moves a fusion ends, such as attention."""
    made = made_by(stay)
    for step in needed:
        if step.name in _MOVES and made.issuperset(step.numbers()):
            made.update(step.makes)
    return sorted(made)


def _read_in_scan(body: Steps, plan: _Plan) -> set[int]:
    """Return what the steps of the scan read, and what is carried on."""
    return read_by(plan.steps) | numbers_of(body.results[: body.carries])


@dataclass(frozen=True, slots=True)
class _Split:
    """The function of a scan's operands that does some work after the scan."""

    body: Steps
    plan: _Plan
    length: Any
    reverse: bool

    def __call__(self, *operands: jax.Array) -> list[jax.Array]:
        """Return the last carries, and the stacked results."""
        body, plan = self.body, self.plan
        shared = dict(enumerate(operands[: body.constants]))
        by_step: Values = {number: operands[number] for number in body.scanned()}
        results = body.results[body.carries :]
        own = made_by(plan.steps) | set(body.carried())
        stacked = sorted(set(plan.passed) | (numbers_of(results) & own))
        read = _read_in_scan(body, plan)
        scanned = {number: array for number, array in by_step.items() if number in read}
        init = {number: operands[number] for number in body.carried()}
        # JAX takes a symbolic length from what is scanned only.
        length = None if scanned else self.length
        last, arrays = body.scan(init, plan.steps, shared, scanned, stacked, length=length, reverse=self.reverse)
        by_step |= dict(zip(stacked, arrays, strict=True))
        by_step |= body.at_once(plan.after, sorted(numbers_of(results) & made_by(plan.after)), shared, by_step)
        return body.finish(
            [], operands, last=last, shared=shared, by_step=by_step, length=self.length, reverse=self.reverse
        )
