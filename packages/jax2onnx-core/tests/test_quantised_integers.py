"""Products of integers, and of numbers that are rounded to integers: they are exact, by the operators for bytes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from few_bits import EDGES, I8, INT, RNG, U8, W4, W8, conv, draw, rounded, together

from jax2onnx import onnx_function, to_onnx
from jax2onnx.testing import Runner, operators

K_2, UK, UW = I8(3, 3, 8, 16), U8(3, 3, 8, 16), U8(64, 48)
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


def in_function(x):
    inner = onnx_function(lambda x: jax.lax.dot(rounded(x), W8, **INT))
    return inner(x) + inner(x + 1)


def in_loop(x):
    step = lambda last, row: (row, jax.lax.dot(rounded(last[None]), W8, **INT))  # noqa: E731
    return jax.lax.scan(step, x[-1], x)[1]


V8 = I8(5, 8)
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
