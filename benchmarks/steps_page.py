"""The section of docs/benchmarks.md on programs of many small steps, and its rows as they are printed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BASELINE", "COLUMNS", "head", "means", "render", "row_of"]

BASELINE = Path(__file__).with_name("steps_baseline.json")
"""The times of the models that an earlier tree made, and on which commit and how they were measured."""
_FAR_OVER = 10
"""How many times as long as ``jax.jit`` a program takes that is said to be far from it."""
COLUMNS = {
    "equations": ("equations", "d"),
    "executed": ("executed", "d"),
    "nodes": ("nodes", "d"),
    "nodes/eqns": ("nodes / executed", ".2f"),
    "hashes": ("hashes", "d"),
    "without": ("without", ".2f"),
    "ort, us": ("ort, µs", ".0f"),
    "ratio": ("ort / jit", ".1f"),
    "floor": ("ort / floor", ".2f"),
    "theirs": ("ours / theirs", ".2f"),
    "baseline": ("ours / earlier", ".2f"),
    "difference": ("difference", ".0e"),
}
"""Key of a figure -> the head of its column, and its form."""


def row_of(name: str, row: dict[str, Any], before: dict[str, Any]) -> str:
    """Return a row of the table; figures of an earlier run stand in front."""
    cells = []
    for key, (_, form) in COLUMNS.items():
        old = f"{_cell(before[name], key, form)} → " if key in before.get(name, {}) and key in row else ""
        cells.append(f"{old}{_cell(row, key, form)}")
    return f"| {name} | {' | '.join(cells)} |"


def _cell(row: dict[str, Any], key: str, form: str) -> str:
    figure = row.get(key, "-")
    return figure if isinstance(figure, str) else f"{figure:{form}}"


def head() -> list[str]:
    """Return the head of the table."""
    titles = [title for title, _ in COLUMNS.values()]
    return [f"| Program | {' | '.join(titles)} |", f"|---|{'---:|' * len(titles)}"]


def means(before: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    """Write the geometric means of both runs."""
    for key, (title, form) in COLUMNS.items():
        if key not in {"nodes/eqns", "ratio", "floor", "theirs", "baseline"}:
            continue
        sides = [[row[key] for row in rows if isinstance(row.get(key), float)] for rows in _both(before, found)]
        means = [f"{np.exp(np.mean(np.log(numbers))):{form}}" for numbers in sides if numbers]
        if means:
            yield f"Geometric mean of {title}: {' → '.join(means)} ({len(sides[-1])} programs)."


def _both(before: dict[str, Any], found: dict[str, Any]) -> list[list[Any]]:
    old = [before[name] for name in found if name in before]
    return [*([old] if len(old) == len(found) else []), list(found.values())]


def render(found: dict[str, Any], note: str, *, is_one_run: bool) -> Iterator[str]:
    """Write the section; it says whether the earlier tree's models were measured in the same run."""
    yield "## Programs of many small steps"
    yield ""
    yield "Written by `benchmarks/steps.py`, in one run, on one core: processor time, the least of many runs."
    yield "The programs are ours ([benchmarks/step_programs.py](../benchmarks/step_programs.py)) or those of packages"
    yield "from PyPI ([tests/libraries](../tests/libraries))."
    if note:
        yield note
    yield ""
    yield "- *Executed* is how many equations one run executes, those of loops as often as they are; a factorisation,"
    yield "  a hash and the drawing of random bits are one equation each."
    yield "- *Nodes* is how many nodes onnxruntime executes in one run, after its own optimisations."
    timed = [row for row in found.values() if "floor" in row]
    if timed:
        per_equation = np.exp(np.mean(np.log([row["jit, us"] / row["executed"] for row in timed])))
        empty = timed[0]["empty, us"]
        yield f"- *Floor* is what as many nodes on one number take, {empty:.2f} µs each. `jax.jit` takes"
        yield f"  {per_equation:.3f} µs for an executed equation, in the geometric mean: no model of as many nodes"
        yield "  comes near to it, and fewer nodes are what helps. Random numbers are the limit where a program"
        yield "  has many: a hash of threefry is one equation, and 20 rounds of 3 nodes for up to 4 numbers, of 4 for"
        yield "  up to 64, of 5 for more."
    yield "- *Hashes* is how many of the nodes are on numbers of uint32 and uint64, as those of hashes are, and"
    yield "  *without* is how many nodes are left for each executed equation that is no hash."
    if "theirs" in COLUMNS:
        converted = sum(isinstance(row.get("theirs"), float) for row in found.values())
        yield f"- *Theirs* is jax2onnx 0.17.1, of whose models {converted} are converted, run and agree with JAX."
    yield from _render_earlier(is_one_run=is_one_run)
    yield "- *Difference* is the largest from `jax.jit`, over the largest element of the result. A result of `newton`"
    yield "  is its last correction, which is rounding alone."
    yield ""
    yield from head()
    for name, row in found.items():
        yield row_of(name, row, {})
    yield ""
    for line in means({}, found):
        yield f"- {line}"
    yield from _render_by_hand({name: row for name, row in found.items() if "hand, us" in row})
    yield from _render_far({name: row for name, row in found.items() if row.get("ratio", 0) > _FAR_OVER})


def _render_earlier(*, is_one_run: bool) -> Iterator[str]:
    commit = json.loads(BASELINE.read_text())["commit"]
    yield f"- *Ours / earlier* is our time over that of the models that the tree of commit {commit} made,"
    if is_one_run:
        yield "  which were measured in the same run."
    else:
        yield "  which were measured in another run: both are in times of `jax.jit` in their run."


def _render_by_hand(found: dict[str, Any]) -> Iterator[str]:
    if not found:
        return
    yield ""
    yield "Some of these programs, written as models by hand with as few nodes as we can think of"
    yield "([benchmarks/hand_written](../benchmarks/hand_written)): loops are unrolled, sums of products are one Gemm,"
    yield "and what is the same in any run is a constant. They may know what no converter can: that a body moves in a"
    yield "plane, that an energy is quadratic, which nodes of a tree are reached, that logarithms are not needed. What"
    yield "one leaves out, such as a bound of iterations that is not reached, its docstring says. They agree with JAX,"
    yield "and show what onnxruntime allows."
    yield ""
    yield "| Program | nodes | by hand | ort, µs | by hand, µs | ours / by hand | by hand / jit | difference |"
    yield f"|---|{'---:|' * 7}"
    sides = []
    for name, row in found.items():
        ours, hand, jit = row["ort, us"], row["hand, us"], row["jit, us"]
        sides.append([ours / hand, hand / jit])
        times = f"{ours:.0f} | {hand:.0f} | {ours / hand:.1f} | {hand / jit:.1f}"
        yield f"| {name} | {row['nodes']} | {row['hand nodes']} | {times} | {row['hand difference']:.0e} |"
    over_hand, over_jit = np.exp(np.mean(np.log(sides), axis=0))
    yield ""
    yield f"- Geometric mean of ours / by hand: {over_hand:.1f}, of by hand / jit: {over_jit:.1f}."


def _render_far(found: dict[str, Any]) -> Iterator[str]:
    """List the programs that are far from ``jax.jit``: what we gained, and what a model by hand would gain."""
    if not found:
        return
    yield ""
    yield f"Programs that take more than {_FAR_OVER} times as long as in `jax.jit`. A model by hand shows what is left"
    yield "to gain, whatever a converter does; there are some where our time is above a third of the earlier tree's."
    yield ""
    yield "| Program | ort / jit | by hand / jit | ours / earlier | by hand / earlier |"
    yield f"|---|{'---:|' * 4}"
    for name, row in sorted(found.items(), key=lambda item: -item[1]["ratio"]):
        hand = row["hand, us"] / row["ort, us"] if "hand, us" in row else None
        share = row.get("baseline", "-")
        by_hand = "-" if hand is None else f"{hand * row['ratio']:.1f}"
        of_earlier = "-" if hand is None or isinstance(share, str) else f"{hand * share:.2f}"
        yield f"| {name} | {row['ratio']:.1f} | {by_hand} | {_cell(row, 'baseline', '.2f')} | {of_earlier} |"
