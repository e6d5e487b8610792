"""Choices by one condition of one element become one ``If`` in bodies, where nothing reads one before the last."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

# What the body of a scan does with its carried x, y and z, and with the condition c; how many nodes there are then.
CASES = {
    "three": ("a = Where(c, x, y) b = Where(c, y, z) d = Where(c, z, x)", {"If": 1, "Where": 0, "Identity": 6}),
    "two": ("a = Where(c, x, y) b = Where(c, y, z) d = Neg(z)", {"If": 1, "Where": 0, "Identity": 4}),
    "one": ("a = Where(c, x, y) b = Abs(y) d = Neg(z)", {"If": 0, "Where": 1}),
    "one is read by another": (
        "a = Where(c, x, y) n = Softmax<axis = 0>(a) b = Where(c, n, z) d = Neg(x)",
        {"If": 0, "Where": 2},
    ),
    "a choice of a choice": (
        "e = Where(c, x, y) g = Where(c, y, z) f = Greater(t, one) a = Where(f, e, x) b = Where(f, g, y) d = Neg(z)",
        {"If": 2, "Where": 0},
    ),
    "two groups": (
        (
            "e = Where(c, x, y) f = Where(c, y, z) g = Where(c, z, x) m = Softmax(e) n = Softmax(f) o = Softmax(g)"
            " a = Where(c, m, y) b = Where(c, n, z) d = Where(c, o, x)"
        ),
        {"If": 2, "Where": 0},
    ),
    "in turn by two conditions": (
        (
            "f = Greater(t, one) e = Where(f, x, y) g = Where(f, y, z) h = Where(c, e, z) i = Where(c, z, g)"
            " a = Where(f, h, z) b = Where(f, i, x) d = Add(h, i)"
        ),
        {"If": 3, "Where": 0},
    ),
    "by a vector": ("l = Less(x, y) a = Where(l, x, y) b = Where(l, y, z) d = Where(l, z, x)", {"If": 0, "Where": 3}),
    "by a vector of one element": (
        "m = ReduceMax<keepdims = 1>(x) n = Greater(m, nought) a = Where(n, x, y) b = Where(n, y, z) d = Neg(x)",
        {"If": 1, "Where": 0},
    ),
    "by a condition and its contrary": (
        "n = Equal(c, const_false) a = Where(c, x, y) b = Where(n, y, z) d = Where(n, z, x)",
        {"If": 1, "Where": 0},
    ),
    "numbers": ("a = Where(c, x, const_one) b = Where(c, y, z) d = Where(c, z, x)", {"If": 1, "Where": 0}),
    "numbers of the user's": ("a = Where(c, x, one) b = Where(c, one, z) d = Neg(z)", {"If": 0, "Where": 2}),
    "numbers that are computed": ("a = Where(c, x, t) b = Where(c, t, z) d = Neg(z)", {"If": 0, "Where": 2}),
    "a product of choices": (
        "f = Greater(t, one) i = Where(c, const_one, x) j = Where(f, const_one, y) a = Mul(i, j) b = Neg(y) d = Abs(z)",
        {"If": 0, "Where": 2, "Mul": 1},
    ),
    "read in a branch": (
        (
            "a = Where(c, x, y) e = If(c) <then_branch = t () => (float[3] h) { h = Neg(a) },"
            " else_branch = o () => (float[3] k) { k = Abs(x) }> b = Where(c, e, z) d = Neg(x)"
        ),
        {"If": 1, "Where": 2},
    ),
    "what one branch alone needs": (
        "f = Exp(x) g = Neg(f) a = Where(c, g, y) b = Where(c, y, z) d = Sin(x)",
        {"If": 1, "Where": 0, "Exp": 1, "Neg": 1, "Identity": 3},
    ),
    "one that leaves out nodes": (
        (
            "f = Exp(x) g = Sin(f) h = Abs(g) i = Sqrt(h) k = Cos(y) l = Tanh(k) m = Abs(l) n = Sqrt(m)"
            " a = Where(c, i, n) b = Neg(y) d = Neg(z)"
        ),
        {"If": 1, "Where": 0, "Identity": 0},
    ),
    "one that leaves out nodes of one side": (
        "f = Exp(x) g = Sin(f) h = Abs(g) i = Sqrt(h) a = Where(c, i, y) b = Neg(y) d = Neg(z)",
        {"If": 0, "Where": 1},
    ),
}


def scan_of(body: str, graphs):
    """Return a scan of such a body, whose ``c`` depends on what is carried and what is scanned."""
    return graphs.parse(
        "(float[3] u, float[3] v, float[3] w, float[4] s) => (float[3] p, float[3] q, float[3] r)"
        " <float one = {1}, float nought = {0}, float const_one = {1}, bool const_false = {0}>"
        " { p, q, r = Scan<num_scan_inputs = 1, body = step"
        " (float[3] x, float[3] y, float[3] z, float t) => (float[3] a, float[3] b, float[3] d)"
        f" {{ top = ReduceMax<keepdims = 0>(x) c = Greater(t, top) {body} }}>(u, v, w, s) }}"
    )


def feeds() -> Iterator[dict[str, np.ndarray]]:
    """Yield inputs for which the condition holds sometimes, always and never."""
    generator = np.random.default_rng(0)
    carried = {name: generator.normal(size=3).astype(np.float32) for name in "uvw"}
    carried["u"][0], carried["v"][1], carried["w"][2] = -0.0, np.nan, np.inf
    for steps in ([1, -1, -2, 3], [9, 9, 9, 9], [-9, -9, -9, -9]):
        yield {**carried, "s": np.asarray(steps, np.float32)}


@pytest.mark.parametrize("name", CASES)
def test_in_a_body(name: str, graphs) -> None:
    body, expected = CASES[name]
    before = scan_of(body, graphs)
    after = graphs.tidied(before)
    graphs.has(after, expected)
    for feed in feeds():
        # A choice that made 0 of a -0 may keep it now.
        for want, got in zip(graphs.run(before, feed), graphs.run(after, feed), strict=True):
            np.testing.assert_array_equal(got, want)


def test_the_signs_of_zeros_are_kept(graphs) -> None:
    before = scan_of(
        "n = Equal(c, const_false) i = Where(c, const_one, x) j = Where(n, const_one, y) a = Mul(i, j)"
        " b = Neg(y) d = Abs(z)",
        graphs,
    )
    after = graphs.tidied(before)
    graphs.has(after, {"If": 1, "Where": 0, "Mul": 0})
    for feed in feeds():
        graphs.same_bits(before, after, feed)


def test_not_outside_of_bodies(graphs) -> None:
    before = graphs.parse(
        "(float[3] x, float[3] y) => (float[3] a, float[3] b, float[3] d) <bool[1] one = {1}, int64[1] axes = {0}>"
        " { s = ReduceSum<keepdims = 0>(x) t = ReduceSum<keepdims = 0>(y) c = Less(s, t)"
        " a = Where(c, x, y) b = Where(c, y, x) z = Neg(x) d = Where(c, z, x) }"
    )
    graphs.has(graphs.tidied(before), {"If": 0, "Where": 3})
