"""The stages of an export: each is entered once, in order, and none is gone back to."""

from __future__ import annotations

import inspect
import itertools
import sys
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jax2onnx import to_onnx
from jax2onnx.frontend.trace import trace
from jax2onnx.fusion.fuse import fuse
from jax2onnx.legalise.legalise import legalise
from jax2onnx.lowering.driver import Driver
from jax2onnx.output.names import unique_names
from jax2onnx.program.absorb_transposes import absorb_transposes
from jax2onnx.program.flatten import flatten
from jax2onnx.program.fold_constants import fold
from jax2onnx.program.prune_calls import CallPruner
from jax2onnx.program.signed_zeros import mark_signs
from jax2onnx.testing import operators
from jax2onnx.tidy.tidy import tidy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

STAGES: dict[str, Callable[..., Any]] = {
    "frontend.trace": trace,
    "program.flatten": flatten,
    "fusion.fuse": fuse,
    "program.absorb_transposes": absorb_transposes,
    "program.prune_calls": CallPruner.prune,
    "program.fold_constants": fold,
    "program.signed_zeros": mark_signs,
    "lowering.driver": Driver.run,
    "tidy.tidy": tidy,
    "legalise.legalise": legalise,
    "output.names": unique_names,
}
"""The function of each stage, in the order of the stages."""

PER_PROGRAM = {"fusion.fuse", "program.absorb_transposes", "program.fold_constants"}
"""Stages that are entered for each program of the tree."""

PIPELINE = {"jax2onnx.pipeline.export", "jax2onnx.frontend.trace", "jax2onnx.program.prepare"}
"""The modules that call stages. Fusions flatten references too, and rules emit programs: that is inside a stage."""


@contextmanager
def entries() -> Iterator[list[str]]:
    """Collect the stages that are entered meanwhile."""
    names = {inspect.unwrap(function).__code__: name for name, function in STAGES.items()}
    entered: list[str] = []

    def notice(frame: FrameType, event: str, _: Any) -> None:
        stage = names.get(frame.f_code) if event == "call" else None
        if stage is not None and frame.f_back is not None and frame.f_back.f_globals["__name__"] in PIPELINE:
            entered.append(stage)

    before = sys.getprofile()
    sys.setprofile(notice)
    try:
        yield entered
    finally:
        sys.setprofile(before)


def in_order(entered: list[str]) -> list[str]:
    """Return the stages in the order of their beginnings; one that is gone back to occurs again."""
    return [stage for stage, _ in itertools.groupby(entered)]


def smoothed(rows: Any) -> Any:
    def step(carry: Any, row: Any) -> tuple[Any, Any]:
        carry = jax.nn.softmax(carry + row)
        return carry, carry * 2

    return jax.lax.scan(step, rows[0], rows)[1]


def test_each_stage_goes_through_all_programs_before_the_next_begins() -> None:
    with entries() as entered:
        model = to_onnx(smoothed, [("B", 3)])
    assert in_order(entered) == list(STAGES)
    programs = 2  # the model's, and the body of the scan
    expected = {stage: programs if stage in PER_PROGRAM else 1 for stage in STAGES}
    assert Counter(entered) == expected
    assert {"Scan", "Softmax"} <= operators(model).keys()


def test_a_rule_expressed_in_jax_goes_back_and_that_is_noticed() -> None:
    with entries() as entered:
        to_onnx(jax.lax.lgamma, [(3,)])
    order = in_order(entered)
    after_lowering = order[order.index("lowering.driver") + 1 :]
    assert after_lowering[0] == "program.flatten"


def calls_for(steps: int) -> int:
    """Return how many functions of Python these packages call, and have called, to export five equations a step."""
    weights = np.eye(8, dtype=np.float32)

    def unrolled(x: jax.Array) -> jax.Array:
        for _ in range(steps):
            x = x + 0.1 * (jax.numpy.tanh(x @ weights) - x)
        return x

    calls = 0

    def notice(frame: FrameType, event: str, _: Any) -> None:
        nonlocal calls
        # Before Python 3.12 a comprehension is a call, too.
        if event == "call" and not frame.f_code.co_name.startswith("<"):
            both = [frame, frame.f_back]
            calls += any("jax2onnx" in one.f_code.co_filename for one in both if one is not None)

    before = sys.getprofile()
    sys.setprofile(notice)
    try:
        to_onnx(unrolled, [(4, 8)])
    finally:
        sys.setprofile(before)
    return calls


def test_cost_of_an_export_is_linear_and_small() -> None:
    """Count the function calls, which cannot flake as times do."""
    calls_for(2)
    small, large = calls_for(20), calls_for(200)
    assert large < 10.1 * small
    assert large < 320 * 5 * 200
