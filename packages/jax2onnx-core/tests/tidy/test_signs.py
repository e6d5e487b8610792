"""Signs: a product by 1 and -1 beside a product by other constants is one product."""

from __future__ import annotations

import numpy as np
import pytest

# A graph, and how many products are left.
CASES = {
    "signs": (
        (
            "(float[3] x) => (float[3] y) <float[3] const_a = {2, 3, 4}, float[3] const_s = {1, -1, 1}>"
            " { a = Mul(x, const_a) y = Mul(const_s, a) }"
        ),
        1,
    ),
    "signs before": (
        (
            "(float[3] x) => (float[3] y) <float[3] const_a = {2, 3, 4}, float const_s = {-1}>"
            " { a = Mul(x, const_s) y = Mul(a, const_a) }"
        ),
        1,
    ),
    "signs of other rows": (
        (
            "(float[1, 3] x) => (float[2, 3] y) <float[3] const_a = {2, 3, 4}, float[2, 1] const_s = {1, -1}>"
            " { a = Mul(x, const_a) y = Mul(const_s, a) }"
        ),
        1,
    ),
    "a mask before": (
        (
            "(float[3] x) => (float[3] y) <float[3] const_a = {1, 0, -1}, float[3] const_s = {2, -3, 4}>"
            " { a = Mul(x, const_a) y = Mul(a, const_s) }"
        ),
        1,
    ),
    "a mask after": (
        (
            "(float[3] x) => (float[3] y) <float[3] const_a = {2, 3e38, 4}, float[3] const_s = {1, 0, 1}>"
            " { a = Mul(x, const_a) y = Mul(a, const_s) }"
        ),
        2,
    ),
    "a contrary": ("(float[3] x) => (float[3] y) <float const_s = {2}> { a = Neg(x) y = Mul(a, const_s) }", 1),
    "factors": (
        (
            "(float[3] x) => (float[3] y) <float[3] const_a = {2, 3, 4}, float[3] const_s = {1, -1, 3}>"
            " { a = Mul(x, const_a) y = Mul(const_s, a) }"
        ),
        2,
    ),
    "signs of the user's": (
        (
            "(float[3] x) => (float[3] y) <float[3] const_a = {2, 3, 4}, float[3] s = {1, -1, 1}>"
            " { a = Mul(x, const_a) y = Mul(s, a) }"
        ),
        2,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_signs(case, graphs) -> None:
    text, products = case
    graphs.check(text, {"Mul": products})


@pytest.mark.parametrize("name", ["signs", "a mask before", "a mask after", "a contrary"])
def test_special_numbers_keep_their_bits(name, graphs) -> None:
    before = graphs.parse(CASES[name][0])
    for x in ([np.nan, np.inf, -np.inf], [0.0, -0.0, 1e-45], [3e38, -3e38, 1e-39]):
        graphs.same_bits(before, graphs.tidied(before), {"x": np.asarray(x, np.float32)})
