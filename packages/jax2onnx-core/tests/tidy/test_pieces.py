"""Pieces: what is joined and cut again is neither; one row is read by one node."""

from __future__ import annotations

import pytest

ONE = "<int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] three = {3}, int64[1] four = {4}>"
CASES = {
    "joined and split": (
        (
            "(float[2,3] x, float[1,3] y) => (float[2,3] a, float[1,3] bb) "
            "<int64[2] sizes = {2, 1}> { j = Concat<axis = 0>(x, y) c, d = Split<axis = 0>(j, sizes)"
            " a = Neg(c) bb = Exp(d) }"
        ),
        {"Concat": 0, "Split": 0},
    ),
    "split otherwise than joined": (
        (
            "(float[2,3] x, float[1,3] y) => (float[1,3] a, float[2,3] bb) "
            "<int64[2] sizes = {1, 2}> { j = Concat<axis = 0>(x, y) c, d = Split<axis = 0>(j, sizes)"
            " a = Neg(c) bb = Exp(d) }"
        ),
        {"Concat": 1, "Split": 1},
    ),
    "split along another axis": (
        (
            "(float[2,3] x, float[2,3] y) => (float[4,1] a, float[4,2] bb) "
            "<int64[2] sizes = {1, 2}> { j = Concat<axis = 0>(x, y) c, d = Split<axis = 1>(j, sizes)"
            " a = Neg(c) bb = Exp(d) }"
        ),
        {"Concat": 1, "Split": 1},
    ),
    "several parts in a piece": (
        (
            "(float[1] x, float[1] y, float[1] z) => (float[2] a, float[1] bb) "
            "<int64[2] sizes = {2, 1}> { j = Concat<axis = 0>(x, y, z) c, d = Split<axis = 0>(j, sizes)"
            " a = Neg(c) bb = Exp(d) }"
        ),
        {"Concat": 1, "Split": 0},
    ),
    "split and joined": (
        (
            "(float[5] x) => (float[5] y) "
            "<int64[2] sizes = {2, 3}> { c, d = Split<axis = 0>(x, sizes) j = Concat<axis = 0>(c, d) y = Neg(j) }"
        ),
        {"Concat": 0, "Split": 0},
    ),
    "split and joined in another order": (
        (
            "(float[5] x) => (float[5] y) "
            "<int64[2] sizes = {2, 3}> { c, d = Split<axis = 0>(x, sizes) j = Concat<axis = 0>(d, c) y = Neg(j) }"
        ),
        {"Gather": 1, "Concat": 0},
    ),
    "a part of a part": (
        (
            f"(float[3,4] x, float[2,4] y) => (float[1,4] z) {ONE} "
            "{ j = Concat<axis = 0>(x, y) s = Slice(j, one, two, zero) z = Exp(s) }"
        ),
        {"Concat": 0, "Slice": 1},
    ),
    "a whole part": (
        (
            f"(float[3,4] x, float[1,4] y) => (float[1,4] z) {ONE} "
            "{ j = Concat<axis = 0>(x, y) s = Slice(j, three, four, zero) z = Exp(s) }"
        ),
        {"Concat": 0, "Slice": 0},
    ),
    "across parts": (
        (
            f"(float[3,4] x, float[1,4] y) => (float[2,4] z) {ONE} "
            "{ j = Concat<axis = 0>(x, y) s = Slice(j, two, four, zero) z = Exp(s) }"
        ),
        {"Concat": 1, "Slice": 1},
    ),
    "whole parts that are joined again": (
        (
            f"(float[1] x, float[1] y, float[1] z) => (float[3] u) {ONE} "
            "{ j = Concat<axis = 0>(x, y, z) s = Slice(j, zero, two, zero) e = Exp(z) c = Concat<axis = 0>(s, e)"
            " u = Neg(c) }"
        ),
        {"Concat": 1, "Slice": 0},
    ),
    "in reverse": (
        (
            "(float[1] x, float[1] y) => (float[2] z) <int64[1] first = {-1}, int64[1] last = {-9}, "
            "int64[1] axis = {0}, int64[1] step = {-1}> "
            "{ j = Concat<axis = 0>(x, y) s = Slice(j, first, last, axis, step) z = Exp(s) }"
        ),
        {"Concat": 1, "Slice": 1},
    ),
    "a slice of a slice": (
        (
            f"(float[5,4] x) => (float[1,4] z) {ONE} "
            "{ s = Slice(x, one, four, zero) t = Slice(s, one, two, zero) z = Exp(t) }"
        ),
        {"Slice": 1},
    ),
    "a slice of a slice along another axis": (
        (
            f"(float[5,4] x) => (float[3,1] z) {ONE} "
            "{ s = Slice(x, one, four, zero) t = Slice(s, two, three, one) z = Exp(t) }"
        ),
        {"Slice": 1},
    ),
    "a number of a matrix that was joined of numbers": (
        (
            f"(float[1,1] a, float[3,1] bb, float[1,1] c, float[3,1] d) => (float[1,1] z, float[1,1] u) {ONE} "
            "{ l = Concat<axis = 0>(a, bb) r = Concat<axis = 0>(c, d) m = Concat<axis = 1>(l, r)"
            " s = Slice(m, zero, two, zero) z0 = Slice(s, zero, one, zero) z1 = Slice(z0, one, two, one) z = Exp(z1)"
            " u0 = Slice(s, one, two, zero) u1 = Slice(u0, zero, one, one) u = Exp(u1) }"
        ),
        {"Slice": 1, "Concat": 0},
    ),
    "split after a slice": (
        (
            "(float[1] x, float[9] y) => (float[1] a, float[1] bb) <int64[2] sizes = {1, 1}, int64[1] zero = {0}, "
            "int64[1] two = {2}> { j = Concat<axis = 0>(x, y) s = Slice(j, zero, two, zero)"
            " c, d = Split<axis = 0>(s, sizes) a = Neg(c) bb = Exp(d) }"
        ),
        {"Concat": 0, "Split": 0, "Slice": 1},
    ),
    "split after a slice within one part": (
        (
            "(float[1] x, float[9] y) => (float[1] a, float[1] bb) <int64[2] sizes = {1, 1}, int64[1] two = {2}, "
            "int64[1] four = {4}, int64[1] zero = {0}> { j = Concat<axis = 0>(x, y) s = Slice(j, two, four, zero)"
            " c, d = Split<axis = 0>(s, sizes) a = Neg(c) bb = Exp(d) }"
        ),
        {"Concat": 0, "Split": 1, "Slice": 1},
    ),
    "a row": (
        f"(float[5,4] x) => (float[4] z) {ONE} {{ s = Slice(x, one, two, zero) t = Squeeze(s, zero) z = Exp(t) }}",
        {"Slice": 0, "Squeeze": 0, "Gather": 1},
    ),
    "a row that is also read as a matrix": (
        (
            f"(float[5,4] x) => (float[4] z, float[1,4] u) {ONE} "
            "{ s = Slice(x, one, two, zero) t = Squeeze(s, zero) z = Exp(t) u = Neg(s) }"
        ),
        {"Slice": 1, "Squeeze": 1},
    ),
    "the row at a place": (
        (
            f"(float[5,4] x, float[4] i) => (float[4] z) {ONE} "
            "{ m = ArgMax<keepdims = 0>(i) r = Reshape(m, one) g = Gather<axis = 0>(x, r) t = Squeeze(g, zero)"
            " z = Exp(t) }"
        ),
        {"Squeeze": 0, "Reshape": 0},
    ),
    "the number at a place": (
        (
            "(float[5,4] x, float[2,3] i) => (float z) "
            "<int64[3] shape = {1, 1, 2}, int64[2] axes = {0, 1}> "
            "{ m = ArgMax<axis = 1, keepdims = 0>(i) r = Reshape(m, shape) g = GatherND(x, r) z = Squeeze(g, axes) }"
        ),
        {"Squeeze": 0, "Reshape": 0},
    ),
    "rows of a transposed matrix": (
        (
            "(float[3,4] x) => (float[2,3] z) <int64[2] i = {3, 1}> "
            "{ t = Transpose<perm = [1, 0]>(x) g = Gather<axis = 0>(t, i) u = Transpose<perm = [1, 0]>(g)"
            " v = Transpose<perm = [1, 0]>(u) z = Exp(v) }"
        ),
        {"Gather": 1},
    ),
    "columns between two transposes": (
        (
            "(float[3,4] x) => (float[3,2] z) <int64[2] i = {3, 1}> "
            "{ t = Transpose<perm = [1, 0]>(x) g = Gather<axis = 0>(t, i) u = Transpose<perm = [1, 0]>(g) z = Exp(u) }"
        ),
        {"Transpose": 0},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_pieces(name, graphs):
    graphs.check(*CASES[name])
