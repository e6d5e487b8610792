"""Runtime bugs: what onnxruntime computes wrongly is written in another form."""

from __future__ import annotations

import pytest

CASES = {
    "a transposed matrix by a vector": (
        "(float[2,3,7] x, float[3] v) => (float[2,7] y) { t = Transpose<perm = [0, 2, 1]>(x) y = MatMul(t, v) }",
        {"Transpose": 0, "MatMul": 1},
    ),
    "a transposed and converted matrix by a vector": (
        (
            "(float[3,7] x, float[3] v) => (double[7] y) {"
            " t = Transpose<perm = [1, 0]>(x) c = Cast<to = 11>(t) d = Cast<to = 11>(v) y = MatMul(c, d) }"
        ),
        {"Transpose": 0, "Cast": 2, "MatMul": 1},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_runtime_bugs(case: str, graphs) -> None:
    graphs.check(*CASES[case])


def test_padding_names_all_axes(graphs) -> None:
    text = (
        "(float[N,3,4] x) => (float[N,6,4] y) <int64[2] pads = {1, 2}, float with = {5}, int64[1] axes = {-2}> {"
        " y = Pad(x, pads, with, axes) }"
    )
    graphs.check(text, {"Pad": 1})
    (pad,) = graphs.tidied(graphs.parse(text)).graph.node
    assert len(pad.input) == 3
