"""Ones: dims of size 1 are moved and removed by the fewest nodes, and neutral numbers leave no node."""

from __future__ import annotations

import pytest

CASES = {
    "a transpose of ones after a reshape": (
        (
            "(float[5] x) => (float[5,1] y) <int64[1] z = {0}> {"
            " a = Unsqueeze(x, z) t = Transpose<perm = [1, 0]>(a) y = Relu(t) }"
        ),
        {"Transpose": 0, "Unsqueeze": 0, "Reshape": 1},
    ),
    "a transpose of ones before a reshape": (
        (
            "(float[N,1,5] x) => (float[N,5] y) <int64[1] z = {0}> {"
            " t = Transpose<perm = [1, 0, 2]>(x) s = Squeeze(t, z) y = Relu(s) }"
        ),
        {"Transpose": 0, "Squeeze": 1},
    ),
    "heads stay": (
        (
            "(float[2,1,12] x) => (float[2,3,1,4] y) <int64[4] s = {2, 1, 3, 4}> {"
            " a = Reshape(x, s) t = Transpose<perm = [0, 2, 1, 3]>(a) y = Relu(t) }"
        ),
        {"Transpose": 1},
    ),
    "a transpose of others stays": (
        (
            "(float[3,5] x) => (float[5,1,3] y) <int64[1] z = {0}> {"
            " a = Unsqueeze(x, z) t = Transpose<perm = [2, 0, 1]>(a) y = Relu(t) }"
        ),
        {"Transpose": 1},
    ),
    "squeezed pieces": (
        (
            "(float[2,5] x) => (float[5] y, float[5] w, float[5] v) <int64[1] z = {0}> {"
            " a, c = Split<axis = 0, num_outputs = 2>(x) d = Squeeze(a, z) e = Squeeze(c, z)"
            " y = Relu(d) w = Squeeze(c, z) v = Mul(d, e) }"
        ),
        {"Split": 0, "Squeeze": 0, "Gather": 2},
    ),
    "a piece that is a result twice": (
        (
            "(float[2,5] x) => (float[5] y, float[5] w) <int64[1] z = {0}, int64[1] s = {5}> {"
            " a, c = Split<axis = 0, num_outputs = 2>(x) y = Squeeze(a, z) w = Reshape(a, s) }"
        ),
        {"Split": 1, "Gather": 0},
    ),
    "pieces of several rows": (
        (
            "(float[4,5] x) => (float[2,5] y, float[2,5] w) <int64[3] s = {1, 2, 5}, int64[1] z = {0}> {"
            " a, c = Split<axis = 0, num_outputs = 2>(x) d = Reshape(a, s) e = Reshape(c, s)"
            " f = Relu(d) g = Exp(e) y = Squeeze(f, z) w = Squeeze(g, z) }"
        ),
        {"Split": 1, "Gather": 0},
    ),
    "equal reshapes of two operators": (
        (
            "(float[5] x) => (float[5,1] y, float[5,1] w) <int64[1] o = {1}, int64[2] s = {5, 1}> {"
            " a = Unsqueeze(x, o) y = Relu(a) c = Reshape(x, s) w = Exp(c) }"
        ),
        {"Unsqueeze": 1, "Reshape": 0},
    ),
    "one times, and less zero": (
        (
            "(float[N,4] x) => (float[N,4] y) <float const_one = {1.0}, float const_zero = {0.0}> {"
            " a = Mul(const_one, x) c = Sub(a, const_zero) y = Relu(c) }"
        ),
        {"Mul": 0, "Sub": 0},
    ),
    "from zero, and less negative zero": (
        (
            "(float[N,4] x) => (float[N,4] y, float[N,4] w) <float zero = {0.0}, float minus = {-0.0}> {"
            " a = Sub(zero, x) y = Exp(a) c = Sub(x, minus) w = Exp(c) }"
        ),
        {"Sub": 2},
    ),
    "vectors of ones, but one of the user's": (
        (
            "(float[N,4] x) => (float[N,4] y, float[N,4] w)"
            " <float[4] const_a = {1, 1, 1, 1}, float[4] const_b = {1, 1, 1, 2}, float[4] scale = {1, 1, 1, 1}> {"
            " a = Mul(const_a, x) c = Mul(a, const_a) d = Div(c, const_a) y = Mul(d, const_b) w = Mul(d, scale) }"
        ),
        {"Mul": 2, "Div": 0},
    ),
    "one that makes the shape": (
        "(float[4] x) => (float[3,4] y) <float[3,1] ones = {1, 1, 1}> { a = Mul(ones, x) y = Relu(a) }",
        {"Mul": 1},
    ),
    "slices of a whole": (
        (
            "(float[5,3] x) => (float[2,3] y, float[3,3] w, float[3,3] v) <int64[1] z = {0}, int64[1] two = {2},"
            " int64[1] end = {9}> { a = Slice(x, z, two, z) c = Slice(x, two, end, z) d = Slice(x, two, end, z)"
            " y = Relu(a) w = Exp(c) v = Cos(d) }"
        ),
        {"Slice": 0, "Split": 1},
    ),
    "slices of slices": (
        (
            "(float[4,4] x) => (float[2,2] y, float[2,2] w, float[2,4] v) <int64[1] z = {0}, int64[1] one = {1},"
            " int64[1] two = {2}, int64[1] end = {9}> { a = Slice(x, z, two, z) c = Slice(x, two, end, z)"
            " d = Slice(a, z, two, one) e = Slice(a, two, end, one) y = Relu(d) w = Exp(e) v = Cos(c) }"
        ),
        {"Slice": 0, "Split": 2},
    ),
    "slices that are joined again": (
        (
            "(float[2,3] x) => (float[2,3] y) <int64[1] z = {0}, int64[1] one = {1}, int64[1] end = {9}> {"
            " a = Slice(x, z, one, z) c = Slice(x, one, end, z) d = Concat<axis = 0>(a, c) y = Relu(d) }"
        ),
        {"Slice": 0, "Split": 0, "Concat": 0},
    ),
    "slices that leave something out": (
        (
            "(float[5,3] x) => (float[2,3] y, float[2,3] w) <int64[1] z = {0}, int64[1] two = {2},"
            " int64[1] four = {4}> { a = Slice(x, z, two, z) c = Slice(x, two, four, z) y = Relu(a) w = Exp(c) }"
        ),
        {"Slice": 2},
    ),
    "slices that overlap": (
        (
            "(float[5,3] x) => (float[3,3] y, float[3,3] w) <int64[1] z = {0}, int64[1] two = {2},"
            " int64[1] three = {3}, int64[1] end = {9}> { a = Slice(x, z, three, z) c = Slice(x, two, end, z)"
            " y = Relu(a) w = Exp(c) }"
        ),
        {"Slice": 2},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_ones(case: str, graphs) -> None:
    graphs.check(*CASES[case])
