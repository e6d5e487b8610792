"""Write docs/libraries.md: programs of libraries from PyPI, exported and compared with JAX.

Each package has a process of its own. A program passes if it is exported without an exception, onnxruntime loads the
model, and ``check`` finds that it agrees with JAX, evaluated eagerly.

Run: ``python scripts/libraries.py [--package NAME] [--program TEXT] [--write]``
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = ROOT / "tests" / "libraries"
PAGE = ROOT / "docs" / "libraries.md"
SEPARATE = ("transformers",)
"""Packages that do not go with the others; they have an environment of their own."""

MODULES = ("solvers", "dynamics", "learning", "geometric", "probability", "models", "signals")
LIMIT = 900
"""Seconds that the programs of one package may take."""

AGREES = "agrees"


@dataclass(frozen=True, kw_only=True)
class Row:
    """What became of a program.

    Attributes:
        package: the distribution on PyPI.
        version: its version.
        program: what the program does.
        inputs: the types of the model's inputs.
        shapes: ``static`` or ``symbolic``.
        batches: how many batches were compared.
        nodes: how many nodes the model has, in subgraphs and functions too.
        seconds: how long the export took.
        difference: the largest relative difference on ordinary or given inputs.
        ill_conditioned: how many of those numbers JAX itself does not determine: they change with the last digit.
        outcome: ``agrees``, or what failed.
        detail: more of that, for the one who mends it.
        note: what a reader should know.
    """

    package: str
    program: str
    version: str = ""
    inputs: str = ""
    shapes: str = ""
    batches: int = 0
    nodes: int = 0
    seconds: float = 0.0
    difference: float = 0.0
    ill_conditioned: int = 0
    outcome: str = AGREES
    detail: str = ""
    note: str = ""


def registered(package: str | None = None, text: str = "") -> list[Any]:
    """Return the programs of a package, or of all, whose names contain a text."""
    sys.path.insert(0, str(PROGRAMS))
    for name in MODULES:
        importlib.import_module(name)
    kit = importlib.import_module("kit")
    chosen = [p for p in kit.PROGRAMS if package in {None, p.package}]
    return [p for p in chosen if text.lower() in p.name.lower()]


def work(package: str, text: str) -> None:
    """Run the programs of a package, and print one line of JSON for each."""
    import warnings

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints does not mix with the answers
    warnings.simplefilter("ignore")
    for program in registered(package, text):
        row = run(program)
        print(json.dumps(asdict(row)), file=answers, flush=True)


def run(program: Any) -> Row:
    """Export a program and compare it with JAX."""
    from jax2onnx import check, to_onnx
    from jax2onnx.errors import CheckError, Jax2OnnxError

    named = {
        "package": program.package,
        "version": version(program.package),
        "program": program.name,
        "note": program.note,
    }
    try:
        case = program.build()
        started = time.perf_counter()
        model = to_onnx(case.fn, case.inputs, **case.export)
        seconds = time.perf_counter() - started
    except Jax2OnnxError as error:
        return Row(**named, outcome=f"refused: {_first_line(error)}", detail=str(error))
    except Exception as error:  # noqa: BLE001 - a library may raise anything, and the table tells it
        return Row(**named, outcome=f"{type(error).__name__}: {_first_line(error)}", detail=traceback.format_exc())
    described: dict[str, Any] = {
        "inputs": ", ".join(map(_type_of_input, model.graph.input)),
        "shapes": _shapes(model),
        "nodes": _nodes(model),
        "seconds": round(seconds, 2),
    }
    try:
        reports = [check(model, case.fn, case.inputs, **options, **case.export) for options in _batches(case)]
    except CheckError as error:
        return Row(**named, **described, outcome=f"disagrees: {_first_line(error)}", detail=str(error))
    except Exception as error:  # noqa: BLE001 - likewise
        return Row(
            **named, **described, outcome=f"{type(error).__name__}: {_first_line(error)}", detail=traceback.format_exc()
        )
    return Row(
        **named,
        **described,
        batches=sum(len(report.batches) for report in reports),
        difference=max((o.max_rel for o in reports[0].outputs), default=0.0),
        ill_conditioned=sum(o.ill_conditioned for o in reports[0].outputs),
    )


def _batches(case: Any) -> list[dict[str, Any]]:
    """Return the options of the checks of a case: the given batches, or ordinary ones and then edge ones."""
    common = {"values": case.values, "sizes": case.sizes}
    if case.values is not None:
        return [common]
    return [{**common, "kinds": ("ordinary",), "seed": 1}, {**common, "kinds": ("large", "special")}]


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:160]


def _type_of_input(value: Any) -> str:
    from onnx import TensorProto

    tensor = value.type.tensor_type
    dims = [dim.dim_param or str(dim.dim_value) for dim in tensor.shape.dim]
    listed = ", ".join(dims)
    return f"{TensorProto.DataType.Name(tensor.elem_type).lower()}[{listed}]"


def _shapes(model: Any) -> str:
    dims = [dim for value in model.graph.input for dim in value.type.tensor_type.shape.dim]
    return "symbolic" if any(dim.dim_param for dim in dims) else "static"


def _nodes(model: Any) -> int:
    """Return how many nodes a model has, in subgraphs and functions too."""
    bodies = [model.graph.node, *(function.node for function in model.functions)]
    count = 0
    while bodies:
        for node in bodies.pop():
            count += 1
            bodies += [a.g.node for a in node.attribute if a.HasField("g")]
    return count


def collect(package: str, text: str, python: str) -> list[Row]:
    """Run the programs of a package in a process of an interpreter, and return their rows."""
    command = [python, __file__, "--work", "--package", package, "--program", text]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "KERAS_BACKEND": "jax"}
    try:
        done = subprocess.run(  # noqa: S603 - this very script
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=LIMIT, check=False
        )
        output, ended = done.stdout, f"the process ended with {done.returncode}"
    except subprocess.TimeoutExpired as expired:
        output, ended = expired.stdout or b"", f"no answer within {LIMIT} s"
    rows = [Row(**json.loads(line)) for line in output.decode().splitlines()]
    named = {row.program for row in rows}
    missing = [p for p in registered(package, text) if p.name not in named]
    rows += [Row(package=package, program=p.name, outcome=ended, note=p.note) for p in missing]
    return rows


INTRODUCTION = """# Programs of libraries

Written by `nox -s libraries`, with {tools}.

{agreeing} of {all} programs, of {packages} packages from PyPI, are exported, load in onnxruntime and agree with JAX,
evaluated eagerly. Only the plugins of flax and equinox are installed. Weights are random. The programs
are in `tests/libraries`.

- *Nodes*: those of subgraphs and functions too.
- *Export*: seconds, with JAX's tracing.
- *Batches*: how many batches of random and edge inputs were compared.
- *Difference*: the largest on ordinary inputs, relative to JAX's number. In brackets: how many numbers change in JAX
  itself with the last digit of an input (after a stopping rule, or by cancellation), and are measured by that change.

| Package | Program | Inputs | Shapes | Nodes | Export | Batches | Difference | Result | Note |
|---|---|---|---|---:|---:|---:|---:|---|---|
"""


def render(rows: list[Row]) -> str:
    """Return the page."""
    agreeing = [row for row in rows if row.outcome == AGREES]
    introduction = INTRODUCTION.format(
        tools=", ".join(f"{name} {version(name)}" for name in ("jax", "onnxruntime")),
        agreeing=len(agreeing),
        all=len(rows),
        packages=len({row.package for row in agreeing}),
    )
    return introduction + "".join(f"{_line(row)}\n" for row in rows)


def _line(row: Row) -> str:
    exported = bool(row.inputs)
    cells = [
        f"{row.package} {row.version}",
        row.program,
        f"`{_shortened(row.inputs)}`" if exported else "",
        row.shapes,
        f"{row.nodes}" if exported else "",
        f"{row.seconds:.2f}" if exported else "",
        f"{row.batches}" if row.batches else "",
        f"{row.difference:.1e}{_of_many(row)}" if row.batches else "",
        row.outcome.replace("|", "\\|"),
        row.note,
    ]
    return "| " + " | ".join(cells) + " |"


def _of_many(row: Row) -> str:
    return f" ({row.ill_conditioned})" if row.ill_conditioned else ""


def _shortened(inputs: str) -> str:
    """Return the types of inputs, without the middle of a long list."""
    types = inputs.split("], ")
    if len(types) <= 4:
        return inputs
    return "], ".join(types[:2]) + f"], … {len(types) - 2} more"


def _kept(path: Path | None) -> dict[tuple[str, str], Row]:
    """Return the rows of a file that agreed, by package and program."""
    if path is None or not path.exists():
        return {}
    rows = [Row(**fields) for fields in json.loads(path.read_text())]
    return {(row.package, row.program): row for row in rows if row.outcome == AGREES}


def main() -> int:
    """Run the programs, write the page; the exit code is 1 if any program fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--package", help="the programs of this package only")
    parser.add_argument("--program", default="", help="the programs with this text in their names only")
    parser.add_argument("--separate", default=sys.executable, help=f"the interpreter that has {', '.join(SEPARATE)}")
    parser.add_argument("--write", action="store_true", help="write docs/libraries.md")
    parser.add_argument("--rows", type=Path, help="a file that keeps the rows: what agreed before is not run again")
    parser.add_argument("--verbose", action="store_true", help="print all of what fails")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.package, options.program)
        return 0
    chosen = registered(options.package, options.program)
    packages = list(dict.fromkeys(p.package for p in chosen))
    kept = _kept(options.rows)
    rows = []
    for package in packages:
        names = [p.name for p in chosen if p.package == package]
        if all((package, name) in kept for name in names):
            rows += [kept[package, name] for name in names]
            continue
        python = options.separate if package in SEPARATE else sys.executable
        for row in collect(package, options.program, python):
            rows.append(row)
            print(f"{row.package}: {row.program}: {row.outcome} ({row.seconds} s, {row.nodes} nodes)", flush=True)
            if options.verbose and row.detail:
                print(row.detail, flush=True)
        if options.rows is not None:
            options.rows.write_text(json.dumps(list(map(asdict, rows)), indent=1))
    if options.write:
        PAGE.write_text(render(rows))
    return 0 if all(row.outcome == AGREES for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
