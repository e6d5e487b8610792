"""Run JAX's own conformance cases for lax through the converter and onnxruntime; write the table of results.

Each case runs in a worker process, so that a crash or a hang costs that case only. A case whose eager evaluation fails
in JAX itself is left out. Outcomes: ``pass`` (within the tolerances of ``jax2onnx.check``, or where JAX itself moves as
far on inputs moved by two units of their last place); ``unconverted`` (a ConversionError); ``unloaded`` (onnxruntime
refuses the model); ``mismatch`` (values, dtype or shape differ from JAX); ``crash`` (anything else, or a hang).

Run: ``python scripts/conformance.py [--primitive NAME] [--dtype D] [--sample K] [--jobs 2] [--no-x64] [--write]``
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import queue
import select
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

OUTCOMES = ("pass", "unconverted", "unloaded", "mismatch", "crash")
ROOT = Path(__file__).resolve().parents[1]


def work() -> None:
    """Answer each case index on stdin with one JSON line on stdout."""
    import warnings

    import jax

    from jax2onnx._compat import conformance_cases

    warnings.simplefilter("ignore")
    cases = conformance_cases()
    print(json.dumps({"count": len(cases), "jax": jax.__version__}), flush=True)
    for line in sys.stdin:
        case = cases[int(line)]
        outcome, detail = run_case(case)
        print(json.dumps({"outcome": outcome, "detail": detail[:600]}), flush=True)


def run_case(case: Any) -> tuple[str, str]:
    """Return the outcome of one case and what there is to say of it."""
    import jax
    import numpy as np

    from jax2onnx import errors, to_onnx
    from jax2onnx._runtime import Runner
    from jax2onnx.checking import compare, plain
    from jax2onnx.drawing import nudged

    args = case.dyn_args_maker(np.random.RandomState(0))

    def evaluate(args: Sequence[Any]) -> list[Any]:
        return [plain(leaf) for leaf in jax.tree_util.tree_leaves(case.dyn_fun(*args))]

    try:
        expected = evaluate(args)
    except Exception as error:  # noqa: BLE001 - JAX itself cannot run the case
        return "skipped", f"{type(error).__name__}: {error}"
    try:
        model = to_onnx(case.dyn_fun, [jax.numpy.asarray(a) for a in args])
    except errors.ConversionError as error:
        return "unconverted", str(error)
    except Exception:  # noqa: BLE001 - a converter must not fail in any other way
        return "crash", traceback.format_exc()[-600:]
    try:
        runner = Runner(model)
        actual = runner.run([plain(a) for a in args])
    except Exception as error:  # noqa: BLE001 - whatever onnxruntime raises
        return "unloaded", f"{type(error).__name__}: {error}"
    try:
        reports = compare(
            expected, actual, runner.output_names, nudge=lambda: [evaluate(list(nudged(args, k))) for k in range(4)]
        )
    except errors.CheckError as error:
        return "mismatch", str(error)
    return "pass", "ill-conditioned" if any(r.ill_conditioned for r in reports) else ""


class Worker:
    """A worker process that is replaced when it crashes or hangs."""

    def __init__(self, env: dict[str, str], timeout: float) -> None:
        self._env = env
        self._timeout = timeout
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - this script itself
            [sys.executable, __file__, "--worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self._env,
        )
        self.hello = json.loads(self._line(300) or "{}")

    def _line(self, timeout: float) -> str:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], timeout)
        return self._process.stdout.readline() if ready else ""

    def run(self, index: int) -> dict[str, str]:
        """Run one case; return its outcome and detail."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{index}\n")
        self._process.stdin.flush()
        line = self._line(self._timeout)
        if line:
            return json.loads(line)  # type: ignore[no-any-return]
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        code = self._process.returncode
        self.close()
        self._start()
        detail = f"no answer within {self._timeout:g} s" if code is None else f"the process ended with {code}"
        return {"outcome": "crash", "detail": detail}

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()


def run_all(chosen: dict[int, dict[str, str]], *, jobs: int, x64: bool, timeout: float) -> Iterator[dict[str, str]]:
    """Yield the description of each case with its outcome, from ``jobs`` workers."""
    env = {**os.environ, "JAX_ENABLE_X64": "1" if x64 else "0", "JAX_PLATFORMS": "cpu"}
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    done: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
    for index in chosen:
        todo.put(index)

    def serve() -> None:
        worker = Worker(env, timeout)
        with contextlib.suppress(queue.Empty):
            while True:
                index = todo.get_nowait()
                done.put({**chosen[index], **worker.run(index)})
        worker.close()

    for _ in range(jobs):
        threading.Thread(target=serve, daemon=True).start()
    for _ in chosen:
        yield done.get()


def select_cases(args: argparse.Namespace) -> dict[int, dict[str, str]]:
    """Describe the cases asked for, by index; a sample takes every so-manieth case of each primitive."""
    os.environ["JAX_ENABLE_X64"] = "0" if args.no_x64 else "1"
    from jax2onnx._compat import conformance_cases

    groups: dict[str, dict[int, dict[str, str]]] = collections.defaultdict(dict)
    for index, case in enumerate(conformance_cases()):
        dtype = str(getattr(case.dtype, "__name__", case.dtype))
        wanted = not args.primitive or case.group_name in args.primitive
        if wanted and args.dtype in {None, dtype} and args.case in case.fullname:
            groups[case.group_name][index] = {"name": case.fullname, "group": case.group_name, "dtype": dtype}
    chosen: dict[int, dict[str, str]] = {}
    for group in groups.values():
        step = max(1, len(group) // args.sample) if args.sample else 1
        chosen.update(list(group.items())[::step][: args.sample])
    return chosen


def table(answers: list[dict[str, str]]) -> str:
    """Return the results as a Markdown table, one row per primitive and dtype."""
    rows: dict[tuple[str, str], collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for answer in answers:
        rows[answer["group"], answer["dtype"]][answer["outcome"]] += 1
    lines = [
        "| primitive | dtype | cases | " + " | ".join(OUTCOMES) + " |",
        "|---|---|" + "---:|" * (len(OUTCOMES) + 1),
    ]
    for (group, dtype), counts in sorted(rows.items()):
        cells = [str(counts[o] or "") for o in OUTCOMES]
        lines.append(f"| {group} | {dtype} | {sum(counts.values())} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Run the cases asked for; exit with 1 if any mismatches, does not load or crashes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--primitive", action="append", help="only cases of this primitive (may be repeated)")
    parser.add_argument("--dtype")
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    parser.add_argument("--sample", type=int, help="at most so many cases per primitive")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=120)
    parser.add_argument("--no-x64", action="store_true")
    parser.add_argument("--write", action="store_true", help="write docs/coverage/lax-<jax>.md")
    parser.add_argument(
        "--failures", type=Path, help="write the failures to this file, a JSON line each, not to stderr"
    )
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work()
        return 0
    chosen = select_cases(args)
    answers = []
    failures = args.failures.open("w") if args.failures else contextlib.nullcontext()
    with failures as file:
        for answer in run_all(chosen, jobs=args.jobs, x64=not args.no_x64, timeout=args.timeout):
            if answer["outcome"] == "skipped":
                continue
            answers.append(answer)
            if answer["outcome"] == "pass":
                continue
            if file is not None:
                print(json.dumps(answer), file=file, flush=True)
            else:
                print(f"{answer['outcome']:12} {answer['name']}\n    {answer['detail']}", file=sys.stderr)
    counts = collections.Counter(a["outcome"] for a in answers)
    summary = ", ".join(f"{counts[o]} {o}" for o in OUTCOMES)
    print(f"{len(answers)} cases: {summary}")
    if args.write:
        import jax
        import onnx
        import onnxruntime

        path = ROOT / "docs" / "coverage" / f"lax-jax-{jax.__version__}.md"
        versions = f"jax {jax.__version__}, onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}"
        head = "# Conformance of lax\n\nWritten by `nox -s conformance`; the cases are JAX's own.\n"
        path.write_text(f"{head}\n{versions}, x64 {'off' if args.no_x64 else 'on'}\n\n{summary}\n\n{table(answers)}\n")
    return int(any(counts[o] for o in ("unloaded", "mismatch", "crash")))


if __name__ == "__main__":
    sys.exit(main())
