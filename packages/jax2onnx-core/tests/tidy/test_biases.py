"""Biases: which additions become part of a product or a convolution."""

from __future__ import annotations

import pytest

CASES = {
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
}


@pytest.mark.parametrize("case", CASES)
def test_biases(case: str, graphs) -> None:
    graphs.check(*CASES[case])
