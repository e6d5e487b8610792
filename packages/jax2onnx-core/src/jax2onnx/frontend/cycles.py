"""Cycles: functions of JAX that go round in an array, where only the run of a model tells its size.

``jnp.take(mode="wrap")`` begins again after the last element; ``jnp.resize`` repeats its array, ``jnp.put`` and
``jnp.place`` their values, until there is one for each place. They ask for the size as an int.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jax2onnx._compat import InconclusiveDimensionOperation, is_symbolic

__all__ = ["CYCLES"]

_Function = Callable[..., Any]


def _take(original: _Function) -> _Function:
    """Take with indices that are taken modulo the size before."""
    signature = inspect.signature(original)

    @functools.wraps(original)
    def take(*args: Any, **kwargs: Any) -> Any:
        call = signature.bind(*args, **kwargs)
        call.apply_defaults()
        array, indices, axis, mode = (call.arguments[name] for name in ("a", "indices", "axis", "mode"))
        size = np.size(array) if axis is None else np.shape(array)[axis]
        if mode != "wrap" or not is_symbolic(size):
            return original(*args, **kwargs)
        indices = jnp.asarray(indices)
        call.arguments["indices"] = jnp.mod(indices, jnp.asarray(size, indices.dtype))
        call.arguments["mode"] = "clip"
        return original(*call.args, **call.kwargs)

    return take


def _tile_to_size(original: _Function) -> _Function:
    """Repeat a vector until it has a size, where it is not known whether that is the larger one."""

    @functools.wraps(original)
    def tile_to_size(vector: Any, size: Any) -> Any:
        try:
            return original(vector, size)
        except InconclusiveDimensionOperation:
            return jnp.take(vector, jnp.mod(jnp.arange(size), jnp.asarray(vector.size)), mode="clip")

    return tile_to_size


def _resize(original: _Function) -> _Function:
    """Repeat an array until a shape is full, where the size of one of both is not known; an empty array gives zeros."""

    @functools.wraps(original)
    def resize(a: Any, new_shape: Any) -> Any:
        wanted = new_shape if isinstance(new_shape, Sequence) else (new_shape,)
        vector = jnp.ravel(a)
        if not any(map(is_symbolic, (*wanted, vector.size))):
            return original(a, new_shape)
        padded = jnp.concatenate([vector, jnp.zeros(1, vector.dtype)])
        size = jnp.maximum(jnp.asarray(vector.size), 1)
        places = jnp.mod(jnp.arange(math.prod(wanted)), size)
        return jnp.take(padded, places, mode="clip").reshape(wanted)

    return resize


CYCLES: Mapping[tuple[str, str], Callable[[_Function], _Function]] = {
    ("jax._src.numpy.indexing", "_take"): _take,
    ("jax._src.numpy.lax_numpy", "_tile_to_size"): _tile_to_size,
    ("jax._src.numpy.lax_numpy", "resize"): _resize,
    ("jax.numpy", "resize"): _resize,
}
"""(module, name) -> what makes the replacement of the original."""
