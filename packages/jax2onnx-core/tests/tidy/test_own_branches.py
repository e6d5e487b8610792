"""What one branch of an ``If`` alone needs is computed in the branch, in the bodies of loops."""

from __future__ import annotations

import numpy as np
import pytest

# What the body of a scan makes of its carried x and of t, and the operators of the branches then.
CASES = {
    "of one branch": ("f = Exp(x) g = Neg(f) a = If(c)", "h = Identity(g)", "k = Abs(x)", ["Exp", "Neg"], ["Abs"]),
    "of both branches": ("f = Exp(x) a = If(c)", "h = Neg(f)", "k = Sin(f)", ["Neg"], ["Sin"]),
    "of each branch one": (
        "f = Exp(x) g = Sin(x) a = If(c)",
        "h = Neg(f)",
        "k = Abs(g)",
        ["Exp", "Neg"],
        ["Sin", "Abs"],
    ),
    "read elsewhere": (
        "f = Exp(x) g = Softmax<axis = 0>(f) a = If(c)",
        "h = Neg(g)",
        "k = Add(x, f)",
        ["Softmax", "Neg"],
        ["Add"],
    ),
    "in a branch of a branch": (
        "f = Exp(x) a = If(c)",
        (
            "d = Less(t, one) h = If(d) <then_branch = p () => (float[3] q) { q = Neg(f) },"
            " else_branch = r () => (float[3] s) { s = Abs(x) }>"
        ),
        "k = Sin(x)",
        ["Less", "If", "Exp", "Neg", "Abs"],
        ["Sin"],
    ),
    "given twice": ("f = Exp(x) a = If(c)", "g = Add(f, f) h = Identity(g)", "k = Abs(x)", ["Exp", "Add"], ["Abs"]),
}


def operators(graph) -> list[str]:
    """Return the operators of a graph and of its bodies, in their order."""
    found = []
    for node in graph.node:
        found.append(node.op_type)
        for attribute in node.attribute:
            found += operators(attribute.g)
    return found


def branches_of(model) -> tuple[list[str], dict[str, list[str]]]:
    """Return the operators of the body of a model's only scan, and those of each branch of the ``If`` in it."""
    attributes = next(node for node in model.graph.node if node.op_type == "Scan").attribute
    body = next(attribute.g for attribute in attributes if attribute.name == "body")
    choice = next(node for node in body.node if node.op_type == "If")
    return [node.op_type for node in body.node], {one.name: operators(one.g) for one in choice.attribute}


@pytest.mark.parametrize("name", CASES)
def test_in_a_body(name: str, graphs) -> None:
    computed, then, other, *expected = CASES[name]
    branches = f"then_branch = p_1 () => (float[3] h) {{ {then} }}, else_branch = p_2 () => (float[3] k) {{ {other} }}"
    before = graphs.parse(
        "(float[3] u, float[4] v) => (float[3] w, float[4, 3] y) <float one = {1}> { w, y = Scan<num_scan_inputs = 1,"
        " body = step (float[3] x, float t) => (float[3] b, float[3] m) { top = ReduceMax<keepdims = 0>(x)"
        f" c = Less(t, top) {computed} <{branches}> b = Tanh(a) m = Cos(a) }}>(u, v) }}"
    )
    after = graphs.tidied(before)
    _, found = branches_of(after)
    assert [found["then_branch"], found["else_branch"]] == expected
    u = np.asarray([-0.0, 1, np.inf], np.float32)
    for steps in ([0, 2, -1, 0.5], [np.nan, -9, 9, 9]):
        graphs.same_bits(before, after, {"u": u, "v": np.asarray(steps, np.float32)})


def test_an_operator_that_is_not_of_onnx_stays(graphs) -> None:
    before = graphs.parse_model(
        "(float[3] u, float[4] v) => (float[3] w) { w = Scan<num_scan_inputs = 1, body = step (float[3] x, float t) =>"
        " (float[3] b) { top = ReduceMax<keepdims = 0>(x) c = Less(t, top) f = local.Count(x) b = If(c)"
        " <then_branch = p () => (float[3] h) { h = Neg(f) }, else_branch = q () => (float[3] k) { k = Abs(x) }> }>"
        "(u, v) }"
    )
    body, branches = branches_of(graphs.tidied(before))
    assert "Count" in body
    assert branches["then_branch"] == ["Neg"]


def test_what_is_in_no_body_stays(graphs) -> None:
    before = graphs.parse(
        "(float[3] x, bool c) => (float[3] y) { f = Exp(x)"
        " y = If(c) <then_branch = p () => (float[3] h) { h = Neg(f) },"
        " else_branch = q () => (float[3] k) { k = Abs(x) }> }"
    )
    assert [node.op_type for node in graphs.tidied(before).graph.node] == ["Exp", "If"]
