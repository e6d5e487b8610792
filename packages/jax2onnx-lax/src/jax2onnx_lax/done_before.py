"""Do what the steps of a scan make of scanned arrays alone before the scan, for all steps at once.

before: scan: h, t -> x = table[t]; h = cell(h, x)      an index is wrapped and looked up in each step
after:  xs = table[ts]; scan: h, x -> h = cell(h, x)    once

Products with matrices stay in the steps: those of a recurrent layer are part of its operator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx.plugin import open_jaxpr, scan_counts
from jax2onnx_lax.apart import FREE, Memory, can_be_traced, is_loop, opened
from jax2onnx_lax.scan_steps import Step, Steps, Values, made_by, numbers_of, read_by

if TYPE_CHECKING:
    import jax

__all__ = ["do_before"]


def do_before(eqn: Any) -> Callable[..., Any] | None:
    """Return the function that does part of the work of a ``scan`` before it; None if there is no such work.

    Args:
        eqn: the jaxpr's equation.
    """
    jaxpr, consts = open_jaxpr(eqn.params["jaxpr"])
    length = eqn.params["length"]
    constants, carries = scan_counts(eqn.params)
    if jaxpr.effects or not carries or len(jaxpr.invars) == constants + carries or not is_loop(length):
        return None
    body = Steps.of((jaxpr, consts), constants, carries, opened)
    memory = Memory.of(jaxpr, constants, carries, length, (*jaxpr.invars[constants:], *jaxpr.outvars))
    plan = _Plan.of(body, memory, [number for number in body.scanned() if _is_short(jaxpr.invars[number].aval)])
    if plan is None or not memory.is_enough_for(plan.before):
        return None
    function = _Split(body, plan, length, reverse=eqn.params["reverse"])
    return function if can_be_traced(function, [v.aval for v in eqn.invars]) else None


def _is_short(aval: Any) -> bool:
    """Return whether a step reads a number, or some indices, of a scanned array: no weights of a layer."""
    return isinstance(aval.dtype, np.dtype) and (not aval.shape or aval.dtype in {np.dtype("int32"), np.dtype("int64")})


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is computed where.

    Attributes:
        before: the steps that are done before the scan.
        passed: the values that the scan reads of these.
        steps: the steps of the scan.
    """

    before: list[Step]
    passed: list[int]
    steps: list[Step]

    @classmethod
    def of(cls, body: Steps, memory: Memory, short: Sequence[int]) -> _Plan | None:
        """Return the plan of a body, of whose scanned inputs some are short; None if no step spares a node."""
        varying = set(short)
        bound = {*body.carried(), *body.scanned()} - varying
        apart: list[Step] = []
        for step in body.needed(body.results):
            reads = set(step.numbers())
            may_be = memory.may_be_apart(step)
            is_apart = may_be and step.name != "dot_general" and bound.isdisjoint(reads)
            if is_apart and not varying.isdisjoint(reads):
                apart.append(step)
                varying.update(step.makes)
            elif not bound.isdisjoint(reads) or not varying.isdisjoint(reads) or not may_be:
                bound.update(step.makes)
        made = made_by(apart)
        ends = numbers_of(body.results)
        steps = body.needed(body.results, given=made)
        passed = sorted(made & (read_by(steps) | ends))
        before = body.needed(passed)
        scanned = set(body.scanned())
        more = len(passed) - len(scanned & read_by(before) - read_by(steps) - ends)
        spared = sum(step.name not in FREE for step in before if step in apart) - max(more, 0)
        return cls(before, passed, steps) if spared > 0 else None


@dataclass(frozen=True, slots=True)
class _Split:
    """The function of a scan's operands that does some work before the scan."""

    body: Steps
    plan: _Plan
    length: Any
    reverse: bool

    def __call__(self, *operands: jax.Array) -> list[jax.Array]:
        """Return the last carries, and the stacked results."""
        body, plan = self.body, self.plan
        shared = dict(enumerate(operands[: body.constants]))
        by_step: Values = {number: operands[number] for number in body.scanned()}
        by_step |= body.at_once(plan.before, plan.passed, shared, by_step)
        form: dict[str, Any] = {"length": self.length, "reverse": self.reverse}
        return body.finish(plan.steps, operands, last={}, shared=shared, by_step=by_step, **form)
