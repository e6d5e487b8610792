"""Reshaped pieces: an array that is cut, reshaped and joined again is reshaped once."""

from __future__ import annotations

import pytest

COLUMNS = "<int64[2] ones = {1, 1}, int64[3] tall = {3, 1, 1}, int64[3] wide = {1, 3, 1}, int64[3] low = {1, 1, 3}>"
ROWS = "<int64[1] zero = {0}, int64[2] i = {2, 0}, int64[2] j = {-1, 1}>"
CASES = {
    "columns": (
        (
            f"(float[3,2] x) => (float[3,1,2] y) {COLUMNS} {{ a, h = Split<axis = 1>(x, ones) c = Reshape(a, tall)"
            " d = Reshape(h, tall) j = Concat<axis = 2>(c, d) y = Neg(j) }"
        ),
        {"Concat": 0, "Split": 0, "Reshape": 1},
    ),
    "columns as rows": (
        (
            f"(float[3,2] x) => (float[2,1,3] y) {COLUMNS} {{ a, h = Split<axis = 1>(x, ones) c = Reshape(a, low)"
            " d = Reshape(h, low) j = Concat<axis = 0>(c, d) y = Neg(j) }"
        ),
        {"Concat": 1},
    ),
    "columns beside another array": (
        (
            f"(float[3,2] x, float[3,1,1] z) => (float[3,1,3] y) {COLUMNS} {{ a, h = Split<axis = 1>(x, ones)"
            " c = Reshape(a, tall) d = Reshape(h, tall) j = Concat<axis = 2>(c, d, z) y = Neg(j) }"
        ),
        {"Concat": 1, "Split": 0, "Reshape": 1},
    ),
    "columns twice": (
        (
            f"(float[3,2] x) => (float[3,1,2] y) {COLUMNS} {{ a, h = Split<axis = 1>(x, ones) c = Reshape(a, tall)"
            " j = Concat<axis = 2>(c, c) y = Neg(j) }"
        ),
        {"Concat": 1},
    ),
    "reshaped again": (
        (
            f"(float[3,2] x) => (float[3,2] y) {COLUMNS} {{ a, h = Split<axis = 1>(x, ones) c = Reshape(a, tall)"
            " d = Reshape(h, tall) j = Concat<axis = 2>(c, d)"
            " s = Constant<value_ints = [3, 2]>() r = Reshape(j, s) y = Neg(r) }"
        ),
        {"Concat": 0, "Split": 0, "Reshape": 0},
    ),
    "rows in another order, of which some are chosen": (
        (
            f"(float[3,2] x) => (float[2,2] y, float[2,2] z) {ROWS} {{ a, h, c = Split<axis = 0, num_outputs = 3>(x)"
            " d = Squeeze(a, zero) e = Unsqueeze(d, zero) f = Squeeze(c, zero) g = Unsqueeze(f, zero)"
            " k = Concat<axis = 0>(g, h, e) y = Gather<axis = 0>(k, i) z = Gather<axis = 0>(k, j) }"
        ),
        {"Concat": 0, "Split": 0, "Gather": 2},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_pieces(name: str, graphs) -> None:
    graphs.check(*CASES[name])


PAIRS = {
    "both are reshaped": ("a = Squeeze(x, one) h = Squeeze(z, one) y = Mul(a, h)", {"Squeeze": 1}),
    "one is a number": (
        "a = Squeeze(x, one) h = Squeeze(z, one) c = Greater(a, h) y = Where(c, zero, a)",
        {"Squeeze": 2},
    ),
    "one is used twice": ("a = Squeeze(x, one) h = Squeeze(z, one) c = Mul(a, h) y = Add(c, h)", {"Squeeze": 2}),
    "from another shape": (
        "a = Squeeze(x, one) t = Transpose(z) h = Reshape(t, flat) y = Mul(a, h)",
        {"Squeeze": 1, "Reshape": 1},
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_reshaped_operands(name: str, graphs) -> None:
    body, expected = PAIRS[name]
    constants = "<int64[1] one = {1}, int64[1] flat = {3}, float zero = {0}>"
    graphs.check(f"(float[3,1] x, float[3,1] z) => (float[3] y) {constants} {{ {body} }}", expected)
