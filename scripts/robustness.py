"""Write docs/robustness.md: what was tried against the exporter, how often, and what held.

python scripts/robustness.py                     run the tests of each kind, and print the page
python scripts/robustness.py --write             write it too
python scripts/robustness.py --runs --write      write what long sessions found, and keep the counts of the tests
python scripts/robustness.py --programs 7 2000   run random programs from a seed, and remember the result
python scripts/robustness.py --tests NAME FILE   remember what a session, in these versions, reported of all tests

The tests of a kind are counted as pytest reports them. Long sessions (`nox -s programs`, `nox -s fuzz`) remember their
results in ``docs/coverage/runs.jsonl``, a line each; sessions of all tests in other versions (`nox -s oldest`) in
``docs/coverage/versions.jsonl``.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET  # of a file that pytest writes here
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "robustness.md"
RUNS = ROOT / "docs" / "coverage" / "runs.jsonl"
VERSIONS = ROOT / "docs" / "coverage" / "versions.jsonl"
DEPENDENCIES = ("jax", "flax", "equinox", "onnx", "onnx-ir", "onnxruntime", "numpy", "protobuf")
FOUND = ROOT / "packages" / "jax2onnx-examples" / "tests" / "fuzz_found.txt"
FOUND_PROGRAMS = ROOT / "packages" / "jax2onnx-lax" / "tests" / "programs_found.txt"
NOT_MENDED = ", not mended: "
"""In the heading of a program that does not agree: the test expects that."""
CORE = "packages/jax2onnx-core/tests/"
LAX = "packages/jax2onnx-lax/tests/"

KINDS: Mapping[str, tuple[str, ...]] = {
    "Wrong calls, in Python and on the command line": (f"{CORE}test_wrong_calls.py",),
    "Inputs of wrong form, options, names": (
        f"{CORE}test_user_errors.py",
        f"{CORE}test_options.py",
        f"{CORE}test_specs.py",
        f"{CORE}test_function_names.py",
    ),
    "Deep, cyclic and huge programs and pytrees": (f"{CORE}test_nesting.py",),
    "Exports in threads at once, and what a process is left with": (f"{CORE}test_process.py",),
    "Broken plugins": (f"{CORE}test_broken_plugins.py", f"{CORE}test_faulty_plugins.py"),
    "Hostile models to inspect and check": (f"{CORE}test_hostile_models.py", f"{CORE}test_verify.py"),
    "Saves that are killed, interrupted or refused": (f"{CORE}saving",),
    "Lack of memory": (f"{CORE}test_memory_limits.py", f"{LAX}test_memory.py"),
    "Very large programs": (f"{LAX}test_scale.py",),
    "Equal bytes in other processes and folders": (f"{CORE}test_reproducible.py",),
    "Configurations of JAX": (f"{CORE}test_configurations.py",),
    "Rewrites and kernels of onnxruntime that are wrong": (f"{LAX}test_optimiser.py", f"{CORE}test_ort_workarounds.py"),
}
"""What was tried -> the test files, or folders of them, that try it."""

HEAD = """# Robustness

Written by `nox -s robustness` (`scripts/robustness.py`) with Python {python} and jax {jax}. *Tried* counts tests, or
programs; what does not hold is a failure of the session.

| What | Tried | Held |
|---|---|---|
"""
RUNS_HEAD = """
## Random programs and variants

A program is drawn line by line from JAX's functions (`nox -s programs`). A variant is a registered example with a few
steps that change it (`nox -s fuzz`). Each is exported and compared with JAX. A clear refusal names what is not
supported. A row says what was found when its session ran; the causes of failures are mended afterwards, with a test.
What once failed is a test itself: `programs_found.txt` of jax2onnx-lax has {programs} programs, of which {mended} agree
now (beside each of the others stands why not), and `fuzz_found.txt` of jax2onnx-examples has {found} variants, which
agree.

| Session | Seed | Tried | Agree | Refused clearly | Failed |
|---|---|---|---|---|---|
"""
VERSIONS_HEAD = """
## Versions

All tests, in environments of several versions. A session that samples the examples tries fewer. What did not hold was
mended afterwards.

| Session | Python | {names} | Tried | Held |
|---|---|{lines}---|---|
"""
PAGES = {
    "Lines and branches that the tests reach": "coverage/lines.md",
    "Mutants that the tests notice": "coverage/mutants.md",
    "Very large programs": "coverage/scale.md",
    "Settings of JAX": "coverage/configurations.md",
    "Memory of the models": "coverage/memory.md",
}
"""Further pages that sessions write, where they have written them."""


@dataclass(frozen=True)
class Run:
    """The result of a long session."""

    session: str
    seed: int
    tried: int
    agree: int
    refused: int
    failed: int

    def row(self) -> str:
        """Return the row of the table."""
        cells = (f"`{self.session}`", self.seed, self.tried, self.agree, self.refused, self.failed)
        return "| " + " | ".join(map(str, cells)) + " |"


def remember(run: Run) -> None:
    """Add the result of a session; the same seed and number of programs replace an earlier result."""
    key = (run.session, run.seed)
    kept = [other for other in remembered() if (other.session, other.seed) != key]
    runs = sorted([*kept, run], key=lambda one: (one.session, one.seed))
    RUNS.write_text("".join(json.dumps(vars(one)) + "\n" for one in runs))


def remembered() -> list[Run]:
    """Return the results of earlier sessions."""
    if not RUNS.exists():
        return []
    return [Run(**json.loads(line)) for line in RUNS.read_text().splitlines()]


def remember_tests(session: str, report: Path) -> int:
    """Remember what pytest reported of all tests in this environment; return how many failed."""
    tried, failed = totals(ET.parse(report).getroot())  # noqa: S314
    python = ".".join(map(str, sys.version_info[:3]))
    versions = {name: importlib.metadata.version(name) for name in DEPENDENCIES}
    row = {"session": session, "python": python, **versions, "tried": tried, "failed": failed}
    lines = VERSIONS.read_text().splitlines() if VERSIONS.exists() else []
    others = [known for known in map(json.loads, lines) if (known["session"], known["python"]) != (session, python)]
    rows = sorted([*others, row], key=lambda one: (one["session"], one["python"]))
    VERSIONS.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return failed


def versions_table() -> str:
    """Return the table of the environments in which all tests were run."""
    rows = map(json.loads, VERSIONS.read_text().splitlines() if VERSIONS.exists() else [])
    text = VERSIONS_HEAD.format(names=" | ".join(DEPENDENCIES), lines="---|" * len(DEPENDENCIES))
    for row in rows:
        cells = [f"`{row['session']}`", row["python"], *(row.get(name, "") for name in DEPENDENCIES)]
        text += f"| {' | '.join(cells)} | {row['tried']} | {row['tried'] - row['failed']} |\n"
    return text


def totals(report: ET.Element) -> tuple[int, int]:
    """Return how many tests ran, and how many of them failed, as pytest reports them."""
    suites = list(report.iter("testsuite"))
    counts = [tuple(int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")) for suite in suites]
    tests, failures, errors, skipped = map(sum, zip(*counts, strict=True))
    return tests - skipped, failures + errors


def count(files: Iterable[str]) -> tuple[int, int]:
    """Run test files; return how many tests ran, and how many of them failed."""
    return totals(reported(["-q", *files]))


def reported(arguments: Iterable[str], settings: Mapping[str, str] | None = None) -> ET.Element:
    """Run pytest with environment variables of ours; return its report."""
    env = {**os.environ, "JAX_PLATFORMS": "cpu", **(settings or {})}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", *arguments]
        subprocess.run(command, cwd=ROOT, check=False, env=env)  # noqa: S603
        return ET.parse(report).getroot()  # noqa: S314


def programs(seed: int, number: int) -> int:
    """Run random programs, remember the result, and return how many failed; a world without a count stops the run."""
    settings = {"PROGRAMS": str(number), "PROGRAMS_SEED": str(seed), "PROGRAMS_KEEP_GOING": "1"}
    settings["PROGRAMS_FOUND"] = str(FOUND_PROGRAMS)
    report = reported(["-q", "-n", "auto", "-k", "agree_with_jax", f"{LAX}test_programs.py"], settings)
    counts = [int(one.get("value", "")) for one in report.iter("property") if one.get("name") == "failed programs"]
    if len(counts) != len(list(report.iter("testcase"))):
        return -1
    remember(Run("programs", seed, number, number - sum(counts), 0, sum(counts)))
    return sum(counts)


def page(counts: Mapping[str, tuple[int, int]], runs: Iterable[Run]) -> str:
    """Return the page."""
    python = ".".join(map(str, sys.version_info[:3]))
    text = HEAD.format(python=python, jax=importlib.metadata.version("jax"))
    text += "".join(f"| {kind} | {tried} | {tried - failed} |\n" for kind, (tried, failed) in counts.items())
    found = sum(1 for line in FOUND.read_text().splitlines() if line and not line.startswith("#"))
    headings = [line for line in FOUND_PROGRAMS.read_text().splitlines() if re.match(r"# \w+, seed \d", line)]
    mended = sum(NOT_MENDED not in line for line in headings)
    text += RUNS_HEAD.format(found=found, programs=len(headings), mended=mended)
    known = list(runs)
    text += "".join(run.row() + "\n" for run in known)
    sums = (sum(column) for column in zip(*((r.tried, r.agree, r.refused, r.failed) for r in known), strict=True))
    text += f"| all | | {' | '.join(map(str, sums))} |\n" if known else ""
    text += versions_table()
    further = [f"- [{title}]({path})\n" for title, path in PAGES.items() if (PAGE.parent / path).exists()]
    return text + "\n## Other pages\n\n" + "".join(further)


def known_counts() -> dict[str, tuple[int, int]]:
    """Return the counts of tests that the page has; tests of a new kind are run."""
    rows = (line.strip("| ").split(" | ") for line in PAGE.read_text().splitlines())
    found = {row[0]: (int(row[1]), int(row[1]) - int(row[2])) for row in rows if row[0] in KINDS}
    return {kind: found[kind] if kind in found else count(files) for kind, files in KINDS.items()}


def main() -> Any:
    """Run what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", nargs=2, type=int, metavar=("SEED", "COUNT"))
    parser.add_argument("--tests", nargs=2, metavar=("SESSION", "REPORT"))
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--runs", action="store_true")
    args = parser.parse_args()
    if args.programs:
        return programs(*args.programs)
    if args.tests:
        return remember_tests(args.tests[0], Path(args.tests[1]))
    os.environ.pop("JAX2ONNX_STRICT_PLUGINS", None)  # broken plugins are set aside, unless it is set
    counts = known_counts() if args.runs else {kind: count(files) for kind, files in KINDS.items()}
    text = page(counts, remembered())
    print(text)
    if args.write:
        PAGE.write_text(text)
    return any(failed for _, failed in counts.values())


if __name__ == "__main__":
    sys.exit(main())
