"""Mutation testing of the modules in which a slip is a wrong number; write docs/coverage/mutants.md.

python scripts/mutants.py --count 40 [--only dims gather] [--write]

cosmic-ray changes one place of a module at a time (an operator, a number, a comparison, a condition) and runs the tests
that belong to the module. A mutant that no test notices survives. Of the mutants of a module, ``--count`` are drawn.
The module is changed in place while its tests run: use a clone in which nobody works.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import random
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import TestOutcome

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "coverage" / "mutants.md"
CORE = "packages/jax2onnx-core/src/jax2onnx/"
LAX = "packages/jax2onnx-lax/src/jax2onnx_lax/"
CORE_TESTS = "packages/jax2onnx-core/tests/"
LAX_TESTS = "packages/jax2onnx-lax/tests/"
SECONDS = 300
"""A mutant that takes longer counts as noticed: it does not end."""

MODULES: dict[str, tuple[str, str]] = {
    "program dims": (f"{CORE}program/dims.py", f"{CORE_TESTS}test_dims.py {CORE_TESTS}test_flatten.py"),
    "lowering dims": (f"{CORE}lowering/dims.py", f"{CORE_TESTS}test_dims.py {LAX_TESTS}test_dynamic_numbers.py"),
    "folding": (f"{CORE}program/fold_constants.py", f"{CORE_TESTS}test_fold_constants.py {LAX_TESTS}test_folding.py"),
    "signs of zero": (
        f"{CORE}program/signed_zeros.py",
        f"{CORE_TESTS}test_signed_zeros_marks.py {LAX_TESTS}test_signed_zeros.py",
    ),
    "small results": (f"{CORE}program/small_results.py", f"{LAX_TESTS}test_small_results.py"),
    "legalise": (f"{CORE}legalise/plan.py", f"{CORE_TESTS}test_legalise.py {CORE_TESTS}test_carriers.py"),
    "carriers": (f"{CORE}legalise/carriers.py", f"{CORE_TESTS}test_legalise.py {CORE_TESTS}test_carriers.py"),
    "gather": (f"{LAX}gather.py", f"{LAX_TESTS}test_indexing.py {LAX_TESTS}test_lax_examples.py -k 'index or gather'"),
    "known ranges": (f"{CORE}program/ranges.py", f"{LAX_TESTS}test_known.py {LAX_TESTS}test_ranges.py"),
    "ranges of rules": (f"{LAX}ranges.py", f"{LAX_TESTS}test_known.py {LAX_TESTS}test_ranges.py"),
    "bounds": (f"{CORE}program/bounds.py", f"{LAX_TESTS}test_known.py {LAX_TESTS}test_ranges.py"),
    "scatter": (f"{LAX}scatter.py", f"{LAX_TESTS}test_scatter_windows.py {LAX_TESTS}test_indexing.py"),
}
"""What the table calls a module -> its file, and the tests that belong to it."""

HEAD = """# Mutants

Written by `nox -s mutants` (`scripts/mutants.py`). cosmic-ray changes one place of a module, and the module's own tests
run. A mutant that they do not notice survives: either it does the same as the module, or a test is missing. Of each
module, {count} mutants were drawn (seed {seed}); annotations, which are not evaluated, are left alone.

| Module | Mutants | Tried | Noticed | Survived |
|---|---|---|---|---|
"""
CONFIG = """[cosmic-ray]
module-path = "{path}"
timeout = {seconds}.0
excluded-modules = []
test-command = "{command}"

[cosmic-ray.distributor]
name = "local"
"""


@dataclass
class Tally:
    """What came of the mutants of a module."""

    mutants: int
    tried: int
    survivors: list[str]

    def row(self, name: str) -> str:
        """Return the row of the table."""
        survived = len(self.survivors)
        return f"| {name} | {self.mutants} | {self.tried} | {self.tried - survived} | {survived} |"


def mutate(name: str, count: int, seed: int) -> Tally:
    """Try ``count`` mutants of a module, drawn from ``seed``."""
    path, tests = MODULES[name]
    command = f"{sys.executable} -m pytest -x -q -p no:cacheprovider {tests}"
    with tempfile.TemporaryDirectory() as folder:
        config, session = Path(folder) / "config.toml", Path(folder) / "session.sqlite"
        config.write_text(CONFIG.format(path=path, seconds=SECONDS, command=command))
        _cosmic_ray("init", str(config), str(session))
        mutants = _keep_some(session, count, seed, _annotations(ROOT / path))
        _cosmic_ray("exec", str(config), str(session))
        with use_db(session, mode=WorkDB.Mode.open) as database:
            results = list(database.completed_work_items)
    survivors = [
        f"{path}:{mutation.start_pos[0]} {mutation.operator_name.rpartition('/')[2]} {mutation.occurrence}"
        for item, result in results
        if result.test_outcome == TestOutcome.SURVIVED
        for mutation in item.mutations
    ]
    return Tally(mutants, len(results), survivors)


def _cosmic_ray(*arguments: str) -> None:
    program = Path(sys.executable).with_name("cosmic-ray")
    subprocess.run([program, *arguments], cwd=ROOT, check=True)  # noqa: S603 - of the same environment


def _annotations(path: Path) -> set[tuple[int, int]]:
    """Return the rows and columns of a module that its annotations take, which are not evaluated."""
    places: set[tuple[int, int]] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        for field in ("annotation", "returns"):
            found = getattr(node, field, None)
            if found is not None and found.lineno == found.end_lineno:
                places.update((found.lineno, column) for column in range(found.col_offset, found.end_col_offset))
    return places


def _keep_some(session: Path, count: int, seed: int, left_alone: set[tuple[int, int]]) -> int:
    """Leave ``count`` mutants in the session, none at the places given; return how many there were elsewhere."""
    with contextlib.closing(sqlite3.connect(session)) as database, database:
        order = "start_pos_row, start_pos_col, operator_name, occurrence"
        found = database.execute(f"SELECT job_id, start_pos_row, start_pos_col FROM mutation_specs ORDER BY {order}")  # noqa: S608
        places = {job: (row, column) for job, row, column in found}
        jobs = [job for job, place in places.items() if place not in left_alone]
        tried = jobs[:]
        random.Random(seed).shuffle(tried)  # noqa: S311 - no secret
        for job in places.keys() - set(tried[:count]):
            database.execute("DELETE FROM mutation_specs WHERE job_id = ?", (job,))
            database.execute("DELETE FROM work_items WHERE job_id = ?", (job,))
    return len(jobs)


def main() -> None:
    """Try the mutants as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=list(MODULES))
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    rows = []
    for name in args.only:
        tally = mutate(name, args.count, args.seed)
        rows.append(tally.row(name))
        print(rows[-1], *tally.survivors, sep="\n    ", flush=True)
    if args.write:
        PAGE.write_text(HEAD.format(count=args.count, seed=args.seed) + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
