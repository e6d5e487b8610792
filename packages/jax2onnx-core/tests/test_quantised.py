"""Quantised weights: they stay in few bits, whatever the form of a program, and the numbers are JAX's."""

from __future__ import annotations

import collections
import contextlib
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import onnx
import pytest

from jax2onnx import onnx_function, to_onnx
from jax2onnx.errors import ConversionError
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
S, Z8, BLOCKS, U4_Z, S8, C2 = scales(48), U8(48), scales(2, 1, 48), U4(2, 1, 48), scales(8, 1, 48), scales(64, 2)
H_S, K_S, E_S, ROWS = scales(4, 12), scales(16), scales(4, 1, 48), scales(64, 1)
PACKED = {"MatMulNBits": 1}
TILE = {"DequantizeLinear": 1, "FusedMatMul": 1}
LEFT = {"DequantizeLinear": 1, "MatMul": 1}
W8, W4, X = I8(64, 48), I4(64, 48), (7, 64)
D8, D4 = (np.int8, 64, 48), (ml_dtypes.int4, 64, 48)
DU8, DU4 = (np.uint8, 64, 48), (ml_dtypes.uint4, 64, 48)


def blocked(w, scale, zero=0):
    inner, columns = w.shape
    return ((w.astype(F32).reshape(scale.shape[0], -1, columns) - zero) * scale).reshape(inner, columns)


def scaled(x, w, scale):
    return x @ (w.astype(F32) * scale)


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


def compare(model, fn, x, rtol=1e-5):
    expected = np.asarray(fn(x), np.float32)
    (got,) = Runner(model).run([np.asarray(x)])
    np.testing.assert_allclose(np.asarray(got, np.float32), expected, rtol=rtol, atol=rtol * np.abs(expected).max())


def together(table):
    """Return one function of all cases of a table, of an input for each: an export of one model is quickest."""
    return lambda *xs: tuple(fn(x) for (fn, *_), x in zip(table.values(), xs, strict=True))


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


INT = {"preferred_element_type": jnp.int32}
K_2, UK, UW = I8(3, 3, 8, 16), U8(3, 3, 8, 16), U8(64, 48)


def conv(x, w, **options):
    return jax.lax.conv_general_dilated(x, w, **(CONV | options), **INT)


INTEGERS = {
    "matrices": (lambda x: jax.lax.dot(x, W8, **INT), "int8[B,64]", "MatMulInteger"),
    "unsigned": (lambda x: jax.lax.dot(x, UW, **INT), "uint8[B,64]", "MatMulInteger"),
    "sums that wrap": (lambda x: jax.lax.dot(x, W8), "int8[B,64]", "MatMulInteger"),
    "int4 weights": (
        lambda x: jax.lax.dot_general(x, W4, (((1,), (0,)), ((), ())), **INT),
        "int8[B,64]",
        "MatMulInteger",
    ),
    "stacks": (lambda x: jnp.einsum("bij,bkj->bki", x, x, **INT), "int8[B,3,5]", "MatMulInteger"),
    "an open contraction": (lambda x: jnp.einsum("bi,bj->ij", x, x, **INT), "int8[B,6]", "MatMulInteger"),
    "images": (lambda x: conv(x, K_2), "int8[B,9,9,8]", "ConvInteger"),
    "unsigned images": (lambda x: conv(x, UK, padding="VALID"), "uint8[B,9,9,8]", "ConvInteger"),
    "steps, holes and crops": (
        lambda x: conv(x, K_2, window_strides=(2, 1), rhs_dilation=(1, 2), padding=((-1, 2), (0, 3))),
        "int8[B,9,9,8]",
        "ConvInteger",
    ),
    "groups": (lambda x: conv(x, G8, feature_group_count=4), "int8[B,9,9,8]", "ConvInteger"),
    "dilated images": (
        lambda x: conv(x, K_2, lhs_dilation=(2, 2), padding=((1, 1), (2, 0))),
        "int8[B,4,4,8]",
        "ConvInteger",
    ),
    "signals": (
        lambda x: jax.lax.conv_general_dilated(x, L8, (1,), "SAME", **NWC, **INT),
        "int8[B,9,8]",
        "ConvInteger",
    ),
}
G8, L8, NWC = I8(3, 3, 2, 16), I8(3, 8, 4), {"dimension_numbers": ("NWC", "WIO", "NWC")}


@pytest.mark.parametrize("target", ["onnxruntime-cpu", "onnx"])
def test_integer_products_are_exact(target):
    fn, specs = together(INTEGERS), [spec for _, spec, _ in INTEGERS.values()]
    model = to_onnx(fn, specs, target=target)
    counts = operators(model)
    for operator in ("MatMulInteger", "ConvInteger"):
        assert counts[operator] == sum(one == operator for *_, one in INTEGERS.values())
    signed = [i for i in model.graph.initializer if i.data_type == onnx.TensorProto.INT8 and i.dims]
    assert target == "onnx" or not signed
    runner = Runner(model)
    for batch in (0, 7) if target != "onnx" else (7,):
        xs = []
        for spec in specs:
            dtype, _, dims = spec.rstrip("]").partition("[")
            xs.append(np.asarray(draw(np.dtype(dtype), batch, *map(int, dims.split(",")[1:]))))
        for name, got, expected in zip(INTEGERS, runner.run(xs), fn(*map(jnp.asarray, xs)), strict=True):
            np.testing.assert_array_equal(got, expected, err_msg=f"{name}, {batch}")


def test_integer_products_in_functions_and_loops():
    inner = onnx_function(lambda x, w: jax.lax.dot(x, w, **INT))

    def fn(x):
        return jax.lax.scan(lambda total, row: (total + inner(row[None], W8), 0), jnp.zeros((1, 48), jnp.int32), x)[0]

    model = to_onnx(fn, ["int8[7,64]"])
    x = I8(7, 64)
    (got,) = Runner(model).run([np.asarray(x)])
    np.testing.assert_array_equal(got, fn(x))


def rounded(x):
    return jnp.clip(jnp.round(x), -128, 127).astype(jnp.int8)


def in_function(x):
    inner = onnx_function(lambda x: jax.lax.dot(rounded(x), W8, **INT))
    return inner(x) + inner(x + 1)


def in_loop(x):
    step = lambda total, row: (total + jax.lax.dot(rounded(row[None]), W8, **INT), 0)  # noqa: E731
    return jax.lax.scan(step, jnp.zeros((1, 48), jnp.int32), x)[0]


ROUNDED = {
    "a product": (lambda x: jax.lax.dot(rounded(x), W8, **INT), 1),
    "saturated by the cast": (lambda x: jax.lax.dot(jnp.round(x).astype(jnp.int8), W8, **INT), 1),
    "two products": (lambda x: jax.lax.dot(q := rounded(x), W8, **INT) + jax.lax.dot(q, -W8, **INT), 1),
    "rearranged": (lambda x: jnp.einsum("bij,kj->kbi", rounded(x).reshape(-1, 8, 8).transpose(1, 0, 2), V8, **INT), 1),
    "both": (lambda x: jnp.einsum("bi,ci->bc", rounded(x), rounded(x / 2), **INT), 2),
    "an image": (lambda x: conv(rounded(x).reshape(-1, 2, 4, 8), K_2), 1),
    "in a function": (in_function, 1),
    "in a loop": (in_loop, 1),
    "a result too": (lambda x: jax.lax.dot(q := rounded(x), W8, **INT) + q[:, :48], 1),
    "not rounded": (lambda x: jax.lax.dot(x.astype(jnp.int8), W8, **INT), 0),
    "of fewer numbers": (lambda x: jax.lax.dot(jnp.clip(jnp.round(x), -7, 7).astype(jnp.int8), W8, **INT), 1),
    "of more numbers": (lambda x: jax.lax.dot(jnp.clip(jnp.round(x), -500, 127).astype(jnp.int8), W8, **INT), 1),
    "of one sign": (lambda x: jax.lax.dot(jnp.clip(jnp.round(x), 0, 100).astype(jnp.int8), W8, **INT), 1),
    "not of integers": (lambda x: jax.lax.dot(jnp.clip(jnp.round(x), -7.5, 7).astype(jnp.int8), W8, **INT), 0),
    "from bfloat16": (lambda x: jax.lax.dot(rounded(x.astype(jnp.bfloat16)), W8, **INT), 0),
}
V8 = I8(5, 8)
EDGES = np.asarray(
    [np.nan, np.inf, -np.inf, 0.5, -0.5, 1.5, 2.5, -0.0, 127.49, 127.5, 128, -128.5, -129, 1e-40, 3e9, -3e9], np.float32
)


def every_node(model):
    """Yield the nodes of a model, of its functions and of bodies of loops."""
    pending = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while pending:
        node = pending.pop()
        yield node
        pending += [inner for attribute in node.attribute for inner in attribute.g.node]


@pytest.mark.parametrize("kind", ROUNDED)
def test_what_is_rounded_is_quantised_by_one_node(kind):
    fn, count = ROUNDED[kind]
    model = to_onnx(fn, ["float32[7,64]" if kind == "in a loop" else "float32[B,64]"])
    assert [n.op_type for n in every_node(model)].count("QuantizeLinear") == count
    runner = Runner(model)
    for x in (RNG.normal(size=(7, 64)) * 60, RNG.integers(-300, 300, (7, 64)) / 2, np.resize(EDGES, (7, 64))):
        given = x.astype(np.float32)
        np.testing.assert_array_equal(runner.run([given])[0], fn(jnp.asarray(given)))


@pytest.mark.parametrize("kind", ["a product", "of fewer numbers"])
@pytest.mark.parametrize(("opset", "target"), [(13, "onnxruntime"), (24, "onnxruntime"), (None, "onnxruntime>=1.19")])
def test_what_is_rounded_for_other_runtimes(kind, opset, target):
    fn, _ = ROUNDED[kind]
    model = to_onnx(fn, ["float32[B,64]"], opset=opset, target=target)
    assert operators(model)["QuantizeLinear"] == (kind == "a product" or "1.19" not in target)
    given = np.resize(EDGES, (7, 64))
    np.testing.assert_array_equal(Runner(model).run([given])[0], fn(jnp.asarray(given)))


# Numbers so small that no two products exceed 16 bits: they are exact on processors without VNNI too.
W6, K_6 = (jnp.asarray(np.asarray(w) // 4 + shift, jnp.int8) for w, shift in ((W8, 0), (K_2, -96)))
MIXED = {
    "a product": (lambda x: jax.lax.dot(rounded(x), W6, **INT), "MatMulInteger", "UINT8 INT8"),
    "of fewer numbers": (
        lambda x: jax.lax.dot(jnp.clip(jnp.round(x), -7, 7).astype(jnp.int8), W6, **INT),
        "MatMulInteger",
        "UINT8 INT8",
    ),
    "bools": (lambda x: jax.lax.dot(jnp.isnan(x).astype(jnp.int8), W6, **INT), "MatMulInteger", "UINT8 INT8"),
    "both": (
        lambda x: jnp.einsum("bi,ci->bc", rounded(jnp.clip(x, -60, 60)), rounded(jnp.clip(x / 2, -60, 60)), **INT),
        "MatMulInteger",
        "UINT8 INT8",
    ),
    "an image": (lambda x: conv(rounded(x).reshape(-1, 2, 4, 8), K_6), "ConvInteger", "INT8 UINT8"),
    "an image of fewer numbers": (
        lambda x: conv(jnp.clip(jnp.round(x), -7, 7).astype(jnp.int8).reshape(-1, 2, 4, 8), K_6),
        "ConvInteger",
        "INT8 UINT8",
    ),
}


def over_largest(x, axis, keep=lambda m: jnp.maximum(m / 127, 1e-9), of=None):
    return rounded(x / keep(jnp.max(jnp.abs(x if of is None else of), axis=axis, keepdims=True)))


def kept(m):
    return jnp.where(m / 127.5 < 1e-19, 1.0, m / 127.5)


def turned(x):
    parts = x.reshape(-1, 8, 8) / 2
    scale = kept(jnp.max(jnp.abs(parts), axis=2)).T[:, None, :, None]
    q = rounded(parts[None].transpose(2, 0, 1, 3) / scale)
    return q.transpose(2, 0, 1, 3).reshape(-1, 64)


BOUNDED = {
    "by rows": (lambda x: over_largest(x, 1), 1),
    "by columns": (lambda x: over_largest(x, 0), 1),
    "by all": (lambda x: over_largest(x, (0, 1)), 1),
    "as qwix": (lambda x: over_largest(x, 1, kept), 1),
    "kept before it is scaled": (lambda x: over_largest(x, 1, lambda m: jnp.maximum(m, 1e-6) * (1 / 127)), 1),
    "turned": (turned, 1),
    "of tiles": (lambda x: over_largest(x.reshape(-1, 4, 16), 2).reshape(-1, 64), 1),
    "not kept from 0": (lambda x: over_largest(x, 1, lambda m: m / 127), 0),
    "kept by too little": (lambda x: over_largest(x, 1, lambda m: jnp.maximum(m / 127, 1e-39)), 0),
    "scaled by too little": (lambda x: over_largest(x, 1, lambda m: jnp.maximum(m * 1e-38, 1e-9)), 0),
    "of other rows": (lambda x: over_largest(x, 1, of=x[::-1]), 0),
    "along another axis": (
        lambda x: rounded(x.reshape(-1, 8, 8) / kept(jnp.max(jnp.abs(x.reshape(-1, 8, 8)), axis=2))[:, None]).reshape(
            -1, 64
        ),
        0,
    ),
    "not divided": (rounded, 0),
}


def edges():
    """Yield arrays of 7 rows, some with NaN, infinities, zeros, and numbers next to the ends of float32."""
    yield RNG.normal(size=(7, 64)).astype(np.float32) * 60
    x = RNG.normal(size=(7, 64)).astype(np.float32)
    x[0, 3], x[1, 5], x[2, 7], x[3] = np.nan, np.inf, -np.inf, 0
    x[4] *= np.float32(3e37)
    x[4, 0] = -np.finfo(np.float32).max
    x[5] *= np.float32(1e-40)
    x[6, :2] = np.nan, -np.inf
    yield x
    yield np.resize(EDGES, (7, 64))
    yield np.full((7, 64), -np.inf, np.float32)


@pytest.mark.parametrize("target", ["onnxruntime", "onnxruntime-vnni", "onnxruntime>=1.20"])
@pytest.mark.parametrize("kind", BOUNDED)
def test_what_is_bounded_needs_no_choice_where_it_is_nan(kind, target):
    fn, count = BOUNDED[kind]
    identity = jnp.eye(64, dtype=jnp.int8)
    product = lambda x: jax.lax.dot(fn(x), identity, **INT)  # noqa: E731
    model = to_onnx(product, ["float32[B,64]"], target=target)
    assert operators(model)["ThresholdedRelu"] == count
    runner, plain = Runner(model), Runner(to_onnx(product, ["float32[B,64]"], target="onnx"))
    for x in edges():
        (got,), (expected,) = runner.run([x]), plain.run([x])
        np.testing.assert_array_equal(got, expected)
        if count:  # JAX takes subnormal numbers for 0, which matters if nothing keeps a scale from 0
            # A quotient that is next to a tie may be rounded either way.
            np.testing.assert_allclose(got, product(jnp.asarray(x)), rtol=0, atol=1)


@pytest.mark.parametrize("target", ["onnxruntime-vnni", "onnxruntime-vnni>=1.32", "onnxruntime-vnni>=1.19"])
@pytest.mark.parametrize("kind", MIXED)
def test_processors_with_vnni_multiply_bytes_of_both_kinds(kind, target):
    fn, operator, dtypes = MIXED[kind]
    model = to_onnx(fn, ["float32[B,64]"], target=target)
    types = {value.name: value.data_type for value in model.graph.initializer}
    (product,) = [node for node in model.graph.node if node.op_type == operator]
    # The zero points tell the dtypes. In 1.19 a convolution takes uint8 only, and no product int8 by uint8.
    found = " ".join(onnx.TensorProto.DataType.Name(types[name]) for name in product.input[2:])
    assert found == ("UINT8 UINT8" if "1.19" in target else dtypes)
    runner = Runner(model)
    for x in (RNG.normal(size=(7, 64)) * 60, RNG.integers(-300, 300, (7, 64)) / 2, np.resize(EDGES, (7, 64))):
        given = x.astype(np.float32)
        np.testing.assert_array_equal(runner.run([given])[0], fn(jnp.asarray(given)))


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
