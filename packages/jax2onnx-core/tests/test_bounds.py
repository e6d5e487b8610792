"""Bounds of integers, which are numbers or symbolic dims: what is known of them, and what a dtype holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from jax import export

from jax2onnx.program.bounds import Range, at_most, fitting, joined, limits, lowered, raised, surely_within

B, T = export.symbolic_shape("B,T")
INT8, INT32, UINT32, INT64 = (limits(np.dtype(name)) for name in ("int8", "int32", "uint32", "int64"))
STEP = 2**16


@pytest.mark.parametrize(
    ("low", "high", "within", "fits"),
    [
        (0, 127, INT8, True),
        (0, 128, INT8, False),
        (-129, 0, INT8, False),
        (0, B, INT8, False),  # a dim may be any number
        (0, B, INT32, True),
        (-1, B - 1, INT32, True),
        (0, B + STEP, INT32, True),
        (0, B + STEP + 1, INT32, False),
        (B - STEP, B, INT32, True),
        (B - STEP - 1, B, INT32, False),
        (0, 2 * B, INT32, False),
        (0, B + T, INT32, False),
        (0, B * T, INT64, False),
        (-B, 0, INT32, False),
        (0, B // 2, INT32, False),  # smaller, but no dim and a number
        (0, B, UINT32, True),
        (B - 1, B, UINT32, False),  # -1 for no element
        (0, B, INT64, True),
    ],
)
def test_what_a_dtype_holds(low: Any, high: Any, within: Range, *, fits: bool) -> None:
    found = fitting(low, high, within)
    assert found == (Range(low, high) if fits else within)


@pytest.mark.parametrize(
    ("a", "b", "known"),
    [
        (1, 2, True),
        (2, 2, True),
        (3, 2, False),
        (0, B, True),
        (1, B, False),  # the size may be 0
        (B, 3, False),
        (-1, B - 1, True),
        (B, B + 1, True),
        (B + 1, B, False),
        (B, B + T, True),
        (B, T, False),
    ],
)
def test_a_bound_is_at_most_another(a: Any, b: Any, *, known: bool) -> None:
    assert at_most(a, b) is known


def test_bounds_of_several_ranges() -> None:
    assert lowered(1, B + 2, -9) == 1
    assert lowered(B + 2, 1, -9) == 1
    assert lowered(B, 3, -9) == -9
    assert raised(1, B + 2, 99) == B + 2
    assert raised(B + 2, 1, 99) == B + 2
    assert raised(B, 3, 99) == 99
    assert joined(Range(0, 3), Range(-1, B + 3), Range(2, 2), within=INT32) == Range(-1, B + 3)
    assert joined(Range(B, B), Range(3, 3), within=INT8) == INT8


def test_one_range_in_another() -> None:
    assert surely_within(Range(0, B), Range(-1, B + T))
    assert not surely_within(Range(-2, B), Range(-1, B))
    assert not surely_within(Range(0, B), Range(0, T))


def test_limits() -> None:
    assert limits(np.dtype(bool)) == Range(0, 1)
    assert limits(np.dtype("uint8")) == Range(0, 255)
    assert limits(np.dtype("float32")) is None
    assert limits("int32") is None
    assert Range(3, 3).number == 3
    assert Range(B, B).number is None
    assert Range(2, 3).number is None
    assert Range(2, B).is_static is False
