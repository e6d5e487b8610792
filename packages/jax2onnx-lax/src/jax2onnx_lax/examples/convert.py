"""Examples of :mod:`jax2onnx_lax.convert`, :mod:`jax2onnx_lax.bits` and of selections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Example

_OUT_OF_RANGE = [0.0, -0.5, 1.9, -1.9, 127.5, 128, -129, 256, 65536, 2.1e9, 2.2e9, -2.2e9, 5e9, 1e19, -1e19, 3e38]
_FLOATS = np.asarray([*_OUT_OF_RANGE, np.inf, -np.inf, np.nan], np.float32)
_PATTERNS = [0, 1, -1, 2**31 - 1, -(2**31), 0x3FC00000, 0x7F800000, 0x7FC00000, 0x00800000, 0x3F800001]
_BITS = np.asarray(_PATTERNS, np.int32)
_WRITTEN = np.asarray([[0.0, -0.0, 1.5], [-3e38, 1e-40, np.inf], [-np.inf, 7.0, -0.1]], np.float32)


def _example(name: str, component: str, fn: Callable[..., Any], inputs: Sequence[Any], **options: Any) -> Example:
    return Example(name=name, context="lax", component=component, make=lambda: fn, inputs=inputs, **options)


def _to_each(*dtypes: Any) -> Callable[[Any], Any]:
    return lambda x: [lax.convert_element_type(x, d) for d in dtypes]


def _bits(dtype: Any) -> Callable[[Any], Any]:
    return lambda x: lax.bitcast_convert_type(x, dtype)


EXAMPLES: list[Example] = [
    _example("convert_element_type", "jax.lax.convert_element_type", _to_each(jnp.int16), [("B", 3)]),
    _example(
        "convert_saturates",
        "jax.lax.convert_element_type",
        _to_each(jnp.int8, jnp.uint8, jnp.int16, jnp.uint16, jnp.int32, jnp.uint32, jnp.bool_),
        [_FLOATS.shape],
        values=lambda: [[_FLOATS]],
    ),
    _example(
        "convert_float64_saturates",
        "jax.lax.convert_element_type",
        _to_each(jnp.int32, jnp.uint32, jnp.int64, jnp.uint64, jnp.float32),
        ["float64[19]"],
        values=lambda: [[_FLOATS.astype(np.float64)]],
        x64=True,
    ),
    _example(
        "convert_integers_wrap",
        "jax.lax.convert_element_type",
        _to_each(jnp.int8, jnp.uint8, jnp.uint32, jnp.float32, jnp.bfloat16, jnp.bool_),
        ["int32[B,3]"],
    ),
    _example(
        "convert_float8", "jax.lax.convert_element_type", _to_each(jnp.float8_e4m3fn, jnp.float8_e5m2), [("B", 3)]
    ),
    _example("convert_narrow", "jax.lax.convert_element_type", _to_each(jnp.float16, jnp.bfloat16), [("B", 3)]),
    _example(
        "bitcast_to_float",
        "jax.lax.bitcast_convert_type",
        _bits(jnp.float32),
        ["int32[10]"],
        values=lambda: [[_BITS]],
    ),
    _example(
        "bitcast_to_int", "jax.lax.bitcast_convert_type", _bits(jnp.int32), [("B", 3)], values=lambda: [[_WRITTEN]]
    ),
    _example("bitcast_parts", "jax.lax.bitcast_convert_type", _bits(jnp.uint8), ["int32[B,3]"]),
    _example("bitcast_join", "jax.lax.bitcast_convert_type", _bits(jnp.uint32), ["uint8[B,4]"]),
    _example("bitcast_half", "jax.lax.bitcast_convert_type", lambda x: _bits(jnp.float16)(x & 0x3FFF), ["uint16[B,3]"]),
    _example("bitcast_int4", "jax.lax.bitcast_convert_type", _bits(jnp.int16), ["int4[B,4]"]),
    _example("bitcast_to_int4", "jax.lax.bitcast_convert_type", _bits(jnp.uint4), [("B", 2)]),
    _example("bitcast_float8", "jax.lax.bitcast_convert_type", _bits(jnp.uint8), ["float8_e5m2[B,3]"]),
    _example(
        "bitcast_to_float8",
        "jax.lax.bitcast_convert_type",
        lambda x: _bits(jnp.float8_e4m3fn)(x).astype(jnp.float32),
        ["uint8[B,3]"],
    ),
    _example("reduce_precision_half", "jax.lax.reduce_precision", lambda x: lax.reduce_precision(x, 5, 10), [("B", 3)]),
    _example("reduce_precision", "jax.lax.reduce_precision", lambda x: lax.reduce_precision(x, 8, 7), [("B", 3)]),
    _example("select_n", "jax.lax.select_n", lax.select_n, ["bool[B,3]", ("B", 3), ("B", 3)], operators={"Where": 1}),
    _example("select_n_scalar", "jax.lax.select_n", lax.select_n, ["bool[]", ("B", 3), ("B", 3)]),
    _example(
        "select_n_many",
        "jax.lax.select_n",
        lambda i, x, y, z: lax.select_n(jnp.clip(i, 0, 2), x, y, z),
        ["int32[B,3]", ("B", 3), ("B", 3), ("B", 3)],
    ),
    _example("clamp", "jax.lax.clamp", lambda x: lax.clamp(-1.0, x, 1.5), [("B", 3)], operators={"Clip": 1}),
    _example("clamp_arrays", "jax.lax.clamp", lax.clamp, [("B", 3), ("B", 3), ("B", 3)]),
    _example("clamp_scalars", "jax.lax.clamp", lax.clamp, [(), ("B", 3), ()]),
    _example("clamp_int", "jax.lax.clamp", lambda x: lax.clamp(np.int16(-5), x, np.int16(100)), ["int16[B,3]"]),
]
