"""Trace: from a callable and input specs to one flat program, with the model's parameters as named inputs."""

from __future__ import annotations

import contextlib
import functools
import operator
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jax

from jax2onnx._compat import (
    TRACING_ERRORS,
    InconclusiveDimensionOperation,
    traceable,
    unchecked,
    unsharded,
    users_own,
)
from jax2onnx.errors import DimensionError, TraceError
from jax2onnx.frontend.remedies import comparison_remedy, first_line, symbolic_dims_remedy, tracing_remedy
from jax2onnx.frontend.switches import call_with_switches
from jax2onnx.plugin.functions import marked_call
from jax2onnx.plugin.naming import path_name
from jax2onnx.program.flatten import Note, flatten
from jax2onnx.program.program import Program

if TYPE_CHECKING:
    from jax2onnx.frontend.specs import Inputs
    from jax2onnx.plugin.opening import Opened
    from jax2onnx.program.facts import FactTable

__all__ = ["Traced", "trace"]


@dataclass(frozen=True, slots=True)
class Traced:
    """A traced callable.

    Attributes:
        program: flat program; its inputs are the parameters, the flattened inputs and the updated state, its outputs
            the flattened outputs and the new state.
        params: parameter name -> array; state that the callable does not change is among them.
        updated: name -> initial array of the state that it changes.
        outputs: for each flattened output, its path in the returned pytree (empty for a lone array).
        avals: for each flattened output, its abstract value in JAX.
        notes: what there is to tell of the program.
    """

    program: Program
    params: Mapping[str, Any]
    updated: Mapping[str, Any]
    outputs: tuple[str, ...]
    avals: tuple[Any, ...]
    notes: tuple[Note, ...] = ()


def trace(opened: Opened, inputs: Inputs, facts: FactTable) -> Traced:
    """Trace a pure function at the abstract values of its parameters and inputs.

    A scalar bool input that the function uses as a Python bool becomes a ``lax.cond`` over both of its values.

    Raises:
        TraceError: JAX could not trace the function.
        DimensionError: a comparison of symbolic dims could not be decided.
    """
    try:
        return _trace(opened, inputs, facts, ())
    except TraceError as error:
        if not inputs.switches or not _needs_python_bool(error):
            raise
        return _trace_with_switches(opened, inputs, facts, error)


def _trace_with_switches(opened: Opened, inputs: Inputs, facts: FactTable, first_error: TraceError) -> Traced:
    """Trace a function so that as few of the scalar bool inputs as possible are Python bools."""
    switches = inputs.switches
    try:
        traced = _trace(opened, inputs, facts, switches)
    except TraceError as error:
        if _needs_python_bool(error):
            # The Python bool is computed in the function: the first error is the plainer one.
            raise first_error from first_error.__cause__
        raise
    if len(switches) == 1:
        return traced
    for switch in inputs.switches:
        fewer = list(switches)
        fewer.remove(switch)
        with contextlib.suppress(TraceError):
            traced = _trace(opened, inputs, facts, fewer)
            switches = tuple(fewer)
    return traced


def _needs_python_bool(error: TraceError) -> bool:
    return isinstance(error.__cause__, jax.errors.TracerBoolConversionError)


def _trace(opened: Opened, inputs: Inputs, facts: FactTable, switches: Sequence[int]) -> Traced:
    state = opened.state
    arrays = dict(opened.params)
    for name in state:
        arrays.pop(name, None)
    arrays.update(state)
    names = [spec.name for spec in inputs.specs]
    given = [spec.aval for spec in inputs.specs]
    held = map(unsharded, map(jax.typeof, arrays.values()))

    def flat(leaves: Sequence[Any]) -> Any:
        arguments = leaves[: len(names)]
        params = dict(zip(arrays, leaves[len(names) :], strict=True))
        pure = functools.partial(opened.function, params)

        def call(arguments: Sequence[Any]) -> Any:
            result = inputs.call(pure, arguments)
            if not state:
                return result, []
            result, after = result
            return result, [after[name] for name in state]

        return call_with_switches(call, arguments, switches, names)

    with _explained_errors(inputs), traceable():
        jaxpr, (result, _) = jax.make_jaxpr(flat, return_shape=True)([*given, *held])
    notes: list[Note] = []
    with unchecked():
        program = flatten(jaxpr, facts, keep=marked_call, notes=notes)
    traced = _arrange(program, arrays, list(state), result)
    return replace(traced, notes=tuple(notes))


def _arrange(program: Program, arrays: Mapping[str, Any], state: Sequence[str], result: Any) -> Traced:
    """Sort the arrays, which are parameters and ``state``, into parameters and updated state.

    The inputs of the program are the model's inputs and the arrays, its outputs those of ``result`` and the new state.
    State whose output is its input is not updated.
    """
    flat, _ = jax.tree_util.tree_flatten_with_path(result)
    first = len(program.inputs) - len(arrays)
    inputs = list(program.inputs[:first])
    outputs = list(program.outputs[: len(flat)])
    before = dict(zip(arrays, program.inputs[first:], strict=True))
    after = dict(zip(state, program.outputs[len(flat) :], strict=True))
    params = dict(arrays)
    updated = {}
    for name in state:
        if after[name] is not before[name]:
            updated[name] = params.pop(name)
            inputs.append(before[name])
            outputs.append(after[name])
    inputs = [before[name] for name in params] + inputs
    names = []
    avals = []
    for path, aval in flat:
        names.append(path_name(path))
        avals.append(aval)
    return Traced(
        program=Program(inputs, program.eqns, outputs),
        params=params,
        updated=updated,
        outputs=tuple(names),
        avals=tuple(avals),
    )


@contextlib.contextmanager
def _explained_errors(inputs: Inputs) -> Iterator[None]:
    """Raise JAX's errors as errors that name the user's line and a remedy."""
    try:
        yield
    except InconclusiveDimensionOperation as error:
        raise DimensionError(
            f"JAX cannot decide a comparison of symbolic dimensions: {first_line(error)}",
            where=_user_line(error),
            remedy=comparison_remedy(error),
        ) from error
    except TRACING_ERRORS as error:
        raise TraceError(
            f"JAX cannot trace the callable: {first_line(error)}",
            where=_user_line(error),
            remedy=tracing_remedy(error),
        ) from error
    except (TypeError, ValueError, OverflowError) as error:
        remedy = symbolic_dims_remedy(error) if inputs.symbols else None
        if remedy is None:
            raise
        raise DimensionError(
            f"JAX cannot trace the callable with symbolic dimensions: {first_line(error)}",
            where=_user_line(error),
            remedy=remedy,
        ) from error


def _user_line(error: BaseException) -> str | None:
    """Return the innermost line of the user's own code on the way to an error."""
    frames = reversed(traceback.extract_tb(error.__traceback__))
    frame = users_own(frames, operator.attrgetter("filename"))
    return frame and f"{frame.filename}:{frame.lineno} ({frame.name}): {frame.line}"
