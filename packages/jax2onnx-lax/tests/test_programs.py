"""Random small programs, composed from what jax.numpy, jax.lax and libraries offer, agree with JAX.

A line that JAX refuses is left out. ``PROGRAMS`` says how many programs are drawn (default 70), ``PROGRAMS_SEED`` from
which seed, and ``PROGRAMS_KEEP_GOING`` reports every failure of a world at its end, without shrinking. A program whose
model ends the process is in the file ``PROGRAMS_LAST``.
"""

from __future__ import annotations

import contextlib
import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, Phase, assume, given, seed, settings
from random_programs import REFUSED, WORLDS, Program, World, programs

from jax2onnx import check, to_onnx
from jax2onnx.errors import CheckError, TraceError
from jax2onnx.testing import Runner, draw, represented

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COUNT = int(os.environ.get("PROGRAMS", "70"))
SEED = int(os.environ.get("PROGRAMS_SEED", "0"))
LAST = os.environ.get("PROGRAMS_LAST")
NEW = os.environ.get("PROGRAMS_FOUND")
KEEP_GOING = bool(os.environ.get("PROGRAMS_KEEP_GOING"))
SHARES = sum(world.share for world in WORLDS.values())

NOT_MENDED = "not mended: "
FOUND = [
    entry.strip().split("\n", 1)
    for entry in Path(__file__).with_name("programs_found.txt").read_text(encoding="utf-8").split("\n\n")[1:]
]
"""The heading and the text of each program that once failed."""

Arrays = list[np.ndarray[Any, Any]]


def wavers(program: Program, model: onnx.ModelProto, kinds: Sequence[str]) -> bool:
    """Return whether all differences are such as JAX makes itself, when each line's floats move by their last places.

    ``check`` moves the inputs alone, which shows nothing for programs of integers. Without ``jit`` JAX multiplies by
    booleans; with it, it selects, so that a NaN disappears. Where the model computes a subnormal number, JAX has zero,
    and a program that takes its logarithm shows the difference.
    """
    runner, all_values = Runner(model), Runner(_with_all_values(model))
    function = program.function()
    for batch in draw(program.specs, kinds=kinds):
        with jax.debug_nans(new_val=False), jax.debug_infs(new_val=False):
            arrays = [jnp.asarray(array) for array in batch.arrays]
            feeds = _numbers(arrays)
            if any(map(_has_subnormal, all_values.run(feeds))):
                continue
            moved = [_numbers(program.function(np.random.default_rng(i))(*arrays)) for i in range(24)]
            # Without jit, the counter of a loop is a Python int, which some programs do not take.
            with jax.disable_jit(), contextlib.suppress(AttributeError):
                moved.append(_numbers(function(*arrays)))
            expected = _numbers(function(*arrays))
        for result, *alternatives in zip(runner.run(feeds), expected, *moved, strict=True):
            if not _explained(result, alternatives):
                return False
    return True


def _numbers(values: Any) -> Arrays:
    """Return arrays as a model has them: a complex number is a pair of real numbers."""
    return [np.asarray(represented(value)) for value in values]


def _explained(result: Any, alternatives: Arrays) -> bool:
    """Return whether every element of a result lies near what JAX computes for it, or is NaN where JAX may have NaN."""
    all_of = np.stack([np.asarray(value, np.float64) for value in alternatives])
    got = np.asarray(result, np.float64)
    with np.errstate(invalid="ignore"):
        low, high = all_of.min(0), all_of.max(0)
        room = 4 * (high - low) + 4 * 1e-5 * np.abs(all_of[0])
        between = (got >= low - room) & (got <= high + room)
    close = between | ~np.isfinite(all_of).all(0)
    both_nan = np.isnan(got) & np.isnan(all_of).any(0)
    return bool(np.all(close | (got == all_of[0]) | both_nan))


def _with_all_values(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with the results of all its nodes as further outputs."""
    telling = onnx.ModelProto()
    telling.CopyFrom(model)
    known = {output.name for output in telling.graph.output}
    names = [name for node in telling.graph.node for name in node.output if name and name not in known]
    telling.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return telling


def _has_subnormal(value: Any) -> bool:
    array = np.asarray(value)
    if array.dtype.kind != "f":
        return False
    return bool(np.any((array != 0) & (np.abs(array) < np.finfo(array.dtype).smallest_normal)))


def compare(program: Program, kinds: Sequence[str]) -> None:
    """Export a program, verify the model and compare it with JAX."""
    function = program.function()
    if LAST:
        Path(LAST).write_text(repr(program), encoding="utf-8")
    model = to_onnx(function, program.specs)
    onnx.checker.check_model(model, full_check=True)
    try:
        check(model, function, program.specs, kinds=kinds)
    except CheckError:
        if not wavers(program, model, kinds):
            raise


def runs(program: Program) -> bool:
    """Return whether JAX runs and compiles a program: a rule of shapes may accept what its definition then refuses."""
    try:
        program.function()(*(jnp.zeros(spec.shape, spec.dtype) for spec in program.specs))
        jax.jit(program.function()).lower(*program.specs)
    except REFUSED:
        return False
    return True


@pytest.mark.filterwarnings("ignore:.*overflow.*:RuntimeWarning")
@pytest.mark.parametrize("name", WORLDS)
def test_programs_agree_with_jax(name: str, record_property: Callable[[str, object], None]) -> None:
    """Draw the programs of a world, each once, export them and compare."""
    world: World = WORLDS[name]
    count = COUNT * world.share // SHARES
    agreed: set[str] = set()
    failures: list[str] = []

    @seed(SEED)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=(Phase.generate,) if COUNT > 100 else (Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(programs(world))
    def agree(program: Program) -> None:
        assume(repr(program) not in agreed)
        try:
            compare(program, world.kinds)
        except Exception:
            assume(runs(program))
            if not KEEP_GOING:
                raise
            if NEW:
                with Path(NEW).open("a", encoding="utf-8") as file:
                    file.write(f"\n# {name}, seed {SEED}\n{program.without_unused()!r}\n")
            failures.append(f"{program!r}\n{traceback.format_exc(limit=-3)}")
        agreed.add(repr(program))

    with world.configured():
        agree()
    record_property("failed programs", len(failures))  # `scripts/robustness.py` reads it
    assert not failures, "\n\n".join(failures)
    assert len(agreed) == count


@pytest.mark.filterwarnings("ignore:.*overflow.*:RuntimeWarning")
@pytest.mark.parametrize(("heading", "text"), FOUND, ids=[heading for heading, _ in FOUND])
def test_programs_that_once_failed_agree(heading: str, text: str, request: pytest.FixtureRequest) -> None:
    _, _, reason = heading.partition(NOT_MENDED)
    if reason:
        request.applymarker(pytest.mark.xfail(raises=(CheckError, TraceError), strict=True, reason=reason))
    program, world = Program.read(text), WORLDS[heading.removeprefix("# ").split(",")[0]]
    assert repr(program) == text
    with world.configured():
        compare(program, world.kinds)
