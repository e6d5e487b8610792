"""Layout: regions between transposes run in the layout that needs the fewest."""

from __future__ import annotations

import pytest

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
    "a channel-last network": (
        (
            "(float[N,8,8,3] x) => (float[N,8,8,4] y) {"
            " a = TO_NCHW(x) c = CONV(a, w1) d = TO_NHWC(c) e = Add(d, b) f = Relu(e)"
            " g = TO_NCHW(f) h = CONV(g, w2) y = TO_NHWC(h) }"
        ),
        {"Transpose": 2, "Add": 0, "Conv": 2},
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
}


@pytest.mark.parametrize("case", CASES)
def test_layout(case: str, graphs) -> None:
    graphs.check(*CASES[case])
