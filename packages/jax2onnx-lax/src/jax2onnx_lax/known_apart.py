"""Do what the steps of a scan compute of known numbers alone in a scan of its own, which is computed at conversion.

before: scan: mean, cov, y -> cov = f(cov); mean = mean + gain(cov) @ (y - mean)    where the first cov is known
after:  scan: cov -> cov = f(cov), gain(cov)                                        known: its results are constants
        scan: mean, y, gain -> mean = mean + gain @ (y - mean)
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from jax2onnx.plugin import is_static, open_jaxpr, scan_counts
from jax2onnx_lax.hash_equations import bytes_of, opened_call
from jax2onnx_lax.scan_steps import Step, Steps, made_by, numbers_of, read_by

if TYPE_CHECKING:
    import jax

__all__ = ["known_apart"]

_MOST_PASSED = 2**18
"""How much what is passed to the other steps may take."""
_FREE = frozenset({"broadcast_in_dim", "copy", "expand_dims", "iota", "reshape", "squeeze", "stop_gradient"})
"""Primitives that are often no nodes."""


def known_apart(eqn: Any, known: Collection[int]) -> Callable[..., Any] | None:
    """Return the function that does what is known of a ``scan`` apart; None if there is no work in that.

    Args:
        eqn: the jaxpr's equation.
        known: the positions of operands that depend on no input.
    """
    jaxpr, consts = open_jaxpr(eqn.params["jaxpr"])
    length = eqn.params["length"]
    if not is_static(length) or length < 2 or jaxpr.effects or len(known) == len(eqn.invars):
        return None
    body = Steps.of((jaxpr, consts), *scan_counts(eqn.params), opened_call)
    if not any(number in known for number in (*body.carried(), *body.scanned())):
        return None
    plan = _Plan.of(body, known)
    sizes = dict(enumerate(_size(v.aval) for v in jaxpr.invars))
    sizes |= {n: _size(v.aval) for s in plan.known for n, v in zip(s.makes, s.eqn.outvars, strict=True)}
    passed = sum(sizes[number] for number in plan.passed) * int(length)
    spared = _count_nodes(plan.known) + len(plan.chain) - len(plan.passed)
    if spared <= 0 or passed > _MOST_PASSED or not any(map(_is_of_floats, plan.known)):
        return None
    return _Parts(body, plan, int(length), reverse=eqn.params["reverse"])


def _count_nodes(steps: Collection[Step]) -> int:
    """Return how many of the steps are nodes."""
    return sum(step.name not in _FREE for step in steps)


def _size(aval: Any) -> int:
    """Return how many bytes a value takes; what is known has no symbolic shape."""
    return bytes_of(aval) if is_static(*aval.shape) else 0


def _widens(step: Step) -> bool:
    """Return whether a matrix is converted to a dtype of more bits: weights are stored as they are."""
    if step.name != "convert_element_type":
        return False
    given, made = step.eqn.invars[0].aval, step.eqn.outvars[0].aval
    return len(given.shape) > 1 and str(given.dtype) != "bool" and given.dtype.itemsize < made.dtype.itemsize


def _is_of_floats(step: Step) -> bool:
    """Return whether a step computes floats: of counters alone, rules of loops know more than that they are numbers."""
    dtypes = [v.aval.dtype for v in step.eqn.outvars]
    return _count_nodes([step]) > 0 and all(not isinstance(d, np.dtype) or d.kind not in "iub" for d in dtypes)


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is computed where.

    Attributes:
        chain: the carried inputs that are known in all iterations.
        fixed: the steps that are the same in all iterations, and known.
        known: the other steps that are known.
        rest: the steps that are not.
        passed: the known values that these, or the results, read.
    """

    chain: list[int]
    fixed: list[Step]
    known: list[Step]
    rest: list[Step]
    passed: list[int]

    @classmethod
    def of(cls, body: Steps, known: Collection[int]) -> _Plan:
        """Return the plan of a body of whose inputs some are known."""
        unknown = set(range(body.inputs)) - set(known)
        while True:
            tainted = _tainted(body, unknown)
            ends = zip(body.carried(), body.results, strict=False)
            more = {number for number, end in ends if isinstance(end, int) and end in tainted} - unknown
            if not more:
                break
            unknown |= more
        chain = [number for number in body.carried() if number not in unknown]
        varying = _tainted(body, {*body.carried(), *body.scanned()})
        steps = body.needed(body.results)
        rest = [step for step in steps if not tainted.isdisjoint(step.makes)]
        known_steps = [step for step in steps if tainted.isdisjoint(step.makes)]
        fixed = [step for step in known_steps if varying.isdisjoint(step.makes)]
        apart = [step for step in known_steps if not varying.isdisjoint(step.makes)]
        others = [end for number, end in zip(body.carried(), body.results, strict=False) if number not in chain]
        read = read_by(rest) | numbers_of(others) | numbers_of(body.results[body.carries :])
        return cls(chain, fixed, apart, rest, sorted(read & (made_by(apart) | set(chain))))


def _tainted(body: Steps, inputs: Collection[int]) -> set[int]:
    """Return some inputs, and all that steps make of them, or of weights that are stored in few bits."""
    tainted = set(inputs)
    for step in body.steps:
        if not tainted.isdisjoint(step.numbers()) or _widens(step):
            tainted.update(step.makes)
    return tainted


@dataclass(frozen=True, slots=True)
class _Parts:
    """The function of a scan's operands that does what is known apart."""

    body: Steps
    plan: _Plan
    length: int
    reverse: bool

    def __call__(self, *operands: jax.Array) -> list[jax.Array]:
        """Return the last carries, and the stacked results."""
        body, plan = self.body, self.plan
        form: dict[str, Any] = {"length": self.length, "reverse": self.reverse}
        shared = body.evaluate(plan.fixed, dict(enumerate(operands[: body.constants])))
        by_step = {number: operands[number] for number in body.scanned()}
        read = read_by(plan.known) | numbers_of(body.results[number - body.constants] for number in plan.chain)
        scanned = {number: array for number, array in by_step.items() if number in read}
        init = {number: operands[number] for number in plan.chain}
        last, passed = body.scan(init, plan.known, shared, scanned, plan.passed, **form)
        by_step |= dict(zip(plan.passed, passed, strict=True))
        return body.finish(plan.rest, operands, last=last, shared=shared, by_step=by_step, **form)
