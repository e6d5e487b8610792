"""The test kit for dynamic shapes: a program is exported once and compared with JAX at many sizes.

A plugin's test file is a table and three lines::

    PROGRAMS = [Sized("mean", lambda x: x.mean(0), [("B", 3)])]

    @pytest.mark.parametrize("program", chosen(PROGRAMS), ids=str)
    def test_program(program): run(program)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from jax2onnx.api import to_onnx
from jax2onnx.checking.check import check
from jax2onnx.checking.inputs import Batch, concrete, draw
from jax2onnx.checking.runtime import Runner
from jax2onnx.frontend.specs import Inputs, parse_inputs

SIZES = (1, 2, 5, 17)
"""Sizes that symbols take in turn, none of which tracing sees; 0 is tried too."""

LEAST = 4
"""At how many sizes a program is compared at least."""

REFUSALS = (TypeError, ValueError, IndexError, ZeroDivisionError)
"""What JAX raises where it has no answer."""


@dataclass(frozen=True, slots=True)
class Sized:
    """A program with symbolic dims.

    Attributes:
        name: what it shows.
        function: the function to export.
        inputs: its input specs.
        constraints: what holds between the symbols.
        empty: whether JAX has an answer where every symbol is 0 (or the smallest size that the constraints allow).
        sizes: sizes of the symbols besides 0, as ``check`` takes them.
        options: further keyword arguments of ``to_onnx``.
        rtol: relative tolerance, where the default of the dtype does not hold.
        atol: absolute tolerance, likewise.
        heavy: whether it takes seconds, and so is run only where the environment has ``DYNAMIC=all``.
    """

    name: str
    function: Callable[..., Any]
    inputs: Sequence[Any] | Mapping[str, Any]
    constraints: Sequence[str] = ()
    empty: bool = True
    sizes: Sequence[int] | Sequence[Mapping[str, int]] = SIZES
    options: Mapping[str, Any] = field(default_factory=dict)
    rtol: float | None = None
    atol: float | None = None
    heavy: bool = False

    def __str__(self) -> str:
        return self.name


def chosen(programs: Sequence[Sized]) -> list[Sized]:
    """Return the programs to run: all of them, or those that are not heavy."""
    everything = os.environ.get("DYNAMIC") == "all"
    return [p for p in programs if everything or not p.heavy]


def run(program: Sized) -> onnx.ModelProto:
    """Export a program once, hold it against onnx's checks, and compare it with JAX at every size.

    Raises:
        CheckError: the model disagrees with JAX.
        AssertionError: a shape that the model declares is not true, or JAX has an answer it was said to lack.
    """
    constraints = list(program.constraints)
    model = to_onnx(program.function, program.inputs, constraints=constraints, **program.options)
    accept(model)
    parsed = parse_inputs(program.function, program.inputs, constraints=constraints)
    avals = [s.aval for s in parsed.specs]
    sizes = [*program.sizes, 0] if isinstance(program.sizes[0], int) else program.sizes
    batches = draw(avals, sizes, constraints=constraints, kinds=("ordinary",))
    given = [b for b in batches if program.empty or all(b.sizes.values())]
    assert len(given) >= LEAST, f"{program}: compared at {len(given)} sizes; the constraints want larger ones"
    if not program.empty:
        refused = draw(avals, (0,), constraints=constraints, kinds=("ordinary",))
        assert not _answers(program.function, parsed, refused[0]), f"{program}: JAX has an answer at {refused[0].sizes}"
    values = [_arguments(parsed, batch) for batch in given]
    check(
        model,
        program.function,
        program.inputs,
        values=values,
        constraints=constraints,
        rtol=program.rtol,
        atol=program.atol,
    )
    true_shapes(model, given)
    return model


def accept(model: onnx.ModelProto) -> None:
    """Hold a model against onnx's full checker and its strict shape inference."""
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)


def true_shapes(model: onnx.ModelProto, batches: Sequence[Batch]) -> None:
    """Compare each shape that a model declares for an output or an intermediate with what onnxruntime computes.

    Raises:
        AssertionError: one differs.
    """
    declared = dict(_declared(model))
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    outputs = {o.name for o in model.graph.output}
    shown.graph.output.extend(v for v in model.graph.value_info if v.name not in outputs and v.name in declared)
    runner = Runner(shown)
    for batch in batches:
        for name, array in zip(runner.output_names, runner.run([np.asarray(a) for a in batch.arrays]), strict=True):
            try:
                want = concrete(declared[name], batch.sizes)
            except ZeroDivisionError:  # mod(2, T) is no size at T = 0
                continue
            assert array.shape == want, f"{name}: declared {declared[name]}, is {array.shape} at {batch.sizes}"


def _declared(model: onnx.ModelProto) -> Iterator[tuple[str, tuple[int | str, ...]]]:
    """Yield the values that the main graph computes, with their shapes."""
    produced = {name for node in model.graph.node for name in node.output}
    for value in (*model.graph.output, *model.graph.value_info):
        if value.name in produced and value.type.tensor_type.HasField("shape"):
            dims = value.type.tensor_type.shape.dim
            yield value.name, tuple(d.dim_param or d.dim_value for d in dims)


def _arguments(inputs: Inputs, batch: Batch) -> Any:
    return inputs.call(lambda *args, **kwargs: kwargs or args, list(batch.arrays))


def _answers(function: Callable[..., Any], inputs: Inputs, batch: Batch) -> bool:
    try:
        inputs.call(function, list(batch.arrays))
    except REFUSALS:
        return False
    return True
