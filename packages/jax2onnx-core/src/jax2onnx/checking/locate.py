"""Locate: the first equation of a program whose results in the exported model differ from JAX's.

The program is cut after some of its equations: what the rest of it needs are the results. Such a program is exported
and checked like any other. Halving the number of equations leads to the first one with which the check fails.
"""

from __future__ import annotations

import functools
import itertools
import linecache
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax

from jax2onnx._compat import Literal, bind_equation, open_jaxpr, unchecked, user_frame
from jax2onnx.api import to_onnx
from jax2onnx.checking.check import check
from jax2onnx.checking.inputs import draw
from jax2onnx.errors import CheckError, Jax2OnnxError
from jax2onnx.frontend.open import open_callable
from jax2onnx.frontend.specs import parse_inputs
from jax2onnx.output.sources import SOURCE
from jax2onnx.plugin import loader
from jax2onnx.plugin.opening import Opening
from jax2onnx.program.flatten import called_jaxpr

if TYPE_CHECKING:
    import onnx

    from jax2onnx.program.facts import FactTable

__all__ = ["Difference", "first_difference"]

_SHARED = ("constraints", "static", "input_params", "training")
_EXPORT = ("opset", "target", "lowerings", "fusions")


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a model first differs from JAX.

    Attributes:
        equation: the primitive whose result differs, or ends a function whose result does.
        values: what differs, in words.
        node: the node that computes it, with its plugin; empty if there is none.
        where: the user's line, ``file:line (function)``; None if it is not known.
    """

    equation: str
    values: str
    node: str
    where: str | None

    def __str__(self) -> str:
        lines = [f"first difference, in a result of {self.equation}: {self.values}"]
        if self.node:
            lines.append(f"  node: {self.node}")
        if self.where:
            lines.append(f"  JAX:  {self.where}")
            file, _, number = self.where.partition(" (")[0].rpartition(":")
            if source := linecache.getline(file, int(number)).strip():
                lines.append(f"        {source}")
        return "\n".join(lines)


def first_difference(
    fn: Any,
    inputs: Sequence[Any] | Mapping[str, Any],
    options: Mapping[str, Any],
    comparison: Mapping[str, Any],
) -> Difference | None:
    """Return where a model of static shapes first differs from JAX; None if no cut of the program shows it.

    Args:
        fn: the callable.
        inputs: its specs, without symbolic dims.
        options: the options of the export.
        comparison: further options of the comparison.
    """
    try:
        return _Cuts.of(fn, inputs, options, comparison).search()
    except Jax2OnnxError:
        return None  # the whole program is exported; a part of it that is not tells nothing


@dataclass(frozen=True, slots=True)
class _Step:
    """One equation of the flat program; values have numbers."""

    eqn: Any
    operands: tuple[Any, ...]
    results: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Cuts:
    """A flat program that can be cut after each equation.

    Attributes:
        steps: its equations.
        outputs: the numbers of its results, and constants.
        constants: the numbers of constants, with their values.
        arguments: the numbers of its arguments: the arrays of the model and the inputs.
        params: the arrays of the model.
        specs: the specs of all arguments.
        options: the options of the export.
        comparison: those of the comparison.
    """

    steps: Sequence[_Step]
    outputs: Sequence[Any]
    constants: Mapping[int, Any]
    arguments: Sequence[int]
    params: Sequence[Any]
    specs: Sequence[Any]
    options: Mapping[str, Any]
    comparison: Mapping[str, Any]

    @classmethod
    def of(cls, fn: Any, inputs: Any, options: Mapping[str, Any], comparison: Mapping[str, Any]) -> _Cuts:
        loaded = loader.load()
        with unchecked():
            opened = open_callable(fn, loaded.hook, Opening(training=options.get("training", False)))
            shared = {name: options[name] for name in _SHARED if name in options}
            parsed = parse_inputs(opened.signature or fn, inputs, **shared)
            arrays = {**opened.params, **opened.state}

            def flat(params: Sequence[Any], leaves: Sequence[Any]) -> Any:
                named = dict(zip(arrays, params, strict=True))
                return parsed.call(functools.partial(opened.function, named), leaves)

            avals = [spec.aval for spec in parsed.specs]
            given = list(arrays.values())
            closed = jax.make_jaxpr(flat)(given, avals)
        jaxpr, consts = open_jaxpr(closed)
        flattening = _Flattening(loaded.registry().facts)
        arguments = [flattening.new() for _ in jaxpr.invars]
        outputs = flattening.run(jaxpr, consts, arguments)
        return cls(
            flattening.steps,
            outputs,
            flattening.constants,
            arguments,
            given,
            [*map(jax.typeof, given), *avals],
            {name: options[name] for name in _EXPORT if name in options},
            comparison,
        )

    def search(self) -> Difference | None:
        """Return the difference at the first equation with which a cut program differs from JAX."""
        right, wrong = 0, len(self.steps)
        if self.error(wrong) is None:
            return None
        while wrong - right > 1:
            middle = (right + wrong) // 2
            if self.error(middle) is None:
                right = middle
            else:
                wrong = middle
        step = self.steps[wrong - 1]
        results = [number for number in step.results if number in self.needed(wrong)]
        model, error = self.compared(wrong, results)
        return Difference(
            step.eqn.primitive.name,
            _values(error or self.error(wrong)),
            _producer(model),
            user_frame(step.eqn.source_info),
        )

    def error(self, count: int) -> CheckError | None:
        """Return what the check says of the program cut after some equations."""
        return self.compared(count, self.needed(count))[1]

    def needed(self, count: int) -> list[int]:
        """Return the numbers of what the first equations compute, and the rest of the program needs."""
        made = itertools.chain.from_iterable(step.results for step in self.steps[:count])
        read = {atom for step in self.steps[count:] for atom in step.operands if isinstance(atom, int)}
        read |= {atom for atom in self.outputs if isinstance(atom, int)}
        return [number for number in made if number in read]

    def compared(self, count: int, results: Sequence[int]) -> tuple[onnx.ModelProto | None, CheckError | None]:
        """Export the program cut after some equations, and compare it with JAX."""
        if not results:
            return None, None

        def cut(*arguments: Any) -> tuple[Any, ...]:
            values = {**self.constants, **dict(zip(self.arguments, arguments, strict=True))}
            for step in self.steps[:count]:
                operands = [values[a] if isinstance(a, int) else a.val for a in step.operands]
                values.update(zip(step.results, bind_equation(step.eqn, operands), strict=True))
            return tuple(values[number] for number in results)

        specs = [jax.ShapeDtypeStruct(s.shape, s.dtype, weak_type=s.weak_type) for s in self.specs]
        model = to_onnx(cut, specs, **self.options)
        drawn = draw(specs[len(self.params) :])
        batches = [[*self.params, *batch.arrays] for batch in drawn]
        try:
            check(model, cut, specs, values=batches, **self.comparison)
        except CheckError as error:
            return model, error
        return model, None


class _Flattening:
    """Writes a jaxpr, with all that it only calls, as one list of equations over numbered values."""

    def __init__(self, facts: FactTable) -> None:
        self.steps: list[_Step] = []
        self.constants: dict[int, Any] = {}
        self._facts = facts
        self._numbers: Iterator[int] = itertools.count()

    def new(self) -> int:
        """Return the number of a new value."""
        return next(self._numbers)

    def run(self, jaxpr: Any, consts: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
        """Add the equations of a jaxpr; return its results: numbers, and literals."""
        values: dict[Any, Any] = dict(zip(jaxpr.invars, arguments, strict=True))
        for var, value in zip(jaxpr.constvars, consts, strict=True):
            values[var] = number = self.new()
            self.constants[number] = value

        def read(atom: Any) -> Any:
            return atom if isinstance(atom, Literal) else values[atom]

        for eqn in jaxpr.eqns:
            operands = tuple(map(read, eqn.invars))
            called = called_jaxpr(eqn, self._facts.of(eqn.primitive.name))
            if called is not None:
                results: Sequence[Any] = self.run(*called, operands)
            else:
                results = tuple(self.new() for _ in eqn.outvars)
                self.steps.append(_Step(eqn, operands, results))
            values.update(zip(eqn.outvars, results, strict=True))
        return list(map(read, jaxpr.outvars))


def _values(error: CheckError | None) -> str:
    """Return which values differ, as a check says it."""
    text = "" if error is None else error.message
    return text.partition("\n")[2] or text


def _producer(model: onnx.ModelProto | None) -> str:
    """Return the node that computes the first output of a model, in words."""
    if model is None:
        return ""
    name = model.graph.output[0].name
    for node in model.graph.node:
        if name in node.output:
            told = {entry.key: entry.value for entry in node.metadata_props}
            plugin = told.get("jax2onnx.plugin", "core")
            operator = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
            text = f"{operator}({', '.join(node.input)}) -> {', '.join(node.output)}"
            return f"{text}, of {loader.load().describe(plugin)}" + (f", {told[SOURCE]}" if SOURCE in told else "")
    return ""
