"""Compute ``linear_solve`` in a model: by lineax's own solver, and with checks that cost three nodes.

lineax defines its primitive by the solver's ``compute``, and by checks that raise. A model cannot raise, so the
solution of a system that fails is NaN. lineax asks whether any system of a batch fails, as one error concerns them
all. Here each system is NaN or right on its own.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import lineax as lx

from jax2onnx.plugin import Facts, expand_as_defined, expand_by

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jax2onnx.plugin import BoundLowerings

CANNOT_RAISE = (
    "lineax.linear_solve: a model cannot raise an error; the solution of a system for which lineax raises one is NaN, "
    "and result says why"
)
"""The warning that an export gives once, however many solves there were."""

_SOLVE = "linear_solve"
_MAPPED = "vprim"
"""A primitive of equinox under ``vmap``: its params have the primitive, and the axes."""


def register(registry: BoundLowerings) -> None:
    """Register the facts; those of ``vprim`` are of equinox's plugin, and differ for solves only."""
    registry.facts({_SOLVE: Facts(calls=expand_by(_computed), warning=_warning)})
    registry.facts({_MAPPED: Facts(calls=_expand_mapped, warning=_warning)}, override=True)


def _solve(_operator: Any, state: Any, vector: Any, options: Any, solver: Any, throw: Any) -> Any:
    """Return what lineax's primitive does: the solution, the result, and statistics."""
    solution, found, stats = solver.compute(state, vector, options)
    if throw:
        spoil = _spoil(found, jax.tree.leaves(solution))
        return jax.tree.map(lambda x: x - spoil.astype(x.real.dtype), solution), _judged(found, solution, vector), stats
    return solution, _judged(found, solution, vector), stats


def _spoil(found: Any, leaves: Sequence[jax.Array]) -> jax.Array:
    """Return zero, or NaN if the solver failed or if a number is not finite.

    Infinity and NaN times zero are NaN, so one sum finds them. It has to be subtracted: -0 minus 0 is -0.
    """
    sums = [jnp.sum(jnp.abs(x * 0)) for x in leaves]
    if found is not lx.RESULTS.successful:
        sums.append(jnp.where(found == lx.RESULTS.successful, 0.0, jnp.nan))
    return functools.reduce(jnp.add, sums)


def _judged(found: Any, solution: Any, vector: Any) -> Any:
    """Return what lineax makes of the solver's result where numbers are not finite."""
    results = lx.RESULTS
    found = results.where((found == results.successful) & ~_finite(solution), results.singular, found)
    return results.where((found == results.singular) & ~_finite(vector), results.nonfinite_input, found)


def _finite(tree: Any) -> jax.Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree)]))


_computed: Callable[..., Any] = eqxi.filter_primitive_def(_solve)  # type: ignore[no-untyped-call]
"""The same of the operands and params that the primitive's equation has."""


def _expand_mapped(eqn: Any) -> tuple[Any, Sequence[Any]] | None:
    """Return the jaxpr of a solve under ``vmap``; of any other primitive what equinox defines."""
    return expand_by(_mapped)(eqn) if _innermost(eqn.params)[0] == _SOLVE else expand_as_defined(eqn)


def _mapped(*operands: Any, prim: Any, params: Any, **axes: Any) -> Any:
    """Map the computation, or another map of it, over the axes."""
    inner = _computed if prim.name == _SOLVE else _mapped
    function = functools.partial(inner, **dict(params))
    given = {name.removeprefix("__"): value for name, value in axes.items()}
    mapped = jax.vmap(function, given["batch_axes"], axis_name=given["axis_name"], axis_size=given["axis_size"])
    return mapped(*operands)


def _innermost(params: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the name and the params of the primitive inside of one or more maps."""
    name = _MAPPED
    while name == _MAPPED:
        name, params = params["prim"].name, dict(params["params"])
    return name, params


def _warning(eqn: Any) -> str | None:
    """Return what the user is told of a solve that raises in JAX: ``throw`` is the last of its arguments."""
    name, params = eqn.primitive.name, eqn.params
    if name == _MAPPED:
        name, params = _innermost(params)
    return CANNOT_RAISE if name == _SOLVE and params["static"][-1] is True else None
