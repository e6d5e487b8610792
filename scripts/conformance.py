"""Run JAX's own conformance cases for lax through the converter and onnxruntime; write the table of results.

Each case runs in a worker process, so that a crash or a hang costs that case only. A case whose eager evaluation fails
in JAX itself is left out. Outcomes: ``pass`` (within the tolerances of ``jax2onnx.check``, or where JAX itself moves as
far on inputs moved by two units of their last place); ``unconverted`` (a ConversionError); ``unloaded`` (onnxruntime
refuses the model); ``mismatch`` (values, dtype or shape differ from JAX); ``crash`` (anything else, or a hang).

The exit code is 1 if any case ends as none of ``pass``, ``unconverted`` and the exceptions that ``conformance.toml``
explains, if more than 20 cases are such exceptions, or if, of a whole run, less than 99 % pass.

Run: ``python scripts/conformance.py [--primitive NAME] [--dtype D] [--sample K] [--jobs 2] [--no-x64] [--write]``
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import fnmatch
import itertools
import json
import os
import queue
import random
import select
import subprocess
import sys
import threading
import tomllib
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

OUTCOMES = ("pass", "unconverted", "unloaded", "mismatch", "crash")
EXPLAINED = "explained"
MOST_EXPLAINED = 20
LEAST_PASSING = 0.99
ROOT = Path(__file__).resolve().parents[1]
EXCEPTIONS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())["exception"]
"""Cases that cannot pass: patterns of names, the outcome, why, and what a user can do."""


def work() -> None:
    """Answer each case index on stdin with one JSON line on stdout."""
    import warnings

    import jax

    from jax2onnx._compat import conformance_cases

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints does not mix with the answers
    warnings.simplefilter("ignore")
    cases = conformance_cases()
    print(json.dumps({"count": len(cases), "jax": jax.__version__}), file=answers, flush=True)
    for line in sys.stdin:
        outcome, detail = run_case(cases[int(line)])
        print(json.dumps({"outcome": outcome, "detail": detail[:600]}), file=answers, flush=True)


def run_case(case: Any) -> tuple[str, str]:
    """Return the outcome of one case and what there is to say of it."""
    import jax
    import numpy as np

    from jax2onnx import errors, to_onnx
    from jax2onnx.testing import Runner, compare, nudge, represented

    args = case.dyn_args_maker(np.random.RandomState(0))

    def evaluate(args: Sequence[Any]) -> list[Any]:
        return [represented(leaf) for leaf in jax.tree_util.tree_leaves(case.dyn_fun(*args))]

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
        actual = runner.run([represented(a) for a in args])
    except Exception as error:  # noqa: BLE001 - whatever onnxruntime raises
        return "unloaded", f"{type(error).__name__}: {error}"
    align = ALIGNED.get(case.group_name)
    if align is not None and [a.shape for a in actual] == [e.shape for e in expected]:
        actual = _aligned(align, expected, actual)

    def nearby(_loose: bool) -> list[list[Any]]:  # noqa: FBT001
        results = [evaluate(nudge(args, k)) for k in range(NUDGES)]
        return results if align is None else [_aligned(align, expected, r) for r in results]

    atol = max((ABSOLUTE.get(result.dtype.name, 0.0) for result in expected), default=0.0)
    try:
        reports = compare(expected, actual, runner.output_names, atol=atol, nearby=nearby)
    except errors.CheckError as error:
        return "mismatch", str(error)
    return "pass", "ill-conditioned" if any(r.ill_conditioned for r in reports) else ""


ABSOLUTE = {"float64": 1e-13, "float32": 1e-6, "float16": 1e-4, "bfloat16": 1e-3}
"""Differences of JAX's own cases that are accepted in any case: their inputs are of the order of 1."""
NUDGES = 8
"""How often the inputs are moved to find how far JAX itself moves."""


def _aligned(align: Callable[[list[Any], list[Any]], list[Any]], expected: list[Any], actual: list[Any]) -> list[Any]:
    """Align results, in which a complex number is two real ones."""
    import numpy as np

    rank = min(e.ndim for e in expected)
    general = align is _of_general_eigenvectors  # all its results are complex
    pairs = [general or e.ndim > rank + 1 for e in expected]  # values have one dimension less than vectors
    joined = [
        [a[..., 0] + 1j * a[..., 1] if p else a for a, p in zip(r, pairs, strict=True)] for r in (expected, actual)
    ]
    results = zip(align(*joined), pairs, expected, strict=True)
    return [(np.stack([a.real, a.imag], -1) if p else a.real).astype(e.dtype) for a, p, e in results]


def _of_eigenvectors(expected: list[Any], actual: list[Any]) -> list[Any]:
    """Give the eigenvectors (columns) of a symmetric matrix the phase that JAX's have; any phase is as right."""
    return [
        a if a.ndim < max(e.ndim for e in expected) else a * _phases(e, a)
        for e, a in zip(expected, actual, strict=True)
    ]


def _of_general_eigenvectors(expected: list[Any], actual: list[Any]) -> list[Any]:
    """Give the eigenvectors (columns), left and right ones, the phase that JAX's have."""
    pairs = zip(expected[1:], actual[1:], strict=True)
    return [actual[0], *[a * _phases(e, a) for e, a in pairs]]


def _of_singular_vectors(expected: list[Any], actual: list[Any]) -> list[Any]:
    """Give the columns of u and the rows of v the phase that JAX's have, both by the same factor.

    Vectors of the null space may be any basis of it: JAX's own are taken if ours are orthonormal.
    """
    import numpy as np

    if len(expected) == 1:
        return actual
    s, u, vt = actual
    count = s.shape[-1]
    phases = _phases(expected[1][..., :count], u[..., :count])
    u, v = u.copy(), np.swapaxes(vt, -1, -2).conj().copy()
    for basis, want in ((u, expected[1]), (v, np.swapaxes(expected[2], -1, -2).conj())):
        basis[..., :count] = basis[..., :count] * phases
        gram = np.swapaxes(basis.conj(), -1, -2) @ basis
        if np.abs(gram - np.eye(gram.shape[-1])).max(initial=0) < 100 * np.finfo(s.dtype).eps * basis.shape[-2]:
            basis[..., count:] = want[..., count:]
    return [s, u, np.swapaxes(v, -1, -2).conj()]


def _phases(want: Any, got: Any) -> Any:
    """Return, for each column, the factor of size one that turns ``got`` towards ``want``."""
    import numpy as np

    product = (got.conj() * want).sum(axis=-2, keepdims=True)
    size = np.abs(product)
    return np.where(size == 0, 1, product / np.where(size == 0, 1, size))


ALIGNED: dict[str, Callable[[list[Any], list[Any]], list[Any]]] = {
    "eig": _of_general_eigenvectors,
    "eigh": _of_eigenvectors,
    "svd": _of_singular_vectors,
}
"""Primitives with more than one right answer -> what brings a right one to the one that JAX gives."""


class Worker:
    """A worker process that is replaced when it crashes or hangs."""

    def __init__(self, command: Sequence[str], env: dict[str, str], timeout: float) -> None:
        self._command = command
        self._env = env
        self._timeout = timeout
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - this script itself
            self._command,
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
        self.restart()
        detail = f"no answer within {self._timeout:g} s" if code is None else f"the process ended with {code}"
        return {"outcome": "crash", "detail": detail}

    def restart(self) -> None:
        """Replace the process by a new one."""
        self.close()
        self._start()

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()


def run_all(chosen: dict[int, dict[str, str]], *, jobs: int, x64: bool, timeout: float) -> Iterator[dict[str, str]]:
    """Yield the description of each case with its outcome, from ``jobs`` workers."""
    env = {**os.environ, "JAX_ENABLE_X64": "1" if x64 else "0", "JAX_PLATFORMS": "cpu"}
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    done: queue.SimpleQueue[dict[str, str]] = queue.SimpleQueue()
    for index in chosen:
        todo.put(index)

    def serve() -> None:
        worker = Worker([sys.executable, __file__, "--worker"], env, timeout)
        with contextlib.suppress(queue.Empty):
            for count in itertools.count(1):
                index = todo.get_nowait()
                done.put({**chosen[index], **worker.run(index)})
                if count % 1000 == 0:  # what JAX compiled stays in memory
                    worker.restart()
        worker.close()

    for _ in range(jobs):
        threading.Thread(target=serve, daemon=True).start()
    for _ in chosen:
        yield done.get()


def select_cases(args: argparse.Namespace) -> dict[int, dict[str, str]]:
    """Describe the cases asked for, by index; a sample draws some of each primitive, the same ones every time."""
    os.environ["JAX_ENABLE_X64"] = "0" if args.no_x64 else "1"
    from jax2onnx._compat import conformance_cases

    groups: dict[str, dict[int, dict[str, str]]] = collections.defaultdict(dict)
    for index, case in enumerate(conformance_cases()):
        dtype = str(getattr(case.dtype, "__name__", case.dtype))
        wanted = not args.primitive or case.group_name in args.primitive
        if wanted and args.dtype in {None, dtype} and args.case in case.fullname:
            groups[case.group_name][index] = {"name": case.fullname, "group": case.group_name, "dtype": dtype}
    chosen: dict[int, dict[str, str]] = {}
    for name, group in groups.items():
        count = min(len(group), args.sample or len(group))
        chosen.update({i: group[i] for i in sorted(random.Random(name).sample(list(group), count))})  # noqa: S311
    return chosen


def explained(answer: dict[str, str]) -> dict[str, str] | None:
    """Return the exception that explains why a case does not pass, if there is one."""
    fits = (e for e in EXCEPTIONS if answer["outcome"] == e["outcome"] and fnmatch.fnmatch(answer["name"], e["cases"]))
    return next(fits, None)


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


def page(answers: list[dict[str, str]], settings: str) -> str:
    """Return the whole page: what ran, the totals, the exceptions, what does not convert, and the table."""
    import jax
    import onnx
    import onnxruntime

    lines = [
        f"# Conformance of lax with jax {jax.__version__}",
        "",
        "Written by `nox -s conformance`. The cases are JAX's own (`jax._src.internal_test_util.test_harnesses`);",
        "those that JAX itself does not run on a CPU are left out. Integers and booleans are compared exactly, other",
        "numbers within the tolerances of `jax2onnx.check`; where these do not hold, JAX is evaluated on inputs moved",
        "by two units of their last place, and a difference within its own movement passes (*ill-conditioned*).",
        "Eigenvectors and singular vectors are compared up to their phase.",
        "",
        f"jax {jax.__version__}, onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}, {settings}",
        "",
        f"**{summary(answers)}**",
        "",
        "## Exceptions",
        "",
    ]
    for exception in EXCEPTIONS:
        cases = [a for a in answers if explained(a) is exception]
        if cases:
            lines.append(
                f"- {len(cases)} {exception['outcome']}, `{exception['cases']}`: {exception['why']}",
            )
            lines.append(f"  *Remedy:* {exception['remedy']}")
    lines += ["", "## Not converted", ""]
    errors = collections.Counter(
        (a["group"], a["dtype"], a["detail"].partition("\n")[0]) for a in answers if a["outcome"] == "unconverted"
    )
    lines += [f"- {group} ({dtype}), {count}: {error}" for (group, dtype, error), count in sorted(errors.items())]
    lines += [] if errors else ["Nothing: every case converts."]
    return "\n".join([*lines, "", "## By primitive and dtype", "", table(answers), ""])


def summary(answers: list[dict[str, str]]) -> str:
    """Return the totals in words."""
    counts = collections.Counter(a["outcome"] for a in answers)
    ill = sum(a["outcome"] == "pass" and bool(a["detail"]) for a in answers)
    known = sum(explained(a) is not None for a in answers)
    share = 100 * counts["pass"] / max(len(answers), 1)
    totals = ", ".join(f"{counts[o]} {o}" for o in OUTCOMES)
    return f"{len(answers)} cases: {totals} ({share:.2f} % pass, {ill} of them ill-conditioned; {known} {EXPLAINED})"


def acceptable(answers: list[dict[str, str]], *, whole: bool) -> bool:
    """Return whether all is well but for the exceptions; of a whole run also whether nearly all cases pass."""
    wrong = [a for a in answers if a["outcome"] not in {"pass", "unconverted"}]
    passing = sum(a["outcome"] == "pass" for a in answers)
    enough = passing >= LEAST_PASSING * len(answers) or not whole
    return enough and len(wrong) <= MOST_EXPLAINED and all(explained(a) for a in wrong)


def main() -> int:
    """Run the cases asked for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--primitive", action="append", help="only cases of this primitive (may be repeated)")
    parser.add_argument("--dtype")
    parser.add_argument("--case", default="", help="only cases whose name contains this")
    parser.add_argument("--sample", type=int, help="at most so many cases per primitive")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--timeout", type=float, default=120, help="seconds that a case may take")
    parser.add_argument("--no-x64", action="store_true")
    parser.add_argument("--write", action="store_true", help="write docs/coverage/conformance-<jax>.md")
    parser.add_argument(
        "--failures", type=Path, help="write the failures to this file, a JSON line each, not to stderr"
    )
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work()
        return 0
    answers = list(answered(args))
    print(summary(answers))
    if args.write:
        import jax

        settings = f"x64 {'off' if args.no_x64 else 'on'}"
        (ROOT / "docs" / "coverage" / f"conformance-{jax.__version__}.md").write_text(page(answers, settings))
    whole = args.sample is None and not (args.primitive or args.dtype or args.case)
    return 0 if acceptable(answers, whole=whole) else 1


def answered(args: argparse.Namespace) -> Iterator[dict[str, str]]:
    """Run the cases asked for, telling of those that do not pass; leave out what JAX does not run."""
    chosen = select_cases(args)
    with args.failures.open("w") if args.failures else contextlib.nullcontext() as file:
        for answer in run_all(chosen, jobs=args.jobs, x64=not args.no_x64, timeout=args.timeout):
            if answer["outcome"] == "skipped":
                continue
            yield answer
            if answer["outcome"] != "pass" and file is not None:
                print(json.dumps(answer), file=file, flush=True)
            elif answer["outcome"] != "pass":
                known = f" ({EXPLAINED})" if explained(answer) else ""
                print(f"{answer['outcome']}{known}: {answer['name']}\n    {answer['detail']}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
