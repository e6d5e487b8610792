"""Draw the random numbers of a scan's steps ahead of the scan, all at once.

before: scan: key, x -> key, one = split(key); noise = normal(one); ...      two hashes in each step
after:  scan: key -> key, _ = split(key); the keys before each step          one hash in each step
        noise = normal(split(keys)[1]), over all steps                       two hashes in all
        scan: x, noise -> ...                                                none

A hash is more than a hundred nodes, and each costs as much for one number as for a thousand. Keys that are scanned, and
a counter that is folded into a key, need no hash in any step. JAX draws the same numbers for a batch of keys.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jax2onnx.plugin import is_static, open_jaxpr, scan_counts
from jax2onnx_lax.scan_steps import Step, Steps, Values, made_by, numbers_of, read_by

__all__ = ["MOVED", "SCALAR", "bytes_of", "draw_ahead", "holds_hash", "is_call", "is_hash", "is_jaxpr", "may_be_ahead"]

_MOST_BYTES = 2**24
"""How much what is computed ahead may take in all; JAX holds a single step's."""
_HASHES = frozenset({"random_bits", "random_fold_in", "random_seed", "random_split", "threefry2x32"})
MOVED = frozenset(
    {
        *("argmax", "argmin", "broadcast_in_dim", "concatenate", "convert_element_type", "copy", "cumsum"),
        *("dynamic_slice", "expand_dims", "gather", "iota", "random_clone", "random_unwrap", "random_wrap"),
        *("reduce_and", "reduce_max", "reduce_min", "reduce_or", "reduce_sum", "reshape", "rev", "slice", "sort"),
        *("split", "squeeze", "stop_gradient", "transpose", "unstack"),
    }
)
"""Primitives that move elements, count them or compare them, each of which is the same for all steps at once."""
SCALAR = frozenset(
    {
        *("abs", "add", "and", "bitcast_convert_type", "ceil", "clamp", "cos", "div", "eq", "erf", "erf_inv", "exp"),
        *("expm1", "floor", "ge", "gt", "integer_pow", "is_finite", "le", "log", "log1p", "logistic", "lt", "max"),
        *("min", "mul", "ne", "neg", "not", "or", "pow", "rem", "round", "rsqrt", "select_n", "shift_left"),
        *("shift_right_arithmetic", "shift_right_logical", "sign", "sin", "sqrt", "square", "sub", "tan", "tanh"),
        "xor",
    }
)
"""Primitives of numbers, each of which is the same for all steps at once."""
_CALLS = frozenset({"jit", "pjit"})
_MARK = "onnx_function|"


def draw_ahead(eqn: Any) -> Callable[..., Any] | None:
    """Return the function that does the work of a ``scan`` with its random numbers drawn ahead; None if there are none.

    Args:
        eqn: the jaxpr's equation.
    """
    jaxpr, consts = open_jaxpr(eqn.params["jaxpr"])
    length = eqn.params["length"]
    if not is_static(length) or length < 2 or jaxpr.effects or not _has_hash(jaxpr):
        return None
    body = Steps.of((jaxpr, consts), *scan_counts(eqn.params), _opened)
    plan = _Plan.of(body)
    if plan is None or int(length) * sum(map(_bytes, plan.ahead)) > _MOST_BYTES:
        return None
    return _Split(body, plan, int(length), reverse=eqn.params["reverse"])


def _has_hash(jaxpr: Any) -> bool:
    return any(holds_hash(eqn) for eqn in jaxpr.eqns)


def holds_hash(eqn: Any) -> bool:
    """Return whether an equation is a hash, or a loop, a choice or a call in which one is."""
    params = itertools.chain.from_iterable(p if isinstance(p, tuple) else (p,) for p in eqn.params.values())
    inner = [open_jaxpr(p)[0] for p in params if is_jaxpr(p)]
    return eqn.primitive.name in _HASHES or any(map(_has_hash, inner))


def is_jaxpr(param: Any) -> bool:
    """Return whether a param of an equation is a jaxpr, closed or open."""
    return hasattr(open_jaxpr(param)[0], "eqns")


def is_call(eqn: Any) -> bool:
    """Return whether an equation calls a jaxpr that does not become an ONNX function."""
    return eqn.primitive.name in _CALLS and _MARK not in eqn.params["name"]


def _opened(eqn: Any) -> tuple[Any, Sequence[Any]] | None:
    """Return the jaxpr, and its constants, of a call or a scan from which hashes may be taken out; else None."""
    if not holds_hash(eqn):
        return None
    if is_call(eqn):
        return open_jaxpr(eqn.params["jaxpr"])
    function = draw_ahead(eqn) if eqn.primitive.name == "scan" else None
    return open_jaxpr(jax.make_jaxpr(function)(*(v.aval for v in eqn.invars))) if function is not None else None


def is_hash(step: Step) -> bool:
    """Return whether a step hashes keys, counters or seeds."""
    return step.name in _HASHES


def may_be_ahead(step: Step) -> bool:
    """Return whether the equation is the same for all steps at once, and no dearer than for one.

    Of a batch of keys of ``rbg``, or of the user's own kind, JAX draws other numbers than of one key after the other.
    Sizes must be known, to hold what is computed ahead within bounds.
    """
    if step.name not in _HASHES and step.name not in MOVED and step.name not in SCALAR:
        return False
    avals = [v.aval for v in (*step.eqn.invars, *step.eqn.outvars)]
    return all(is_static(*aval.shape) and (isinstance(aval.dtype, np.dtype) or _is_threefry(aval)) for aval in avals)


def _is_threefry(key: Any) -> bool:
    return bool(key.dtype == jax.eval_shape(lambda: jax.random.key(0, impl="threefry2x32")).dtype)


def _may_be_in_chain(step: Step) -> bool:
    """Return whether keys and counters are made like this."""
    dtypes = [v.aval.dtype for v in step.eqn.outvars]
    return may_be_ahead(step) and all(not isinstance(dtype, np.dtype) or dtype.kind in "iub" for dtype in dtypes)


def bytes_of(aval: Any) -> int:
    """Return how many bytes a value takes; a key is two words."""
    return int(math.prod(aval.shape) * aval.dtype.itemsize)


def _bytes(step: Step) -> int:
    return sum(bytes_of(v.aval) for v in step.eqn.outvars)


@dataclass(frozen=True, slots=True)
class _Plan:
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
    def of(cls, body: Steps) -> _Plan | None:
        """Return the plan of a body; None if no hash can be taken out of a step."""
        chain = _chain(body)
        links = body.needed([body.results[number - body.constants] for number in chain])
        ahead = _related(_independent(body, chain))
        if not any(is_hash(step) for step in ahead if step not in links):
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


def _related(steps: Sequence[Step]) -> list[Step]:
    """Return the steps that lead to a hash, or from one."""
    leading: set[int] = set()
    before = set()
    for step in reversed(steps):
        if is_hash(step) or not leading.isdisjoint(step.makes):
            before.add(step)
            leading.update(step.numbers())
    related = set(before)
    made = {number for step in before for number in step.makes}
    for step in steps:
        if not made.isdisjoint(step.numbers()):
            related.add(step)
            made.update(step.makes)
    needed: set[int] = set()
    found = []
    for step in reversed(steps):
        if step in related or not needed.isdisjoint(step.makes):
            found.append(step)
            needed.update(step.numbers())
    return found[::-1]


@dataclass(frozen=True, slots=True)
class _Split:
    """The function of a scan's operands that draws ahead."""

    body: Steps
    plan: _Plan
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
