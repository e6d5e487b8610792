"""Casts of indices: places of the largest numbers look up as they are, and are cast once where they are joined."""

from __future__ import annotations

import numpy as np
import pytest

CONSTANTS = "<int64[1] first = {0}, int32 three = {3}, int32 low = {-3}, int32[1] zero = {0}>"
PLACES = (
    "a = ArgMax<axis = 0, keepdims = 0>(x) i = Cast<to = 6>(a)"
    " t = ArgMax<axis = 0, keepdims = 0>(y) j = Cast<to = 6>(t)"
)
CASES = {
    "a place": (f"{PLACES} z = Gather(x, i)", {"Cast": 0}),
    "a place that is read, too": (f"{PLACES} u = Gather(x, i) v = Cast<to = 1>(i) z = Add(u, v)", {"Cast": 2}),
    "a number of places": (f"{PLACES} m = Mul(i, three) k = Add(m, j) z = Gather(table, k)", {"Cast": 0}),
    "less than nothing": (f"{PLACES} k = Add(low, i) z = Gather(x, k)", {"Cast": 1}),
    "a number that is read, too": (
        f"{PLACES} m = Mul(i, three) k = Add(m, j) u = Gather(table, k) v = Cast<to = 1>(k) z = Add(u, v)",
        {"Cast": 3},
    ),
    "places in a row": (
        (
            f"{PLACES} o = Unsqueeze(i, first) p = Unsqueeze(j, first) q = Concat<axis = 0>(o, p, zero)"
            " z = Cast<to = 1>(q)"
        ),
        {"Cast": 3},
    ),
    "places that are cast in a row": (
        (
            "a = ArgMax<axis = 0>(x) i = Cast<to = 6>(a) t = ArgMax<axis = 0>(y) j = Cast<to = 6>(t)"
            " q = Concat<axis = 0>(i, zero, j) z = Cast<to = 1>(q)"
        ),
        {"Cast": 2},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_index_casts(name: str, graphs) -> None:
    """Fewer casts look up the same."""
    body, expected = CASES[name]
    out = "float[3]" if "in a row" in name else "float"
    before = graphs.parse(f"(float[4] x, float[3] y, float[12] table) => ({out} z) {CONSTANTS} {{ {body} }}")
    after = graphs.tidied(before)
    graphs.has(after, expected)
    generator = np.random.default_rng(0)
    for _ in range(8):
        feeds = {name: generator.normal(size=size).astype("f4") for name, size in (("x", 4), ("y", 3), ("table", 12))}
        graphs.same_bits(before, after, feeds)
