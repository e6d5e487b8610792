"""State what the primitives are that equinox defines: marks for JAX's transformations, and steps of its loops.

Solvers in the family of equinox (diffrax, optimistix, lineax) consist of them. ``equinox.error_if`` raises through a
callback; a model cannot raise, so there the results are NaN, as equinox itself has it under ``EQX_ON_ERROR=nan``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from jax2onnx.plugin import Facts, expand_as_defined, expand_by

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import jax

    from jax2onnx.plugin import BoundLowerings

CANNOT_RAISE = (
    "equinox.error_if: a model cannot raise an error; where JAX raises one, the model's results are NaN "
    "(of an integer dtype its largest number, of bool True); set EQX_ON_ERROR=off before equinox is imported "
    "to leave the checks out"
)
"""The warning that an export gives once, however many checks there were."""

LEFT_OUT = "equinox's progress meters and debugging aids are left out of the model: ONNX has no side effects"
"""The warning that an export gives once, however many there were."""

_IDENTITIES = ("announce_jaxpr", "nonbatchable", "nondifferentiable_backward", "nontraceable")
"""Primitives that return their operands, and complain about transformations."""


def register(registry: BoundLowerings) -> None:
    """Register the facts."""
    registry.facts(dict.fromkeys(_IDENTITIES, Facts(identity=True)))
    registry.facts({name: Facts(calls=expand_by(function)) for name, function in _FUNCTIONS.items()})
    registry.facts(
        {
            "maybe_set": Facts(calls=expand_as_defined),
            "vprim": Facts(calls=expand_as_defined),
            "io_callback": Facts(calls=_results, warning=_warning),
            "pure_callback": Facts(calls=_results, warning=_warning),
        }
    )


def _unvmap(reduce: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], jax.Array]:
    """Return a reduction over everything; without ``vmap`` there is nothing to reduce."""
    return lambda x: x if x.ndim == 0 else reduce(x)


def _select_if_vmap(_pred: jax.Array, x: jax.Array, _y: jax.Array) -> jax.Array:
    """Return the first value: under ``vmap`` equinox has made a ``select`` of it."""
    return x


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "select_if_vmap": _select_if_vmap,
    "unvmap_all": _unvmap(jnp.all),
    "unvmap_any": _unvmap(jnp.any),
    "unvmap_max": _unvmap(jnp.max),
}


@dataclass(frozen=True, slots=True)
class _Callback:
    """What stands in a model for a function that equinox calls back to.

    Attributes:
        result: returns a result of an abstract value, given the operands.
        warning: what the user is told.
    """

    result: Callable[[Any, Sequence[jax.Array]], jax.Array]
    warning: str


def _invalid(aval: Any, _operands: Sequence[jax.Array]) -> jax.Array:
    """Return what equinox returns in the place of an array where it goes on after an error."""
    dtype = aval.dtype
    if jnp.issubdtype(dtype, jnp.inexact):
        return jnp.full(aval.shape, jnp.nan, dtype)
    if jnp.issubdtype(dtype, jnp.integer):
        return jnp.full(aval.shape, np.iinfo(dtype).max, dtype)
    return jnp.ones(aval.shape, dtype)


def _zero(aval: Any, _operands: Sequence[jax.Array]) -> jax.Array:
    """Return zero in the place of the number of a progress meter."""
    return jnp.zeros(aval.shape, aval.dtype)


def _last(aval: Any, operands: Sequence[jax.Array]) -> jax.Array:
    """Return the last operand, which a debugging aid hands on; under ``vmap`` its batch may have size 1."""
    return jnp.broadcast_to(operands[-1], aval.shape)


_PACKAGES = frozenset({"diffrax", "equinox"})
"""Packages that have these functions: progress meters moved from one to the other."""

_METER = "_ProgressMeterManager"
_CALLBACKS = {
    "_error.<locals>.raises": _Callback(_invalid, CANNOT_RAISE),
    "_error.<locals>.tpu_msg": _Callback(_invalid, CANNOT_RAISE),
    "_register_alive.<locals>._register_alive_impl": _Callback(_last, LEFT_OUT),
    f"{_METER}.init.<locals>._init": _Callback(_zero, LEFT_OUT),
    f"{_METER}.step.<locals>._step": _Callback(_last, LEFT_OUT),
    f"{_METER}.close.<locals>._close": _Callback(_last, LEFT_OUT),
}
"""The functions that equinox calls back to, by name."""


def _callback(eqn: Any) -> _Callback | None:
    """Return what stands for the function that a callback calls; None if it is not equinox's."""
    callback = eqn.params.get("callback")
    function = getattr(callback, "callback_func", callback)
    package = str(getattr(function, "__module__", "")).partition(".")[0]
    if package not in _PACKAGES:
        return None
    return _CALLBACKS.get(getattr(function, "__qualname__", ""))


def _warning(eqn: Any) -> str | None:
    callback = _callback(eqn)
    return None if callback is None else callback.warning


def _results(eqn: Any) -> tuple[Any, Sequence[Any]] | None:
    """Return the jaxpr of what stands for the results of a callback of equinox's; None for any other."""
    callback = _callback(eqn)
    if callback is None:
        return None
    avals = [var.aval for var in eqn.outvars]

    def function(*operands: jax.Array, **_params: Any) -> list[jax.Array]:
        return [callback.result(aval, operands) for aval in avals]

    return expand_by(function)(eqn)
