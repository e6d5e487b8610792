"""Choices between integers, and corrected quotients, become arithmetic with the same numbers; all others stay."""

from __future__ import annotations

import numpy as np
import pytest

LEAST, LARGEST = np.iinfo(np.int32).min, np.iinfo(np.int32).max
NUMBERS = np.array([0, 1, -1, 3, -3, 7, -8, 100, LEAST, LARGEST, LEAST + 1, LARGEST - 1], np.int32)
CONSTANTS = (
    "<int32 zero = {0}, int32 one = {1}, int32 three = {3}, int32 minus = {-3}, float o = {1}, float z = {0},"
    " float m = {-0.0}, int64[1] axes = {0}>"
)
REMAINDER = "r = Mod<fmod = 1>(x, three) p = Less(r, zero) t = Add(r, three)"
QUOTIENT = "q = Div(x, three) r = Mod<fmod = 1>(x, three) g = Sign(x) e = Equal(g, one) s = Not(e) d = Sub(q, one)"
CASES = {
    "a flag": ("c = Less(x, three) y = Where(c, one, zero)", "int32", {"Where": 0, "Cast": 1}),
    "a flag of floats": ("c = Less(x, three) y = Where(c, o, z)", "float", {"Where": 0, "Cast": 1}),
    "a flag with a sign": ("c = Less(x, three) y = Where(c, o, m)", "float", {"Where": 1}),
    "the contrary of a flag": ("c = Less(x, three) y = Where(c, zero, one)", "int32", {"Where": 1}),
    "masked": ("c = Less(x, three) y = Where(c, x, zero)", "int32", {"Where": 0, "Mul": 1, "Cast": 1}),
    "masked floats": ("c = Less(x, three) f = Cast<to = 1>(x) y = Where(c, f, z)", "float", {"Where": 1}),
    "one more": ("c = Less(x, three) a = Add(one, x) y = Where(c, a, x)", "int32", {"Where": 0, "Mul": 0}),
    "one less": ("c = Less(x, three) a = Sub(x, one) y = Where(c, a, x)", "int32", {"Where": 0, "Sub": 1}),
    "three more": ("c = Less(x, three) a = Add(x, three) y = Where(c, a, x)", "int32", {"Where": 0, "Mul": 1}),
    "from three": ("c = Less(x, three) a = Sub(three, x) y = Where(c, a, x)", "int32", {"Where": 1}),
    "three more is read": (
        "c = Less(x, three) a = Add(x, three) w = Where(c, a, x) y = Add(w, a)",
        "int32",
        {"Where": 1, "Mul": 0},
    ),
    "remainder": (
        f"{REMAINDER} n = Cast<to = 9>(r) a = And(p, n) y = Where(a, t, r)",
        "int32",
        {"Where": 0, "Mod": 1, "And": 0, "Less": 0, "Add": 0},
    ),
    "remainder, by a comparison": (
        f"{REMAINDER} e = Equal(r, zero) n = Not(e) a = And(n, p) y = Where(a, t, r)",
        "int32",
        {"Where": 0, "Mod": 1, "And": 0},
    ),
    "remainder by a negative number": (
        (
            "r = Mod<fmod = 1>(x, minus) p = Less(r, zero) t = Add(r, minus) n = Cast<to = 9>(r) a = And(p, n)"
            " y = Where(a, t, r)"
        ),
        "int32",
        {"Mod": 1, "And": 1},
    ),
    "remainder of another sum": (
        f"{REMAINDER} s = Add(r, one) n = Cast<to = 9>(r) a = And(p, n) y = Where(a, s, r)",
        "int32",
        {"Mod": 1, "And": 1},
    ),
    "quotient": (
        f"{QUOTIENT} n = Cast<to = 9>(r) a = And(s, n) y = Where(a, d, q)",
        "int32",
        {"Where": 0, "Sign": 0, "And": 0, "Less": 1, "Cast": 1, "Sub": 1},
    ),
    "quotient by another number": (
        f"{QUOTIENT} w = Mod<fmod = 1>(x, one) n = Cast<to = 9>(w) a = And(s, n) y = Where(a, d, q)",
        "int32",
        {"Sign": 1, "And": 1},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_choices(name: str, graphs) -> None:
    body, out, expected = CASES[name]
    before = graphs.parse(f"(int32[12] x) => ({out}[12] y) {CONSTANTS} {{ {body} }}")
    after = graphs.tidied(before)
    graphs.has(after, expected)
    graphs.same_bits(before, after, {"x": NUMBERS})


def test_broadcast(graphs) -> None:
    """A choice is made between smaller arrays than its result is."""
    before = graphs.parse(
        "(int32[3,1] x, int32[4] i) => (int32[3,4] y, int32[3,4] v)"
        f" {CONSTANTS} {{ c = Less(i, three) y = Where(c, x, zero) a = Add(x, three) v = Where(c, a, x) }}"
    )
    after = graphs.tidied(before)
    graphs.has(after, {"Where": 0, "Mul": 2})
    feeds = {"x": np.array([[1], [-2], [LARGEST]], np.int32), "i": np.array([0, 3, 2, 9], np.int32)}
    graphs.same_bits(before, after, feeds)
