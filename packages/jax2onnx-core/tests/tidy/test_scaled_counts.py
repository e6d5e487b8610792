"""Scaled counts: integers are scaled once, and bounded only where they may be out of bounds."""

from __future__ import annotations

import numpy as np
import pytest

SCALE = 2.0**-23
TINY = 2.0**-65
CASES = {
    "twice": (
        f"<float a = {{{SCALE!r}}}, float b = {{3.7}}> {{ k = Cast<to = 1>(x) m = Mul(k, a) y = Mul(b, m) }}",
        {"Mul": 1},
    ),
    "a power of two after another factor": (
        "<float a = {3.7}, float b = {4}> { k = Cast<to = 1>(x) m = Mul(k, a) y = Mul(m, b) }",
        {"Mul": 1},
    ),
    "no power of two": (
        "<float a = {3.7}, float b = {0.3}> { k = Cast<to = 1>(x) m = Mul(k, a) y = Mul(m, b) }",
        {"Mul": 2},
    ),
    "to what may be subnormal": (
        f"<float a = {{{TINY!r}}}, float b = {{{TINY!r}}}> {{ k = Cast<to = 1>(x) m = Mul(k, a) y = Mul(m, b) }}",
        {"Mul": 2},
    ),
    "numbers that are no integers": (
        "<float a = {0.5}, float b = {3.7}> { k = Cast<to = 1>(x) e = Exp(k) m = Mul(e, a) y = Mul(m, b) }",
        {"Mul": 2},
    ),
    "factors of more dims": (
        (
            "<float[1,1] a = {0.5}, float b = {3.7}> { k = Cast<to = 1>(x) m = Mul(k, a) s = Mul(m, b)"
            " z = Constant<value_ints = [-1]>() y = Reshape(s, z) }"
        ),
        {"Mul": 1},
    ),
    "bounded by what is added": (
        "<float a = {0.5}, float b = {-1}> { k = Cast<to = 1>(x) m = Mul(k, a) s = Add(m, b) y = Max(b, s) }",
        {"Max": 0},
    ),
    "bounded by more than is added": (
        (
            "<float a = {0.5}, float b = {-1}, float c = {2}>"
            " { k = Cast<to = 1>(x) m = Mul(k, a) s = Add(m, b) y = Max(s, c) }"
        ),
        {"Max": 1},
    ),
    "less than what is added": (
        "<float a = {-0.5}, float b = {-1}> { k = Cast<to = 1>(x) m = Mul(k, a) s = Add(m, b) y = Max(s, b) }",
        {"Max": 1},
    ),
    "bounded by zero": ("<float a = {0.5}> { k = Cast<to = 1>(x) m = Mul(k, a) y = Relu(m) }", {"Relu": 0}),
    "integers of the other sign": (
        "<int32 a = {0}> { k = Cast<to = 6>(x) m = Max(k, a) y = Cast<to = 1>(m) }",
        {"Max": 1},
    ),
    "bounded by a number": ("<float c = {2}> { k = Cast<to = 1>(x) y = Max(k, c) }", {"Max": 1}),
}


@pytest.mark.parametrize("dtype", ["uint32", "int32"])
@pytest.mark.parametrize("name", CASES)
def test_counts(name: str, dtype: str, graphs) -> None:
    body, expected = CASES[name]
    before = graphs.parse(f"({dtype}[5] x) => (float[5] y) {body}")
    after = graphs.tidied(before)
    signed = dtype == "int32" and not expected.get("Mul")
    kept = {op: graphs.count(before)[op] for op in expected} if signed else expected
    graphs.has(after, kept)
    x = np.array([0, 1, 2**23 - 1, 2**31 - 1, -7], np.int64).astype(dtype)
    graphs.same_bits(before, after, {"x": x})
