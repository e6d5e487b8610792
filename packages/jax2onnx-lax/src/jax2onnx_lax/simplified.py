"""State what XLA makes of equations that it compiles together, where that gives other numbers than each by itself.

It multiplies complex numbers by the reciprocal of a number that is written in the program, or of a size, and by a mask
by choosing: so ``inf * False`` is 0, where the mask is not broadcast.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Facts, Simplified

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundLowerings


_WIDE = tuple(map(np.dtype, (np.float32, np.float64, np.complex64, np.complex128)))
"""Dtypes in which XLA on a CPU computes as they are; a mask that is converted twice is not recognised."""


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts(
        {
            "div": Facts(simplified=_quotient),
            "dot_general": Facts(simplified=_sum_of_products),
            "mul": Facts(simplified=_product),
        }
    )


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


def _sum_of_products(eqn: Any, made_by: Mapping[Any, Any]) -> Simplified | None:
    """Return what XLA makes of products by a mask, and of sums of such, where each number meets one or more bools.

    That is a dot product of which no number is used for more than one sum, or a product that sums nothing.
    """
    (contract, batch) = eqn.params["dimension_numbers"]
    for side in (0, 1):
        mask, other = eqn.invars[side], eqn.invars[1 - side]
        conversion = None if hasattr(mask, "val") else made_by.get(mask)
        free, spread = (atom.aval.ndim - len(contract[0]) - len(batch[0]) for atom in (other, mask))
        if free or (spread and contract[0]) or (spread and 1 in other.aval.shape):
            continue
        dtype = np.dtype(eqn.outvars[0].aval.dtype)
        if dtype not in _WIDE or not np.can_cast(np.float32 if _is_half(other) else other.aval.dtype, dtype):
            continue
        places = (*batch[side], *contract[side]), (*batch[1 - side], *contract[1 - side])
        function = functools.partial(_chosen_sums, places, len(contract[0]), dtype)
        if mask.aval.dtype == np.bool_:
            return Simplified(function, [mask, other], [eqn])
        if conversion is not None and _is_mask_of(conversion, jax.ShapeDtypeStruct(mask.aval.shape, dtype)):
            return Simplified(function, [*conversion.invars, other], [conversion])
    return None


def _is_half(atom: Any) -> bool:
    return bool(jnp.issubdtype(atom.aval.dtype, jnp.floating)) and atom.aval.dtype.itemsize == 2


def _chosen_sums(places: tuple[Sequence[int], Sequence[int]], summed: int, dtype: Any, mask: Any, x: Any) -> Any:
    """Return the numbers that a mask chooses, summed over the last of the axes that both have.

    Args:
        places: the axes of the mask that the numbers have too; the same axes of the numbers, which have no others.
        summed: how many of them are summed.
        dtype: the dtype of the products.
        mask: the mask.
        x: the numbers.
    """
    of_mask, of_numbers = places
    count = len(of_mask)
    others = [axis for axis in range(mask.ndim) if axis not in of_mask]
    mask = lax.transpose(mask, (*of_mask, *others))
    x = lax.broadcast_in_dim(lax.transpose(x.astype(dtype), of_numbers), mask.shape, range(count))
    return lax.reduce_sum(_chosen(mask, x), tuple(range(count - summed, count)))


def _quotient(eqn: Any, made_by: Mapping[Any, Any]) -> Simplified | None:
    """Return what XLA makes of a complex quotient by a literal: a product, which has no case for infinities."""
    dividend, divisor = eqn.invars
    number = _literal(divisor)
    if number is None:
        return _quotient_by_size(eqn, made_by)
    beside = _made_in_one_call(dividend, made_by)
    if number == 1:
        return Simplified(lambda x: x, [dividend], beside)
    with np.errstate(all="ignore"):
        reciprocal = np.reciprocal(np.asarray(number))
    return Simplified(lambda x: lax.mul(x, jnp.broadcast_to(reciprocal, x.shape)), [dividend], beside)


def _made_in_one_call(dividend: Any, made_by: Mapping[Any, Any]) -> Sequence[Any]:
    """Return the equation that computed a dividend, as the sum in ``jnp.mean``, if XLA sees the divisor beside it.

    A conversion tells nothing: ``jnp.divide(x, 2)`` converts both, and XLA gets the 2 as an argument.
    """
    maker = None if hasattr(dividend, "val") else made_by.get(dividend)
    return [] if maker is None or maker.primitive.name == "convert_element_type" else [maker]


def _quotient_by_size(eqn: Any, made_by: Mapping[Any, Any]) -> Simplified | None:
    """Return what XLA makes of a complex quotient by a size, as of a mean: the size is a literal to it."""
    dividend, divisor = eqn.invars
    conversion = None if hasattr(divisor, "val") else made_by.get(divisor)
    if conversion is None or conversion.primitive.name != "convert_element_type":
        return None
    if not np.issubdtype(divisor.aval.dtype, np.complexfloating):
        return None
    (size,) = conversion.invars
    source = None if hasattr(size, "val") else made_by.get(size)
    if source is None or source.primitive.name != "dim_as_value":
        return None
    return Simplified(_over_size, [dividend, size], _made_in_one_call(dividend, made_by))


def _over_size(x: Any, size: Any) -> Any:
    part = x.real.dtype
    reciprocal = lax.complex(1 / size.astype(part), jnp.full((), -0.0, part))
    return jnp.where(size == 1, x, lax.mul(x, jnp.broadcast_to(reciprocal, x.shape)))


def _literal(atom: Any) -> Any | None:
    """Return the complex number that an operand is by its jaxpr; None for any other operand."""
    value = getattr(atom, "val", None)  # a variable has none
    return value if value is not None and np.iscomplexobj(value) else None
