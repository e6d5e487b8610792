"""Combine each element with all before it in the order in which JAX does on a CPU: in blocks of 16.

Within a block the elements are combined one after the other; then each block takes in the combination of the blocks
before it, which is made in the same way. The order matters where products overflow: after 0 they stay 0.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Complex, is_static

Combine: TypeAlias = Callable[[Any, Any], Any]
"""Combines two arrays, or two :class:`~jax2onnx.plugin.Complex`."""

_BLOCK = 16
_LEVELS = 2
"""How often blocks are made along an axis of unknown size; up to 16**3 elements are combined in JAX's order then."""


def prefixes_in_blocks(x: Any, *, combine: Combine, start: Any, axis: int, reverse: bool) -> Any:
    """Combine each element of ``x`` with all before it along ``axis``, or with all after it.

    Args:
        x: an array, or a pytree of arrays of one shape.
        combine: an associative function.
        start: what changes nothing that it is combined with; scalars, in a tree of the same structure.
        axis: the axis.
        reverse: whether to combine with all elements after.
    """
    size = jax.tree_util.tree_leaves(x)[0].shape[axis]
    levels = None if is_static(size) else _LEVELS
    leading = jax.tree_util.tree_map(lambda a: jnp.moveaxis(a, axis, 0), x)
    result = _prefixes(combine, leading, start, reverse=reverse, levels=levels)
    return jax.tree_util.tree_map(lambda a: jnp.moveaxis(a, 0, axis), result)


def _prefixes(combine: Combine, x: Any, start: Any, *, reverse: bool, levels: int | None) -> Any:
    """Do the work along the leading axis.

    before: x [n, …]
    after:  blocks [m, 16, …] -> combined within each -> their ends [m, …] -> prefixes of these -> combined with each
    """
    size = jax.tree_util.tree_leaves(x)[0].shape[0]
    if levels == 0 or (is_static(size) and size <= _BLOCK):
        return _one_by_one(combine, x, start, reverse=reverse)
    # Of a size that is not known, one block more than may be needed: no axis is empty then.
    count = -(-size // _BLOCK) if is_static(size) else size // _BLOCK + 1
    inner = jax.tree_util.tree_map(functools.partial(_in_blocks, count=count), x, start)
    within = _BLOCK if is_static(size) else jnp.where(jnp.asarray(size) <= _BLOCK, size, _BLOCK)
    inner = _windows(combine, inner, start, within) if reverse else _one_by_one(combine, inner, start, reverse=False)
    ends = jax.tree_util.tree_map(lambda a: a[0] if reverse else a[_BLOCK - 1], inner)
    levels = None if levels is None else levels - 1
    outer = _prefixes(combine, ends, start, reverse=reverse, levels=levels)
    beside = jax.tree_util.tree_map(functools.partial(_shifted, reverse=reverse), outer, start)
    result = combine(inner, jax.tree_util.tree_map(lambda a, b: jnp.broadcast_to(a, b.shape), beside, inner))
    if isinstance(x, Complex) and not is_static(size):
        # JAX makes no blocks of so few, and not all complex numbers stay what they are: infinity times 1 is not.
        is_short = jnp.asarray(size) <= _BLOCK
        result = jax.tree_util.tree_map(functools.partial(jnp.where, is_short), inner, result)
    return jax.tree_util.tree_map(functools.partial(_out_of_blocks, size=size), result)


def _in_blocks(x: Any, start: Any, *, count: Any) -> Any:
    """Return ``x [n, …]`` as blocks ``[16, m, …]``, the last of which is filled up."""
    whole = _extended(x, start, count=count * _BLOCK - x.shape[0])
    return jnp.swapaxes(whole.reshape(count, _BLOCK, *x.shape[1:]), 0, 1)


def _out_of_blocks(x: Any, *, size: Any) -> Any:
    """Undo :func:`_in_blocks`."""
    rows = jnp.swapaxes(x, 0, 1)
    return lax.slice_in_dim(rows.reshape(rows.shape[0] * _BLOCK, *rows.shape[2:]), 0, size)


def _shifted(x: Any, start: Any, *, reverse: bool) -> Any:
    """Return for each element along the leading axis the one before it, or after it; at the end ``start``."""
    size, end = x.shape[0], jnp.full((1, *x.shape[1:]), start, x.dtype)
    if reverse:
        return jnp.concatenate([lax.slice_in_dim(x, 1, size), end])
    return jnp.concatenate([end, lax.slice_in_dim(x, 0, size - 1)])


def _one_by_one(combine: Combine, x: Any, start: Any, *, reverse: bool) -> Any:
    """Combine along the leading axis one after the other."""

    def step(carry: Any, element: Any) -> tuple[Any, Any]:
        value = combine(carry, element)
        return value, value

    size = jax.tree_util.tree_leaves(x)[0].shape[0]
    if reverse and is_static(size):
        return _windows(combine, x, start, size)
    first = jax.tree_util.tree_map(lambda a, s: jnp.full(a.shape[1:], s, a.dtype), x, start)
    return lax.scan(step, first, x, reverse=reverse)[1]


def _windows(combine: Combine, x: Any, start: Any, within: Any) -> Any:
    """Combine each element along the leading axis with those after it, in the order in which they stand.

    So JAX does it, for a few elements; from the last one on, the order would be another. There are ``within`` elements
    to JAX; complex numbers are combined with no others.
    """
    size = jax.tree_util.tree_leaves(x)[0].shape[0]
    if size == 0:
        return x
    longer = jax.tree_util.tree_map(functools.partial(_extended, count=size - 1), x, start)
    result = combine(jax.tree_util.tree_map(lambda a, s: jnp.full(a.shape, s, a.dtype), x, start), x)
    for distance in range(1, size):
        part = functools.partial(lax.slice_in_dim, start_index=distance, limit_index=distance + size)
        longest = combine(result, jax.tree_util.tree_map(part, longer))
        result = _where_within(longest, result, distance, within) if isinstance(x, Complex) else longest
    return result


def _where_within(longest: Any, shorter: Any, distance: int, within: Any) -> Any:
    """Choose the first where there is an element ``distance`` behind along the leading axis, else the second."""

    def chosen(a: Any, b: Any) -> Any:
        place = lax.broadcasted_iota(np.int32, (a.shape[0], *[1] * (a.ndim - 1)), 0)
        return jnp.where(place + distance < within, a, b)

    return jax.tree_util.tree_map(chosen, longest, shorter)


def _extended(x: Any, start: Any, *, count: Any) -> Any:
    """Return the array with ``count`` times ``start`` after it, along the leading axis."""
    if is_static(count) and count == 0:
        return x
    return jnp.concatenate([x, jnp.full((count, *x.shape[1:]), start, x.dtype)])
