"""While loops that do the same on other numbers, in as many steps, are one loop over the numbers of both.

before: while: key, x = step(key, x);  while: key, y = step(key, y)      two hashes, one after the other
after:  while: keys, (x, y) = vmap(step)(keys, (x, y))                   two hashes at once
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax
import numpy as np
from jax import lax

from jax2onnx.plugin import evaluate, open_jaxpr
from jax2onnx_lax.hash_equations import holds_hash, is_jaxpr, may_be_ahead, opened_call
from jax2onnx_lax.scan_steps import Steps

__all__ = ["join_loops"]


def join_loops(eqns: Sequence[Any]) -> Callable[..., Any] | None:
    """Return the function that computes two loops at once; None if one has to wait for the other's end.

    Each step has a hash, which takes more nodes than it takes to put the numbers of both loops together. Of all that a
    step has, JAX computes the same for a batch.
    """
    one, other = eqns
    if not holds_hash(one) or not _is_same_params(one, other) or not _is_same_in_a_batch(one):
        return None
    apart = [not _is_same_atom(*pair) for pair in zip(one.invars, other.invars, strict=True)]
    if not any(apart) or not _in_lockstep(one, apart):
        return None
    return functools.partial(_both, one, tuple(0 if is_apart else None for is_apart in apart))


def _is_same_in_a_batch(eqn: Any) -> bool:
    count = eqn.params["body_nconsts"]
    opened = open_jaxpr(eqn.params["body_jaxpr"])
    body = Steps.of(opened, count, len(opened[0].invars) - count, opened_call)
    return all(map(may_be_ahead, body.steps))


def _both(eqn: Any, axes: tuple[int | None, ...], *operands: jax.Array) -> list[jax.Array]:
    """Return the results of the first loop, and those of the second."""
    count = len(axes)
    pairs = zip(operands[:count], operands[count:], axes, strict=True)
    stacked = [one if axis is None else jax.numpy.stack([one, other]) for one, other, axis in pairs]
    results = jax.vmap(functools.partial(_loop, eqn.params), axes)(*stacked)
    return [result[lane] for lane in range(2) for result in results]


def _loop(params: Any, *operands: jax.Array) -> Any:
    start = params["cond_nconsts"]
    end = start + params["body_nconsts"]
    condition, body = open_jaxpr(params["cond_jaxpr"]), open_jaxpr(params["body_jaxpr"])

    def goes_on(carry: Sequence[Any]) -> Any:
        return evaluate(*condition, *operands[:start], *carry)[0]

    def step(carry: Sequence[Any]) -> Any:
        return evaluate(*body, *operands[start:end], *carry)

    return lax.while_loop(goes_on, step, list(operands[end:]))


def _in_lockstep(eqn: Any, apart: Sequence[bool]) -> bool:
    """Return whether operands that are not apart alone decide how many steps there are."""
    params = eqn.params
    start = params["cond_nconsts"]
    end = start + params["body_nconsts"]
    condition, body = open_jaxpr(params["cond_jaxpr"])[0], open_jaxpr(params["body_jaxpr"])[0]
    carry = list(apart[end:])
    while True:
        after = _reached(body, [*apart[start:end], *carry])
        larger = [one or other for one, other in zip(carry, after, strict=True)]
        if larger == carry:
            break
        carry = larger
    return not any(_reached(condition, [*apart[:start], *carry]))


def _reached(jaxpr: Any, inputs: Sequence[bool]) -> list[bool]:
    """Return which results depend on some of the inputs."""
    reached = {var for var, is_some in zip(jaxpr.invars, inputs, strict=True) if is_some}
    for eqn in jaxpr.eqns:
        if not reached.isdisjoint(_variables(eqn.invars)):
            reached.update(eqn.outvars)
    return [not hasattr(atom, "val") and atom in reached for atom in jaxpr.outvars]


def _variables(atoms: Collection[Any]) -> list[Any]:
    return [atom for atom in atoms if not hasattr(atom, "val")]


def _is_same_atom(one: Any, other: Any) -> bool:
    """Return whether two operands of equations of one jaxpr are one, or the same number."""
    if hasattr(one, "val") and hasattr(other, "val"):
        return _is_same_literal(one, other)
    return one is other


def _is_same_literal(one: Any, other: Any) -> bool:
    return bool(one.aval == other.aval) and _bits(one.val) == _bits(other.val)


def _bits(value: Any) -> bytes:
    return np.asarray(value).tobytes()


def _is_same_params(one: Any, other: Any) -> bool:
    """Return whether the params of two equations mean the same."""
    return one.params.keys() == other.params.keys() and all(
        _is_same(value, other.params[name]) for name, value in one.params.items()
    )


def _is_same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if is_jaxpr(one):
        (jaxpr, consts), (other_jaxpr, others) = open_jaxpr(one), open_jaxpr(other)
        is_same = len(consts) == len(others) and all(map(_is_same_array, consts, others))
        return is_same and _is_same_jaxpr(jaxpr, other_jaxpr)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if isinstance(one, (np.ndarray, jax.Array)):
        return _is_same_array(one, other)
    return bool(one == other)


def _is_same_array(one: Any, other: Any) -> bool:
    if one is other:
        return True
    plain = all(isinstance(x, (np.ndarray, jax.Array)) and isinstance(x.dtype, np.dtype) for x in (one, other))
    return plain and one.dtype == other.dtype and one.shape == other.shape and _bits(one) == _bits(other)


def _is_same_jaxpr(one: Any, other: Any) -> bool:
    """Return whether two jaxprs have the same equations on variables of the same form."""
    pairs = dict(zip((*one.constvars, *one.invars), (*other.constvars, *other.invars), strict=False))
    counts = [[len(part) for part in (j.constvars, j.invars, j.eqns, j.outvars)] for j in (one, other)]
    if counts[0] != counts[1] or any(a.aval != b.aval for a, b in pairs.items()):
        return False

    def is_same(a: Any, b: Any) -> bool:
        if hasattr(a, "val"):
            return hasattr(b, "val") and _is_same_literal(a, b)
        return pairs.get(a) is b

    for first, second in zip(one.eqns, other.eqns, strict=True):
        if first.primitive is not second.primitive or len(first.invars) != len(second.invars):
            return False
        if not all(map(is_same, first.invars, second.invars)) or not _is_same_params(first, second):
            return False
        pairs.update(zip(first.outvars, second.outvars, strict=True))
    return all(map(is_same, one.outvars, other.outvars))
