"""What long ranges, masks and windows are made of is small: the model computes them, and stores none."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from releases import installed

from jax2onnx import check, to_onnx
from jax2onnx_lax.shape import LARGEST

LENGTH = LARGEST + 10
SIDE = 300
MAKES_STEPS = installed(jax, ">=0.10")
"""Whether ``jnp.arange`` with a step is equations: jax 0.8 computes it in numpy, so that the program holds it."""


def results(x: jax.Array) -> dict[str, jax.Array]:
    wide = jnp.full(LENGTH, x)
    return {
        "range": jnp.arange(LENGTH) + x,
        "steps": (jnp.arange(3, 2 * LENGTH, 2) if MAKES_STEPS else 2 * jnp.arange(LENGTH) + 3) * x,
        "floats": jnp.arange(float(LENGTH)) * x,
        "overflowing": lax.iota(np.float16, LENGTH) * x.astype(np.float16),
        "wrapping": lax.iota(np.uint8, LENGTH) + x.astype(np.uint8),
        "reversed": jnp.arange(LENGTH)[::-1] + x,
        "rolled": jnp.roll(jnp.arange(LENGTH), 3) + x,
        "linspace": jnp.linspace(0, 1, LENGTH) * x,
        "grid": lax.broadcasted_iota(np.int32, (SIDE, SIDE), 1) + x,
        "eye": jnp.eye(SIDE, k=1) * x,
        "mask": jnp.where(jnp.tri(SIDE, dtype=bool), x, -1),
        "window": lax.reduce_window(wide, 1.0, lax.mul, (3,), (1,), "VALID"),
        "slices": jax.vmap(lambda start: lax.dynamic_slice(wide, (start,), (LENGTH - 5,)))(jnp.arange(2)),
        "counted": jnp.count_nonzero(jnp.arange(LENGTH) % 7 == 0) + x,
    }


def test_long_ranges_are_computed_by_the_model() -> None:
    specs = [jax.ShapeDtypeStruct((), np.float32)]
    model = to_onnx(results, specs)
    assert max(math.prod(tensor.dims) for tensor in model.graph.initializer) <= SIDE
    check(model, results, specs, values=[[np.float32(2)]])
