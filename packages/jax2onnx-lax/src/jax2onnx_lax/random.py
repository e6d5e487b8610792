"""Random bits: the hashes behind random keys, and the generator behind ``rbg`` keys."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx._compat import bit_hashes
from jax2onnx.errors import UnsupportedCaseError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import jax

    from jax2onnx.registry import BoundLowerings


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.via_jax({**bit_hashes(), "iota_2x32_shape": iota_2x32_shape})


def iota_2x32_shape(*, shape: Sequence[Any]) -> tuple[jax.Array, jax.Array]:
    """Count the elements of a shape, in 64 bits as two uint32 arrays, high and low."""
    size = math.prod(shape)
    if isinstance(size, int) and size >= 1 << 32:
        what = "iota_2x32_shape: an array of 2**32 elements or more"
        raise UnsupportedCaseError(what, remedy="draw fewer random numbers at once")
    low = lax.reshape(lax.iota(np.dtype(np.uint32), size), tuple(shape))
    return jnp.zeros_like(low), low
