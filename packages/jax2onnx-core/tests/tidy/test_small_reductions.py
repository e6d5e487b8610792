"""Small reductions: few numbers and conditions are reduced in fewer nodes, NaN and infinities as before."""

from __future__ import annotations

import numpy as np
import pytest

NUMBERS = [
    [0.5, -0.25, 0.0],
    [1.0, 0.0, 0.5],
    [2.0, -3.0, 1.0],
    [np.nan, 0.0, 0.0],
    [0.5, np.nan, 7.0],
    [np.inf, -np.inf, np.nan],
    [-0.0, np.inf, 0.0],
    [-0.0, -0.0, -0.0],
]
LARGEST = "a = Abs(x) s = ReduceSum(a, at) u = IsNaN(s) m = ReduceMax(a, at) w = Where(u, nan, m)"
CASES = {
    "reduced twice": (
        "f = Less(x, one) n = Not(f) a = ReduceMax<keepdims=1>(n, at) y = ReduceMax<keepdims=0>(a, at)",
        "bool",
        {"ReduceMax": 0, "ReduceMin": 1, "Not": 1, "Squeeze": 0},
    ),
    "one number": ("s = Slice(x, at, next, at) y = ReduceMax<keepdims=0>(s, at)", "float", {"ReduceMax": 0}),
    "one number that keeps its dim": ("s = Slice(x, at, next, at) y = ReduceSum(s, at)", "float[1]", {"ReduceSum": 0}),
    "reduced twice, and read": (
        "a = ReduceMax<keepdims=1>(x, at) t = ReduceMax<keepdims=0>(a, at) c = Add(a, t) y = Less(c, one)",
        "bool[1]",
        {"ReduceMax": 1},
    ),
    "contraries": ("f = Less(x, one) n = Not(f) y = ReduceMin<keepdims=1>(n, at)", "bool[1]", {"ReduceMin": 0}),
    "contraries, read": (
        "f = Less(x, one) n = Not(f) m = ReduceMin<keepdims=1>(n, at) y = And(m, n)",
        "bool[3]",
        {"ReduceMin": 1},
    ),
    "the largest is less": (f"{LARGEST} y = Less(w, one)", "bool[1]", {"ReduceMin": 1, "IsNaN": 0, "Where": 0}),
    "the largest is not more": (f"{LARGEST} y = LessOrEqual(w, one)", "bool[1]", {"ReduceMin": 1, "IsNaN": 0}),
    "the largest is more": (f"{LARGEST} y = Greater(w, one)", "bool[1]", {"ReduceMin": 0, "IsNaN": 1}),
    "the largest is less, and read": (f"{LARGEST} l = Less(w, one) y = Where(l, one, w)", "float[1]", {"IsNaN": 1}),
    "the largest of signed numbers": (
        "s = ReduceSum(x, at) u = IsNaN(s) m = ReduceMax(x, at) w = Where(u, nan, m) y = Less(w, one)",
        "bool[1]",
        {"IsNaN": 1},
    ),
    "magnitudes": (
        "a = Abs(x) t = Add(a, one) c = Div(a, t) d = Mul(x, x) e = Mul(c, d) y = Abs(e)",
        "float[3]",
        {"Abs": 1},
    ),
    "no magnitudes": ("a = Abs(x) t = Mul(a, x) c = Neg(a) d = Sub(t, c) y = Abs(d)", "float[3]", {"Abs": 2}),
}


@pytest.mark.parametrize("name", CASES)
def test_small_reductions(name: str, graphs) -> None:
    """Fewer nodes return the same bits."""
    body, out, expected = CASES[name]
    constants = "<float one = {1}, float nan = {nan}, int64[1] at = {0}, int64[1] next = {1}>"
    before = graphs.parse(f"(float[3] x) => ({out} y) {constants} {{ {body} }}", opset=20)
    after = graphs.tidied(before)
    graphs.has(after, expected)
    for numbers in NUMBERS:
        graphs.same_bits(before, after, {"x": np.float32(numbers)})


def test_conditions_are_not_reduced_before_opset_20(graphs) -> None:
    """Reductions take no conditions then: the largest number is compared."""
    constants = "<float one = {1}, float nan = {nan}, int64[1] at = {0}>"
    before = graphs.parse(f"(float[3] x) => (bool[1] y) {constants} {{ {LARGEST} y = Less(w, one) }}")
    graphs.has(graphs.tidied(before), {"ReduceMax": 1, "ReduceMin": 0})


SHAPES = {"a sum of all": ""}
INTEGERS = {
    "the largest": "m = Max(x, x) y = Abs(m)",
    "a sum": "s = Add(x, x) y = Abs(s)",
    "a sum of all": "s = ReduceSum<keepdims=0>(x, at) y = Abs(s)",
    "a product": "p = Mul(x, x) y = Abs(p)",
    "moved": "g = Gather(x, at) e = Expand(g, three) y = Abs(e)",
    "chosen": "f = Less(x, one) c = Where(f, x, one) y = Abs(c)",
    "a magnitude": "a = Abs(x) c = Cast<to=1>(a) d = Abs(c) y = Cast<to=6>(d)",
}


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_have_signs(name: str, graphs) -> None:
    """What is a magnitude of floats may be negative of integers: they wrap around."""
    constants = "<int32 one = {1}, int64[1] at = {0}, int64[1] three = {3}>"
    before = graphs.parse(f"(int32[3] x) => (int32{SHAPES.get(name, '[3]')} y) {constants} {{ {INTEGERS[name]} }}")
    after = graphs.tidied(before)
    for numbers in ([-5, 7, 0], [-(2**31), 2**31 - 1, 1], [46341, -46341, 2**30]):
        graphs.same_bits(before, after, {"x": np.int32(numbers)})
