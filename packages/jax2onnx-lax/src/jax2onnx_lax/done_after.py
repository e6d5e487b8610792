"""Do what no later step of a scan reads after the scan, for all steps at once.

before: scan: h, x -> h = cell(h, x); y = softmax(h @ v)      two nodes or more in each step for y
after:  scan: h, x -> h = cell(h, x); h                       none
        ys = softmax(hs @ v), over all steps                  as many in all

What is left is often a step that has an operator of its own, such as that of a recurrent layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jax2onnx.plugin import InconclusiveDimensionOperation, is_static, open_jaxpr, scan_counts
from jax2onnx_lax.draws_ahead import MOVED, SCALAR, is_call
from jax2onnx_lax.scan_steps import Step, Steps, Values, made_by, numbers_of, read_by

__all__ = [
    "FREE",
    "can_be_traced",
    "do_after",
    "is_loop",
    "is_small",
    "may_be_apart",
    "opened",
]

_MOST_BYTES = 2**24
"""How much what is done after the scan may take in all; JAX holds a single step's."""
_WIDER = 4
"""How many times as large as the largest result of a step another value may be, where sizes are symbolic."""
FREE = frozenset({"broadcast_in_dim", "copy", "expand_dims", "iota", "reshape", "squeeze", "stop_gradient"})
"""Primitives that are often no nodes."""
_OPENED = {"custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}


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
    plan = _Plan.of(body)
    if plan is None or not is_small(plan.after, jaxpr.outvars[carries:], length):
        return None
    if not is_static(length) and _read_in_scan(body, plan).isdisjoint(body.scanned()):
        return None
    function = _Split(body, plan, length, reverse=eqn.params["reverse"])
    return function if can_be_traced(function, [v.aval for v in eqn.invars]) else None


def can_be_traced(function: Callable[..., Any], avals: Sequence[Any]) -> bool:
    """Return whether JAX decides the comparisons of sizes that arise where all steps are done at once."""
    if all(is_static(*aval.shape) for aval in avals):
        return True
    try:
        jax.eval_shape(function, *[jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in avals])
    except InconclusiveDimensionOperation:
        return False
    return True


def is_loop(length: Any) -> bool:
    """Return whether there are several steps, or as many as a symbolic dim has, of which JAX knows that it is not 0."""
    try:
        return bool(length >= 2) if is_static(length) else bool(length >= 1)
    except InconclusiveDimensionOperation:
        return False


def opened(eqn: Any) -> tuple[Any, Sequence[Any]] | None:
    """Return the jaxpr, and its constants, of an equation that only calls it; else None."""
    if is_call(eqn):
        return open_jaxpr(eqn.params["jaxpr"])
    inner = eqn.params.get(_OPENED.get(eqn.primitive.name, ""))
    return None if inner is None else open_jaxpr(inner)


def may_be_apart(step: Step) -> bool:
    """Return whether the equation is the same for all steps at once."""
    if step.name not in MOVED and step.name not in SCALAR and step.name != "dot_general":
        return False
    avals = [v.aval for v in (*step.eqn.invars, *step.eqn.outvars)]
    return all(isinstance(aval.dtype, np.dtype) for aval in avals)


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
    def of(cls, body: Steps) -> _Plan | None:
        """Return the plan of a body; None if no step spares a node."""
        ends, results = body.results[: body.carries], body.results[body.carries :]
        needed = body.needed(body.results)
        fixed = [number for step in needed if not may_be_apart(step) for number in step.makes]
        stay = body.needed([*ends, *fixed])
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


def is_small(steps: Sequence[Step], beside: Sequence[Any], length: Any) -> bool:
    """Return whether what is computed for all steps of a scan takes little memory, or no more than what lies beside it.

    Args:
        steps: compute it.
        beside: the variables of a step that are in memory for all steps anyway.
        length: how many steps there are.
    """
    made = [v.aval for step in steps for v in step.eqn.outvars]
    if is_static(length) and all(is_static(*aval.shape) for aval in made):
        return int(length) * sum(map(_size_of, made)) <= _MOST_BYTES
    largest = max((_size_of(v.aval) for v in beside), default=0)
    return all(_size_of(aval) <= _WIDER * largest for aval in made)


def _size_of(aval: Any) -> int:
    """Return how many bytes a value takes where all symbolic dims are 1."""
    return int(math.prod(dim for dim in aval.shape if is_static(dim)) * aval.dtype.itemsize)


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
