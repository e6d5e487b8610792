"""The test kit for dynamic shapes: a program is exported once and compared with JAX at many sizes.

A plugin's test file is a table and three lines::

    PROGRAMS = [Sized("mean", lambda x: x.mean(0), [("B", 3)])]

    @pytest.mark.parametrize("program", select(PROGRAMS), ids=str)
    def test_program(program): run_sized(program)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from jax2onnx.api import to_onnx
from jax2onnx.checking.check import check
from jax2onnx.checking.inputs import Batch, draw
from jax2onnx.checking.refusals import REFUSALS
from jax2onnx.checking.runtime import Runner
from jax2onnx.checking.sizes import Sizes, concrete
from jax2onnx.frontend.specs import Inputs, parse_inputs

__all__ = ["Sized", "check_shapes", "run_sized", "select", "validate"]

Shape = tuple[int | str, ...]

_SIZES = (1, 2, 5, 17)
"""Sizes that symbols take in turn, none of which tracing sees; 0 is tried too."""

_LEAST = 4
"""At how many sizes a program is compared at least."""


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
    sizes: Sequence[int] | Sequence[Mapping[str, int]] = _SIZES
    options: Mapping[str, Any] = field(default_factory=dict)
    rtol: float | None = None
    atol: float | None = None
    heavy: bool = False

    def __str__(self) -> str:
        return self.name


def select(programs: Sequence[Sized]) -> list[Sized]:
    """Return the programs to run: all of them, or those that are not heavy."""
    everything = os.environ.get("DYNAMIC") == "all"
    return [program for program in programs if everything or not program.heavy]


def run_sized(program: Sized) -> onnx.ModelProto:
    """Export a program once, validate the model, and compare it with JAX at every size.

    Raises:
        CheckError: the model disagrees with JAX.
        AssertionError: a shape that the model declares is not true, or JAX has an answer where ``empty`` is False.
    """
    function = program.function
    inputs = program.inputs
    constraints = list(program.constraints)
    model: onnx.ModelProto = to_onnx(function, inputs, constraints=constraints, **program.options)
    validate(model)
    parsed = parse_inputs(function, inputs, constraints=constraints)
    avals = [spec.aval for spec in parsed.specs]

    def drawn(sizes: Sizes) -> list[Batch]:
        return draw(avals, sizes, constraints=constraints, kinds=("ordinary",))

    sizes: Sizes = program.sizes
    if isinstance(sizes[0], int):
        sizes = (*sizes, 0)
    batches = drawn(sizes)
    if not program.empty:
        (empty,) = drawn((0,))
        _require_refusal(program, parsed, empty)
        batches = [batch for batch in batches if all(batch.sizes.values())]
    count = len(batches)
    assert count >= _LEAST, f"{program}: compared at {count} sizes only; the constraints allow no more of its sizes"
    check(
        model,
        function,
        inputs,
        values=[_arguments(parsed, batch) for batch in batches],
        constraints=constraints,
        rtol=program.rtol,
        atol=program.atol,
    )
    check_shapes(model, batches)
    return model


def validate(model: onnx.ModelProto) -> None:
    """Require that a model passes onnx's full checker and its strict shape inference."""
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)


def check_shapes(model: onnx.ModelProto, batches: Sequence[Batch]) -> None:
    """Compare each shape that a model declares for an output or an intermediate with what onnxruntime computes.

    Raises:
        AssertionError: one differs.
    """
    declared = dict(_declared_shapes(model))
    runner = Runner(_with_all_outputs(model, declared))
    for batch in batches:
        inputs = list(map(np.asarray, batch.arrays))
        arrays = runner.run(inputs)
        for name, array in zip(runner.output_names, arrays, strict=True):
            shape = declared[name]
            try:
                expected = concrete(shape, batch.sizes)
            except ZeroDivisionError:  # mod(2, T) is no size at T = 0
                continue
            assert array.shape == expected, f"{name}: declared {shape}, is {array.shape} at {batch.sizes}"


def _declared_shapes(model: onnx.ModelProto) -> Iterator[tuple[str, Shape]]:
    """Yield the values that the main graph computes, with their shapes."""
    graph = model.graph
    computed: set[str] = set()
    for node in graph.node:
        computed.update(node.output)
    for value in (*graph.output, *graph.value_info):
        tensor = value.type.tensor_type
        if value.name in computed and tensor.HasField("shape"):
            dims = tensor.shape.dim
            yield value.name, tuple(dim.dim_param or dim.dim_value for dim in dims)


def _with_all_outputs(
    model: onnx.ModelProto,
    names: Collection[str],
) -> onnx.ModelProto:
    """Return a copy of a model that returns the named intermediates too."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    outputs = {output.name for output in model.graph.output}
    for value in model.graph.value_info:
        if value.name in names and value.name not in outputs:
            result.graph.output.append(value)
    return result


def _arguments(inputs: Inputs, batch: Batch) -> Any:
    """Return a batch as ``check`` takes it: a tuple of arguments, or a dict of keyword arguments."""
    return inputs.call(lambda *args, **kwargs: kwargs or args, batch.arrays)


def _require_refusal(program: Sized, inputs: Inputs, batch: Batch) -> None:
    try:
        inputs.call(program.function, batch.arrays)
    except REFUSALS:
        return
    raise AssertionError(f"{program}: JAX has an answer at {batch.sizes}")
