"""Tidying: what goes, what stays, and that no number changes."""

from __future__ import annotations

import collections
import functools

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from jax2onnx.tidy.tidy import tidy

HEAD = '<ir_version: 10, opset_import: ["" : 18, "local" : 1]>\n'
CONV = "Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>"
TO_NCHW, TO_NHWC = "Transpose<perm = [0, 3, 1, 2]>", "Transpose<perm = [0, 2, 3, 1]>"
WEIGHTS = {"w1": (4, 3, 3, 3), "w2": (4, 4, 3, 3), "b": (4,), "dense": (256, 5), "pointwise": (4, 5)}

CASES = {
    "a transpose and its inverse": (
        "(float[N,3,4,5] x) => (float[N,3,4,5] y) { a = TO_NHWC(x) c = Relu(a) y = TO_NCHW(c) }",
        {"Transpose": 0, "Relu": 1},
    ),
    "two transposes are one": (
        (
            "(float[N,3,4] x) => (float[4,N,3] y) {"
            " a = Transpose<perm = [0, 2, 1]>(x) c = Transpose<perm = [1, 0, 2]>(a) y = Relu(c) }"
        ),
        {"Transpose": 1},
    ),
    "two transposes around a dim that comes": (
        (
            "(float[N,3,M,5] x) => (float[M,N,1,5,3] y) <int64[1] one = {1}> {"
            " a = TO_NHWC(x) c = Unsqueeze(a, one) d = Transpose<perm = [2, 0, 1, 3, 4]>(c) y = Relu(d) }"
        ),
        {"Transpose": 1, "Unsqueeze": 1},
    ),
    "transposes that undo each other around dims that come and go": (
        (
            "(float[N,3,M,5] x) => (float[N,3,M,5] y) <int64[1] one = {1}> {"
            " a = TO_NHWC(x) c = Unsqueeze(a, one) d = Transpose<perm = [0, 1, 4, 2, 3]>(c) e = Squeeze(d, one)"
            " f = Relu(e) g = Unsqueeze(f, one) h = Transpose<perm = [0, 1, 3, 4, 2]>(g) i = Squeeze(h, one)"
            " y = TO_NCHW(i) }"
        ),
        {"Transpose": 0, "Unsqueeze": 0, "Squeeze": 0},
    ),
    "dims of size 1 that are there already": (
        (
            "(float[1,3,1,5] x) => (float[3,1,5,1] y) <int64[4] new = {1, 5, 1, 3}> {"
            " a = TO_NHWC(x) c = Reshape(a, new) d = Transpose<perm = [3, 0, 1, 2]>(c) y = Relu(d) }"
        ),
        {"Transpose": 0, "Reshape": 1},
    ),
    "a dim that is split between two transposes": (
        (
            "(float[N,6,5] x) => (float[3,N,5,2] y) <int64[4] new = {0, 5, 2, 3}> {"
            " a = Transpose<perm = [0, 2, 1]>(x) c = Reshape(a, new) d = Transpose<perm = [3, 0, 1, 2]>(c)"
            " y = Relu(d) }"
        ),
        {"Transpose": 2, "Reshape": 1},
    ),
    "a reshape between two transposes that is read twice": (
        (
            "(float[N,3,4,5] x) => (float[N,3,4,5] y, float[N,4,1,5,3] z) <int64[1] two = {2}, int64[1] four = {4}> {"
            " a = TO_NHWC(x) c = Unsqueeze(a, two) d = Transpose<perm = [0, 4, 1, 3, 2]>(c) e = Relu(c)"
            " f = Squeeze(d, four) y = Relu(f) z = Relu(e) }"
        ),
        {"Transpose": 2},
    ),
    "a channel-last network": (
        (
            "(float[N,8,8,3] x) => (float[N,8,8,4] y) {"
            " a = TO_NCHW(x) c = CONV(a, w1) d = TO_NHWC(c) e = Add(d, b) f = Relu(e)"
            " g = TO_NCHW(f) h = CONV(g, w2) y = TO_NHWC(h) }"
        ),
        {"Transpose": 2, "Add": 0, "Conv": 2},
    ),
    "a flattened image": (
        (
            "(float[N,8,8,3] x) => (float[N,5] y) <int64[2] rows = {0, 256}> {"
            " a = TO_NCHW(x) c = CONV(a, w1) d = TO_NHWC(c) e = Reshape(d, rows) f = MatMul(e, dense) y = Relu(f) }"
        ),
        {"Transpose": 1, "Reshape": 1},
    ),
    "a flattened image that is read twice, and weights for part of it": (
        (
            "(float[N,8,8,3] x) => (float[N,5] y, float[N,256] z, float[N,8,8,5] v) <int64[2] rows = {0, 256}> {"
            " a = TO_NCHW(x) c = CONV(a, w1) d = TO_NHWC(c) z = Reshape(d, rows) f = MatMul(z, dense) y = Relu(f)"
            " v = MatMul(d, pointwise) }"
        ),
        {"Transpose": 2, "Reshape": 1},
    ),
    "a residual branch": (
        (
            "(float[N,8,8,3] x) => (float[N,8,8,4] y) {"
            " a = TO_NCHW(x) c = CONV(a, w1) d = TO_NHWC(c) e = Relu(d)"
            " g = TO_NCHW(e) h = CONV(g, w2) i = TO_NHWC(h) j = Add(e, i)"
            " k = TO_NCHW(j) l = CONV(k, w2) y = TO_NHWC(l) }"
        ),
        {"Transpose": 2, "Add": 1},
    ),
    "a residual branch around the first convolution": (
        (
            "(float[N,8,8,4] x) => (float[N,8,8,4] y) {"
            " a = TO_NCHW(x) c = CONV(a, w2) d = TO_NHWC(c) e = Add(x, d)"
            " f = TO_NCHW(e) g = CONV(f, w2) y = TO_NHWC(g) }"
        ),
        {"Transpose": 2},
    ),
    "concatenation, split, softmax and padding along renumbered axes": (
        (
            "(float[N,8,6,3] x) => (float[N,9,6,4] y) <int64[8] pads = {0, 1, 0, 0, 0, 0, 0, 0}> {"
            " a = TO_NCHW(x) c = CONV(a, w1) d = TO_NHWC(c) e, f = Split<axis = -1, num_outputs = 2>(d)"
            " g = Concat<axis = 3>(f, e) h = Softmax<axis = 2>(g) i = Pad(h, pads)"
            " j = TO_NCHW(i) k = CONV(j, w2) y = TO_NHWC(k) }"
        ),
        {"Transpose": 2},
    ),
    "reductions that keep dims and that do not": (
        (
            "(float[N,8,6,3] x) => (float[N,4] y, float[N,8,6,4] z) <int64[2] axes = {1, 2}> {"
            " a = TO_NCHW(x) c = CONV(a, w1) d = TO_NHWC(c) e = ReduceMean<keepdims = 1>(d, axes)"
            " f = Sub(d, e) y = ReduceMax<keepdims = 0>(f, axes)"
            " g = TO_NCHW(f) h = CONV(g, w2) z = TO_NHWC(h) }"
        ),
        {"Transpose": 2},
    ),
    "an operand of fewer dims, computed": (
        (
            "(float[N,8,6,3] x, float[4] s) => (float[N,8,6,4] y) {"
            " a = TO_NCHW(x) c = CONV(a, w1) d = TO_NHWC(c) t = Exp(s) e = Mul(d, t)"
            " g = TO_NCHW(e) h = CONV(g, w2) y = TO_NHWC(h) }"
        ),
        {"Conv": 2},
    ),
    "a value that is needed in both layouts": (
        (
            "(float[N,8,6,3] x) => (float[N,8,6,4] y, float[N,8,6,4] z) {"
            " a = TO_NCHW(x) c = CONV(a, w1) y = TO_NHWC(c) f = Relu(y) g = TO_NCHW(f) h = CONV(g, w2) z = TO_NHWC(h) }"
        ),
        {"Transpose": 3},
    ),
    "a transpose around nothing but a product stays where it is": (
        (
            "(float[N,3,4] x, float[N,3,5] v) => (float[N,4,5] y) <float s = {0.5}> {"
            " a = Transpose<perm = [0, 2, 1]>(x) c = Mul(a, s) y = MatMul(c, v) }"
        ),
        {"Transpose": 1, "Mul": 1},
    ),
    "a branch that reads a transposed value": (
        (
            "(float[N,8,8,3] x) => (float[N,8,8,4] y) <float zero = {0.0}> {"
            " a = TO_NCHW(x) c = CONV(a, w1) d = TO_NHWC(c) s = ReduceSum<keepdims = 0>(d) q = Less(s, zero)"
            " e = If(q) <then_branch = t () => (float[N,8,8,4] p) { p = Neg(d) },"
            " else_branch = f () => (float[N,8,8,4] r) { u = TO_NCHW(d) v = CONV(u, w2) r = TO_NHWC(v) }>"
            " f = Relu(e) y = Identity(f) }"
        ),
        {"If": 1, "Identity": 0},
    ),
    "a loop of convolutions": (
        (
            "(float[N,8,8,4] x) => (float[N,8,8,4] y) <int64 n = {3}, bool go = {1}> {"
            " y = Loop(n, go, x) <body = s (int64 i, bool ok, float[N,8,8,4] h) => (bool on, float[N,8,8,4] out) {"
            " on = Identity(ok) a = TO_NCHW(h) c = CONV(a, w2) d = TO_NHWC(c) e = Tanh(d)"
            " g = TO_NCHW(e) j = CONV(g, w2) out = TO_NHWC(j) }> }"
        ),
        {"Transpose": 2},
    ),
    "weights arranged at run time": (
        (
            "(float[N,4] x) => (float[N,5] y) <float[5,4] w, float[5] c> {"
            " t = Transpose<perm = [1, 0]>(w) p = MatMul(x, t) y = Add(c, p) }"
        ),
        {"Transpose": 0, "Gemm": 1, "Add": 0},
    ),
    "a product with a bias row": (
        "(float[N,4] x) => (float[N,5] y) <float[4,5] w, float[1,5] c> { p = MatMul(x, w) y = Add(p, c) }",
        {"Gemm": 1},
    ),
    "an addition that widens a product is no bias": (
        "(float[N,4] x) => (float[N,5] y) <float[4,1] w, float[5] c> { p = MatMul(x, w) y = Add(p, c) }",
        {"Gemm": 0, "MatMul": 1},
    ),
    "a product that is used twice keeps its addition": (
        (
            "(float[N,4] x) => (float[N,5] y, float[N,5] z) <float[4,5] w, float[5] c> {"
            " p = MatMul(x, w) y = Add(p, c) z = Relu(p) }"
        ),
        {"MatMul": 1, "Gemm": 0},
    ),
    "a product of batches is no Gemm": (
        "(float[N,3,4] x) => (float[N,3,5] y) <float[4,5] w, float[5] c> { p = MatMul(x, w) y = Add(p, c) }",
        {"MatMul": 1, "Add": 1},
    ),
    "reshapes in a row": (
        (
            "(float[2,3,4] x) => (float[4,6] y) <int64[1] s = {24}, int64[3] t = {3, 2, 4}, int64[2] u = {4, 6}> {"
            " a = Reshape(x, s) c = Reshape(a, t) d = Reshape(c, u) y = Relu(d) }"
        ),
        {"Reshape": 1},
    ),
    "reshapes back to where they started": (
        (
            "(float[2,3,4] x) => (float[2,3,4] y) <int64[2] s = {0, 12}, int64[3] t = {-1, 3, 4}> {"
            " a = Reshape(x, s) c = Reshape(a, t) y = Relu(c) }"
        ),
        {"Reshape": 0},
    ),
    "reshapes of nothing stay": (
        (
            "(float[0,3,4] x) => (float[0,4] y) <int64[1] s = {0}, int64[2] t = {0, 4}> {"
            " a = Reshape<allowzero = 1>(x, s) c = Reshape<allowzero = 1>(a, t) y = Relu(c) }"
        ),
        {"Reshape": 2},
    ),
    "a reduction whose dims a reshape brings back": (
        (
            "(float[N,3,4] x) => (float[N,3,4] y) <int64[1] axes = {2}> {"
            " a = ReduceSum<keepdims = 0>(x, axes) c = Unsqueeze(a, axes) y = Div(x, c) }"
        ),
        {"Unsqueeze": 0, "ReduceSum": 1},
    ),
    "nodes that do nothing": (
        (
            "(float[N,4] x) => (float[N,4] y) <float one = {1.0}, int64[1] z = {0}, int64[1] big = {9},"
            " int64[1] ax = {1}, int64[4] none = {0, 0, 0, 0}> {"
            " a = Identity(x) c = Cast<to = 1>(a) d = Mul(c, one) e = Div(d, one) f = Slice(e, z, big, ax)"
            " g = Pad(f, none) h = Concat<axis = 0>(g) i = Max(h) j = Transpose<perm = [0, 1]>(i) y = Relu(j) }"
        ),
        {"Relu": 1, "Identity": 0, "Cast": 0, "Mul": 0, "Div": 0, "Slice": 0, "Pad": 0, "Concat": 0, "Max": 0},
    ),
    "a slice of all elements in reverse does something": (
        (
            "(float[N,4] x) => (float[N,4] y) <int64[1] s = {-1}, int64[1] e = {-9223372036854775807},"
            " int64[1] a = {1}> { c = Slice(x, s, e, a, s) y = Relu(c) }"
        ),
        {"Slice": 1},
    ),
    "an expansion that broadcasting does anyway": (
        "(float[N,4] x) => (float[N,4] y) <float[4] c> { s = Shape(x) d = Expand(c, s) y = Add(d, x) }",
        {"Expand": 0, "Shape": 0},
    ),
    "an expansion that makes the result's shape stays": (
        "(float[1,4] x, float[4] v) => (float[3,4] y) <int64[2] s = {3, 4}> { d = Expand(x, s) y = Add(d, v) }",
        {"Expand": 1},
    ),
    "an input returned as it is": (
        "(float[N,4] x) => (float[N,4] y, float[N,4] z) { y = Identity(x) z = Relu(x) }",
        {"Identity": 1},
    ),
    "a reshape there and back of an input, returned": (
        (
            "(float[1,4] x) => (float[1,4] y, float[4] z) <int64[1] a = {0}> {"
            " c = Unsqueeze(x, a) y = Squeeze(c, a) z = Squeeze(x, a) }"
        ),
        {"Identity": 1, "Unsqueeze": 0, "Squeeze": 1},
    ),
    "a transposed matrix by a vector": (
        "(float[2,3,7] x, float[3] v) => (float[2,7] y) { t = Transpose<perm = [0, 2, 1]>(x) y = MatMul(t, v) }",
        {"Transpose": 0, "MatMul": 1},
    ),
    "a transposed and converted matrix by a vector": (
        (
            "(float[3,7] x, float[3] v) => (double[7] y) {"
            " t = Transpose<perm = [1, 0]>(x) c = Cast<to = 11>(t) d = Cast<to = 11>(v) y = MatMul(c, d) }"
        ),
        {"Transpose": 0, "Cast": 2, "MatMul": 1},
    ),
    "a bias after features are split": (
        (
            "(float[N,6] x, float[6,6] w) => (float[N,6] y) <float[1,2,3] c, int64[3] s = {0, 2, 3},"
            " int64[2] t = {0, 6}> { p = MatMul(x, w) r = Reshape(p, s) a = Add(r, c) y = Reshape(a, t) }"
        ),
        {"Reshape": 0, "Gemm": 1, "Add": 0},
    ),
    "a bias of part of what is split stays": (
        ("(float[N,6] x) => (float[N,2,3] y) <float[3] c, int64[3] s = {0, 2, 3}> { r = Reshape(x, s) y = Add(r, c) }"),
        {"Reshape": 1, "Add": 1},
    ),
    "expansions of both operands": (
        (
            "(float[N,1] x, float[4] v) => (bool[N,4] y) <int64[2] t = {1, 4}> {"
            " s = Shape<start = 0, end = 1>(x) f = Constant<value_ints = [4]>() u = Concat<axis = 0>(s, f)"
            " a = Expand(x, t) c = Expand(v, u) y = Less(a, c) }"
        ),
        {"Expand": 0, "Shape": 0},
    ),
    "repeated and unused nodes": (
        "(float[N,4] x) => (float[N,4] y) { a = Exp(x) c = Exp(x) d = Log(x) y = Add(a, c) }",
        {"Exp": 1, "Log": 0},
    ),
}


AXES = "int64[1] a = {1}"
IDIOMS = {
    "mean": (f"<{AXES}, float n = {{4}}> {{ s = ReduceSum(x, a) y = Div(s, n) }}", "float[N,1]", ["ReduceMean"]),
    "mean of others": (f"<{AXES}, float n = {{3}}> {{ s = ReduceSum(x, a) y = Div(s, n) }}", "float[N,1]", None),
    "mean over a symbol": (
        "<int64[1] a = {0}, float n = {4}> { s = ReduceSum(x, a) y = Div(s, n) }",
        "float[1,4]",
        None,
    ),
    "norm": (f"<{AXES}> {{ p = Mul(x, x) s = ReduceSum(p, a) y = Sqrt(s) }}", "float[N,1]", ["ReduceL2"]),
    "squares": (f"<{AXES}> {{ p = Mul(x, x) y = ReduceSum(p, a) }}", "float[N,1]", ["ReduceSumSquare"]),
    "is nan": ("{ e = Equal(x, x) y = Not(e) }", "bool[N,4]", ["IsNaN"]),
    "is infinite": ("<float i = {inf}> { m = Abs(x) y = Equal(i, m) }", "bool[N,4]", ["IsInf"]),
    "between": ("<float l = {-1}, float h = {2}> { m = Max(x, l) y = Min(m, h) }", "float[N,4]", ["Clip"]),
    "between zero and": ("<float h = {2}> { m = Relu(x) y = Min(h, m) }", "float[N,4]", ["Clip"]),
    "between ends in the wrong order": (
        "<float l = {2}, float h = {-1}> { m = Max(x, l) y = Min(m, h) }",
        "float[N,4]",
        None,
    ),
    "between ends one of which is zero": (
        "<float l = {-1}, float h = {0}> { m = Max(x, l) y = Min(m, h) }",
        "float[N,4]",
        None,
    ),
}


@pytest.mark.parametrize("idiom", IDIOMS)
def test_idioms_are_one_word(idiom: str) -> None:
    body, out, expected = IDIOMS[idiom]
    before = parse(f"(float[N,4] x) => ({out} y) {body}")
    after = tidied(before)
    assert [n.op_type for n in after.graph.node] == (expected or [n.op_type for n in before.graph.node])
    special = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 3e38, -3e38, 1e-30], np.float32)
    for rows in (0, 1, 7):
        grid = np.random.default_rng(rows).choice(special, (rows, 4))
        for feeds in ({"x": grid}, {"x": np.random.default_rng(1).normal(size=(rows, 4)).astype(np.float32)}):
            for want, got in zip(run(before, feeds), run(after, feeds), strict=True):
                np.testing.assert_allclose(got, want, rtol=1e-5)
                np.testing.assert_array_equal(np.signbit(got)[got == 0], np.signbit(want)[got == 0])


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("filling", [True, False])
@pytest.mark.parametrize(("size", "shortened"), [(5, True), (4, False)])
def test_indices_count_from_the_end(dtype: str, filling, size: int, shortened) -> None:
    one = f"{dtype} z = {{0}}, {dtype} n = {{{size}}}, {dtype} t = {{{size - 1}}}, float[5,3] d"
    found = "g = Gather<axis = 0>(d, c)"
    if filling:
        found += " o = Constant<value_ints = [-1]>() e = Equal(w, c) f = Unsqueeze(e, o) q = Sub(g, g)"
    last = "y = Where(f, g, q)" if filling else "y = Identity(g)"
    before = parse(
        f"({dtype}[N] i) => (float[N,3] y) <{one}> {{ l = Less(i, z) p = Add(i, n) w = Where(l, p, i)"
        f" c = Clip(w, z, t) {found} {last} }}"
    )
    after = tidied(before)
    assert ("Less" not in count(after)) == shortened
    indices = np.array([0, 4, 5, -1, -5, -6, 100, -100], dtype)
    for want, got in zip(run(before, {"i": indices}), run(after, {"i": indices}), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("case", CASES)
def test_tidy(case: str) -> None:
    text, expected = CASES[case]
    before = parse(text)
    after = tidied(before)
    found = count(after)
    assert {op: found.get(op, 0) for op in expected} == expected, found
    assert [o.name for o in after.graph.output] == [o.name for o in before.graph.output]
    same_numbers(before, after)


def test_functions_are_tidied_without_initializers() -> None:
    text = (
        HEAD
        + "agraph (float[2,8,8,4] x, float[4,4,3,3] k) => (float[2,8,8,4] y) { y = local.block(x, k) }\n"
        + '<domain: "local", opset_import: ["" : 18]>\nblock (x, w) => (y) {'
        + expand(" a = TO_NCHW(x) c = CONV(a, w) d = TO_NHWC(c) e = Identity(d) y = Relu(e) }")
    )
    before = onnx.parser.parse_model(text)
    after = tidied(before)
    assert [n.op_type for n in after.functions[0].node] == ["Transpose", "Conv", "Transpose", "Relu"]
    same_numbers(before, after)


def test_arranged_weights_keep_their_names() -> None:
    after = tidied(parse(CASES["weights arranged at run time"][0]))
    assert {i.name: tuple(i.dims) for i in after.graph.initializer} == {"w": (4, 5), "c": (5,)}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_large_weights_are_arranged_when_written(tmp_path, dtype) -> None:
    array = np.arange(60_000).reshape(300, 200).astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    model = weights_model(array, uses=1)
    tidy(model)
    (weight,) = model.graph.initializers.values()
    assert isinstance(weight.const_value, ir.LazyTensor)
    assert weight.shape == (200, 300)
    with (tmp_path / "data").open("wb") as file:
        weight.const_value.tofile(file)
    assert (tmp_path / "data").read_bytes() == array.T.tobytes()


def test_large_weights_used_elsewhere_are_not_stored_twice() -> None:
    model = weights_model(np.ones((300, 200), np.float32), uses=2)
    tidy(model)
    assert [i.name for i in model.graph.initializers.values()] == ["w"]
    assert "Transpose" in [n.op_type for n in model.graph]


def test_initializers_that_view_the_same_memory_are_shared() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    x = ir.Value(name="x", shape=ir.Shape([2, 3]), type=ir.TensorType(ir.DataType.FLOAT))
    weights = [
        ir.Value(
            name=n, shape=ir.Shape([2, 3]), type=ir.TensorType(ir.DataType.FLOAT), const_value=ir.Tensor(a, name=n)
        )
        for n, a in (("first", array), ("again", array), ("other", array.copy() + 1))
    ]
    nodes, value = [], x
    for weight in weights:
        nodes.append(ir.Node("", "Mul", [value, weight]))
        value = nodes[-1].outputs[0]
        value.type, value.shape = x.type, x.shape
    value.name = "y"
    graph = ir.Graph([x], [value], nodes=nodes, initializers=weights, opset_imports={"": 18}, name="g")
    model = ir.Model(graph, ir_version=10)
    tidy(model)
    assert list(model.graph.initializers) == ["first", "other"]


def weights_model(array: np.ndarray, uses: int) -> ir.Model:
    tensor = ir.Tensor(array, name="w")
    x = ir.Value(name="x", shape=ir.Shape(["N", 200]), type=ir.TensorType(tensor.dtype))
    w = ir.Value(name="w", shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
    turned = ir.Node("", "Transpose", [w], [ir.AttrInt64s("perm", [1, 0])])
    turned.outputs[0].type, turned.outputs[0].shape = x.type, ir.Shape([200, 300])
    product = ir.Node("", "MatMul", [x, turned.outputs[0]])
    product.outputs[0].type, product.outputs[0].shape = x.type, ir.Shape(["N", 300])
    nodes = [turned, product]
    if uses > 1:
        nodes.append(ir.Node("", "MatMul", [product.outputs[0], w]))
        nodes[-1].outputs[0].type, nodes[-1].outputs[0].shape = x.type, x.shape
    out = nodes[-1].outputs[0]
    out.name = "y"
    graph = ir.Graph([x], [out], nodes=nodes, initializers=[w], opset_imports={"": 18}, name="g")
    return ir.Model(graph, ir_version=10)


def expand(text: str) -> str:
    for name, operator in (("TO_NCHW", TO_NCHW), ("TO_NHWC", TO_NHWC), ("CONV", CONV)):
        text = text.replace(name, operator)
    return text


def parse(text: str) -> onnx.ModelProto:
    """Parse a graph; initializers without values get random ones, and all shapes are inferred."""
    model = onnx.parser.parse_model(HEAD + "agraph " + expand(text))
    generator = np.random.default_rng(0)
    given = {i.name for i in model.graph.initializer}
    declared = [v for v in model.graph.value_info if v.name not in given]
    shapes = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in declared}
    used = {name for node in all_nodes(model.graph) for name in node.input}
    for name, shape in {**{k: s for k, s in WEIGHTS.items() if k in used}, **shapes}.items():
        if name not in given and name not in {i.name for i in model.graph.input}:
            array = generator.normal(size=shape).astype("float32")
            model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    del model.graph.value_info[:]
    return onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)


def tidied(model: onnx.ModelProto) -> onnx.ModelProto:
    tree = ir.from_proto(model)
    tidy(tree)
    after = ir.to_proto(tree)
    # The full check infers shapes anew and refuses a declared one that is not true.
    onnx.checker.check_model(after, full_check=True)
    return after


def all_nodes(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    nodes = list(graph.node)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                nodes += all_nodes(attribute.g)
    return nodes


def count(model: onnx.ModelProto) -> dict[str, int]:
    return collections.Counter(n.op_type for n in all_nodes(model.graph))


def same_numbers(before: onnx.ModelProto, after: onnx.ModelProto) -> None:
    for size in (1, 3):
        generator = np.random.default_rng(size)
        feeds = {
            i.name: generator.normal(size=[d.dim_value if d.HasField("dim_value") else size for d in dims]).astype("f4")
            for i in before.graph.input
            for dims in [i.type.tensor_type.shape.dim]
        }
        for want, got in zip(run(before, feeds), run(after, feeds), strict=True):
            assert want.shape == got.shape
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    return functools.partial(ort.InferenceSession(model.SerializeToString(), options).run, None)(feeds)
