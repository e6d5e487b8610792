"""The work of an export grows as its program does; ``scripts/scale.py`` measures large programs.

Work is counted in function calls, which no load of the machine changes.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from jax2onnx.errors import TraceError, UnsupportedCaseError

SCRIPT = runpy.run_path(str(Path(__file__).parents[3] / "scripts" / "scale.py"))
PROGRAMS = SCRIPT["PROGRAMS"]


def calls(name: str, size: int) -> int:
    """Return how many functions are called to export a program."""
    count = 0

    def seen(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event == "call"

    program = PROGRAMS[name]
    before = sys.getprofile()
    sys.setprofile(seen)
    try:
        cost = SCRIPT["measure"](program, size)
    finally:
        sys.setprofile(before)
    assert cost.result.endswith(" nodes")
    return count


@pytest.mark.parametrize("name", PROGRAMS)
def test_work_is_linear(name: str) -> None:
    SCRIPT["measure"](PROGRAMS[name], 2)
    once, twice, fourfold = calls(name, 4), calls(name, 8), calls(name, 16)
    # Twice as much more is linear, four times is quadratic.
    assert fourfold - twice < 3 * (twice - once) + 500


@pytest.mark.parametrize(
    ("name", "size", "error"),
    [
        ("cond in cond", 40, UnsupportedCaseError),
        ("cond in cond", 300, TraceError),
        ("scan in scan", 300, TraceError),
        ("jit in jit", 400, TraceError),
    ],
)
def test_what_is_too_deep_is_refused(name: str, size: int, error: type[Exception]) -> None:
    cost = SCRIPT["measure"](PROGRAMS[name], size)
    assert cost.result.startswith(f"{error.__name__}: ")
