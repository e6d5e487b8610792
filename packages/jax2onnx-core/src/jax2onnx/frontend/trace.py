"""Trace: from a callable and input specs to one flat program, with the model's parameters as named inputs."""

from __future__ import annotations

import contextlib
import functools
import operator
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import jax

from jax2onnx._compat import (
    TRACING_ERRORS,
    InconclusiveDimensionOperation,
    WrittenReference,
    lowered_types,
    traceable,
    unchecked,
    unsharded,
    users_own,
    with_values_of_references,
)
from jax2onnx.errors import DimensionError, Jax2OnnxError, TraceError
from jax2onnx.frontend.concrete import AVOIDABLE, Recording, find_constants, may_need_values
from jax2onnx.frontend.elsewhere import with_small
from jax2onnx.frontend.explain import plugins_named
from jax2onnx.frontend.remedies import comparison_remedy, first_line, symbolic_dims_remedy, tracing_remedy
from jax2onnx.frontend.result_sizes import result_sizes
from jax2onnx.frontend.switches import call_with_switches
from jax2onnx.plugin.marks import marked_call
from jax2onnx.plugin.naming import path_name
from jax2onnx.plugin.opening import canonical
from jax2onnx.plugin.trees import refuse_deep
from jax2onnx.program.flatten import Note, flatten
from jax2onnx.program.lost import require_value
from jax2onnx.program.program import Program

if TYPE_CHECKING:
    from jax2onnx.frontend.concrete import Arrays
    from jax2onnx.frontend.specs import Inputs
    from jax2onnx.plugin.opening import Opened
    from jax2onnx.program.facts import FactTable
    from jax2onnx.weights.stored import StoredArray

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
        constants: the names of the arrays of the model that are constants, since Python code needs their values, with
            the user's line that does.
        carried: the names of those flattened outputs, by index, that an input of this program or of another one takes.
    """

    program: Program
    params: Mapping[str, Any]
    updated: Mapping[str, Any]
    outputs: tuple[str, ...]
    avals: tuple[Any, ...]
    notes: tuple[Note, ...] = ()
    constants: Mapping[str, str | None] = field(default_factory=dict)
    carried: Mapping[int, str] = field(default_factory=dict)


def trace(
    opened: Opened, inputs: Inputs, facts: FactTable, elsewhere: Mapping[str, StoredArray] | None = None
) -> Traced:
    """Trace a pure function at the abstract values of its parameters and inputs.

    A scalar bool input that the function uses as a Python bool becomes a ``lax.cond`` over both of its values. An array
    of the model whose value Python code needs becomes a constant.

    Args:
        opened: the function.
        inputs: the inputs.
        facts: what is known of primitives.
        elsewhere: where the arrays of parameters are that are not in memory.

    Raises:
        TraceError: JAX could not trace the function.
        DimensionError: a comparison of symbolic dims could not be decided.
    """
    tracing = _Tracing.of(opened, inputs, facts)
    try:
        return tracing.run()
    except AVOIDABLE as error:
        if not may_need_values(error, tracing.arrays):
            raise
        tracing = replace(tracing, arrays=with_small(tracing.arrays, elsewhere or {}))
        recording = Recording(tracing.arrays)
        for switches in dict.fromkeys([(), inputs.switches]):
            with contextlib.suppress(*AVOIDABLE):
                tracing.once(switches, recording)
        traced, needed = find_constants(tracing.run, recording, error)
        return replace(traced, constants=needed)


def _needs_python_bool(error: TraceError) -> bool:
    return isinstance(error.__cause__, jax.errors.TracerBoolConversionError)


@dataclass(frozen=True, slots=True)
class _Tracing:
    """A function to trace.

    Attributes:
        opened: the function and its arrays.
        inputs: its inputs.
        facts: facts about primitives.
        arrays: the parameters and the state, by name, as the user's object holds them.
    """

    opened: Opened
    inputs: Inputs
    facts: FactTable
    arrays: Mapping[str, Any]

    @classmethod
    def of(cls, opened: Opened, inputs: Inputs, facts: FactTable) -> _Tracing:
        arrays = dict(opened.params)
        for name in opened.state:
            arrays.pop(name, None)
        arrays.update(opened.state)
        for name, array in arrays.items():
            require_value(array, f"the array {name}")
        return cls(opened, inputs, facts, arrays)

    def run(self, treatment: Arrays | None = None) -> Traced:
        """Trace the function, with Python bools for as few of the scalar bool inputs as possible."""
        try:
            return self.once((), treatment)
        except TraceError as error:
            if not self.inputs.switches or not _needs_python_bool(error):
                raise
            return self._with_switches(error, treatment)

    def _with_switches(self, first_error: TraceError, treatment: Arrays | None) -> Traced:
        switches = self.inputs.switches
        try:
            traced = self.once(switches, treatment)
        except TraceError as error:
            if _needs_python_bool(error):
                # The Python bool is computed in the function: the first error is the plainer one.
                raise first_error from first_error.__cause__
            raise
        if len(switches) == 1:
            return traced
        for switch in self.inputs.switches:
            fewer = list(switches)
            fewer.remove(switch)
            with contextlib.suppress(TraceError):
                traced = self.once(fewer, treatment)
                switches = tuple(fewer)
        return traced

    def once(self, switches: Sequence[int], treatment: Arrays | None) -> Traced:
        """Trace the function once.

        Args:
            switches: the indices of the inputs that become Python bools.
            treatment: how the arrays are treated; None makes all of them inputs.
        """
        constants: Mapping[str, Any] = {} if treatment is None else treatment.constants
        arrays = {name: canonical(array) for name, array in self.arrays.items() if name not in constants}
        state = [name for name in self.opened.state if name not in constants]
        names = [spec.name for spec in self.inputs.specs]
        given = [spec.aval for spec in self.inputs.specs]
        held = map(unsharded, map(jax.typeof, arrays.values()))

        def flat(leaves: Sequence[Any]) -> Any:
            sizes.begin()
            arguments = leaves[: len(names)]
            traced = dict(zip(arrays, leaves[len(names) :], strict=True))
            if treatment is not None:
                treatment.begin(traced)
            params = {name: traced.get(name, array) for name, array in self.arrays.items()}
            pure = functools.partial(self.opened.function, params)

            def call(arguments: Sequence[Any]) -> Any:
                result = self.inputs.call(pure, arguments)
                refuse_deep("the result", result)
                if not self.opened.state:
                    _refuse_no_arrays(result)
                    return result, []
                result, after = result
                _refuse_no_arrays(result)
                _check_unchanged(constants, after)
                return result, [after[name] for name in state]

            return call_with_switches(call, arguments, switches, names)

        context = contextlib.nullcontext() if treatment is None else treatment.tracing()
        with _explained_errors(self.inputs), traceable(), result_sizes(self.inputs) as sizes, context:
            jaxpr, (result, _) = jax.make_jaxpr(flat, return_shape=True)([*given, *held])
            jaxpr = with_values_of_references(lowered_types(jaxpr))
        notes: list[Note] = []
        with unchecked(), plugins_named():
            program = flatten(jaxpr, self.facts, keep=marked_call, notes=notes)
        traced = _arrange(program, arrays, state, result)
        if not traced.outputs and not traced.updated:
            raise TraceError(
                "the callable returns no array",
                remedy="return what is to be computed; pass state='io' if it is the state that the call updates",
            )
        return replace(traced, notes=tuple(notes))


def _refuse_no_arrays(result: Any) -> None:
    """Raise TraceError for a result of the callable in which something is no array and no number."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(result):
        is_array = hasattr(leaf, "dtype") or hasattr(leaf, "__jax_array__")
        if not is_array and not isinstance(leaf, bool | int | float | complex):
            at = f" at {jax.tree_util.keystr(path)}" if path else ""
            raise TraceError(
                f"the callable returns a {type(leaf).__name__}{at}, which is no array",
                remedy="return arrays only, for example with a wrapper: lambda x: fn(x)[0]",
            )


def _check_unchanged(constants: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Raise an error if a call updates state that is a constant."""
    for name, array in constants.items():
        if after.get(name, array) is not array:
            raise TraceError(
                f"{name} is used as a Python value, and the call updates it",
                remedy="compute with it in jax.numpy, or leave state= at 'drop', so that its value stays as it is",
            )


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
    except Jax2OnnxError:
        raise
    except WrittenReference as error:
        raise TraceError(
            "the program writes to a jax.Ref that it does not make itself, and a model has no memory between calls",
            where=error.args[0],
            remedy="take the array as an argument and return the new one, or make the reference in the program",
        ) from error
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
    except (TypeError, ValueError, OverflowError, AssertionError, AttributeError, KeyError) as error:
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
