"""Known places: lookups of all elements in order, and of whole pieces, are none."""

from __future__ import annotations

import pytest

# A graph; how many nodes of some operators are left.
CASES = {
    "all in order": (
        "(float[3] x) => (float[3] y) <int64[3] const_i = {0, 1, 2}> { y = Gather(x, const_i) }",
        {},
    ),
    "all of a symbolic batch": (
        "(float[N, 3] x) => (float[N, 3] y) <int64[3] const_i = {0, -2, 2}> { y = Gather<axis = 1>(x, const_i) }",
        {},
    ),
    "all in other dims": (
        "(float[N, 2] x) => (float[N, 2, 1] y) <int64[2, 1] const_i = {0, 1}> { y = Gather<axis = 1>(x, const_i) }",
        {"Reshape": 1},
    ),
    "another order": (
        "(float[3] x) => (float[3] y) <int64[3] const_i = {0, 2, 1}> { y = Gather(x, const_i) }",
        {"Gather": 1},
    ),
    "a part": ("(float[4] x) => (float[3] y) <int64[3] const_i = {0, 1, 2}> { y = Gather(x, const_i) }", {"Gather": 1}),
    "of the user's": ("(float[2] x) => (float[2] y) <int64[2] i = {0, 1}> { y = Gather(x, i) }", {"Gather": 1}),
    "pieces in another order": (
        (
            "(float[1] x, float[2] z) => (float[3] y) <int64[3] const_i = {1, 2, 0}>"
            " { u = Exp(x) v = Sin(z) c = Concat<axis = 0>(u, v) y = Gather(c, const_i) }"
        ),
        {"Gather": 0, "Concat": 1},
    ),
    "one piece": (
        (
            "(float[1] x, float[2] z) => (float[2] y, float[3] c) <int64[2] const_i = {1, 2}>"
            " { u = Exp(x) v = Sin(z) c = Concat<axis = 0>(u, v) y = Gather(c, const_i) }"
        ),
        {"Gather": 0, "Concat": 1, "Identity": 0},
    ),
    "pieces that are cut": (
        (
            "(float[1] x, float[2] z) => (float[2] y) <int64[2] const_i = {2, 0}>"
            " { u = Exp(x) v = Sin(z) c = Concat<axis = 0>(u, v) y = Gather(c, const_i) }"
        ),
        {"Gather": 1, "Concat": 1},
    ),
    "a piece twice": (
        (
            "(float[1] x, float[1] z) => (float[3] y) <int64[3] const_i = {1, 0, 1}>"
            " { u = Exp(x) v = Sin(z) c = Concat<axis = 0>(u, v) y = Gather(c, const_i) }"
        ),
        {"Gather": 1, "Concat": 1},
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_places(case, graphs) -> None:
    text, expected = case
    graphs.check(text, {"Gather": 0, "Reshape": 0} | expected)
