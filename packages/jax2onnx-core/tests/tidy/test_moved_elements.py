"""Moved elements: what known conditions choose among rearrangements of one value is one ``Gather``."""

from __future__ import annotations

import numpy as np
import pytest

HEAD = (
    "<int64[3] const_wide = {2, 2, 2}, bool[2,1,1] const_last = {0, 1}, bool[2] row = {0, 1},"
    " bool[2,2,2] const_some = {0, 1, 1, 0, 0, 0, 1, 1}, int64[1] const_from = {-1}, int64[1] const_axis = {1},"
    " int64[1] const_to = {-9223372036854775807}>"
)
LAST = "r = Slice(a, const_from, const_to, const_axis, const_from)"
CASES = {
    "a batch of choices": (
        (
            f"(float[2,2] x) => (float[2,2,2] y) {HEAD} {{ a = Expand(x, const_wide) t = Transpose<perm = [0, 2, 1]>(a)"
            f" {LAST} c = Where(const_last, t, a) y = Where(const_some, r, c) }}"
        ),
        {"Where": 0, "Expand": 0, "Transpose": 0, "Slice": 0, "Gather": 1, "Reshape": 1},
    ),
    "of a value that is computed": (
        (
            f"(float[2,2] x) => (float[2,2,2] y) {HEAD} {{ n = Neg(x) a = Expand(n, const_wide)"
            f" t = Transpose<perm = [0, 2, 1]>(a) {LAST} c = Where(const_last, t, a) d = Where(const_some, r, c)"
            " y = Exp(d) }"
        ),
        {"Where": 0, "Gather": 1, "Neg": 1},
    ),
    "one of them is needed": (
        (
            f"(float[2,2] x) => (float[2,2,2] y, float[2,2,2] w) {HEAD} {{ a = Expand(x, const_wide)"
            f" t = Transpose<perm = [0, 2, 1]>(a) {LAST} c = Where(const_last, t, a) y = Where(const_some, r, c)"
            " w = Exp(t) }"
        ),
        {"Where": 0, "Transpose": 1, "Gather": 1},
    ),
    "of two values": (
        (
            f"(float[2,2] x, float[2,2] z) => (float[2,2,2] y) {HEAD} {{ a = Expand(x, const_wide)"
            f" e = Expand(z, const_wide) t = Transpose<perm = [0, 2, 1]>(e) {LAST} c = Where(const_last, t, a)"
            " y = Where(const_some, r, c) }"
        ),
        {"Where": 2, "Gather": 0},
    ),
    "a condition that is not known": (
        (
            f"(float[2,2] x) => (float[2,2,2] y) {HEAD} {{ a = Expand(x, const_wide) k = Cast<to = 9>(a)"
            f" t = Transpose<perm = [0, 2, 1]>(a) {LAST} c = Where(k, t, a) y = Where(k, r, c) }}"
        ),
        {"Where": 2, "Gather": 0},
    ),
    "a condition of the user's": (
        (
            f"(float[2,2] x) => (float[2,2] y) {HEAD} {{ t = Transpose<perm = [1, 0]>(x)"
            " u = Transpose<perm = [1, 0]>(t) v = Neg(u) w = Where(row, t, x) y = Add(v, w) }"
        ),
        {"Where": 1, "Gather": 0},
    ),
    "one choice takes no longer": (
        (
            f"(float[2,2] x) => (float[2,2] y) {HEAD} <bool[2] const_row = {{0, 1}}> {{"
            " t = Transpose<perm = [1, 0]>(x) y = Where(const_row, t, x) }"
        ).replace("> <", ", "),
        {"Where": 1, "Gather": 0},
    ),
    "many elements": (
        (
            f"(float[9,9] x) => (float[2,9,9] y) {HEAD} <int64[3] const_many = {{2, 9, 9}}> {{"
            " a = Expand(x, const_many) t = Transpose<perm = [0, 2, 1]>(a)"
            f" {LAST} c = Where(const_last, t, a) y = Where(const_last, r, c) }}"
        ).replace("> <", ", "),
        {"Gather": 0},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_moved_elements(name, graphs) -> None:
    graphs.check(*CASES[name])


def test_bits_stay(graphs) -> None:
    """``Where`` makes 0 of -0 in onnxruntime; ``Gather`` does not."""
    after = graphs.tidied(graphs.parse(CASES["a batch of choices"][0]))
    x = np.array([[-0.0, np.nan], [np.inf, -0.0]], np.float32)
    chosen = np.where([[[False]], [[True]]], [x, x.T], [x, x])
    some = np.array([0, 1, 1, 0, 0, 0, 1, 1], np.bool_).reshape(2, 2, 2)
    wanted = np.where(some, x[::-1], chosen)
    (got,) = graphs.run(after, {"x": x})
    assert got.tobytes() == wanted.tobytes()


def test_a_step_back_over_several_elements(graphs) -> None:
    """``Slice`` and Python mean the same places by bounds beyond the axis."""
    for start, end, step in [(-1, -100, -2), (100, -100, -1), (-100, 100, 2), (3, -4, -1), (-2, -100, -1)]:
        taken = len(range(4)[start:end:step])
        text = (
            f"(float[4] x) => (float[2,{taken}] y) <int64[1] const_s = {{{start}}}, int64[1] const_e = {{{end}}},"
            f" int64[1] const_a = {{0}}, int64[1] const_k = {{{step}}}, int64[2] const_w = {{2, {taken}}},"
            f" bool[2,1] const_c = {{0, 1}}, int64[1] const_i = {{-1}}, int64[1] const_m = {{-9}},"
            " int64[1] const_o = {1}> { r = Slice(x, const_s, const_e, const_a, const_k) a = Expand(r, const_w)"
            " l = Slice(a, const_i, const_m, const_o, const_i) y = Where(const_c, l, a) }"
        )
        graphs.check(text, {"Where": 0, "Slice": 0})
