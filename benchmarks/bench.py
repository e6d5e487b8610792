"""Compare exports with tracing, with jax.jit and with an older converter, in one run; print the tables.

python benchmarks/bench.py --theirs PYTHON [--models mlp cnn] [--write]

PYTHON is that of an environment with the other converter, of PyPI's name ``jax2onnx``; without it only this project is
measured. Each measurement is a process of its own (measure.py).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models import CASES, GROWING
from parts import PAGE, write_start
from report import OURS, THEIRS, render

HERE = Path(__file__).parent
LIMIT_S = 240.0  # of processor time for one export
PROCESSES = 2  # in which the same is run: how memory is laid out makes them differ by a third
BEST = ("trace", "export", "copy")  # of which the least is kept


class Bench:
    """Runs measure.py with the Python of each converter."""

    def __init__(self, pythons: dict[str, str], rounds: int, turns: int, cores: list[int], folder: Path) -> None:
        self.pythons, self.rounds, self.turns, self.cores, self.folder = pythons, rounds, turns, cores, folder

    def measure(self, converter: str, *args: str) -> dict[str, Any]:
        """Return what one process measured, or ``{"failed": why}``."""
        started = time.perf_counter()
        command = [self.pythons[converter], str(HERE / "measure.py"), *args, "--converter", converter]
        env = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONWARNINGS": "ignore"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
        print(f"{time.perf_counter() - started:6.1f} s  {converter} {' '.join(args)}", file=sys.stderr, flush=True)
        if done.returncode == 0:
            result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            return result
        if done.returncode == -signal.SIGPROF:
            return {"over": LIMIT_S}
        errors = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith(("-", "For "))]
        return {"failed": errors[-1].replace(f"{self.folder}/", "") if errors else f"ended with {done.returncode}"}

    def exports(self, names: Sequence[str], converters: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return each converter's export of each model: the best of turns, so that each gets its share of quiet."""
        found: dict[str, dict[str, Any]] = {name: {} for name in names}
        further = ("--rounds", str(self.rounds), "--limit", str(LIMIT_S))
        for _ in range(self.turns):
            for name, converter in itertools.product(names, converters):
                before = found[name].get(converter)
                if before and "export" not in before:
                    continue  # it failed, or took too long
                path = str(self.path(name, converter))
                measured = self.measure(converter, "export", name, "--path", path, *further)
                if before and "export" in measured:
                    measured |= {k: min(before[k], measured[k]) for k in BEST}
                found[name][converter] = measured if "export" in measured else before or measured
        return found

    def path(self, name: str, kind: str) -> Path:
        """Return where a model or a result is kept."""
        return self.folder / f"{name}.{kind}"

    def runs(self, name: str, cores: int) -> dict[str, Any]:
        """Return what jax.jit and each export take with so many cores, and how far the latter are from JAX."""
        further = ("--path", str(self.path(name, "npy")), "--cores", str(cores))
        paths = {c: str(self.path(name, c)) for c in self.pythons if self.path(name, c).exists()}
        result = {"jax": self.fastest([self.measure(OURS, "jit", name, *further) for _ in range(PROCESSES)])}
        found: dict[str, list[dict[str, Any]]] = {c: [] for c in paths}
        for turn in range(PROCESSES):
            order = list(paths)[:: -1 if turn % 2 else 1]
            together = self.measure(OURS, "run", name, *(paths[c] for c in order), *further)
            for c in order:
                alone = together if paths[c] in together else self.measure(OURS, "run", name, paths[c], *further)
                found[c].append(alone.get(paths[c], alone))
        return result | {c: self.fastest(runs) for c, runs in found.items()}

    @staticmethod
    def fastest(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the run with the least time."""
        return min(runs, key=lambda m: m.get("seconds", float("inf")))

    def models(self, names: Sequence[str]) -> dict[str, Any]:
        """Return all that is measured of models."""
        exports = self.exports(names, list(self.pythons))
        return {name: {"exports": exports[name], "runs": [self.runs(name, n) for n in self.cores]} for name in names}

    def first(self) -> dict[str, Any]:
        """Return each converter's first export in a process, best of a few, by turns."""
        found: dict[str, list[dict[str, Any]]] = {converter: [] for converter in self.pythons}
        for _ in range(self.rounds):
            for converter, runs in found.items():
                runs.append(self.measure(converter, "first", "mlp"))
        return {converter: self.fastest(runs) for converter, runs in found.items()}


def _processor() -> str:
    """Name the processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--theirs", help="the Python of an environment with the other converter")
    parser.add_argument("--models", nargs="*", choices=(*CASES, "growing", "first"), help="a part (default: all)")
    parser.add_argument("--rounds", type=int, default=3, help="of exports in a process")
    parser.add_argument("--turns", type=int, default=3, help="of processes that export the models")
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2], help="numbers of cores and threads to run with")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.relative_to(HERE.parent)} too")
    args = parser.parse_args()
    chosen = args.models or (*CASES, "growing", "first")
    with tempfile.TemporaryDirectory() as folder:
        pythons = {OURS: sys.executable} | ({THEIRS: args.theirs} if args.theirs else {})
        bench = Bench(pythons, args.rounds, args.turns, args.cores, Path(folder))
        results: dict[str, Any] = {
            "versions": {converter: bench.measure(converter, "versions") for converter in bench.pythons},
            "cores": args.cores,
            "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores, {platform.system()}",
        }
        if "first" in chosen:
            results["first"] = bench.first()
        results["models"] = bench.models([name for name in CASES if name in chosen])
        if "growing" in chosen:
            results["growing"] = {name: of[OURS] for name, of in bench.exports(list(GROWING), [OURS]).items()}
    page = render(results)
    print(page)
    if args.write:
        write_start(page)


if __name__ == "__main__":
    main()
