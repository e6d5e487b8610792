"""State what XLA makes of equations that it compiles together, where that gives other numbers than each by itself.

It multiplies complex numbers by the reciprocal of a number that is written in the program, and by a mask by choosing:
so ``inf * False`` is 0, where the mask is not broadcast.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Facts, Simplified

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundLowerings


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts({"div": Facts(simplified=_quotient), "mul": Facts(simplified=_product)})


def _product(eqn: Any, made_by: Mapping[Any, Any]) -> Simplified | None:
    """Return what XLA makes of a product: of one by 1 the other operand, of one by a mask a choice."""
    for atom, other in (eqn.invars, eqn.invars[::-1]):
        if _literal(atom) == 1:
            return Simplified(lambda x: x, [other])
        conversion = None if hasattr(atom, "val") else made_by.get(atom)
        if conversion is not None and _is_mask_of(conversion, eqn.outvars[0].aval):
            return Simplified(_chosen, [*conversion.invars, other], [conversion])
    return None


def _is_mask_of(conversion: Any, aval: Any) -> bool:
    """Return whether an equation makes numbers, of the dtype and shape of a product, of bools.

    XLA on a CPU computes bfloat16 in float32: its mask is converted twice, and not recognised.
    """
    if conversion.primitive.name != "convert_element_type" or conversion.outvars[0].aval.shape != aval.shape:
        return False
    is_wide = np.dtype(aval.dtype).kind in "fc"
    return is_wide and conversion.invars[0].aval.dtype == np.bool_


def _chosen(mask: Any, x: Any) -> Any:
    return lax.select(mask, jnp.broadcast_to(x, mask.shape), jnp.zeros(mask.shape, x.dtype))


def _quotient(eqn: Any, _made_by: Mapping[Any, Any]) -> Simplified | None:
    """Return what XLA makes of a complex quotient by a literal: a product, which has no case for infinities."""
    dividend, divisor = eqn.invars
    number = _literal(divisor)
    if number is None:
        return None
    if number == 1:
        return Simplified(lambda x: x, [dividend])
    with np.errstate(all="ignore"):
        reciprocal = np.reciprocal(np.asarray(number))
    return Simplified(lambda x: lax.mul(x, jnp.broadcast_to(reciprocal, x.shape)), [dividend])


def _literal(atom: Any) -> Any | None:
    """Return the complex number that an operand is by its jaxpr; None for any other operand."""
    value = getattr(atom, "val", None)  # a variable has none
    return value if value is not None and np.iscomplexobj(value) else None
