"""Quantised weights: they stay in few bits, whatever the form of a program, and the numbers are JAX's."""

from __future__ import annotations

import collections
import contextlib

import equinox as eqx
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx
import pytest
from few_bits import BLOCKS, CONV, F32, I8, U4, U8, W4, W8, S, X, blocked, compare, draw, scaled, scales, together

from jax2onnx import to_onnx
from jax2onnx.errors import ConversionError
from jax2onnx.testing import Runner, operators

Z8, U4_Z, S8, C2 = U8(48), U4(2, 1, 48), scales(8, 1, 48), scales(64, 2)
H_S, K_S, E_S, ROWS = scales(4, 12), scales(16), scales(4, 1, 48), scales(64, 1)
PACKED = {"MatMulNBits": 1}
TILE = {"DequantizeLinear": 1, "FusedMatMul": 1}
LEFT = {"DequantizeLinear": 1, "MatMul": 1}
D8, D4 = (np.int8, 64, 48), (ml_dtypes.int4, 64, 48)
DU8, DU4 = (np.uint8, 64, 48), (ml_dtypes.uint4, 64, 48)


def convolved(x, w):
    return jax.lax.conv_general_dilated(x, w, **CONV)


CONVOLVED = {"DequantizeLinear": 1, "Conv": 1, "Transpose": 2}
CASES = {
    "scales per channel": (lambda x, w: scaled(x, w, S), D8, X, TILE),
    "one scale": (lambda x, w: scaled(x, w, 0.3), D8, X, TILE),
    "no scale": (lambda x, w: x @ w.astype(F32), D8, X, TILE),
    "scales after the product": (lambda x, w: (x @ w.astype(F32)) * S, D8, X, TILE),
    "one scale after the product": (lambda x, w: (x @ w.astype(F32)) * 0.3, D8, X, TILE),
    "int8 as it is": (lambda x, w: jax.lax.dot_general(x, w, (((1,), (0,)), ((), ()))) * S, D8, X, TILE),
    "a quotient": (lambda x, w: x @ (w.astype(F32) / S), D8, X, TILE),
    "transposed": (lambda x, w: x @ (w.astype(F32) * S[:, None]).T, (np.int8, 48, 64), X, TILE),
    "a vector": (lambda x, w: scaled(x, w, S), D8, (64,), TILE),
    "a bias": (lambda x, w: scaled(x, w, S) + S, D8, X, TILE | {"Add": 1}),
    "zero points": (lambda x, w: x @ ((w.astype(F32) - Z8.astype(F32)) * S), DU8, X, TILE),
    "zero points in int32": (
        lambda x, w: x @ ((w.astype(jnp.int32) - Z8.astype(jnp.int32)).astype(F32) * S),
        DU8,
        X,
        TILE,
    ),
    "blocks of int8": (lambda x, w: x @ blocked(w, S8), D8, X, TILE | {"Reshape": 1}),
    "blocks of uint8 with zero points": (
        lambda x, w: x @ blocked(w, BLOCKS, U4_Z.astype(F32)),
        DU8,
        (2, 7, 64),
        TILE | {"Reshape": 1},
    ),
    "int4": (lambda x, w: scaled(x, w, S), D4, X, PACKED),
    "blocks of int4": (lambda x, w: x @ blocked(w, BLOCKS), D4, X, PACKED),
    "blocks by repetition": (lambda x, w: scaled(x, w, jnp.repeat(BLOCKS[:, 0], 32, axis=0)), D4, X, PACKED),
    "blocks with zero points": (lambda x, w: x @ blocked(w, BLOCKS, U4_Z.astype(F32)), DU4, X, PACKED),
    "blocks of 48": (lambda x, w: x @ blocked(w, BLOCKS), (ml_dtypes.int4, 96, 48), (7, 96), PACKED),
    "blocks of 8": (lambda x, w: x @ blocked(w, S8), D4, X, LEFT),
    "blocks along the columns": (
        lambda x, w: x @ (w.astype(F32).reshape(64, 2, 24) * C2[..., None]).reshape(64, 48),
        D4,
        X,
        LEFT,
    ),
    "scales per row": (lambda x, w: scaled(x, w, ROWS), D8, X, LEFT),
    "weights on the left": (lambda x, w: (w.astype(F32) * S).T @ x, D8, (64, 7), LEFT),
    "experts": (
        lambda x, w: jnp.einsum("etd,edf->etf", x, w.astype(F32) * E_S),
        (np.int8, 4, 64, 48),
        (4, 7, 64),
        LEFT,
    ),
    "heads": (
        lambda x, w: jnp.einsum("btd,dnh->btnh", x, w.astype(F32) * H_S),
        (np.int8, 64, 4, 12),
        (2, 7, 64),
        TILE | {"Reshape": 1},
    ),
    "heads, scales after": (
        lambda x, w: jnp.einsum("btd,dnh->btnh", x, w.astype(F32)) * H_S,
        (np.int8, 64, 4, 12),
        (2, 7, 64),
        TILE | {"Reshape": 1},
    ),
    "zero points that are no integers": (
        lambda x, w: x @ ((w.astype(F32) - 7.3) * S),
        DU4,
        X,
        LEFT | {"Sub": 1, "Mul": 1},
    ),
    "an offset": (lambda x, w: x @ (w.astype(F32) * S + 1), D8, X, LEFT | {"Add": 1}),
    "a convolution": (lambda x, w: convolved(x, w.astype(F32) * K_S), (np.int8, 3, 3, 8, 16), (2, 9, 9, 8), CONVOLVED),
    "a convolution, scales after": (
        lambda x, w: convolved(x, w.astype(F32)) * K_S,
        (np.int8, 3, 3, 8, 16),
        (2, 9, 9, 8),
        CONVOLVED,
    ),
    "used twice": (
        lambda x, w: scaled(x, w, ROWS) + x @ (w.astype(F32) * ROWS).T,
        (np.int8, 64, 64),
        X,
        {"DequantizeLinear": 1, "Transpose": 1, "MatMul": 1, "Gemm": 1},
    ),
    "used with several scales": (
        lambda x, w: scaled(x, w, S) + scaled(x, w, 0.3) + x @ blocked(w, BLOCKS),
        D4,
        X,
        {"MatMulNBits": 3, "Add": 2},
    ),
}
WEIGHTS = {name: draw(np.dtype(dtype), *shape) for name, (_, (dtype, *shape), _, _) in CASES.items()}


def floats(model):
    """Return how many floats a model holds."""
    kinds = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16}
    return sum(int(np.prod(one.dims)) for one in model.graph.initializer if one.data_type in kinds)


def test_weights_stay_in_few_bits():
    table = {name: (lambda x, fn=fn, w=WEIGHTS[name]: fn(x, w),) for name, (fn, *_) in CASES.items()}
    fn, shapes = together(table), [shape for _, _, shape, _ in CASES.values()]
    xs = [np.random.default_rng(1).normal(size=shape).astype(np.float32) for shape in shapes]
    model = to_onnx(fn, shapes)
    assert operators(model) == sum(
        (collections.Counter(expected) for *_, expected in CASES.values()), collections.Counter()
    )
    assert floats(model) <= 2 * 64 * 48
    for name, got, expected in zip(CASES, Runner(model).run(xs), fn(*xs), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max(), err_msg=name)


@pytest.mark.parametrize("opset", [18, 21])
def test_older_opsets_have_what_they_can(opset):
    """Blocks and dtypes of 4 bits came with opset 21; before it the arithmetic is written out."""
    other = I8(64, 48)
    model = to_onnx(lambda x: (scaled(x, W8, S), x @ blocked(other, BLOCKS)), [X], opset=opset)
    assert operators(model)["FusedMatMul"] == (2 if opset >= 21 else 1)
    assert operators(model)["MatMul"] == (0 if opset >= 21 else 1)
    with pytest.raises(ConversionError) if opset < 21 else contextlib.nullcontext():
        to_onnx(lambda x: x @ (W4.astype(F32) * S), [X], opset=opset)


def test_products_of_scales_keep_the_digits_of_each():
    """A product of two scales of float16 may be too small for it, and of float32 too large: 0 times it is not 0."""
    small, large = jnp.float16(1e-3), jnp.asarray([1.0, 1e30], F32)
    w = I8(64, 2).at[:, 1].set(0)

    def half(x):
        return x.astype(jnp.float16) @ (W8.astype(jnp.float16) * small * small)

    def full(x):
        return x @ (w.astype(F32) * large * large)

    x = np.random.default_rng(1).normal(size=(7, 64)).astype(np.float32)
    compare(to_onnx(half, ["float32[B,64]"]), half, x, rtol=3e-3)
    compare(to_onnx(full, ["float32[B,64]"]), full, x)


@pytest.mark.parametrize("columns", [2048, 2049])
def test_many_weights_of_8_bits_are_multiplied_tile_by_tile(columns):
    w, blocks, rows, bias = I8(512, columns), scales(16, 1, columns), scales(columns), scales(columns)

    def fn(x):
        return x @ (w.astype(F32) * rows) + bias, x @ blocked(w, blocks)

    model = to_onnx(fn, [("B", 512)])
    counts = operators(model)
    count = -(-512 * columns // 2**19)
    assert counts["FusedMatMul"] == counts["DequantizeLinear"] == 2 * count
    assert counts["Concat"] == 2
    for batch in (0, 1, 7):
        x = np.random.default_rng(1).normal(size=(batch, 512)).astype(np.float32)
        for got, expected in zip(Runner(model).run([x]), fn(x), strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max(initial=0))


def test_an_accelerator_multiplies_by_halves_of_4_bits():
    model = to_onnx(lambda x: scaled(x, W8, S), [X], target="onnxruntime-web-webgpu")
    assert operators(model) == {"MatMulNBits": 2, "Mul": 1, "Add": 1}
    compare(model, lambda x: scaled(x, W8, S), np.random.default_rng(1).normal(size=X).astype(np.float32))


def test_weights_that_share_scales_have_their_own_dtype():
    other = U8(64, 48)

    def fn(x):
        return scaled(x, W8, S) + scaled(x, other, S)

    compare(to_onnx(fn, [X]), fn, np.random.default_rng(1).normal(size=X).astype(np.float32))


def test_other_runtimes_get_standard_operators():
    def fn(x):
        return x @ blocked(W4, BLOCKS)

    for options in ({"target": "onnx"}, {"round_activations": True}):
        model = to_onnx(fn, [(7, 64)], **options)
        node, product = model.graph.node
        assert [node.op_type, product.op_type] == ["DequantizeLinear", "MatMul"]
        assert {a.name: a.i for a in node.attribute} == {"axis": 0, "block_size": 32}
        compare(model, fn, np.random.default_rng(1).normal(size=(7, 64)).astype(np.float32), rtol=0.03)


def test_names_are_those_of_the_weights():
    class Layer(eqx.Module):
        kernel: jax.Array
        scale: jax.Array

        def __call__(self, x):
            return x @ (self.kernel.astype(F32) * self.scale)

    model = to_onnx(Layer(W8, S), [(7, 64)], target="onnx")
    assert {i.name for i in model.graph.initializer} == {"kernel", "scale"}
    model = to_onnx(Layer(W4, S), [(7, 64)])
    assert {i.name for i in model.graph.initializer} == {"kernel_packed", "scale_packed"}


def test_of_a_table_the_rows_that_are_looked_up_are_dequantised():
    table, zeros, rows, columns = U8(100, 8), U8(100, 1), scales(100, 1), scales(8)
    scaled_tables = {
        "rows": lambda: table.astype(F32) * rows,
        "columns": lambda: table.astype(F32) * columns,
        "one": lambda: table.astype(F32) * 0.3,
        "zero points": lambda: (table.astype(F32) - zeros.astype(F32)) * rows,
    }

    def fn(i):
        return tuple(make()[i] for make in scaled_tables.values())

    model = to_onnx(fn, ["int32[B,3]"])
    counts = operators(model)
    assert counts["DequantizeLinear"] == 0
    assert counts["Gather"] <= 8
    i = np.random.default_rng(1).integers(-120, 120, (7, 3)).astype(np.int32)
    for got, expected in zip(Runner(model).run([i]), fn(jnp.asarray(i)), strict=True):
        np.testing.assert_array_equal(got, expected)
