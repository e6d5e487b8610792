"""Aligned constants: small constants have the dims of what they are combined with, and the numbers stay."""

from __future__ import annotations

import numpy as np
import pytest

CONSTANTS = "<float const_two = {2.5}, float[3] const_three = {1, -0.0, 3}, float w = {4}, float[2] const_row = {7, 8}>"
CASES = {
    "a column": ("5,1", "y = Mul(x, const_two)", (1, 1)),
    "a batch of columns": ("B,1", "y = Sub(const_two, x)", (1, 1)),
    "rows": ("5,3", "y = Add(x, const_three)", (5, 3)),
    "one number": ("1,1", "y = Mul(x, const_two)", ()),
    "a vector": ("3", "y = Mul(x, const_three)", (3,)),
    "rows of a batch": ("B,3", "y = Mul(x, const_three)", (3,)),
    "many rows": ("200,2", "y = Add(x, const_row)", (2,)),
    "a parameter": ("5,1", "y = Mul(x, w)", ()),
    "rows that the constant makes": ("5,1", "y = Mul(x, const_three)", (3,)),
}


@pytest.mark.parametrize("name", CASES)
def test_constants(name: str, graphs) -> None:
    dims, body, expected = CASES[name]
    out = "5,3" if name == "rows that the constant makes" else dims
    before = graphs.parse(f"(float[{dims}] x) => (float[{out}] y) {CONSTANTS} {{ {body} }}")
    after = graphs.tidied(before)
    (constant,) = after.graph.initializer
    assert tuple(constant.dims) == expected
    sizes = [7 if dim == "B" else int(dim) for dim in dims.split(",")]
    x = np.random.default_rng(0).normal(size=sizes).astype(np.float32)
    x.flat[0] = np.nan
    x.flat[-1] = -0.0
    graphs.same_bits(before, after, {"x": x})
