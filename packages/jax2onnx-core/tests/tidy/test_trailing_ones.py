"""Trailing ones: components that are joined along the last dim keep it, where that takes fewer nodes."""

from __future__ import annotations

import pytest

HEAD = "<int64[1] last = {-1}, int64 zero = {0}, int64 one = {1}, int64 two = {2}, int64[2] column = {2, 1}"
GATHERS = "a = Gather<axis = 1>(x, zero) q = Gather<axis = 1>(x, one)"
JOIN = "e = Reshape(c, column) f = Reshape(d, column) z = Concat<axis = 1>(e, f)"
TURNED = f"{GATHERS} c = Neg(q) d = Mul(a, q) {JOIN}"
CASES = {
    "components": (f"(float[2,3] x) => (float[2,2] z) {HEAD}> {{ {TURNED} }}", {"Reshape": 0, "Gather": 2}),
    "numbers": (
        (
            f"(float[3] x) => (float[2] z) {HEAD}, int64[1] single = {{1}}, float half = {{0.5}}> {{"
            " a = Gather(x, zero) q = Gather(x, one) c = Mul(a, half) d = Add(a, q)"
            " e = Reshape(c, single) f = Reshape(d, single) z = Concat<axis = 0>(e, f) }"
        ),
        {"Reshape": 0, "Unsqueeze": 0},
    ),
    "constants": (
        (
            f"(float[2,3] x) => (float[2,2] z) {HEAD}, float[2] w = {{1.5, 2}}, float[1] u = {{0.5}}, float v = {{3}}"
            f"> {{ {GATHERS} g = Mul(a, w) h = Mul(g, u) c = Sub(v, h) d = Clip(q, v) {JOIN} }}"
        ),
        {"Reshape": 0},
    ),
    "squeezed and summed": (
        (
            f"(float[2,3] x, float[2,1] y) => (float[2,2] z) {HEAD}> {{ a = Squeeze(y, last)"
            f" q = ReduceSum<keepdims = 0>(x, last) c = Exp(q) d = Mul(a, q) {JOIN} }}"
        ),
        {"Reshape": 0, "Squeeze": 0},
    ),
    "fewer dims beside more": (
        (
            f"(float[2,3] x, float[3] y) => (float[2,2] z) {HEAD}> {{ {GATHERS} g = Gather<axis = 0>(y, two)"
            f" c = Mul(a, g) h = Less(a, q) d = Where(h, q, g) {JOIN} }}"
        ),
        {"Reshape": 0},
    ),
    "another user": (
        f"(float[2,3] x, float[2,4] w) => (float[2,2] z, float[4] u) {HEAD}> {{ {TURNED} u = MatMul(d, w) }}",
        {"Reshape": 0, "Squeeze": 1},
    ),
    "an output": (
        f"(float[2,3] x) => (float[2] d, float[2,2] z) {HEAD}> {{ {TURNED} }}",
        {"Reshape": 0, "Squeeze": 1},
    ),
    "an entry that is an output": (
        f"(float[2,3] x) => (float[2] q, float[2,2] z) {HEAD}> {{ {TURNED} }}",
        {"Reshape": 0, "Squeeze": 0, "Gather": 3},
    ),
    "beside a row": (  # which another dim would make a column of rows
        f"(float[2,3] x, float[2] y) => (float[2,2] z) {HEAD}> {{ {GATHERS} c = Mul(a, y) d = Add(q, y) {JOIN} }}",
        {"Reshape": 2},
    ),
    "beside a matrix": (
        f"(float[2,3] x, float[4,2] y) => (float[4,2] u, float[2,2] z) {HEAD}> {{ {TURNED} u = Mul(d, y) }}",
        {"Reshape": 0, "Squeeze": 1},
    ),
    "no gain": (
        (
            f"(float[2,3] x, float[2,4] w) => (float[4] u, float[4] v, float[2,2] z) {HEAD}> {{ {TURNED}"
            " u = MatMul(d, w) v = MatMul(c, w) }"
        ),
        {"Reshape": 2, "Squeeze": 0},
    ),
    "entries of another axis": (
        (
            f"(float[3,2] x) => (float[2,2] z) {HEAD}> {{ a = Gather<axis = 0>(x, zero) q = Gather<axis = 0>(x, one)"
            f" c = Neg(q) d = Mul(a, q) {JOIN} }}"
        ),
        {"Reshape": 2},
    ),
    "symbolic": (
        (
            '(float["N",3] x) => (float["N",2] z) <int64[1] last = {-1}, int64 zero = {0}, int64 one = {1}> {'
            f" {GATHERS} c = Neg(q) d = Mul(a, q) e = Unsqueeze(c, last) f = Unsqueeze(d, last)"
            " z = Concat<axis = 1>(e, f) }"
        ),
        {"Unsqueeze": 0},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_trailing_ones(name, graphs):
    graphs.check(*CASES[name])


def test_branches(graphs):
    """What a branch takes of the graph around it has no other shape there."""
    graphs.check(
        f"(float[2,3] x, float s) => (float[2,2] z) {HEAD}, float v = {{0}}> {{ {TURNED.replace('z =', 'w =')}"
        " p = Less(s, v) z = If(p)"
        " <then_branch = yes () => (float[2,2] y) { g = Mul(d, d) h = Reshape(g, column) i = Neg(h)"
        " y = Concat<axis = 1>(h, i) }, else_branch = no () => (float[2,2] u) { u = Exp(w) }> }",
        {"Concat": 2, "Reshape": 1, "Squeeze": 1},
    )
