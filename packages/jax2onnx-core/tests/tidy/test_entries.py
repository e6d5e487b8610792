"""Entries: what is taken at known places is taken at once, of the array that it was first in."""

from __future__ import annotations

import pytest

CASES = {
    "two that are cut": (
        (
            "(float[9,2] x) => (float[1,2] y, float[2,2] w, float[2,2] v, float[1,2] u) <int64[3] i = {0, -1, 3},"
            " int64[3] j = {2, 5, 0}, int64[2] s = {1, 2}, int64[2] t = {2, 1}> {"
            " a = Gather(x, i) c = Gather(x, j) d, e = Split<axis = 0>(a, s) f, g = Split<axis = 0>(c, t)"
            " y = Relu(d) w = Exp(e) v = Cos(f) u = Sin(g) }"
        ),
        {"Gather": 1, "Split": 1},
    ),
    "along different axes": (
        (
            "(float[9,9] x) => (float[1,9] y, float[2,9] w, float[9,2] v, float[9,1] u) <int64[3] i = {0, 1, 3},"
            " int64[3] j = {2, 5, 0}, int64[2] s = {1, 2}, int64[2] t = {2, 1}> {"
            " a = Gather<axis = 0>(x, i) c = Gather<axis = 1>(x, j)"
            " d, e = Split<axis = 0>(a, s) f, g = Split<axis = 1>(c, t)"
            " y = Relu(d) w = Exp(e) v = Cos(f) u = Sin(g) }"
        ),
        {"Gather": 2, "Split": 2},
    ),
    "of what was taken": (
        (
            "(float[3,9] x) => (float[3,2] y) <int64[2,2] i = {8, 1, -2, 3}, int64[2] s = {3, 4},"
            " int64[2] j = {2, -1}> { a = Gather<axis = 1>(x, i) c = Reshape(a, s) d = Gather<axis = 1>(c, j)"
            " y = Relu(d) }"
        ),
        {"Gather": 1, "Reshape": 0},
    ),
    "of what was taken, with dims of size 1": (
        (
            "(float[3,1,9] x) => (float[3,2,1] y) <int64[4] i = {8, 1, -2, 3}, int64[3] s = {3, 4, 1},"
            " int64[2] j = {2, -1}> { a = Gather<axis = 2>(x, i) c = Reshape(a, s) d = Gather<axis = 1>(c, j)"
            " y = Relu(d) }"
        ),
        {"Gather": 1, "Reshape": 1},
    ),
    "of what others read": (
        (
            "(float[N,9] x) => (float[N,2] y, float[N,4] w) <int64[4] i = {8, 1, -2, 3},"
            " int64[2] j = {2, -1}> { a = Gather<axis = 1>(x, i) d = Gather<axis = 1>(a, j) y = Relu(d) w = Exp(a) }"
        ),
        {"Gather": 2},
    ),
    "along another axis": (
        (
            "(float[2,9] x) => (float[1,4] y) <int64[4] i = {8, 1, -2, 3},"
            " int64[1] j = {-1}> { a = Gather<axis = 1>(x, i) d = Gather<axis = 0>(a, j) y = Relu(d) }"
        ),
        {"Gather": 2},
    ),
    "of part of what was taken": (
        (
            "(float[2,9] x) => (float[2,2,1] y) <int64[4] i = {8, 1, -2, 3}, int64[3] s = {2, 2, 2},"
            " int64[1] j = {-1}> { a = Gather<axis = 1>(x, i) c = Reshape(a, s) d = Gather<axis = 2>(c, j)"
            " y = Relu(d) }"
        ),
        {"Gather": 2},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_entries(case: str, graphs) -> None:
    graphs.check(*CASES[case])
