"""Do what branches of a choice hash before the choice, where keys alone decide it: there it may be done ahead.

before: cond: x + normal(split(key)[0]), x             two hashes in each step that takes this branch
after:  noise = normal(split(key)[0])                  drawn ahead of a loop, or at once with other hashes
        cond: x + noise, x                             none

What is hashed for a branch that is not taken is not used. It is few numbers: a node takes as long for one as for none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jax2onnx.plugin import open_jaxpr
from jax2onnx_lax.hash_equations import (
    BEYOND,
    bytes_made,
    holds_hash,
    is_call,
    is_hash,
    is_hashing_loop,
    may_be_ahead,
    related,
)
from jax2onnx_lax.scan_steps import Open, Step, Steps, Values, made_by, numbers_of, read_by, value_of

__all__ = ["hash_before_choices", "steps_of_while"]

_MOST_BYTES = 2**9
"""How much a hash of a branch may make."""


def hash_before_choices(body: Steps, avals: Sequence[Any], open_equation: Open, *, is_scan: bool) -> Steps:
    """Return a loop's body with hashes of branches before the choices; the body itself if there are none.

    Args:
        body: the steps.
        avals: the abstract values of the body's inputs.
        open_equation: returns by what an equation is replaced from which hashes may be taken out.
        is_scan: whether scanned values are known ahead, as are numbers that are made of hashes.
    """
    if not any(map(_is_choice, body.steps)):
        return body
    bound = {number for number in body.carried() if not _is_of_keys(avals[number])}
    while True:
        unknown = _unknown(body, bound)
        ends = {n for n in body.carried() if not unknown.isdisjoint(numbers_of([body.results[n - body.constants]]))}
        if ends <= bound:
            break
        bound |= ends
    return body.opened_at(_Opening(unknown, open_equation, is_scan), open_equation)


def steps_of_while(eqn: Any, open_equation: Open, *, is_scan: bool) -> Steps | None:
    """Return the body of a ``while`` that hashes, with hashes of branches before the choices; None for other loops.

    Args:
        eqn: the jaxpr's equation.
        open_equation: returns by what an equation is replaced from which hashes may be taken out.
        is_scan: whether scanned values are known ahead, as are numbers that are made of hashes.
    """
    jaxpr, consts = open_jaxpr(eqn.params["body_jaxpr"])
    condition, _ = open_jaxpr(eqn.params["cond_jaxpr"])
    if jaxpr.effects or condition.effects or condition.outvars[0].aval.shape or not any(map(holds_hash, jaxpr.eqns)):
        return None
    count = eqn.params["body_nconsts"]
    body = Steps.of((jaxpr, consts), count, len(jaxpr.invars) - count, open_equation)
    return hash_before_choices(body, [v.aval for v in jaxpr.invars], open_equation, is_scan=is_scan)


def _is_choice(step: Step) -> bool:
    params = step.eqn.params
    if step.name != "cond" or params.get("branches_platforms") is not None or not holds_hash(step.eqn):
        return False
    inner = [eqn for branch in params["branches"] for eqn in open_jaxpr(branch)[0].eqns]
    return not any(is_call(eqn) and eqn.params["name"] == BEYOND for eqn in inner)


def _is_of_keys(aval: Any) -> bool:
    """Return whether a carried value may be a key or a counter."""
    return not isinstance(aval.dtype, np.dtype) or aval.dtype.kind in "iu"


def _unknown(body: Steps, bound: Collection[int]) -> set[int]:
    """Return the values that are made of some, or that no step makes that may be done ahead, and in vain."""
    found = set(bound)
    for step in body.steps:
        if not _may_be_in_vain(step) or not found.isdisjoint(step.numbers()):
            found.update(step.makes)
    return found


def _may_be_in_vain(step: Step) -> bool:
    """Return whether a step is cheap; what branches compute does not fail for any numbers."""
    is_short = not is_hashing_loop(step) and not (is_hash(step) and bytes_made(step) > _MOST_BYTES)
    return is_short and may_be_ahead(step)


@dataclass(frozen=True, slots=True)
class _Opening:
    """Returns by what a choice is replaced.

    Attributes:
        unknown: the values that are not known ahead.
        open_equation: returns by what other equations are replaced.
        is_scan: whether numbers that are made of hashes are known ahead.
    """

    unknown: Collection[int]
    open_equation: Open
    is_scan: bool

    def __call__(self, step: Step) -> tuple[Any, Sequence[Any]] | None:
        """Return the jaxpr, and its constants, of a choice with hashes before it; None to leave a step."""
        if not _is_choice(step):
            return None
        known = [not isinstance(atom, int) or atom not in self.unknown for atom in step.reads[1:]]
        branches = [_Branch.of(branch, known, self) for branch in step.eqn.params["branches"]]
        if not any(branch is not None and branch.passed for branch in branches) or None in branches:
            return None
        function = _Choice(step.eqn, [branch for branch in branches if branch is not None])
        return open_jaxpr(jax.make_jaxpr(function)(*(v.aval for v in step.eqn.invars)))


@dataclass(frozen=True, slots=True)
class _Branch:
    """What a branch does before the choice, and in it.

    Attributes:
        body: the steps of both.
        before: those before the choice.
        passed: the values of these that the others read.
        rest: the others.
    """

    body: Steps
    before: list[Step]
    passed: list[int]
    rest: list[Step]

    @classmethod
    def of(cls, branch: Any, known: Sequence[bool], opening: _Opening) -> _Branch | None:
        """Return the parts of a branch, of whose operands some are known ahead; None if it has effects."""
        jaxpr, consts = open_jaxpr(branch)
        if jaxpr.effects:
            return None
        body = Steps.of((jaxpr, consts), len(known), 0, opening.open_equation)
        bound = {number for number, is_known in enumerate(known) if not is_known}
        inner = _Opening(_unknown(body, bound), opening.open_equation, opening.is_scan)
        body = body.opened_at(inner, opening.open_equation)
        unknown = _unknown(body, bound)
        free = [step for step in body.steps if unknown.isdisjoint(step.makes)]
        hashed = made_by(filter(is_hash, free))
        before = related(free) if opening.is_scan else body.needed(hashed)
        made = made_by(before)
        rest = body.needed(body.results, given=made)
        passed = sorted(made & (read_by(rest) | numbers_of(body.results))) if hashed else []
        return cls(body, before, passed, rest)

    def values(self, operands: Sequence[Any]) -> list[Any]:
        """Return what is done before the choice."""
        values = self.body.evaluate(self.before, dict(enumerate(operands)))
        return [values[number] for number in self.passed]

    def results(self, operands: Sequence[Any], given: Sequence[Any]) -> list[Any]:
        """Return the results of the branch."""
        known: Values = {**dict(enumerate(operands)), **dict(zip(self.passed, given, strict=True))}
        values = self.body.evaluate(self.rest, known)
        return [value_of(atom, values) for atom in self.body.results]


@dataclass(frozen=True, slots=True)
class _Choice:
    """The function of a choice's operands that does some hashes before it."""

    eqn: Any
    branches: Sequence[_Branch]

    def __call__(self, index: Any, *operands: Any) -> list[Any]:
        """Return the results."""
        given = [branch.values(operands) for branch in self.branches]
        flat = [value for values in given for value in values]
        chosen = []
        start = len(operands)
        for branch, values in zip(self.branches, given, strict=True):
            function = _results_of(branch, len(operands), slice(start, start + len(values)))
            start += len(values)
            chosen.append(jax.make_jaxpr(function)(*map(jax.typeof, (*operands, *flat))))
        params = {**self.eqn.params, "branches": tuple(chosen)}
        results: list[Any] = self.eqn.primitive.bind(index, *operands, *flat, **params)
        return results


def _results_of(branch: _Branch, count: int, given: slice) -> Callable[..., list[Any]]:
    """Return the function of a choice's operands, and of what is given to all branches, that a branch is."""
    return lambda *values: branch.results(values[:count], values[given])
