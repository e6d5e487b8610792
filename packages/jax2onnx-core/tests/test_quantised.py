"""Quantised weights: they stay in few bits, whatever the form of a program, and the numbers are JAX's."""

from __future__ import annotations

import collections
from functools import partial

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx
import pytest

from jax2onnx import to_onnx
from jax2onnx.testing import Runner, operators

RNG = np.random.default_rng(0)
F32 = jnp.float32


def draw(dtype, *shape):
    """Return random numbers of all values of a dtype."""
    low, high = jnp.iinfo(dtype).min, jnp.iinfo(dtype).max
    return jnp.asarray(RNG.integers(low, high + 1, shape).astype(dtype))


def scales(*shape, dtype=np.float32):
    return jnp.asarray((RNG.random(shape) * 0.1 + 0.01).astype(dtype))


I8, U8 = partial(draw, np.int8), partial(draw, np.uint8)
I4, U4 = partial(draw, ml_dtypes.int4), partial(draw, ml_dtypes.uint4)
CONV = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
W8, W4, S, Z8 = I8(64, 48), I4(64, 48), scales(48), U8(48)
BLOCKS = scales(2, 1, 48)
U8_W, U4_W, U4_Z, I4_96, S8, C2 = U8(64, 48), U4(64, 48), U4(2, 1, 48), I4(96, 48), scales(8, 1, 48), scales(64, 2)
E8, E_S, H8, H_S, K8, K_S = I8(4, 64, 48), scales(4, 1, 48), I8(64, 4, 12), scales(4, 12), I8(3, 3, 8, 16), scales(16)
E64, E64_S, T8, ROWS = I8(64, 64), scales(64, 1), I8(48, 64), scales(64, 1)
PACKED = {"MatMulNBits": 1}
HALVES = {"MatMulNBits": 2, "Add": 1}
LEFT = {"DequantizeLinear": 1, "MatMul": 1}


def blocked(w, scale, zero=0):
    inner, columns = w.shape
    return ((w.astype(F32).reshape(scale.shape[0], -1, columns) - zero) * scale).reshape(inner, columns)


X = (7, 64)
CASES = {
    "scales per channel": (lambda x: x @ (W8.astype(F32) * S), X, HALVES),
    "one scale": (lambda x: x @ (W8.astype(F32) * 0.3), X, HALVES),
    "no scale": (lambda x: x @ W8.astype(F32), X, HALVES),
    "scales after the product": (lambda x: (x @ W8.astype(F32)) * S, X, HALVES),
    "one scale after the product": (lambda x: (x @ W8.astype(F32)) * 0.3, X, HALVES),
    "int8 as it is": (lambda x: jax.lax.dot_general(x, W8, (((1,), (0,)), ((), ()))) * S, X, HALVES),
    "a quotient": (lambda x: x @ (W8.astype(F32) / S), X, HALVES),
    "transposed": (lambda x: x @ (T8.astype(F32) * S[:, None]).T, X, HALVES),
    "a vector": (lambda x: x @ (W8.astype(F32) * S), (64,), HALVES),
    "a bias": (lambda x: x @ (W8.astype(F32) * S) + S, X, HALVES | {"Add": 2}),
    "uint8 with zero points": (lambda x: x @ ((U8_W.astype(F32) - Z8.astype(F32)) * S), X, HALVES),
    "zero points in int32": (
        lambda x: x @ ((U8_W.astype(jnp.int32) - Z8.astype(jnp.int32)).astype(F32) * S),
        X,
        HALVES,
    ),
    "int4": (lambda x: x @ (W4.astype(F32) * S), X, PACKED),
    "blocks of int4": (lambda x: x @ blocked(W4, BLOCKS), X, PACKED),
    "blocks by repetition": (lambda x: x @ (W4.astype(F32) * jnp.repeat(BLOCKS[:, 0], 32, axis=0)), X, PACKED),
    "blocks of uint4 with zero points": (
        lambda x: x @ blocked(U4_W, BLOCKS, U4_Z.astype(F32)),
        X,
        PACKED,
    ),
    "blocks of 48": (lambda x: x @ blocked(I4_96, BLOCKS), (7, 96), PACKED),
    "blocks of 8": (lambda x: x @ blocked(W4, S8), X, LEFT),
    "blocks along the columns": (
        lambda x: x @ (W4.astype(F32).reshape(64, 2, 24) * C2[..., None]).reshape(64, 48),
        X,
        LEFT,
    ),
    "scales per row": (lambda x: x @ (W8.astype(F32) * ROWS), X, LEFT),
    "weights on the left": (lambda x: (W8.astype(F32) * S).T @ x, (64, 7), LEFT),
    "experts": (lambda x: jnp.einsum("etd,edf->etf", x, E8.astype(F32) * E_S), (4, 7, 64), LEFT),
    "heads": (lambda x: jnp.einsum("btd,dnh->btnh", x, H8.astype(F32) * H_S), (2, 7, 64), HALVES | {"Reshape": 1}),
    "heads, scales after": (
        lambda x: jnp.einsum("btd,dnh->btnh", x, H8.astype(F32)) * H_S,
        (2, 7, 64),
        HALVES | {"Reshape": 1},
    ),
    "zero points that are no integers": (
        lambda x: x @ ((U4_W.astype(F32) - 7.3) * S),
        X,
        {"DequantizeLinear": 1, "Sub": 1, "Mul": 1, "MatMul": 1},
    ),
    "an offset": (lambda x: x @ (W8.astype(F32) * S + 1), X, {"DequantizeLinear": 1, "Add": 1, "MatMul": 1}),
    "a convolution": (
        lambda x: jax.lax.conv_general_dilated(x, K8.astype(F32) * K_S, **CONV),
        (2, 9, 9, 8),
        {"DequantizeLinear": 1, "Conv": 1, "Transpose": 2},
    ),
    "a convolution, scales after": (
        lambda x: jax.lax.conv_general_dilated(x, K8.astype(F32), **CONV) * K_S,
        (2, 9, 9, 8),
        {"DequantizeLinear": 1, "Conv": 1, "Transpose": 2},
    ),
    "used twice": (
        lambda x: x @ (E64.astype(F32) * E64_S).T + x @ (E64.astype(F32) * E64_S),
        X,
        {"DequantizeLinear": 1, "Transpose": 1, "MatMul": 2, "Add": 1},
    ),
}


def floats(model):
    """Return how many floats a model holds."""
    kinds = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16}
    return sum(int(np.prod(one.dims)) for one in model.graph.initializer if one.data_type in kinds)


def compare(model, fn, x, rtol=1e-5):
    expected = np.asarray(fn(x), np.float32)
    (got,) = Runner(model).run([np.asarray(x)])
    np.testing.assert_allclose(np.asarray(got, np.float32), expected, rtol=rtol, atol=rtol * np.abs(expected).max())


@pytest.mark.parametrize("name", CASES)
def test_weights_stay_in_few_bits(name):
    fn, shape, expected = CASES[name]
    model = to_onnx(fn, [shape])
    assert operators(model) == collections.Counter(expected)
    assert floats(model) * 4 <= 64 * 48
    compare(model, fn, np.random.default_rng(1).normal(size=shape).astype(np.float32))
