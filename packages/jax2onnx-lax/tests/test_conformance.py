"""JAX's own cases: a sample of them, and that a crash or a hang costs one case only."""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import jax
import pytest

from jax2onnx.testing import x64

SCRIPT = Path(__file__).parents[3] / "scripts" / "conformance.py"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="a sample with the newest jax; nox -s conformance runs all")
@pytest.mark.xdist_group("conformance")
def test_sample_of_every_primitive() -> None:
    """One case of each primitive, always the same; `nox -s conformance` runs them all."""
    done = subprocess.run(
        [sys.executable, SCRIPT, "--sample", "1", "--jobs", "1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) > 100


FAKE = """
import json, os, sys, time
print(json.dumps({}), flush=True)
for line in sys.stdin:
    if line.strip() == "1":
        os.abort()
    if line.strip() == "2":
        time.sleep(60)
    print(json.dumps({"outcome": "pass", "detail": ""}), flush=True)
"""


def test_crash_and_hang_cost_one_case() -> None:
    worker = _script().Worker([sys.executable, "-c", FAKE], dict(os.environ), 2)
    outcomes = [worker.run(index) for index in (0, 1, 0, 2, 0)]
    worker.close()
    assert [o["outcome"] for o in outcomes] == ["pass", "crash", "pass", "crash", "pass"]
    assert outcomes[1]["detail"] == "the process ended with -6"
    assert outcomes[3]["detail"] == "no answer within 2 s"


def test_unexplained_failure_is_not_acceptable() -> None:
    script = _script()
    good = {"name": "a", "outcome": "pass", "detail": ""}
    known = {"name": "top_k_sort_inf_nan_x", "outcome": "mismatch", "detail": ""}
    assert script.acceptable([good, known], whole=False)
    assert not script.acceptable([good, {**known, "name": "a"}], whole=False)
    assert not script.acceptable([good, {**known, "outcome": "unloaded"}], whole=False)
    assert not script.acceptable([good, {**good, "outcome": "unconverted"}], whole=True)
    assert not script.acceptable([known] * 21, whole=False)


def _script() -> Any:
    spec = importlib.util.spec_from_file_location("conformance", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES = sorted((SCRIPT.parents[1] / "docs" / "coverage").glob("conformance-*.md"))
ROW = re.compile(r"^\| ([\w-]+) \| (\w+) \| (\d+) \|(.*)\|$", re.MULTILINE)
EXCEPTION = re.compile(r"^- (\d+) (\w+), `(.*)`: (.*?) *\n  \*Remedy:\* (.*)$", re.MULTILINE)


def test_page_of_the_installed_jax_has_every_case(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [path for path in PAGES if path.stem == f"conformance-{jax.__version__}"]
    if not pages:
        pytest.skip(f"there is no page for jax {jax.__version__}, which is neither the oldest nor the newest")
    monkeypatch.setenv("JAX_ENABLE_X64", "1")  # the script sets it
    with x64(enabled=True):
        chosen = _script().select_cases(
            argparse.Namespace(no_x64=False, primitive=None, dtype=None, case="", sample=None)
        )
    cases = Counter((case["group"], case["dtype"]) for case in chosen.values())
    assert {(group, dtype): int(count) for group, dtype, count, _ in ROW.findall(pages[0].read_text())} == cases


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_page_lists_the_exceptions_that_the_script_knows(path: Path) -> None:
    page = path.read_text()
    listed = EXCEPTION.findall(page)
    known = {tuple(e[key] for key in ("outcome", "cases", "why", "remedy")) for e in _script().EXCEPTIONS}
    assert {tuple(texts) for _, *texts in listed} <= known
    wrong = [cell for *_, cells in ROW.findall(page) for cell in cells.split("|")[2:] if cell.strip()]
    assert sum(int(count) for count, *_ in listed) == sum(map(int, wrong))


def test_no_exception_is_left_over() -> None:
    listed = {cases for path in PAGES for _, _, cases, *_ in EXCEPTION.findall(path.read_text())}
    assert listed == {e["cases"] for e in _script().EXCEPTIONS}
