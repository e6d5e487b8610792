"""Associative scans over a dynamic axis, which JAX has for axes of known sizes only.

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


ASSOCIATIVE: Mapping[tuple[str, str], _Function] = {
    ("jax.lax", "associative_scan"): _scan,
    ("jax._src.lax.control_flow.loops", "associative_scan"): _scan,
    ("jax._src.lax.control_flow", "associative_scan"): _scan,
}
"""(module, name) -> what makes the replacement of the original."""
