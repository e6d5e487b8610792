"""Comparing: tolerances, special values, integers and subnormal numbers."""

import numpy as np
import pytest

from jax2onnx.checking.compare import compare
from jax2onnx.errors import CheckError


def test_compare_tolerances() -> None:
    want = np.array([1.0, 0.0, np.nan, np.inf, -0.0], np.float32)
    got = np.array([1.00001, 1e-7, np.nan, np.inf, 0.0], np.float32)
    (report,) = compare([want], [got], ["y"], atol=1e-6)
    assert report.max_abs == pytest.approx(1e-5, rel=0.1)
    with pytest.raises(CheckError, match=r"y\[0\]"):
        compare([want], [got], ["y"], rtol=1e-6, atol=1e-6)
    with pytest.raises(CheckError, match=r"y\[1\]"):
        compare([want], [got], ["y"], atol=1e-9)
    for wrong in (np.nan, -np.inf, 3e38):
        with pytest.raises(CheckError, match=r"y\[3\]"):
            compare([want], [np.where(np.isposinf(got), np.float32(wrong), got)], ["y"], atol=1e-6)


def test_a_small_result_is_compared_as_any_other() -> None:
    want, zero = np.float32([1e-9]), np.float32([0])
    with pytest.raises(CheckError, match=r"model: 0\.0"):
        compare([want], [zero], ["y"])
    asked = []

    def nearby(loose: bool) -> list[list[np.ndarray]]:  # noqa: FBT001
        asked.append(loose)
        return [[np.float32([1.2e-9])]]

    (report,) = compare([want], [zero], ["y"], nearby=nearby)
    assert report.ill_conditioned == 1
    assert asked == [True]


def test_compare_integers_exactly() -> None:
    big = np.array([2**63 - 1, -(2**63)], np.int64)
    compare([big], [big.copy()], ["y"])
    with pytest.raises(CheckError):
        compare([big], [big - np.array([1, 0])], ["y"])


def test_subnormal_numbers_are_equal_to_zero() -> None:
    compare([np.zeros(1, np.float32)], [np.full(1, 1e-39, np.float32)], ["y"], rtol=0, atol=0)


def test_jax_is_evaluated_with_other_roundings_once_and_only_where_needed() -> None:
    calls = []

    def nearby(loose: bool) -> list[list[np.ndarray]]:  # noqa: FBT001
        calls.append(loose)
        return [[np.float32([1, 3]), np.float32([1, 3])]]

    want, got = np.float32([1, 2]), np.float32([1, 2.5])
    compare([want, want], [want, want], ["y", "z"], nearby=nearby)
    assert not calls
    reports = compare([want, want], [got, got], ["y", "z"], nearby=nearby)
    assert [report.ill_conditioned for report in reports] == [1, 1]
    assert calls == [False]
