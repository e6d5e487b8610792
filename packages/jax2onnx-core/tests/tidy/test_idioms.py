"""Idioms: a few nodes become one operator with the same result on every input, special values included."""

from __future__ import annotations

import numpy as np
import pytest

AXES = "int64[1] a = {1}"
NORM = "float[4] one = {1, 1, 1, 1}, float[4] s = {1, 2, 3, 4}, float[1,4] t = {5, 6, 7, 8}"
IDIOMS = {
    "mean": (f"<{AXES}, float n = {{4}}> {{ s = ReduceSum(x, a) y = Div(s, n) }}", "float[N,1]", ["ReduceMean"]),
    "mean of others": (f"<{AXES}, float n = {{3}}> {{ s = ReduceSum(x, a) y = Div(s, n) }}", "float[N,1]", None),
    "mean over a symbol": (
        "<int64[1] a = {0}, float n = {4}> { s = ReduceSum(x, a) y = Div(s, n) }",
        "float[1,4]",
        None,
    ),
    "norm": (f"<{AXES}> {{ p = Mul(x, x) s = ReduceSum(p, a) y = Sqrt(s) }}", "float[N,1]", ["ReduceL2"]),
    "squares": (f"<{AXES}> {{ p = Mul(x, x) y = ReduceSum(p, a) }}", "float[N,1]", ["ReduceSumSquare"]),
    "scale": (
        f"<{NORM}> {{ n = LayerNormalization <axis = -1> (x, one) y = Mul(s, n) }}",
        "float[N,4]",
        ["LayerNormalization"],
    ),
    "offset": (
        f"<{NORM}> {{ n = LayerNormalization <axis = -1> (x, s) y = Add(n, t) }}",
        "float[N,4]",
        ["LayerNormalization"],
    ),
    "scale and offset": (
        f"<{NORM}> {{ n = LayerNormalization <axis = -1> (x, one) m = Mul(n, s) y = Add(m, t) }}",
        "float[N,4]",
        ["LayerNormalization"],
    ),
    "scale of what is scaled": (
        f"<{NORM}> {{ n = LayerNormalization <axis = -1> (x, s) y = Mul(n, s) }}",
        "float[N,4]",
        None,
    ),
    "is nan": ("{ e = Equal(x, x) y = Not(e) }", "bool[N,4]", ["IsNaN"]),
    "is infinite": ("<float i = {inf}> { m = Abs(x) y = Equal(i, m) }", "bool[N,4]", ["IsInf"]),
    "between": ("<float l = {-1}, float h = {2}> { m = Max(x, l) y = Min(m, h) }", "float[N,4]", ["Clip"]),
    "between NaN and": ("<float l = {nan}, float h = {2}> { m = Max(x, l) y = Min(m, h) }", "float[N,4]", None),
    "between and NaN": ("<float l = {-1}, float h = {nan}> { m = Max(x, l) y = Min(m, h) }", "float[N,4]", None),
    "between zero and": ("<float h = {2}> { m = Relu(x) y = Min(h, m) }", "float[N,4]", ["Clip"]),
    "between ends in the wrong order": (
        "<float l = {2}, float h = {-1}> { m = Max(x, l) y = Min(m, h) }",
        "float[N,4]",
        None,
    ),
    "between ends one of which is zero": (
        "<float l = {-1}, float h = {0}> { m = Max(x, l) y = Min(m, h) }",
        "float[N,4]",
        None,
    ),
}


@pytest.mark.parametrize("idiom", IDIOMS)
def test_idioms_are_one_operator(idiom: str, graphs) -> None:
    body, out, expected = IDIOMS[idiom]
    before = graphs.parse(f"(float[N,4] x) => ({out} y) {body}")
    after = graphs.tidied(before)
    assert [n.op_type for n in after.graph.node] == (expected or [n.op_type for n in before.graph.node])
    special = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 3e38, -3e38, 1e-30], np.float32)
    for rows in (0, 1, 7):
        grid = np.random.default_rng(rows).choice(special, (rows, 4))
        for feeds in ({"x": grid}, {"x": np.random.default_rng(1).normal(size=(rows, 4)).astype(np.float32)}):
            for want, got in zip(graphs.run(before, feeds), graphs.run(after, feeds), strict=True):
                np.testing.assert_allclose(got, want, rtol=1e-5)
                np.testing.assert_array_equal(np.signbit(got)[got == 0], np.signbit(want)[got == 0])


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("filling", [True, False])
@pytest.mark.parametrize(("size", "shortened"), [(5, True), (4, False)])
def test_indices_count_from_the_end(dtype: str, filling, size: int, shortened, graphs) -> None:
    one = f"{dtype} z = {{0}}, {dtype} n = {{{size}}}, {dtype} t = {{{size - 1}}}, float[5,3] d"
    found = "g = Gather<axis = 0>(d, c)"
    if filling:
        found += " o = Constant<value_ints = [-1]>() e = Equal(w, c) f = Unsqueeze(e, o) q = Sub(g, g)"
    last = "y = Where(f, g, q)" if filling else "y = Identity(g)"
    before = graphs.parse(
        f"({dtype}[N] i) => (float[N,3] y) <{one}> {{ l = Less(i, z) p = Add(i, n) w = Where(l, p, i)"
        f" c = Clip(w, z, t) {found} {last} }}"
    )
    after = graphs.tidied(before)
    assert ("Less" not in graphs.count(after)) == shortened
    indices = np.array([0, 4, 5, -1, -5, -6, 100, -100], dtype)
    graphs.same_bits(before, after, {"i": indices})


def test_a_choice_that_is_clipped_to_infinity_is_no_index(graphs) -> None:
    text = (
        "(float[N,4] x) => (float[N,4] y) <float low = {0}, float high = {inf}> {"
        " q = Less(x, low) n = Neg(x) w = Where(q, n, x) y = Clip(w, low, high) }"
    )
    graphs.check(text, {"Where": 1, "Clip": 1})
