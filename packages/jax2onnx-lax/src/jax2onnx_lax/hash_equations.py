"""Which equations hash keys, and which are the same for many numbers at once as for one after the other."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jax2onnx.plugin import is_static, open_jaxpr, scan_counts
from jax2onnx_lax.scan_steps import Steps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx_lax.scan_steps import Step

__all__ = [
    "BEYOND",
    "MOVED",
    "SCALAR",
    "bytes_made",
    "bytes_of",
    "holds_hash",
    "is_call",
    "is_hash",
    "is_hashing_loop",
    "is_jaxpr",
    "may_be_ahead",
    "opened_call",
    "related",
]

_HASHES = frozenset({"random_bits", "random_fold_in", "random_seed", "random_split", "threefry2x32"})
MOVED = frozenset(
    {
        *("argmax", "argmin", "broadcast_in_dim", "concatenate", "convert_element_type", "copy", "cumsum"),
        *("dynamic_slice", "expand_dims", "gather", "iota", "random_clone", "random_unwrap", "random_wrap"),
        *("reduce_and", "reduce_max", "reduce_min", "reduce_or", "reduce_sum", "reshape", "rev", "slice", "sort"),
        *("split", "squeeze", "stack", "stop_gradient", "transpose", "unstack"),
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
BEYOND = "beyond_the_block"
"""The name of a call whose hashes stay in the branch where it is: they are rarely needed."""
_CALLS = frozenset({"jit", "pjit"})
_MARK = "onnx_function|"


def holds_hash(eqn: Any) -> bool:
    """Return whether an equation is a hash, or a loop, a choice or a call in which one is."""
    params = itertools.chain.from_iterable(p if isinstance(p, tuple) else (p,) for p in eqn.params.values())
    inner = [open_jaxpr(p)[0] for p in params if is_jaxpr(p)]
    return eqn.primitive.name in _HASHES or any(map(_has_hash, inner))


def _has_hash(jaxpr: Any) -> bool:
    return any(holds_hash(eqn) for eqn in jaxpr.eqns)


def is_jaxpr(param: Any) -> bool:
    """Return whether a param of an equation is a jaxpr, closed or open."""
    return hasattr(open_jaxpr(param)[0], "eqns")


def is_call(eqn: Any) -> bool:
    """Return whether an equation calls a jaxpr that does not become an ONNX function."""
    return eqn.primitive.name in _CALLS and _MARK not in eqn.params["name"]


def opened_call(eqn: Any) -> tuple[Any, Sequence[Any]] | None:
    """Return the jaxpr, and its constants, of a call; None for other equations."""
    return open_jaxpr(eqn.params["jaxpr"]) if is_call(eqn) else None


def is_hash(step: Step) -> bool:
    """Return whether a step hashes keys, counters or seeds."""
    return step.name in _HASHES


def may_be_ahead(step: Step) -> bool:
    """Return whether the equation is the same for all steps at once, and no dearer than for one.

    Of a batch of keys of ``rbg``, or of the user's own kind, JAX draws other numbers than of one key after the other.
    Sizes must be known, to hold what is computed ahead within bounds.
    """
    if is_hashing_loop(step):
        return True
    if step.name not in _HASHES and step.name not in MOVED and step.name not in SCALAR:
        return False
    avals = [v.aval for v in (*step.eqn.invars, *step.eqn.outvars)]
    return all(is_static(*aval.shape) and (isinstance(aval.dtype, np.dtype) or _is_threefry(aval)) for aval in avals)


def is_hashing_loop(step: Step) -> bool:
    """Return whether a step is a loop of a known length that hashes, and may be done for many keys at once."""
    if step.name != "scan" or not holds_hash(step.eqn) or not is_static(step.eqn.params["length"]):
        return False
    jaxpr, consts = open_jaxpr(step.eqn.params["jaxpr"])
    body = Steps.of((jaxpr, consts), *scan_counts(step.eqn.params), opened_call)
    return not jaxpr.effects and all(map(may_be_ahead, body.steps))


def _is_threefry(key: Any) -> bool:
    return bool(key.dtype == jax.eval_shape(lambda: jax.random.key(0, impl="threefry2x32")).dtype)


def bytes_of(aval: Any) -> int:
    """Return how many bytes a value takes; a key is two words."""
    return int(math.prod(aval.shape) * aval.dtype.itemsize)


def bytes_made(step: Step) -> int:
    """Return how many bytes the results of a step take."""
    return sum(bytes_of(v.aval) for v in step.eqn.outvars)


def related(steps: Sequence[Step]) -> list[Step]:
    """Return the steps that lead to a hash, or from one."""
    leading: set[int] = set()
    before = set()
    for step in reversed(steps):
        if is_hash(step) or is_hashing_loop(step) or not leading.isdisjoint(step.makes):
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
