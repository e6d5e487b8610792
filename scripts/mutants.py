"""Mutation testing of the modules in which a slip is a wrong number; write docs/coverage/mutants.md.

python scripts/mutants.py --count 40 [--only dims gather] [--write]      mutants drawn from a seed
python scripts/mutants.py --survivors [--only dims gather] [--write]     those that survived earlier, once more

cosmic-ray changes one place of a module at a time (an operator, a number, a comparison, a condition) and runs the tests
that belong to the module. A mutant that no test notices survives. Of the mutants of a module, ``--count`` are drawn.
The module is changed in place while its tests run: use a clone in which nobody works.

``--write`` remembers the result of each module and seed in ``docs/coverage/mutants.jsonl``, of which the page is made.
``scripts/mutants.toml`` says of mutants why they do the same as the module: those are no gap in the tests.
"""

from __future__ import annotations

import argparse
import ast
import functools
import importlib
import json
import os
import random
import shlex
import signal
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.mutating import use_mutation

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "coverage" / "mutants.md"
REMEMBERED = PAGE.with_suffix(".jsonl")
SAME = Path(__file__).with_suffix(".toml")
CORE = "packages/jax2onnx-core/src/jax2onnx/"
LAX = "packages/jax2onnx-lax/src/jax2onnx_lax/"
CORE_TESTS = "packages/jax2onnx-core/tests/"
LAX_TESTS = "packages/jax2onnx-lax/tests/"
SECONDS = 300
"""A mutant that takes longer counts as noticed: it does not end. How many did is in the table too."""

MODULES: dict[str, tuple[str, str]] = {
    "program dims": (f"{CORE}program/dims.py", f"{CORE_TESTS}test_dims.py {CORE_TESTS}test_flatten.py"),
    "lowering dims": (f"{CORE}lowering/dims.py", f"{CORE_TESTS}test_dims.py {LAX_TESTS}test_dynamic_numbers.py"),
    "folding": (
        f"{CORE}program/fold_constants.py",
        f"{CORE_TESTS}test_fold_constants.py {LAX_TESTS}test_folding.py {LAX_TESTS}test_known.py",
    ),
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
    "bounds": (
        f"{CORE}program/bounds.py",
        f"{CORE_TESTS}test_bounds.py {LAX_TESTS}test_known.py {LAX_TESTS}test_ranges.py",
    ),
    "scatter": (f"{LAX}scatter.py", f"{LAX_TESTS}test_scatter_windows.py {LAX_TESTS}test_indexing.py"),
}
"""What the table calls a module -> its file, and the tests that belong to it."""

HEAD = """# Mutants

Written by `nox -s mutants` (`scripts/mutants.py`). cosmic-ray changes one place of a module, and the module's own tests
run. A mutant that they do not notice survives: either it does the same as the module (`scripts/mutants.toml` says why),
or a test is missing. Of each module, some mutants were drawn; annotations, which are not evaluated, are left alone.
A survivor stays here until it is tried again (`--survivors`), even where a test has been written since.

| Module | Mutants | Seeds | Tried | Noticed | Of these without an end | Do the same | Survived |
|---|---|---|---|---|---|---|---|
"""
LIBRARIES = (
    "jax.export", "jax.numpy", "jax.scipy.special", "flax.linen", "flax.nnx", "numpy.testing", "onnx",
    "onnx.reference", "onnx_ir",
)  # fmt: skip
"""What the tests import anyway: once, and each run of them starts as a copy of this process.

Not what brings a plugin of pytest, as equinox does: pytest imports those itself.
"""


@dataclass
class Tally:
    """What came of the mutants of a module that were drawn from a seed; survivors are told by their source lines."""

    module: str
    seed: int
    mutants: int
    tried: int
    endless: int
    survivors: list[str]

    def __str__(self) -> str:
        found = f"{self.module}, seed {self.seed}: {self.tried} tried, {len(self.survivors)} survived"
        return "\n    ".join([found, *self.survivors])


@dataclass
class Results:
    """What came of some mutants: their names, those that survived, and those that did not end."""

    tried: list[str]
    survivors: list[str]
    endless: list[str]


@dataclass(frozen=True)
class Mutant:
    """A change of a module: the one that an operator makes at the n-th place where it could make one."""

    operator: str
    occurrence: int


def mutate(module: str, count: int, seed: int) -> Tally:
    """Try ``count`` mutants of a module, drawn from ``seed``."""
    sizes: list[int] = []

    def draw(names: Collection[str]) -> list[str]:
        sizes.append(len(names))
        tried = list(names)
        random.Random(seed).shuffle(tried)  # noqa: S311 - no secret
        return tried[:count]

    results = _run(module, draw)
    return Tally(module, seed, *sizes, len(results.tried), len(results.endless), results.survivors)


def again(tally: Tally) -> Tally:
    """Try the mutants once more that survived; one whose line is not in the module any more is left out."""
    results = _run(tally.module, lambda names: [name for name in names if name in tally.survivors])
    gone = set(tally.survivors) - set(results.tried)
    endless = tally.endless + len(results.endless)
    return Tally(tally.module, tally.seed, tally.mutants, tally.tried - len(gone), endless, results.survivors)


def _run(module: str, choose: Callable[[Collection[str]], Collection[str]]) -> Results:
    """Try the mutants of a module that ``choose`` takes from the names of all of them."""
    path, tests = MODULES[module]
    if _outcome(tests):
        raise SystemExit(f"the tests of {module} fail without any change: {tests}")
    mutants = _mutants(ROOT / path)
    results = Results([], [], [])
    for name in choose(mutants):
        operator = plugins.get_operator(mutants[name].operator)()
        with use_mutation(ROOT / path, operator, mutants[name].occurrence):
            outcome = _outcome(tests)
        results.tried.append(name)
        results.survivors += [name] if outcome == 0 else []
        results.endless += [name] if outcome is None else []
    return results


def _outcome(tests: str) -> int | None:
    """Run tests in a copy of this process; return the exit code of pytest, None if they do not end in time."""
    child = os.fork()
    if not child:
        os.setsid()
        sys.dont_write_bytecode = True  # a change may keep the size of the file, and be made in the same second
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in range(3):
            os.dup2(nowhere, stream)
        code = 70
        try:
            code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *shlex.split(tests)]))
        finally:
            os._exit(code)
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status  # of a child that a signal ended too
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _annotations(path: Path) -> set[tuple[int, int]]:
    """Return the rows and columns of a module that its annotations take, which are not evaluated."""
    places: set[tuple[int, int]] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        for field in ("annotation", "returns"):
            found = getattr(node, field, None)
            if found is not None and found.lineno == found.end_lineno:
                places.update((found.lineno, column) for column in range(found.col_offset, found.end_col_offset))
    return places


def _mutants(path: Path) -> dict[str, Mutant]:
    """Return the mutants outside of annotations, by name: the operator, the line, and which of several alike it is."""
    left_alone, lines = _annotations(path), path.read_text().splitlines()
    nodes = list(ast_nodes(get_ast_from_path(path)))
    mutants: dict[str, Mutant] = {}
    times: Counter[str] = Counter()
    for operator in sorted(plugins.operator_names()):
        kind = plugins.get_operator(operator)
        if kind.arguments():
            continue
        places = [start for node in nodes for start, _ in kind().mutation_positions(node)]
        for occurrence, (row, column) in enumerate(places):
            if (row, column) not in left_alone:
                name = f"{operator.rpartition('/')[2]} `{lines[row - 1].strip()}`"
                times[name] += 1
                mutants[f"{name} {times[name]}"] = Mutant(operator, occurrence)
    return mutants


def remembered() -> list[Tally]:
    """Return the results of earlier sessions."""
    return [Tally(**json.loads(line)) for line in REMEMBERED.read_text().splitlines()] if REMEMBERED.exists() else []


def remember(tally: Tally) -> None:
    """Add a result; one of the same module and seed is replaced. Write the page."""
    kept = [one for one in remembered() if (one.module, one.seed) != (tally.module, tally.seed)]
    tallies = sorted([*kept, tally], key=lambda one: (list(MODULES).index(one.module), one.seed))
    REMEMBERED.write_text("".join(json.dumps(vars(one)) + "\n" for one in tallies))
    PAGE.write_text(page(tallies))


@functools.cache
def _same() -> set[tuple[str, str]]:
    """Return the mutants that do the same as their module."""
    found = tomllib.loads(SAME.read_text()).get("same", []) if SAME.exists() else []
    return {(one["module"], mutant) for one in found for mutant in one["mutants"]}


def page(tallies: Iterable[Tally]) -> str:
    """Return the page."""
    rows, survivors = [], []
    by_module = {name: [one for one in tallies if one.module == name] for name in MODULES}
    totals = [0] * 5
    for name, found in by_module.items():
        if not found:
            continue
        alive = sorted({one for tally in found for one in tally.survivors})
        same = [one for one in alive if (name, one) in _same()]
        left = sum(len(tally.survivors) for tally in found)
        tried, endless = sum(one.tried for one in found), sum(one.endless for one in found)
        numbers = [tried, tried - left, endless, len(same), len(alive) - len(same)]
        totals = [a + b for a, b in zip(totals, numbers, strict=True)]
        seeds = ", ".join(str(one.seed) for one in found)
        rows.append([name, found[-1].mutants, seeds, *numbers])
        survivors += [f"- {name}: {one}" for one in alive if one not in same]
    rows.append(["all", sum(int(str(row[1])) for row in rows), "", *totals])
    text = HEAD + "".join("| " + " | ".join(map(str, row)) + " |\n" for row in rows)
    if survivors:
        text += "\n## Survivors\n\nThe change, the line, and which of several changes alike it is.\n\n"
        text += "\n".join(survivors) + "\n"
    return text


def main() -> None:
    """Try the mutants as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=list(MODULES))
    parser.add_argument("--survivors", action="store_true", help="try those once more that survived")
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    os.chdir(ROOT)
    for library in LIBRARIES:
        importlib.import_module(library)
    earlier = [one for one in remembered() if one.module in args.only and one.survivors]
    for tally in map(again, earlier) if args.survivors else (mutate(n, args.count, args.seed) for n in args.only):
        print(tally, flush=True)
        if args.write:
            remember(tally)


if __name__ == "__main__":
    main()
