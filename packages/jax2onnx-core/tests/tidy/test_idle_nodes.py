"""Idle nodes: which nodes do nothing and are removed, and which only look like that."""

from __future__ import annotations

import pytest

CASES = {
    "parameters that may get other numbers": (
        (
            "(float[N,4] x) => (float[N,4] y) <float scale = {1.0}, float[4] gain = {1, 1, 1, 1},"
            " float shift = {0.0}> { a = Mul(x, scale) c = Mul(gain, a) d = Sub(c, shift) e = Div(d, scale)"
            " y = Relu(e) }"
        ),
        {"Mul": 2, "Sub": 1, "Div": 1},
    ),
    "nodes that do nothing": (
        (
            "(float[N,4] x) => (float[N,4] y) <float const_one = {1.0}, int64[1] z = {0}, int64[1] big = {9},"
            " int64[1] ax = {1}, int64[4] none = {0, 0, 0, 0}> {"
            " a = Identity(x) c = Cast<to = 1>(a) d = Mul(c, const_one) e = Div(d, const_one) f = Slice(e, z, big, ax)"
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
    "expansions of both operands": (
        (
            "(float[N,1] x, float[4] v) => (bool[N,4] y) <int64[2] t = {1, 4}> {"
            " s = Shape<start = 0, end = 1>(x) f = Constant<value_ints = [4]>() u = Concat<axis = 0>(s, f)"
            " a = Expand(x, t) c = Expand(v, u) y = Less(a, c) }"
        ),
        {"Expand": 0, "Shape": 0},
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
}


@pytest.mark.parametrize("case", CASES)
def test_idle_nodes(case: str, graphs) -> None:
    graphs.check(*CASES[case])
