"""Dense rows: products read flattened images in the layout that these have."""

from __future__ import annotations

import pytest

CASES = {
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
}


@pytest.mark.parametrize("case", CASES)
def test_dense_rows(case: str, graphs) -> None:
    graphs.check(*CASES[case])
