"""The committed table of the samplers of jax.random."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
OUTCOMES = ("equal", "agrees", "not in JAX", "UnsupportedCaseError", "UnsupportedPrimitiveError", "NoKernelError")


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("random_table", ROOT / "scripts" / "random_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def table(script: Any) -> dict[str, list[str]]:
    listed: dict[str, list[str]] = script.listed(script.PAGE.read_text())
    return listed


def test_the_table_has_every_sampler(script: Any, table: dict[str, list[str]]) -> None:
    assert script.samplers() == script.CALLS.keys() == table.keys() - {""}
    assert set(script.implementations()) <= set(table[""])
    assert all(cell.startswith(OUTCOMES) for name, cells in table.items() if name for cell in cells)


@pytest.mark.parametrize(
    ("name", "implementation"),
    [("bits", "rbg"), ("categorical", "threefry2x32"), ("fold_in", "unsafe_rbg"), ("poisson", "rbg")],
)
def test_the_table_tells_what_happens(script: Any, table: dict[str, list[str]], name: str, implementation: str) -> None:
    assert script.outcome(name, implementation) == table[name][table[""].index(implementation)]
