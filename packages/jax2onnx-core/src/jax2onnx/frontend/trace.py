"""Trace: from a callable and input specs to one flat program, with the model's parameters as named inputs."""

from __future__ import annotations

import contextlib
import functools
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax

from jax2onnx._compat import TRACING_ERRORS, InconclusiveDimensionOperation, unsharded
from jax2onnx.errors import DimensionError, TraceError
from jax2onnx.frontend.remedies import decide, decide_otherwise, first_line
from jax2onnx.frontend.switches import branch
from jax2onnx.plugin.functions import marked_call
from jax2onnx.program.flatten import flatten
from jax2onnx.program.program import Program

if TYPE_CHECKING:
    from jax2onnx.frontend.specs import Inputs
    from jax2onnx.plugin.opening import Opened
    from jax2onnx.program.facts import FactTable


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
    """

    program: Program
    params: Mapping[str, Any]
    updated: Mapping[str, Any]
    outputs: tuple[str, ...]
    avals: tuple[Any, ...]


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
        switches = inputs.switches
        if not switches or not _is_switching(error):
            raise
        try:
            traced = _trace(opened, inputs, facts, switches)
        except TraceError as other:
            if _is_switching(other):
                raise error from error.__cause__
            raise
    if len(switches) > 1:
        for switch in switches:
            fewer = tuple(s for s in switches if s != switch)
            with contextlib.suppress(TraceError):
                traced, switches = _trace(opened, inputs, facts, fewer), fewer
    return traced


def _is_switching(error: TraceError) -> bool:
    return isinstance(error.__cause__, jax.errors.TracerBoolConversionError)


def _trace(opened: Opened, inputs: Inputs, facts: FactTable, switches: Sequence[int]) -> Traced:
    held = {**{n: a for n, a in opened.params.items() if n not in opened.state}, **opened.state}
    abstract = [*(s.aval for s in inputs.specs), *(unsharded(jax.typeof(a)) for a in held.values())]

    def flat(leaves: Sequence[Any]) -> Any:
        own = dict(zip(held, leaves[len(inputs.specs) :], strict=True))

        def call(given: Sequence[Any]) -> Any:
            result = inputs.call(functools.partial(opened.function, own), given)
            if not opened.state:
                return result, []
            result, state = result
            return result, [state[n] for n in opened.state]

        return branch(call, leaves[: len(inputs.specs)], switches, [s.name for s in inputs.specs])

    try:
        jaxpr, shape = jax.make_jaxpr(flat, return_shape=True)(abstract)
    except InconclusiveDimensionOperation as error:
        raise DimensionError(
            f"JAX cannot decide a comparison of symbolic dimensions: {first_line(error)}",
            where=_user_line(error),
            remedy=decide(error),
        ) from error
    except TRACING_ERRORS as error:
        raise TraceError(
            f"JAX cannot trace the callable: {first_line(error)}", where=_user_line(error), remedy=_remedy(error)
        ) from error
    except (TypeError, ValueError, OverflowError) as error:
        remedy = decide_otherwise(error) if inputs.symbols else None
        if remedy is None:
            raise
        raise DimensionError(
            f"JAX cannot trace the callable with symbolic dimensions: {first_line(error)}",
            where=_user_line(error),
            remedy=remedy,
        ) from error
    paths = jax.tree_util.tree_flatten_with_path(shape[0])[0]
    names = tuple(jax.tree_util.keystr(p, simple=True, separator=".") for p, _ in paths)
    program = flatten(jaxpr, facts, keep=marked_call)
    return _arranged(program, held, tuple(opened.state), names, tuple(aval for _, aval in paths))


def _arranged(
    program: Program, held: Mapping[str, Any], state: Sequence[str], outputs: tuple[str, ...], avals: tuple[Any, ...]
) -> Traced:
    """Tell apart the state that is updated, whose output is not just its input, and let the rest be parameters."""
    first = len(program.inputs) - len(held)
    variables = dict(zip(held, program.inputs[first:], strict=True))
    after = dict(zip(state, program.outputs[len(outputs) :], strict=True))
    updated = [n for n in state if after[n] is not variables[n]]
    params = [n for n in held if n not in updated]
    arranged = Program(
        [*(variables[n] for n in params), *program.inputs[:first], *(variables[n] for n in updated)],
        program.eqns,
        [*program.outputs[: len(outputs)], *(after[n] for n in updated)],
    )
    return Traced(arranged, {n: held[n] for n in params}, {n: held[n] for n in updated}, outputs, avals)


def _remedy(error: BaseException) -> str:
    if isinstance(error, jax.errors.NonConcreteBooleanIndexError) or "nonzero" in str(error) or "`size`" in str(error):
        return "the result's shape depends on data; use jnp.where(mask, x, fill), or pass size= where it is taken"
    if isinstance(error, jax.errors.TracerArrayConversionError):
        return "a traced value met numpy; use the jax.numpy function instead"
    if isinstance(error, jax.errors.TracerBoolConversionError):
        return "a Python if/while/and/or needs a concrete value; use jnp.where, jax.lax.cond or jax.lax.while_loop"
    if isinstance(error, jax.errors.UnexpectedTracerError):
        return "a traced value was stored outside the function (a module that changes its state?); return it instead"
    if isinstance(error, NotImplementedError):
        return "JAX itself does not offer this; where it is about a dimension, give that as an int"
    return "make the value static (functools.partial, or a closure over a Python value), or compute it with jax.numpy"


def _user_line(error: BaseException) -> str | None:
    """The innermost frame of the error that is neither JAX's nor a framework's nor ours."""
    own = Path(__file__).parents[1]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        library = {"jax", "jaxlib", "flax", "equinox", "haiku", "keras"} & set(path.parts)
        if frame.filename.startswith("<") or ("site-packages" in path.parts and library) or own in path.parents:
            continue
        if "contextlib.py" in frame.filename or "functools.py" in frame.filename:
            continue
        return f"{frame.filename}:{frame.lineno} ({frame.name}): {frame.line}"
    return None
