"""Conditions: what is tested and chosen in fewer nodes has the same numbers, NaN, infinities and signed zeros too."""

from __future__ import annotations

import numpy as np
import pytest

SPECIAL = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 3e38, -3e38, 1e-30], np.float32)
FINITE = "e = Equal(x, x) i = Equal(x, const_inf) n = Not(i) a = And(e, n) j = Equal(x, low) o = Not(j)"
BOUNDS = "<float const_inf = {inf}, float low = {-inf}, bool const_yes = {1}, bool const_no = {0}, "
BOUNDS += "float const_zero = {0}, float const_small = {1e-8}, float const_less = {-1}, float small = {1e-8}, "
BOUNDS += "int32 const_two = {2}, int32[4] const_four = {3, -1, 2, 9}>"
CASES = {
    "finite": (f"{FINITE} y = And(a, o)", "bool[4]", {"Abs": 1, "Less": 1, "And": 0, "Equal": 0}),
    "finite in another order": (
        "j = Equal(x, low) o = Not(j) i = Equal(x, const_inf) n = Not(i) a = And(o, n) e = Equal(x, x) y = And(e, a)",
        "bool[4]",
        {"Abs": 1, "Less": 1, "And": 0},
    ),
    "neither NaN nor one infinity": (
        "e = Equal(x, x) i = Equal(x, const_inf) n = Not(i) y = And(e, n)",
        "bool[4]",
        {"And": 1},
    ),
    "one infinity twice": (
        (
            "e = Equal(x, x) i = Equal(x, const_inf) n = Not(i) a = And(e, n) j = Equal(x, const_inf) o = Not(j)"
            " y = And(a, o)"
        ),
        "bool[4]",
        {"Abs": 0},
    ),
    "of another array": (
        (
            "z = Neg(x) e = Equal(x, x) i = Equal(z, const_inf) n = Not(i) a = And(e, n) j = Equal(x, low) o = Not(j)"
            " y = And(a, o)"
        ),
        "bool[4]",
        {"Abs": 0},
    ),
    "not NaN is read twice": (f"{FINITE} v = And(a, o) y = Or(v, a)", "bool[4]", {"Abs": 0}),
    "and true": ("g = Greater(x, low) y = And(g, const_yes)", "bool[4]", {"And": 0}),
    "and false": ("g = Greater(x, low) y = And(g, const_no)", "bool[4]", {"And": 1}),
    "or false": ("g = Greater(x, low) y = Or(const_no, g)", "bool[4]", {"Or": 0}),
    "or true": ("g = Greater(x, low) y = Or(const_yes, g)", "bool[4]", {"Or": 1}),
    "close to 0": (
        "e = Equal(x, const_zero) m = Abs(x) l = LessOrEqual(m, const_small) y = Or(e, l)",
        "bool[4]",
        {"Or": 0, "Equal": 0, "LessOrEqual": 1},
    ),
    "close to 0, by the distance": (
        "e = Equal(x, const_zero) d = Sub(x, const_zero) m = Abs(d) l = LessOrEqual(m, const_small) y = Or(e, l)",
        "bool[4]",
        {"Or": 0, "Equal": 0, "LessOrEqual": 1},
    ),
    "close to 0 in another order": (
        "e = Equal(x, const_zero) m = Abs(x) l = Less(m, const_small) y = Or(l, e)",
        "bool[4]",
        {"Or": 0, "Equal": 0, "Less": 1},
    ),
    "a bound without 0": (
        "e = Equal(x, const_zero) m = Abs(x) l = LessOrEqual(m, const_less) y = Or(e, l)",
        "bool[4]",
        {"Or": 1},
    ),
    "0 is the bound": (
        "e = Equal(x, const_zero) m = Abs(x) l = Less(m, const_zero) y = Or(e, l)",
        "bool[4]",
        {"Or": 1},
    ),
    "a bound of the user's": (
        "e = Equal(x, const_zero) m = Abs(x) l = LessOrEqual(m, small) y = Or(e, l)",
        "bool[4]",
        {"Or": 1},
    ),
    "close to 0, of another": (
        "e = Equal(x, const_zero) z = Neg(x) m = Abs(z) l = LessOrEqual(m, const_small) y = Or(e, l)",
        "bool[4]",
        {"Or": 1},
    ),
    "either but not both, and false": ("g = Greater(x, low) y = Xor(g, const_no)", "bool[4]", {"Xor": 0, "Not": 0}),
    "either but not both, and true": ("g = Greater(x, low) y = Xor(const_yes, g)", "bool[4]", {"Xor": 0, "Not": 1}),
    "equal to false": ("g = Greater(x, low) y = Equal(g, const_no)", "bool[4]", {"Equal": 0, "Not": 1}),
    "equal to true": ("g = Greater(x, low) y = Equal(g, const_yes)", "bool[4]", {"Equal": 1}),
    "chosen by the contrary": (
        "g = Greater(x, low) n = Equal(g, const_no) y = Where(n, x, const_inf)",
        "float[4]",
        {"Equal": 0, "Not": 0, "Where": 1},
    ),
    "chosen by the contrary, with a sign": (
        "g = Greater(x, low) n = Equal(g, const_no) z = Neg(x) y = Where(n, const_inf, z)",
        "float[4]",
        {"Not": 0, "Equal": 1, "Where": 1},
    ),
    "the contrary of a constant": (
        "n = Not(const_no) g = Greater(x, low) y = And(g, n)",
        "bool[4]",
        {"Not": 0, "And": 0},
    ),
    "a choice between equals": (
        "g = Greater(x, low) a = Abs(x) y = Where(g, a, a)",
        "float[4]",
        {"Where": 0, "Expand": 0},
    ),
    "a choice between equal numbers": (
        "g = Greater(x, low) s = ReduceMax<keepdims = 0>(x) y = Where(g, s, s)",
        "float[4]",
        {"Where": 0, "Expand": 1},
    ),
    "a choice between what is computed twice": (
        "g = Greater(x, low) a = Abs(x) o = Abs(x) y = Where(g, a, o)",
        "float[4]",
        {"Where": 0, "Abs": 1},
    ),
    "a known choice": ("a = Neg(x) y = Where(const_no, x, a)", "float[4]", {"Where": 0}),
    "tests of constants": (
        (
            "a = Less(const_two, const_four) o = Not(a) c = Or(a, o) d = IsNaN(const_inf) e = Or(c, d)"
            " g = Greater(x, low) y = And(g, e)"
        ),
        "bool[4]",
        {"Less": 0, "Not": 0, "Or": 0, "IsNaN": 0, "And": 0},
    ),
    "sums of constants": (
        (
            "a = Add(const_two, const_four) o = Mul(a, const_four) c = ReduceSum<keepdims = 0>(o) d = Cast<to = 9>(c)"
            " m = Abs(x) y = Where(d, m, const_inf)"
        ),
        "float[4]",
        {"Add": 0, "Mul": 0, "ReduceSum": 0, "Cast": 0, "Where": 0},
    ),
    "different constants": (
        "a = Less(const_four, const_two) g = Greater(x, low) y = And(g, a)",
        "bool[4]",
        {"Less": 0, "And": 1},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_conditions(name: str, graphs) -> None:
    body, out, expected = CASES[name]
    before = graphs.parse(f"(float[4] x) => ({out} y) {BOUNDS} {{ {body} }}")
    after = graphs.tidied(before)
    graphs.has(after, expected)
    for x in (SPECIAL[:4], SPECIAL[4:]):
        graphs.same_bits(before, after, {"x": x})
