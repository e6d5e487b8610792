"""Run the registered examples in one runtime, and write what came of each as a line of JSON.

python scripts/runtimes/measure.py RUNTIME OUT [--target NAME] [--every N] [--only TEXT] [--python P] [--folder F]
    [--keep] [--seconds S]

RUNTIME is onnxruntime, openvino, reference or tract, which run in the interpreter P, or web, which needs node and a
folder F with node_modules/onnxruntime-web. With --keep, what OUT tells already is kept, and those cases are not run
again; --seconds ends after a case when that time is over. So all cases can be measured in pieces. The outcomes:

    passes      agrees with JAX on all inputs of the example
    finite      agrees where all inputs are finite, and not where one is NaN or infinite; or what JAX has is not finite
                where they differ most
    ours        jax2onnx refuses the program for the target, and says why
    refused     the runtime does not load or run the model
    crashed     the runtime's process ends, or does not answer within a minute
    differs     the results differ on finite inputs
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import jax
import numpy as np
from clients import WORKER, Process

from jax2onnx import check, to_onnx
from jax2onnx.errors import CheckError, ConversionError, InputSpecError
from jax2onnx.testing import Case, cases, x64

_LONGEST = 700  # characters of a message
_FLUSHED = 1e-37  # OpenVINO makes 0 of what is smaller
_INFINITE = re.compile(r"JAX: +(nan|-?inf)\n")
_FINITE = ("ordinary", "moderate", "large")


def process(runtime: str, python: str, folder: str) -> Process:
    """Return the process that runs models in a runtime."""
    if runtime == "web":
        return Process("onnxruntime-web", ["node", str(WORKER.with_suffix(".mjs")), folder])
    return Process(runtime, [python, str(WORKER), runtime])


def outcome(case: Case, target: str | None, runtime: Process) -> tuple[str, str, int]:
    """Return what comes of a case, in a word and a message, and the opset of its model."""
    example = case.example
    options = dict(case.options)
    if target is not None and options.get("target") != "onnx":
        options["target"] = target
    try:
        model = to_onnx(example.make(), case.inputs, **options)
    except (ConversionError, InputSpecError) as error:
        return "ours", str(error), 0
    opset = model.opset_import[0].version
    try:
        _check(case, model, runtime, finite=False)
    except CheckError as error:
        what, message = _kind(str(error)), str(error)
        if what == "differs":
            try:
                _check(case, model, runtime, finite=True)
            except CheckError as second:
                if _INFINITE.search(str(second)):
                    return "finite", str(second), opset
                return _kind(str(second)), str(second), opset
            return "finite", message, opset
        return what, message, opset
    return "passes", "", opset


def _kind(message: str) -> str:
    if "ended, or took longer" in message:
        return "crashed"
    return "refused" if "cannot load" in message or "cannot run" in message else "differs"


def _check(case: Case, model: Any, runtime: Process, *, finite: bool) -> None:
    for values in _rounds(case, finite=finite):
        more: dict[str, Any] = {"kinds": _FINITE} if finite and values is None else {}
        check(
            model,
            case.example.make(),
            case.inputs,
            values=values,
            rtol=case.example.rtol,
            atol=case.example.atol if case.example.atol is not None or not runtime.flushes else _FLUSHED,
            runtime=runtime,
            **case.shared,
            **more,
        )


def _rounds(case: Case, *, finite: bool) -> Iterator[Sequence[Any] | None]:
    example = case.example
    if example.values is not None and not (case.dynamic and example.draw):
        given = [
            batch for batch in example.values() if not finite or all(map(_is_finite, jax.tree_util.tree_leaves(batch)))
        ]
        if given:
            yield given
    if example.draw:
        yield None


def _is_finite(array: Any) -> bool:
    if jax.dtypes.issubdtype(jax.numpy.asarray(array).dtype, jax.dtypes.prng_key):
        return True
    array = np.asarray(array)
    return array.dtype.kind in "iub" or bool(
        np.isfinite(array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)).all()
    )


def main() -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runtime")
    parser.add_argument("out", type=Path)
    parser.add_argument("--target")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--folder", default=".")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    runtime = process(args.runtime, args.python, args.folder)
    chosen = [case for case in cases() if case.fusions][args.first :: args.every]
    if args.only:
        chosen = [case for case in chosen if any(text in str(case) for text in args.only)]
    known = _known(args.out) if args.keep else set()
    chosen = [case for case in chosen if str(case) not in known]
    start = time.perf_counter()
    done = 0
    with args.out.open("a" if args.keep else "w") as out:
        for case in chosen:
            if time.perf_counter() - start > args.seconds:
                break
            with x64(enabled=case.example.x64):
                what, message, opset = outcome(case, args.target, runtime)
            out.write(json.dumps([str(case), what, message[:_LONGEST], opset]) + "\n")
            out.flush()
            done += 1
    print(f"{done} of {len(chosen)} cases in {time.perf_counter() - start:.0f} s")


def _known(out: Path) -> set[str]:
    """Return the cases of which a file tells."""
    return {json.loads(line)[0] for line in out.read_text().splitlines()} if out.exists() else set()


if __name__ == "__main__":
    main()
