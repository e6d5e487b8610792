"""Leading ones: what stands between Squeeze and Unsqueeze keeps the dim, where that takes fewer nodes."""

from __future__ import annotations

import pytest

AXES = "<int64[1] zero = {0}, int64[1] last = {-1}, int64[1] two = {2}>"
CASES = {
    "rows": (
        (
            "(float[1,3] x, float[1,3] y) => (float[1,3] z) "
            f"{AXES} {{ a = Squeeze(x, zero) e = Squeeze(y, zero) c = Mul(a, e) d = Neg(c)"
            " z = Unsqueeze(d, zero) }"
        ),
        {"Squeeze": 0, "Unsqueeze": 0},
    ),
    "numbers that are used at higher rank": (
        (
            "(float[1] x, float[1] y, float[2,3] w) => (float[2,3] z) "
            f"{AXES} {{ a = Squeeze(x, zero) e = Squeeze(y, zero) c = Add(a, e) z = Mul(c, w) }}"
        ),
        {"Squeeze": 0},
    ),
    "a reduction": (
        (
            "(float[1,2,3] x, float[2,3] w) => (float[1,2] z) "
            f"{AXES} {{ a = Squeeze(x, zero) c = Mul(a, w) d = ReduceSum<keepdims = 0>(c, last)"
            " z = Unsqueeze(d, zero) }"
        ),
        {"Squeeze": 0, "Unsqueeze": 0},
    ),
    "a reduction of the first axis": (
        (
            "(float[1,2,3] x) => (float[1,3] z) "
            f"{AXES} {{ a = Squeeze(x, zero) d = ReduceMax<keepdims = 0>(a, zero)"
            " z = Unsqueeze(d, zero) }"
        ),
        {"Squeeze": 1, "Unsqueeze": 0},  # the reduction keeps its dim
    ),
    "a lookup": (
        (
            "(float[1] i, float[5,3] table) => (float[1,3] z) "
            f"{AXES} {{ a = Squeeze(i, zero) j = Cast<to = 7>(a) d = Gather<axis = 0>(table, j) f = Exp(d)"
            " z = Unsqueeze(f, zero) }"
        ),
        {"Squeeze": 0, "Unsqueeze": 0},
    ),
    "another user": (
        (
            "(float[1,3] x, float[1,3] y, float[3,4] w) => (float[1,3] z, float[4] u) "
            f"{AXES} {{ a = Squeeze(x, zero) e = Squeeze(y, zero) c = Mul(a, e)"
            " z = Unsqueeze(c, zero) u = MatMul(c, w) }"
        ),
        {"Squeeze": 1, "Unsqueeze": 0},
    ),
    "an output": (
        (
            "(float[1,3] x, float[1,3] y) => (float[3] c, float[1,3] z) "
            f"{AXES} {{ a = Squeeze(x, zero) e = Squeeze(y, zero) c = Mul(a, e)"
            " z = Unsqueeze(c, zero) }"
        ),
        {"Squeeze": 1, "Unsqueeze": 0},
    ),
    "no gain": (
        f"(float[1,3] x, float[3,4] w) => (float[4] u) {AXES} {{ a = Squeeze(x, zero) c = Exp(a) u = MatMul(c, w) }}",
        {"Squeeze": 1},
    ),
    "a dim that comes elsewhere": (
        (
            "(float[1,3] x) => (float[3,1] z) "
            f"{AXES} {{ a = Squeeze(x, zero) c = Softmax<axis = 0>(a) z = Unsqueeze(c, last) }}"
        ),
        {"Squeeze": 1, "Unsqueeze": 1},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_leading_ones(name, graphs):
    graphs.check(*CASES[name])
