"""Find the scans that are recurrent layers, whoever wrote them.

before: scan: h, c, x -> i, f, g, o = split(x @ w + h @ u); c = sigmoid(f) * c + sigmoid(i) * tanh(g); ...
after:  LSTM(xs, w', u', 0, h, c)          with the columns of w and u in the order of the operator
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jax2onnx.plugin import Eqn, is_static
from jax2onnx_lax.branches import moving
from jax2onnx_lax.recurrent.cells import Cell, find_cell
from jax2onnx_lax.recurrent.operators import Run, is_ordinary, reason_against
from jax2onnx_lax.recurrent.steps import read_steps
from jax2onnx_lax.recurrent.terms import Atom, Source, Sum, constant

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import LoweringContext, Program

__all__ = ["Layer", "find_layer"]

_MOST_EQUATIONS = 100
"""No cell has as many equations."""


@dataclass(frozen=True, slots=True)
class Layer:
    """A recurrent layer.

    Attributes:
        run: the operator and its operands.
        states: the positions, among what is carried, of its states.
        outputs: the positions of its outputs, among the results of the scan.
        count: how many results there are.
        is_full: whether its packed parameters are all that the scan multiplies.
    """

    run: Run
    states: Sequence[int]
    outputs: Sequence[int]
    count: int
    is_full: bool

    def results(self, values: Sequence[ir.Value], init: Sequence[ir.Value]) -> list[ir.Value]:
        """Return the results of the scan, given those of the operator; what else is carried does not change."""
        results = [*init, *[values[-1]] * (self.count - len(init))]
        for place, value in zip(self.states, values, strict=False):
            results[place] = value
        return results

    def chosen(self, results: Sequence[ir.Value]) -> list[ir.Value]:
        """Return the results of the operator, given those of the scan."""
        return [results[place] for place in (*self.states, *self.outputs[:1])]


def find_layer(
    ctx: LoweringContext, program: Program, operands: Sequence[ir.Value], counts: tuple[int, int], *, reverse: bool
) -> Layer | None:
    """Return the recurrent layer that a scan is; None if it is something else.

    Args:
        ctx: that of the scan.
        program: its body.
        operands: its operands.
        counts: how many of them are constants, and how many are carried.
        reverse: whether the last step comes first.
    """
    constants, carries = counts
    moved = moving(program, constants, carries)
    if not moved or len(program.eqns) > _MOST_EQUATIONS or not _has_parts(program):
        return None
    arrays = [ctx.known(place) for place in range(constants)]
    unknown = [place for place, array in enumerate(arrays) if array is None]
    reader = _Reader(program, counts, {place: array for place, array in enumerate(arrays) if array is not None})
    found: list[_Found | None] = []
    avals = [ctx.avals_in[place] for place in unknown]

    def packed(*given: Any) -> list[Any]:
        found.append(reader.find(dict(zip(unknown, given, strict=True))))
        return found[-1].cell.packed() if found[-1] is not None else []

    known = packed() if not unknown else None
    if unknown:
        jax.eval_shape(packed, *[jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in avals])
    one = found[-1]
    if one is None or not set(moved) <= set(one.cell.states):
        return None
    outputs = list(range(carries, len(program.outputs)))
    last = program.outputs[one.cell.states[-1]]
    if any(program.outputs[place] is not last for place in outputs):
        return None
    xs = [constants + carries + place for place in one.inputs]
    steps, *rest = ctx.avals_in[xs[0]].shape
    x_shape = (steps, *rest[:-1], sum(ctx.avals_in[place].shape[-1] for place in xs))
    shapes = x_shape, (steps, *ctx.avals_in[constants + one.cell.states[-1]].shape)
    if reason_against(ctx, one.cell.operator, shapes):
        return None
    weights = _emit_weights(ctx, packed, known, [(operands[place], ctx.avals_in[place]) for place in unknown])
    x = operands[xs[0]] if len(xs) == 1 else ctx.stamp(ctx.op.Concat(*[operands[p] for p in xs], axis=-1), x_shape)
    run = Run(
        operator=one.cell.operator,
        x=x,
        carry=[operands[constants + place] for place in one.cell.states],
        weights=weights,
        shapes=shapes,
        late=one.cell.late is not None,
        reverse=reverse,
        has_outputs=bool(outputs),
    )
    if not is_ordinary(run):
        return None
    return Layer(run, one.cell.states, outputs, len(program.outputs), one.cell.is_full)


def _emit_weights(
    ctx: LoweringContext,
    packed: Callable[..., list[Any]],
    known: Sequence[Any] | None,
    unknown: Sequence[tuple[ir.Value, Any]],
) -> list[ir.Value]:
    """Emit ``W``, ``R`` and ``B``: as constants, of parameters too that are; else as they are computed."""
    if known is not None:
        return [ctx.constant(np.ascontiguousarray(array)) for array in known]
    values, avals = [value for value, _ in unknown], [aval for _, aval in unknown]
    weights: list[ir.Value] = []
    for place, what in enumerate("WRB"):
        value = ctx.op.derived(what, values, functools.partial(_part, packed, place))
        if value is None:
            computed: list[ir.Value] = ctx.via_jax(packed, *values, avals=avals)
            return computed
        weights.append(value)
    return weights


def _part(packed: Callable[..., list[Any]], place: int, *arrays: Any) -> Any:
    return packed(*arrays)[place]


def _has_parts(program: Program) -> bool:
    """Return whether a body has what all cells have."""
    names = {eqn.primitive for eqn in _all(program.eqns)}
    return {"dot_general", "tanh"} <= names


def _all(eqns: Sequence[Eqn]) -> Iterator[Eqn]:
    """Yield equations, in the place of whole functions those that they stand for."""
    for eqn in eqns:
        if eqn.fused is None:
            yield eqn
        else:
            yield from _all(eqn.fused.interior)


@dataclass(frozen=True, slots=True)
class _Found:
    """A cell.

    Attributes:
        cell: the cell.
        inputs: the positions of its inputs, among what is scanned.
    """

    cell: Cell
    inputs: Sequence[int]


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads a body.

    Attributes:
        program: the body.
        counts: how many of its inputs are constants, and how many are carried.
        known: the constants that are known, by position.
    """

    program: Program
    counts: tuple[int, int]
    known: Mapping[int, Any]

    def find(self, unknown: Mapping[int, Any]) -> _Found | None:
        """Return the cell that the body is, given the other constants."""
        constants, carries = self.counts
        inputs = self.program.inputs
        given: dict[Any, Sum] = {}
        for place, array in {**self.known, **unknown}.items():
            if array.dtype == np.float32:
                given[inputs[place]] = constant(array)
        sources = [_source(variable.aval) for variable in inputs[constants:]]
        for variable, source in zip(inputs[constants:], sources, strict=True):
            if source is not None:
                given[variable] = Sum.of(Atom("source", source))
        read = read_steps(self.program.eqns, given)
        after = [read.of(output) for output in self.program.outputs[:carries]]
        scanned = sources[carries:]
        cell = find_cell(sources[:carries], after, [source for source in scanned if source is not None])
        return None if cell is None else _Found(cell, [scanned.index(source) for source in cell.inputs])


def _source(aval: Any) -> Source | None:
    """Return an input of a step as a vector for each sequence; None if it is none."""
    if aval.dtype != np.float32 or not aval.shape or not is_static(aval.shape[-1]):
        return None
    return Source(tuple(aval.shape))
