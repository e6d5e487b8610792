"""Batch norm: statistics that are known become part of the weights before."""

from __future__ import annotations

import pytest

STATISTICS = (
    "float[4] s = {1, 2, 3, 4}, float[4] o = {0, 1, -1, 2}, float[4] m = {1, 0, 2, 1}, float[4] v = {1, 2, 1, 3}"
)
CASES = {
    "after a convolution": (
        (
            f"(float[N,3,8,8] x) => (float[N,4,8,8] y) <{STATISTICS}> {{"
            " a = CONV(x, w1) y = BatchNormalization(a, s, o, m, v) }"
        ),
        {"Conv": 1, "BatchNormalization": 0},
    ),
    "after a product with a bias": (
        (
            f"(float[N,3] x) => (float[N,4] y) <float[3,4] w, {STATISTICS}> {{"
            " a = MatMul(x, w) c = Add(a, o) y = BatchNormalization(c, s, o, m, v) }"
        ),
        {"Gemm": 1, "BatchNormalization": 0},
    ),
    "after a convolution that is used twice": (
        (
            f"(float[N,3,8,8] x) => (float[N,4,8,8] y, float[N,4,8,8] z) <{STATISTICS}> {{"
            " z = CONV(x, w1) y = BatchNormalization(z, s, o, m, v) }"
        ),
        {"Conv": 1, "BatchNormalization": 1},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_batch_norm(case: str, graphs) -> None:
    graphs.check(*CASES[case], fold_batch_norm=True)
