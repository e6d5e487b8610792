"""Write docs/coverage/examples.md: every registered example, the ONNX operators it becomes, and whether it is right.

Each case is exported with fusions and without, checked by onnx and compared with JAX in onnxruntime; the operators are
those of the export with fusions, by the newest jax that runs it. Give further interpreters, each with the packages
installed, to cover more jax releases:

    python scripts/coverage_table.py [--python OTHER/bin/python ...] [--jobs 2]

or run each by itself, with --collect FILE, and then put the files together with --reports FILE ...
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import warnings
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from packaging.version import Version

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "coverage" / "examples.md"
PROMISED = ROOT / "packages" / "jax2onnx-examples" / "tests" / "seed_cases.txt"
LIBRARIES = ("jax", "flax", "onnx", "onnxruntime")


@dataclass(frozen=True)
class Outcome:
    """What came of one case: the operators of its export with fusions, and the error there was, if any."""

    context: str
    component: str
    example: str
    case: str
    operators: tuple[str, ...]
    error: str


@dataclass(frozen=True)
class Report:
    """The outcomes of all cases with one set of libraries."""

    versions: dict[str, str]
    outcomes: tuple[Outcome, ...]

    @property
    def jax(self) -> Version:
        """The version of jax."""
        return Version(self.versions["jax"])


def run_example(index: int) -> list[Outcome]:
    """Run all cases of the example at ``index`` of the registry."""
    from jax2onnx.inspect.summary import summarise
    from jax2onnx.plugin.loader import load
    from jax2onnx.testing import cases, run

    wanted = list(load().examples())[index]
    found: dict[str, Outcome] = {}
    for case in cases(wanted.plugin, contexts=[wanted.context]):
        if case.example is not wanted:
            continue
        operators: tuple[str, ...] = ()
        error = ""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                model = run(case)
            operators = tuple(sorted(summarise(model).operators))
        except Exception as problem:  # noqa: BLE001 - whatever goes wrong is what the table has to tell
            error = f"{type(problem).__name__}: {str(problem).strip().partition(chr(10))[0]}"
        before = found.get(case.name)
        found[case.name] = Outcome(
            wanted.context,
            wanted.component,
            wanted.name,
            case.name,
            operators if case.fusions or before is None else before.operators,
            error if before is None else before.error or error,
        )
    return list(found.values())


def collect(jobs: int) -> Report:
    """Run every example with this interpreter."""
    from jax2onnx.plugin.loader import load

    examples = list(load().examples())
    outcomes: list[Outcome] = []
    with multiprocessing.get_context("spawn").Pool(jobs, maxtasksperchild=200) as pool:
        for done, some in enumerate(pool.imap(run_example, range(len(examples))), start=1):
            outcomes += some
            if done % 50 == 0 or done == len(examples):
                print(f"jax {version('jax')}: {done} of {len(examples)} examples", file=sys.stderr)
    return Report({name: version(name) for name in LIBRARIES}, tuple(outcomes))


def collect_elsewhere(python: str, jobs: int) -> Report:
    """Run every example with another interpreter."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        subprocess.run([python, __file__, "--jobs", str(jobs), "--collect", str(path)], check=True)  # noqa: S603
        return load_report(path)


def load_report(path: Path) -> Report:
    """Read a report that ``--collect`` wrote."""
    read = json.loads(path.read_text())
    outcomes = (Outcome(**{**o, "operators": tuple(o["operators"])}) for o in read["outcomes"])
    return Report(read["versions"], tuple(outcomes))


def render(reports: list[Report], promised: list[str]) -> str:
    """Return the page; ``promised`` are the names of cases, as CONTEXT.CASE."""
    reports = sorted(reports, key=lambda r: r.jax)
    lines = [
        "# Coverage: every example",
        "",
        "Written by `scripts/coverage_table.py`, which runs them all. A case counts as ok when its export, with",
        "fusions and without, passes onnx's full checker and agrees with JAX in onnxruntime. `NAME_dynamic` is the",
        "case of `NAME` with symbolic dimensions. The operators are those of the export with fusions.",
        "",
        *_versions(reports, promised),
    ]
    contexts = sorted({o.context for r in reports for o in r.outcomes})
    for context in contexts:
        lines += ["", f"## {context}", "", *_table(context, reports)]
    failures = [
        f"- jax {r.jax}, `{o.context}.{o.case}`: {o.error}"
        for r in reports
        for o in sorted(r.outcomes, key=_order)
        if o.error
    ]
    if failures:
        lines += ["", "## Failures", "", *failures]
    return "\n".join(lines) + "\n"


def _versions(reports: list[Report], promised: list[str]) -> list[str]:
    rows = []
    for report in reports:
        right = {f"{o.context}.{o.case}" for o in report.outcomes if not o.error}
        kept = sum(name in right for name in promised)
        rows.append(
            [report.versions[name] for name in LIBRARIES]
            + [f"{len(right)} of {len(report.outcomes)}", f"{kept} of {len(promised)}"]
        )
    return _markdown([*LIBRARIES, "cases ok", "promised by name ok"], rows)


def _table(context: str, reports: list[Report]) -> list[str]:
    columns = [_by_example(r, context) for r in reports]
    rows = []
    for key in sorted({key for column in columns for key in column}, key=lambda k: (k[0].casefold(), k)):
        newest = next(column[key] for column in reversed(columns) if key in column)
        operators = sorted({op for o in newest for op in o.operators})
        names = dict.fromkeys(o.case for column in columns for o in column.get(key, []))
        rows.append(
            [key[0], ", ".join(f"`{n}`" for n in names), ", ".join(operators)]
            + [_result(column.get(key, [])) for column in columns]
        )
    return _markdown(["JAX component", "cases", "ONNX operators", *(f"jax {r.jax}" for r in reports)], rows)


def _by_example(report: Report, context: str) -> dict[tuple[str, str], list[Outcome]]:
    found: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in sorted(report.outcomes, key=_order):
        if outcome.context == context:
            found.setdefault((outcome.component, outcome.example), []).append(outcome)
    return found


def _order(outcome: Outcome) -> tuple[str, ...]:
    return (outcome.context, outcome.component, outcome.example, outcome.case)


def _result(outcomes: list[Outcome]) -> str:
    failed = [o.case for o in outcomes if o.error]
    if failed:
        return "failed: " + ", ".join(f"`{name}`" for name in failed)
    return "ok" if outcomes else "not in this jax"


def _markdown(header: list[str], rows: list[list[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]


def listed(page: str) -> dict[str, set[str]]:
    """Return, for each example (as CONTEXT.CASE) of a page that ``render`` made, its cases."""
    found: dict[str, set[str]] = {}
    context = ""
    for line in page.splitlines():
        if line.startswith("## "):
            context = line.removeprefix("## ")
        elif context and line.startswith("| ") and "`" in line:
            names = [name.strip(" `") for name in line.split(" | ")[1].split(",")]
            found[f"{context}.{names[0]}"] = {f"{context}.{name}" for name in names}
    return found


def promised_cases() -> list[str]:
    """Return the names of the cases that the project promises, as CONTEXT.CASE."""
    return [line for line in PROMISED.read_text().splitlines() if not line.startswith("#")]


def main() -> None:
    """Run everything, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", default=[], help="a further interpreter; may repeat")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--collect", type=Path, metavar="FILE", help="only run, and write the outcomes to FILE")
    parser.add_argument(
        "--reports", type=Path, nargs="+", metavar="FILE", help="run nothing; take what --collect wrote to these files"
    )
    arguments = parser.parse_args()
    os.environ["JAX2ONNX_STRICT_PLUGINS"] = "1"  # a table that silently lacks a plugin would be wrong
    if arguments.collect:
        arguments.collect.write_text(json.dumps(asdict(collect(arguments.jobs))))
        return
    if arguments.reports:
        reports = [load_report(path) for path in arguments.reports]
    else:
        others = [collect_elsewhere(python, arguments.jobs) for python in arguments.python]
        reports = [collect(arguments.jobs), *others]
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(render(reports, promised_cases()))
    wrong = sum(bool(o.error) for r in reports for o in r.outcomes)
    print(f"{PAGE.relative_to(ROOT)}: {sum(len(r.outcomes) for r in reports)} cases, {wrong} failed")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
