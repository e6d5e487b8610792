"""JAX's own cases: a sample of them, and that a crash or a hang costs one case only."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "conformance.py"


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
