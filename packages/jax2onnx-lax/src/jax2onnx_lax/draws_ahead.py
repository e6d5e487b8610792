"""Draw the random numbers of a scan's steps ahead of the scan, all at once.

before: scan: key, x -> key, one = split(key); noise = normal(one); ...      two hashes in each step
after:  scan: key -> key, _ = split(key); the keys before each step          one hash in each step
        noise = normal(split(keys)[1]), over all steps                       two hashes in all
        scan: x, noise -> ...                                                none

A hash is more than a hundred nodes, and each costs as much for one number as for a thousand. Keys that are scanned, and
a counter that is folded into a key, need no hash in any step. JAX draws the same numbers for a batch of keys.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jax2onnx.plugin import is_static, open_jaxpr, scan_counts
from jax2onnx_lax.hash_equations import bytes_made, holds_hash, is_hash, is_hashing_loop, may_be_ahead, related
from jax2onnx_lax.hashes_of_choices import hash_before_choices
from jax2onnx_lax.scan_steps import Open, Step, Steps, Values, made_by, numbers_of, read_by

__all__ = ["Plan", "draw_ahead"]

_MOST_BYTES = 2**24
"""How much what is computed ahead may take in all; JAX holds a single step's."""


def draw_ahead(eqn: Any, open_equation: Open) -> Callable[..., Any] | None:
    """Return the function that does the work of a ``scan`` with its random numbers drawn ahead; None if there are none.

    Args:
        eqn: the jaxpr's equation.
        open_equation: returns by what an equation is replaced from which hashes may be taken out.
    """
    jaxpr, consts = open_jaxpr(eqn.params["jaxpr"])
    length = eqn.params["length"]
    if not is_static(length) or length < 2 or jaxpr.effects or not any(map(holds_hash, jaxpr.eqns)):
        return None
    body = Steps.of((jaxpr, consts), *scan_counts(eqn.params), open_equation)
    body = hash_before_choices(body, [v.aval for v in jaxpr.invars], open_equation, is_scan=True)
    plan = Plan.of(body)
    if plan is None or int(length) * sum(map(bytes_made, plan.ahead)) > _MOST_BYTES:
        return None
    return _Split(body, plan, int(length), reverse=eqn.params["reverse"])


def _may_be_in_chain(step: Step) -> bool:
    """Return whether keys and counters are made like this."""
    dtypes = [v.aval.dtype for v in step.eqn.outvars]
    return may_be_ahead(step) and all(not isinstance(dtype, np.dtype) or dtype.kind in "iub" for dtype in dtypes)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is computed where.

    Attributes:
        chain: the carried inputs that a scan of their own computes.
        links: the steps of that scan.
        linked: the values of that scan that other steps read: what hashes make there is not hashed again.
        ahead: the steps that are done for all iterations at once.
        passed: the values of these that the other steps read.
        rest: the other steps.
    """

    chain: list[int]
    links: list[Step]
    linked: list[int]
    ahead: list[Step]
    passed: list[int]
    rest: list[Step]

    @classmethod
    def of(cls, body: Steps) -> Plan | None:
        """Return the plan of a body; None if no hash can be taken out of a step."""
        chain = _chain(body)
        links = body.needed([body.results[number - body.constants] for number in chain])
        ahead = related(_independent(body, chain))
        if not any(is_hash(step) or is_hashing_loop(step) for step in ahead if step not in links):
            return None
        made = {number for step in ahead for number in step.makes}
        given = made | set(chain)
        wanted = [body.results[n - body.constants] for n in body.carried() if n not in chain]
        wanted += body.results[body.carries :]
        rest = body.needed(wanted, given=given)
        read = read_by(rest) | numbers_of(wanted)
        given = made_by(filter(is_hash, links)) | set(chain)
        passed = sorted(made & read - given)
        ahead = body.needed(passed, given=given)
        return cls(chain, links, sorted(given & (read | read_by(ahead))), ahead, passed, rest)


def _chain(body: Steps) -> list[int]:
    """Return the carried inputs that hashes read, where keys and counters alone decide what they are in each step."""
    carried = body.carried()
    sources: dict[int, frozenset[int]] = {number: frozenset({number}) for number in carried}
    plain = dict.fromkeys(range(body.inputs), True)
    for step in body.steps:
        reads = step.numbers()
        source = frozenset().union(*(sources.get(number, frozenset()) for number in reads))
        is_plain = _may_be_in_chain(step) and all(plain.get(number, True) for number in reads)
        sources.update(dict.fromkeys(step.makes, source))
        plain.update(dict.fromkeys(step.makes, is_plain))
    chain: set[int] = set()
    for step in filter(is_hash, body.steps):
        closed = _closed(body, frozenset().union(*(sources.get(n, frozenset()) for n in step.numbers())), sources)
        after = [body.results[number - body.constants] for number in closed]
        if all(plain.get(result, True) for result in [*step.numbers(), *after] if isinstance(result, int)):
            chain |= closed
    return sorted(chain)


def _closed(body: Steps, carried: frozenset[int], sources: Mapping[int, frozenset[int]]) -> frozenset[int]:
    """Return carried inputs with all those by which their values in later steps are decided."""
    while True:
        after = [body.results[number - body.constants] for number in carried]
        larger = carried.union(*(sources.get(n, frozenset()) for n in after if isinstance(n, int)))
        if larger == carried:
            return carried
        carried = larger


def _independent(body: Steps, chain: Collection[int]) -> list[Step]:
    """Return the steps that depend on no carried input but those of the chain, and are cheap for all iterations."""
    bound = set(body.carried()) - set(chain)
    steps = []
    for step in body.steps:
        if may_be_ahead(step) and bound.isdisjoint(step.numbers()):
            steps.append(step)
        else:
            bound.update(step.makes)
    return steps


@dataclass(frozen=True, slots=True)
class _Split:
    """The function of a scan's operands that draws ahead."""

    body: Steps
    plan: Plan
    length: int
    reverse: bool

    def __call__(self, *operands: jax.Array) -> list[jax.Array]:
        """Return the last carries, and the stacked results."""
        body, plan = self.body, self.plan
        shared = dict(enumerate(operands[: body.constants]))
        by_step = {number: operands[number] for number in body.scanned()}
        form: dict[str, Any] = {"length": self.length, "reverse": self.reverse}
        last: Values = {}
        if plan.chain:
            keys = {number: operands[number] for number in plan.chain}
            last, linked = body.scan(keys, plan.links, shared, by_step, plan.linked, **form)
            by_step = {**by_step, **dict(zip(plan.linked, linked, strict=True))}
        by_step = {**by_step, **self._drawn(shared, by_step)}
        return body.finish(plan.rest, operands, last=last, shared=shared, by_step=by_step, **form)

    def _drawn(self, shared: Values, by_step: Values) -> Values:
        """Return what is computed ahead, for all steps."""

        def one(_: jax.Array, inputs: Values) -> list[Any]:
            values = self.body.evaluate(self.plan.ahead, {**shared, **inputs})
            return [values[number] for number in self.plan.passed]

        values = jax.vmap(one)(jax.numpy.arange(self.length), by_step)
        return dict(zip(self.plan.passed, values, strict=True))
