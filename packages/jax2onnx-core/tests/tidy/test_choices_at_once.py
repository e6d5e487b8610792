"""Choices by one condition of rank 0 become one ``If`` in bodies, where nothing reads one of them before the last."""

from __future__ import annotations

import numpy as np
import pytest

# What the body of a scan does with its carried x, y and z, and with the condition c; how many nodes there are then.
CASES = {
    "three": ("a = Where(c, x, y) b = Where(c, y, z) d = Where(c, z, x)", {"If": 1, "Where": 0, "Identity": 6}),
    "two": ("a = Where(c, x, y) b = Where(c, y, z) d = Neg(z)", {"If": 0, "Where": 2}),
    "one is read by another": (
        "a = Where(c, x, y) n = Softmax<axis = 0>(a) b = Where(c, n, z) d = Where(c, z, x)",
        {"If": 0, "Where": 3},
    ),
    "two groups": (
        (
            "e = Where(c, x, y) f = Where(c, y, z) g = Where(c, z, x) m = Softmax(e) n = Softmax(f) o = Softmax(g)"
            " a = Where(c, m, y) b = Where(c, n, z) d = Where(c, o, x)"
        ),
        {"If": 2, "Where": 0},
    ),
    "by a vector": ("l = Less(x, y) a = Where(l, x, y) b = Where(l, y, z) d = Where(l, z, x)", {"If": 0, "Where": 3}),
    "numbers": ("a = Where(c, x, one) b = Where(c, y, z) d = Where(c, z, x)", {"If": 0, "Where": 3}),
    "read in a branch": (
        (
            "a = Where(c, x, y) e = If(c) <then_branch = t () => (float[3] h) { h = Neg(a) },"
            " else_branch = o () => (float[3] k) { k = Abs(x) }> b = Where(c, e, z) d = Where(c, z, x)"
        ),
        {"If": 1, "Where": 3},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_in_a_body(name: str, graphs) -> None:
    body, expected = CASES[name]
    before = graphs.parse(
        f"(float[3] u, float[3] v, float[3] w, float[4] s) => (float[3] p, float[3] q, float[3] r)"
        " <float one = {1}, float nought = {0}> { p, q, r = Scan<num_scan_inputs = 1,"
        " body = step (float[3] x, float[3] y, float[3] z, float t) => (float[3] a, float[3] b, float[3] d)"
        f" {{ c = Greater(t, nought) {body} }}>(u, v, w, s) }}"
    )
    after = graphs.tidied(before)
    graphs.has(after, expected)
    generator = np.random.default_rng(0)
    feeds = {name: generator.normal(size=3).astype(np.float32) for name in "uvw"}
    feeds["s"] = np.asarray([1, -1, -2, 3], np.float32)
    for want, got in zip(graphs.run(before, feeds), graphs.run(after, feeds), strict=True):
        np.testing.assert_array_equal(got, want)


def test_not_outside_of_bodies(graphs) -> None:
    before = graphs.parse(
        "(float[3] x, float[3] y) => (float[3] a, float[3] b, float[3] d) <bool[1] one = {1}, int64[1] axes = {0}>"
        " { s = ReduceSum<keepdims = 0>(x) t = ReduceSum<keepdims = 0>(y) c = Less(s, t)"
        " a = Where(c, x, y) b = Where(c, y, x) z = Neg(x) d = Where(c, z, x) }"
    )
    graphs.has(graphs.tidied(before), {"If": 0, "Where": 3})
