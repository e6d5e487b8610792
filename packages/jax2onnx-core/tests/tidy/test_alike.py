"""Alike: nodes of pieces become one node of the array, where that takes fewer; sums of windows are added at once."""

from __future__ import annotations

import pytest

CUT = (
    "<int64[1] zero = {0}, int64[1] one = {1}, int64[1] two = {2}, int64[1] three = {3}, float f = {2}, float g = {3}>"
)
CASES = {
    "all pieces": (
        (
            "(float[3,2] x) => (float[3,2] y) <int64[3] sizes = {1, 1, 1}> "
            "{ a, bb, c = Split<axis = 0>(x, sizes) d = Exp(a) e = Exp(bb) f = Exp(c) y = Concat<axis = 0>(d, e, f) }"
        ),
        {"Exp": 1, "Concat": 0, "Split": 0},
    ),
    "pieces in another order": (
        (
            "(float[3,2] x) => (float[3,2] y) <int64[3] sizes = {1, 1, 1}> "
            "{ a, bb, c = Split<axis = 0>(x, sizes) d = Exp(bb) e = Exp(c) f = Exp(a) y = Concat<axis = 0>(d, e, f) }"
        ),
        {"Exp": 1, "Gather": 1, "Split": 0},
    ),
    "with a number for each": (
        (
            f"(float[3,2] x) => (float[2,2] y) {CUT} "
            "{ a = Slice(x, zero, one, zero) bb = Slice(x, two, three, zero) c = Mul(a, f) d = Mul(bb, g)"
            " h = Sqrt(c) i = Sqrt(d) y = Concat<axis = 0>(h, i) }"
        ),
        {"Mul": 1, "Sqrt": 1},
    ),
    "one array with a number for each": (
        (
            f"(float[1,2] x) => (float[2,2] y) {CUT} "
            "{ c = Mul(x, f) d = Mul(x, g) s = Exp(c) t = Exp(d) y = Concat<axis = 0>(s, t) }"
        ),
        {"Exp": 1, "Mul": 1},
    ),
    "a norm of each row": (
        (
            f"(float[2,3] x) => (float[2,3] y) {CUT} "
            "{ a = Slice(x, zero, one, zero) bb = Slice(x, one, two, zero)"
            " c = ReduceL1<keepdims = 0>(a, one) d = ReduceL1<keepdims = 0>(bb, one)"
            " e = Div(a, c) h = Div(bb, d) y = Concat<axis = 0>(e, h) }"
        ),
        {"ReduceL1": 1, "Div": 1, "Slice": 0, "Concat": 0},
    ),
    "a sum over the pieces' own axis": (
        (
            f"(float[4] x) => (float[2] y) {CUT} "
            "{ a = Slice(x, zero, two, zero) bb = Slice(x, one, three, zero)"
            " c = ReduceSum<keepdims = 1>(a, zero) d = ReduceSum<keepdims = 1>(bb, zero) y = Concat<axis = 0>(c, d) }"
        ),
        {"ReduceSum": 2},
    ),
    "one of which something else is computed": (
        (
            f"(float[3,2] x) => (float[2,2] y, float[1,2] z) {CUT} "
            "{ a = Slice(x, zero, one, zero) bb = Slice(x, two, three, zero) c = Mul(a, f) d = Mul(bb, g)"
            " h = Sqrt(c) i = Sqrt(d) y = Concat<axis = 0>(h, i) z = Neg(c) }"
        ),
        {"Mul": 1, "Sqrt": 1, "Neg": 1},
    ),
    "one after the other": (
        (
            f"(float[1,2] x) => (float[2,2] y) {CUT} "
            "{ a = Mul(x, f) bb = Exp(a) c = Mul(bb, g) d = Exp(c) y = Concat<axis = 0>(bb, d) }"
        ),
        {"Mul": 2, "Exp": 2},
    ),
    "no gain": (
        "(float[1,2] x, float[1,2] z) => (float[2,2] y) { a = Exp(x) c = Exp(z) y = Concat<axis = 0>(a, c) }",
        {"Exp": 2},
    ),
    "an output": (
        (
            f"(float[2,2] x) => (float[1,2] a, float[2,2] y) {CUT} "
            "{ c = Slice(x, zero, one, zero) d = Slice(x, one, two, zero) a = Exp(c) bb = Exp(d)"
            " y = Concat<axis = 0>(a, bb) }"
        ),
        {"Exp": 2},
    ),
    "other attributes": (
        (
            "(float[2,2] x) => (float[2,2] y) <int64[2] sizes = {1, 1}> "
            "{ a, bb = Split<axis = 0>(x, sizes) c = LeakyRelu<alpha = 0.1>(a) d = LeakyRelu<alpha = 0.2>(bb)"
            " y = Concat<axis = 0>(c, d) }"
        ),
        {"LeakyRelu": 2},
    ),
    "windows": (
        (
            "(float[5] x, float[1] a, float[2] bb, float[2] c) => (float[5] y) "
            "<int64[2] p = {4, 0}, int64[2] q = {0, 3}, int64[2] r = {2, 1}, float n = {-0.0}> "
            "{ d = Pad(a, p, n) e = Add(x, d) f = Pad(bb, q, n) g = Add(f, e) h = Pad(c, r, n) y = Add(g, h) }"
        ),
        {"Pad": 0, "Add": 1, "Concat": 1},
    ),
    "windows that overlap": (
        (
            "(float[4] x, float[2] a, float[2] bb, float[2] c) => (float[4] y) "
            "<int64[2] p = {0, 2}, int64[2] q = {1, 1}, int64[2] r = {2, 0}, float n = {-0.0}> "
            "{ d = Pad(a, p, n) e = Add(x, d) f = Pad(c, r, n) g = Add(e, f) h = Pad(bb, q, n) y = Add(g, h) }"
        ),
        {"Pad": 0, "Add": 2},
    ),
    "windows along two axes": (
        (
            "(float[2,2] x, float[1,2] a, float[2,1] bb) => (float[2,2] y) "
            "<int64[4] p = {0, 0, 1, 0}, int64[4] q = {0, 1, 0, 0}, float n = {-0.0}> "
            "{ d = Pad(a, p, n) e = Add(x, d) f = Pad(bb, q, n) y = Add(e, f) }"
        ),
        {"Pad": 2, "Add": 2},
    ),
    "windows beside the first one": (
        (
            "(float[1] a, float[2] bb, float[2] c) => (float[5] y) "
            "<int64[2] p = {4, 0}, int64[2] q = {0, 3}, int64[2] r = {2, 1}, float n = {-0.0}> "
            "{ d = Pad(a, p, n) f = Pad(bb, q, n) g = Add(f, d) h = Pad(c, r, n) y = Add(g, h) }"
        ),
        {"Pad": 0, "Add": 0, "Concat": 1},
    ),
    "windows over the first one": (
        (
            "(float[2] a, float[2] bb, float[2] c) => (float[4] y) "
            "<int64[2] p = {0, 2}, int64[2] q = {1, 1}, int64[2] r = {2, 0}, float n = {-0.0}> "
            "{ d = Pad(a, p, n) f = Pad(c, r, n) g = Add(d, f) h = Pad(bb, q, n) y = Add(g, h) }"
        ),
        {"Pad": 0, "Add": 1, "Concat": 2},
    ),
    "windows in zeros that change signs": (
        (
            "(float[4] x, float[2] a, float[2] bb) => (float[4] y) "
            "<int64[2] p = {0, 2}, int64[2] q = {2, 0}, float n = {0.0}> "
            "{ d = Pad(a, p, n) e = Add(x, d) f = Pad(bb, q, n) y = Add(e, f) }"
        ),
        {"Pad": 2, "Add": 2},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_alike(name, graphs):
    graphs.check(*CASES[name])
