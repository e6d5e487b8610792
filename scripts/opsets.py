"""Export every registered example at each opset, run the models in onnxruntime and compare them with JAX.

python scripts/opsets.py                    every example, static and symbolic, at each opset (an hour or two)
python scripts/opsets.py --every 10         each 10th case
python scripts/opsets.py --opsets 13 17     some opsets
python scripts/opsets.py --only scatter     cases whose names hold a text
python scripts/opsets.py --kept FILE        remember outcomes there, run only what is not there yet, tell all that is
python scripts/opsets.py --write            docs/coverage/opsets.md too

What an export refuses is listed with its reason. Anything else that goes wrong is a failure: a model that onnx's
checker or onnxruntime refuses, or that disagrees with JAX.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jax
import onnx
import onnxruntime

from jax2onnx import check, to_onnx
from jax2onnx.checking.kernels import coarse_primitives, keeps_local
from jax2onnx.checking.runtime import RUNTIME_ERRORS, Runner
from jax2onnx.errors import ConversionError
from jax2onnx.legalise import targets
from jax2onnx.testing import Case, cases, x64

TABLE = Path(__file__).parents[1] / "docs" / "coverage" / "opsets.md"

OPSETS = (13, 15, 17, 18, 21, 23)
"""The opsets of the table, beside the newest one."""

PASSES, REFUSED, FAILED = "passes", "refused", "FAILED"

HEAD = """# Opsets

The registered examples, static and with symbolic dims, are {cases} cases. Those that the table counts are exported at
the opset, checked with onnx's full checker, run in onnxruntime {onnxruntime} and compared with JAX {jax}. Written by
`{command}`.

- `passes`: the model is valid at this opset, and its results are those of JAX.
- `refused`: the export ends in an error that says what the opset cannot say, and which one can.
- `FAILED`: anything else.

{newest} is the newest opset that this onnxruntime loads. An example that sets `opset=` itself is exported at the opset
of the row all the same.
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a case at an opset."""

    case: str
    opset: int
    told: str
    reason: str = ""


def newest() -> int:
    """Return the newest opset that the installed onnxruntime loads, as the tables of kernels have it."""
    target = targets.load(targets.DEFAULT)
    assert target is not None
    while target.newer is not None:
        target = target.newer()
    return min(target.max_opset or 0, onnx.defs.onnx_opset_version())


class Together:
    """The models of a case at several opsets as one runtime: JAX is evaluated once for all of them.

    What is compared with JAX are the results of the first one. ``equal`` has those that give the very same bytes on
    all inputs, and whose differences ``check`` would judge in the same way: they agree with JAX if the first one does.
    """

    def __init__(self, models: Mapping[int, onnx.ModelProto]) -> None:
        (first, *_), (model, *_) = models.keys(), models.values()
        self._runner = Runner(model)
        self.name = self._runner.name
        self.input_names, self.output_names = self._runner.input_names, self._runner.output_names
        self._others: dict[int, Runner] = {}
        for opset, other in models.items():
            if opset != first and _judged(other) == _judged(model):
                with contextlib.suppress(*RUNTIME_ERRORS):  # its own check tells why
                    self._others[opset] = Runner(other)

    @property
    def equal(self) -> set[int]:
        """The opsets whose results have been those of the first one."""
        return set(self._others)

    def run(self, arrays: Sequence[Any]) -> list[Any]:
        """Return the results of the first model."""
        results = self._runner.run(arrays)
        for opset, runner in list(self._others.items()):
            try:
                same = list(map(_bytes, runner.run(arrays))) == list(map(_bytes, results))
            except RUNTIME_ERRORS:
                same = False
            if not same:
                del self._others[opset]
        return results


def _judged(model: onnx.ModelProto) -> Any:
    """Return what ``check`` reads of a model to judge differences, and the names by which it is run."""
    names = [[value.name for value in values] for values in (model.graph.input, model.graph.output)]
    return coarse_primitives(model), keeps_local(model), names


def _bytes(array: Any) -> tuple[str, tuple[int, ...], bytes]:
    return str(array.dtype), array.shape, array.tobytes()


def outcomes(case: Case, opsets: Iterable[int]) -> list[Outcome]:
    """Export a case at some opsets, and compare the models with JAX."""
    fn = case.example.make()
    found: list[Outcome] = []
    models: dict[int, onnx.ModelProto] = {}
    for opset in opsets:
        try:
            models[opset] = exported(case, fn, opset)
        except ConversionError as error:
            found.append(Outcome(str(case), opset, REFUSED, _reason(error, opset)))
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is what the table has to tell
            found.append(Outcome(str(case), opset, FAILED, _first_line(error)))
    while models:
        opset, model = next(iter(models.items()))
        told, reason = PASSES, ""
        same: set[int] | None = None
        try:
            for values in rounds(case):
                together = Together(models)
                compare(case, fn, model, values, lambda _, made=together: made)
                same = together.equal if same is None else same & together.equal
        except Exception as error:  # noqa: BLE001 - as above
            told, reason, same = FAILED, _first_line(error), set()
        for alike in {opset, *(same or ())}:
            found.append(Outcome(str(case), alike, told, reason))
            del models[alike]
    return found


def exported(case: Case, fn: Any, opset: int) -> onnx.ModelProto:
    """Return the model of a case at an opset, which is valid."""
    options = {**case.options, "opset": opset}
    model: onnx.ModelProto = to_onnx(fn, case.inputs, fusions=case.fusions, **options)
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == opset
    return model


def rounds(case: Case) -> list[Sequence[Any] | None]:
    """Return the batches that the example gives, and None for drawn ones."""
    example = case.example
    found: list[Sequence[Any] | None] = []
    if example.values is not None and not (case.dynamic and example.draw):
        found.append(example.values())
    if example.draw:
        found.append(None)
    return found


def compare(case: Case, fn: Any, model: onnx.ModelProto, values: Sequence[Any] | None, runtime: Any) -> None:
    """Compare a model with JAX."""
    rtol, atol = case.example.rtol, case.example.atol
    check(model, fn, case.inputs, values=values, rtol=rtol, atol=atol, runtime=runtime, **case.shared)


def _reason(error: ConversionError, opset: int) -> str:
    """Return what an error says, without what only tells the opset of the row or a runtime's version."""
    text = error.what.replace(f"opset {opset} ", "the opset ").replace(f"(opset {opset}) ", "")
    return re.sub(r"^onnxruntime [\d.]+ \(\w+\)", "onnxruntime", text)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


def chosen(only: str, every: int, start: int) -> list[Case]:
    """Return the cases that are run."""
    found = [case for case in cases() if case.fusions and only in str(case)]
    return found[start::every]


def kept_in(file: Path | None) -> dict[tuple[str, int], Outcome]:
    """Return the outcomes that a file has, by case and opset."""
    if file is None or not file.exists():
        return {}
    found = [Outcome(**json.loads(line)) for line in file.read_text().splitlines()]
    return {(one.case, one.opset): one for one in found}


def run_share(only: str, every: int, start: int, opsets: Sequence[int], file: Path | None) -> list[Outcome]:
    """Run a share of the cases in a process of its own."""
    warnings.simplefilter("ignore")
    kept = kept_in(file)
    found: list[Outcome] = []
    for case in chosen(only, every, start):
        known = [kept[str(case), opset] for opset in opsets if (str(case), opset) in kept]
        left = [opset for opset in reversed(opsets) if (str(case), opset) not in kept]
        found += known + run(case, left, file)
    return found


def run(case: Case, opsets: Sequence[int], file: Path | None) -> list[Outcome]:
    """Run one case; print failures, and remember the outcomes."""
    with x64(enabled=case.example.x64):
        found = outcomes(case, opsets)
    for one in found:
        if one.told == FAILED:
            print(f"{one.opset}  {case}  {one.reason}", flush=True)
    if file is not None:
        with file.open("a") as lines:
            lines.writelines(json.dumps(asdict(one)) + "\n" for one in found)
    return found


def report(outcomes: Iterable[Outcome], opsets: Sequence[int], *, command: str) -> str:
    """Return the page."""
    counts: Mapping[int, Counter[str]] = defaultdict(Counter)
    reasons: Mapping[tuple[str, str], dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for one in outcomes:
        counts[one.opset][one.told] += 1
        if one.told != PASSES:
            reasons[one.told, one.reason][one.opset].append(one.case)
    lines = [
        HEAD.format(
            cases=len(chosen("", 1, 0)),
            onnxruntime=onnxruntime.__version__,
            jax=jax.__version__,
            command=command,
            newest=newest(),
        ),
        "| opset | cases run | passes | refused | FAILED | share that passes |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for opset in opsets:
        told = counts[opset]
        share = 100 * told[PASSES] / max(1, told.total())
        lines.append(
            f"| {opset} | {told.total()} | {told[PASSES]} | {told[REFUSED]} | {told[FAILED]} | {share:.1f} % |"
        )
    for told, title in ((REFUSED, "Refused"), (FAILED, "Failed")):
        if any(kind == told for kind, _ in reasons):
            lines += ["", f"## {title}", "", "| reason | at opset | examples |", "|---|---|---|"]
        for (kind, reason), by_opset in sorted(reasons.items()):
            if kind == told:
                lines += _rows(reason, by_opset)
    return "\n".join(lines) + "\n"


def _rows(reason: str, by_opset: Mapping[int, Sequence[str]]) -> list[str]:
    """Return the rows of one reason: one for all opsets at which the same examples have it."""
    together: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for opset, names in sorted(by_opset.items()):
        together[tuple(names)].append(opset)
    text = reason.replace("|", "\\|").replace("<", "\\<")
    rows = []
    for names, opsets in together.items():
        listed = ", ".join(f"`{name}`" for name in names)
        rows.append(f"| {text} | {', '.join(map(str, opsets))} | {len(names)}: {listed} |")
    return rows


def main() -> None:
    """Run the cases as the arguments say; print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--opsets", type=int, nargs="*", default=())
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--kept", type=Path)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    opsets = tuple(args.opsets) or (*OPSETS, newest())
    jobs = range(args.jobs)
    with ProcessPoolExecutor(args.jobs, mp_context=get_context("spawn")) as pool:
        shares = [
            pool.submit(run_share, args.only, args.every * args.jobs, args.start + args.every * job, opsets, args.kept)
            for job in jobs
        ]
        outcomes = [one for share in shares for one in share.result()]
    command = "scripts/opsets.py --write" + (" --kept FILE" if args.kept else "")
    if args.kept is not None:
        outcomes = list(kept_in(args.kept).values())
    page = report(sorted(outcomes, key=lambda one: one.case), opsets, command=command)
    print(page)
    if args.write:
        TABLE.write_text(page)


if __name__ == "__main__":
    main()
