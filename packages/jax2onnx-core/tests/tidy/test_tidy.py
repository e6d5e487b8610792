"""Tidy: repeated and dead nodes, and functions."""

from __future__ import annotations

import pytest

CASES = {
    "repeated and unused nodes": (
        "(float[N,4] x) => (float[N,4] y) { a = Exp(x) c = Exp(x) d = Log(x) y = Add(a, c) }",
        {"Exp": 1, "Log": 0},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_tidy(case: str, graphs) -> None:
    graphs.check(*CASES[case])


def test_functions_are_tidied_without_initializers(graphs) -> None:
    text = (
        "(float[2,8,8,4] x, float[4,4,3,3] k) => (float[2,8,8,4] y) { y = local.block(x, k) }\n"
        '<domain: "local", opset_import: ["" : 18]>\n'
        "block (x, w) => (y) { a = TO_NCHW(x) c = CONV(a, w) d = TO_NHWC(c) e = Identity(d) y = Relu(e) }"
    )
    before = graphs.parse_model(text)
    after = graphs.tidied(before)
    assert [n.op_type for n in after.functions[0].node] == ["Transpose", "Conv", "Transpose", "Relu"]
    graphs.same_numbers(before, after)
