"""Reshapes: reshapes in a row, transposes around them and reductions before them are merged."""

from __future__ import annotations

import pytest

CASES = {
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
}


@pytest.mark.parametrize("case", CASES)
def test_reshapes(case: str, graphs) -> None:
    graphs.check(*CASES[case])
