"""Arrays of few bits, what programs compute of them, and how their models compare."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from jax2onnx.testing import Runner

RNG = np.random.default_rng(0)
F32 = jnp.float32


def draw(dtype, *shape):
    """Return random numbers of all values of a dtype."""
    low, high = jnp.iinfo(dtype).min, jnp.iinfo(dtype).max
    return jnp.asarray(RNG.integers(low, high + 1, shape).astype(dtype))


def scales(*shape, dtype=np.float32):
    """Return random numbers between 0.01 and 0.11."""
    return jnp.asarray((RNG.random(shape) * 0.1 + 0.01).astype(dtype))


I8, U8 = partial(draw, np.int8), partial(draw, np.uint8)
I4, U4 = partial(draw, ml_dtypes.int4), partial(draw, ml_dtypes.uint4)
CONV = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
INT = {"preferred_element_type": jnp.int32}
X = (7, 64)
W8, W4 = I8(64, 48), I4(64, 48)
S, BLOCKS = scales(48), scales(2, 1, 48)
EDGES = np.asarray(
    [np.nan, np.inf, -np.inf, 0.5, -0.5, 1.5, 2.5, -0.0, 127.49, 127.5, 128, -128.5, -129, 1e-40, 3e9, -3e9], np.float32
)


def blocked(w, scale, zero=0):
    """Return weights whose rows have one scale, and one zero point, for each block and column."""
    inner, columns = w.shape
    return ((w.astype(F32).reshape(scale.shape[0], -1, columns) - zero) * scale).reshape(inner, columns)


def scaled(x, w, scale):
    """Return a product by weights that are scaled before it."""
    return x @ (w.astype(F32) * scale)


def conv(x, w, **options):
    """Return a convolution of integers, whose sums are int32."""
    return jax.lax.conv_general_dilated(x, w, **(CONV | options), **INT)


def rounded(x):
    """Return numbers rounded to int8, those beyond its ends at the ends."""
    return jnp.clip(jnp.round(x), -128, 127).astype(jnp.int8)


def compare(model, fn, x, rtol=1e-5):
    """Compare a model on one input with JAX, relative to the largest of the results."""
    expected = np.asarray(fn(x), np.float32)
    (got,) = Runner(model).run([np.asarray(x)])
    np.testing.assert_allclose(np.asarray(got, np.float32), expected, rtol=rtol, atol=rtol * np.abs(expected).max())


def together(table):
    """Return one function of all cases of a table, of an input for each: an export of one model is quickest."""
    return lambda *xs: tuple(fn(x) for (fn, *_), x in zip(table.values(), xs, strict=True))
