"""Associative scans over a dynamic axis, and derivatives of products, which JAX has for axes of known sizes only.

JAX halves the axis until one element is left. Where its size is not known, each element is combined with the one that
lies 1, 2, 4 ... places before it, as long as there is such an element: after k rounds it is the combination of 2**k.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx._compat import is_symbolic

__all__ = ["ASSOCIATIVE"]

_Function: TypeAlias = Callable[..., Any]
_DISTANCES = 2 ** np.arange(31, dtype=np.int32)
"""How far elements lie from those with which they are combined, for axes of up to 2**31 elements."""


def _scan(original: _Function) -> _Function:
    """Return JAX's associative scan, which takes axes of symbolic sizes."""

    @functools.wraps(original)
    def associative_scan(fn: _Function, elems: Any, reverse: bool = False, axis: int = 0) -> Any:  # noqa: FBT001, FBT002
        leaves = jax.tree_util.tree_leaves(elems)
        if not leaves or not is_symbolic(np.shape(leaves[0])[axis]):
            return original(fn, elems, reverse, axis)
        place = axis % np.ndim(leaves[0])
        size = np.shape(leaves[0])[place]

        def flipped(tree: Any) -> Any:
            return jax.tree_util.tree_map(lambda a: lax.rev(a, [place]), tree) if reverse else tree

        elems = flipped(jax.tree_util.tree_map(jnp.asarray, elems))
        return flipped(_in_rounds(fn, elems, place, size))

    return associative_scan


def _in_rounds(fn: _Function, elems: Any, axis: int, size: Any) -> Any:
    index = jnp.arange(size)

    def combined(elems: Any, distance: Any) -> Any:
        before = jax.tree_util.tree_map(lambda a: jnp.take(a, index - distance, axis, mode="clip"), elems)
        has_one = index >= distance

        def chosen(new: Any, old: Any) -> Any:
            mask = lax.broadcast_in_dim(has_one, old.shape, (axis,))
            return jnp.where(mask, new.astype(old.dtype), old)

        return jax.tree_util.tree_map(chosen, fn(before, elems), elems)

    def go_on(elems: Any, distance: Any) -> tuple[Any, None]:
        # A scan with a choice, and no loop that ends when all is done: that has no gradient.
        is_left = distance < jnp.asarray(size)
        return lax.cond(is_left, combined, lambda elems, _: elems, elems, distance), None

    result, _ = lax.scan(go_on, elems, _DISTANCES)
    return result


def _derivative_of_a_product(original: _Function) -> _Function:
    """Return the derivative of a product of arrays of symbolic sizes: JAX halves the axis until one element is left.

    The tangent of an element is multiplied by all elements before it and by all behind it.
    """

    @functools.wraps(original)
    def reduce_jvp(reducer: _Function, initial: Any, primals: Any, tangents: Any, axes: Any) -> Any:
        is_product = "_reduce_prod_jvp_rule" in getattr(reducer, "__qualname__", "")  # a jaxpr as a function has none
        if not is_product or not any(map(is_symbolic, np.shape(primals[0]))):
            return original(reducer, initial, primals, tangents, axes)
        (value,), (tangent,) = primals, tangents
        for axis in sorted(axes, reverse=True):
            others = _product_before(value, axis, reverse=False) * _product_before(value, axis, reverse=True)
            tangent = lax.reduce_sum(others * tangent, (axis,))
            value = lax.reduce_prod(value, (axis,))
        return [value], [tangent]

    return reduce_jvp


def _product_before(x: Any, axis: int, *, reverse: bool) -> Any:
    """Return for each element the product of all before it, or behind it."""
    size = x.shape[axis]
    products = lax.cumprod(x, axis, reverse=reverse)
    index = jnp.arange(size)
    place = index + 1 if reverse else index - 1
    has_one = lax.broadcast_in_dim((place >= 0) & (place < size), x.shape, (axis,))
    return jnp.where(has_one, jnp.take(products, place, axis, mode="clip"), jnp.ones_like(x))


ASSOCIATIVE: Mapping[tuple[str, str], _Function] = {
    ("jax.lax", "associative_scan"): _scan,
    ("jax._src.lax.control_flow.loops", "associative_scan"): _scan,
    ("jax._src.lax.control_flow", "associative_scan"): _scan,
    ("jax._src.lax.lax", "_reduce_jvp"): _derivative_of_a_product,
}
"""(module, name) -> what makes the replacement of the original."""
