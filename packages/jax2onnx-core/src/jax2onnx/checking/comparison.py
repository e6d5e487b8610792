"""Comparison: a model and the program that it is compared with, loaded, opened and given inputs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from jax2onnx._accepted import shown
from jax2onnx._compat import unchecked
from jax2onnx._printable import one_line
from jax2onnx.checking.compare import OutputReport, compare, finite_part, is_finite
from jax2onnx.checking.expected_halves import half_hint
from jax2onnx.checking.given import concrete_batch, given_batch
from jax2onnx.checking.inputs import Batch, draw
from jax2onnx.checking.kernels import coarse_primitives, keeps_local
from jax2onnx.checking.reference import Reference
from jax2onnx.checking.refusals import REFUSALS, refused_sizes
from jax2onnx.checking.rounding import Rounding, roundings
from jax2onnx.checking.runtime import RUNTIME_ERRORS, Runner
from jax2onnx.checking.users_runtime import UsersRuntime
from jax2onnx.errors import CheckError, InputSpecError, described_error
from jax2onnx.frontend.elsewhere import with_arrays
from jax2onnx.frontend.explain import explained, internal, refuse_nested
from jax2onnx.frontend.open import open_callable
from jax2onnx.frontend.specs import parse_inputs
from jax2onnx.output.model_file import read_model_file, require_bounded_functions, require_own_data
from jax2onnx.output.names import state_of
from jax2onnx.plugin import loader as plugins
from jax2onnx.plugin.opening import Opening

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax2onnx.checking.perturbed import Perturbed
    from jax2onnx.checking.runtime import Runtime
    from jax2onnx.frontend.specs import Inputs, InputSpec
    from jax2onnx.plugin.opening import Opened

__all__ = ["Comparison", "ProgramError", "loaded_model", "require_batches"]

Array = np.ndarray[Any, Any]

_LONGEST = 2000
"""Characters of what onnxruntime says."""

_LOADABLE = (
    "export for the onnxruntime that is installed (leave opset= and target= out), pass libraries= if the model has "
    "operators of others, or check it in another runtime (runtime=)"
)
_ELSEWHERE = "find the node by diagnose (check --diagnose), or check the model in another runtime (runtime=)"
_DIAGNOSE = (
    "remedy: diagnose, with the same arguments, finds the first value that differs and whose fault it is "
    "(on the command line: check --diagnose)"
)

_FROM_CALLBACK = "CpuCallback error"
"""In the message of what jax 0.8 raises where a callback of the program does: a ValueError, later a RuntimeError."""


class ProgramError(Exception):
    """The user's program itself raises an error at run time, so that there is nothing to compare with."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A model and what it is compared with.

    Attributes:
        proto: the model.
        runner: runs it.
        reference: the program.
        batches: the inputs.
        constraints: what holds between symbolic dims.
        rtol: relative tolerance instead of the dtype's.
        atol: absolute tolerance instead of none.
    """

    proto: onnx.ModelProto
    runner: Runtime
    reference: Reference
    batches: Sequence[Batch]
    constraints: Sequence[str]
    rtol: float | None
    atol: float | None

    @classmethod
    def of(cls, model: Any, fn: Any, inputs: Any, options: Mapping[str, Any]) -> Comparison:
        """Load a model, open the program and draw inputs; the options are those of ``check``, all of them."""
        refuse_nested()
        proto, runner = loaded_model(model, options)
        loaded = plugins.load()
        opened, parsed = _opened(fn, inputs, options)
        opened = with_arrays(opened, options["weights"], options["weight_names"], loaded.hook)
        opened = replace(opened, signature=opened.signature or fn)
        reference = Reference(
            opened,
            parsed,
            _state_names(runner.input_names, parsed.specs, opened.state),
            options["inputs_as_nchw"],
            options["outputs_as_nchw"],
            facts=loaded.registry().facts,
            coarse=coarse_primitives(proto),
            local=keeps_local(proto),
        )
        batches = _batches(parsed.specs, options)
        return cls(proto, runner, reference, batches, options["constraints"], options["rtol"], options["atol"])

    def on(self, batch: Batch, label: str) -> list[OutputReport]:
        """Compare the results on a batch.

        Raises:
            CheckError: they differ, or there is none.
            ProgramError: the program raises an error that depends on values.
        """
        expected = _expected(self.reference, batch, self.runner.output_names, self.constraints)
        feeds = self.reference.feeds(batch.arrays, self.runner.input_names)
        try:
            actual = self.runner.run(feeds)
        except RUNTIME_ERRORS as error:
            name, text = self.runner.name.partition(" ")[0], one_line(str(error), _LONGEST)
            raise CheckError(f"{name} cannot run the model on {label}: {text}; {_ELSEWHERE}") from error
        try:
            return self.compared(batch, expected, actual)
        except CheckError as error:
            hint = half_hint(self.proto) if self.rtol is None and self.atol is None else ""
            raise CheckError(f"the model disagrees with JAX on {label}\n{error.message}{hint}\n  {_DIAGNOSE}") from None

    def expected(self, batch: Batch) -> list[Array]:
        """Return what JAX computes on a batch."""
        return _expected(self.reference, batch, self.runner.output_names, self.constraints)

    def compared(self, batch: Batch, expected: Sequence[Array], actual: Sequence[Array]) -> list[OutputReport]:
        """Compare results on a batch.

        Raises:
            CheckError: they differ.
        """
        names = self.runner.output_names
        perturbed = self.reference.perturbed()

        def nearby(loose: bool) -> list[list[Array]]:  # noqa: FBT001
            results = []
            for rounding in roundings(self.reference.coarse.under(loose=loose), loose=loose):
                # The program may raise on what is near to inputs on which it does not.
                with contextlib.suppress(ProgramError):
                    results.append(_evaluate(self.reference, batch.arrays, names, perturbed, rounding))
            return results

        feeds = self.reference.feeds(batch.arrays, self.runner.input_names)
        if self.reference.local and not all(map(is_finite, feeds)):
            actual = list(map(finite_part, expected, actual))
        inputs = dict(zip(self.runner.input_names, feeds, strict=True))
        return compare(expected, actual, names, rtol=self.rtol, atol=self.atol, nearby=nearby, inputs=inputs)


def require_batches(fn: Any, inputs: Any, options: Mapping[str, Any]) -> None:
    """Raise InputSpecError for options, all those of ``check``, that give no inputs on which to compare a program."""
    _, parsed = _opened(fn, inputs, options)
    _batches(parsed.specs, options)


def _opened(fn: Any, inputs: Any, options: Mapping[str, Any]) -> tuple[Opened, Inputs]:
    """Return a program that plugins have opened, and its inputs."""
    opening = Opening(training=options["training"], state=options["state"])
    with unchecked(), internal():
        opened = open_callable(fn, plugins.load().hook, opening)
        parsed = parse_inputs(
            opened.signature or fn,
            inputs,
            input_params=options["input_params"],
            constraints=options["constraints"],
            static=options["static"],
            training=options["training"],
        )
    return opened, parsed


def loaded_model(model: Any, options: Mapping[str, Any]) -> tuple[onnx.ModelProto, Runtime]:
    """Return a model, and what runs it."""
    proto = _read(model)
    runtime = options["runtime"]
    return proto, _load(model, options["libraries"]) if runtime is None else _loaded(runtime, proto)


def _batches(specs: Sequence[InputSpec], options: Mapping[str, Any]) -> list[Batch]:
    """Return the inputs to compare on: those that are given, else drawn ones."""
    values = options["values"]
    if values is None:
        avals = [spec.aval for spec in specs]
        drawing = {name: options[name] for name in ("constraints", "kinds", "seed")}
        with unchecked():
            drawn = draw(avals, options["sizes"], **drawing)
        return concrete_batch(drawn[0], specs) + drawn
    if isinstance(values, str | Mapping) or not isinstance(values, Sequence):
        raise InputSpecError(f"values: expected a list of batches, got {shown(values)}; write values=[[...]]")
    batches = [given_batch(batch, specs) for batch in values]
    if not batches:
        raise InputSpecError(
            "values: there is no batch; pass at least one, or leave values out to compare on drawn inputs"
        )
    return batches


def _read(model: Any) -> onnx.ModelProto:
    """Return a model, or the one in a file; refuse what a runtime would take too long for, or read elsewhere."""
    if isinstance(model, onnx.ModelProto):
        folder = None
        proto = model
    else:
        if not isinstance(model, str | os.PathLike):
            raise InputSpecError(
                f"model: expected a model or the name of a file, got {shown(model)}; write check(model, fn, inputs)"
            )
        if not Path(model).exists():
            raise InputSpecError(f"model: there is no file {os.fspath(model)!r}; write it by save_onnx first")
        if Path(model).is_dir():
            raise InputSpecError(f"model: {os.fspath(model)!r} is a folder; name a file that save_onnx wrote")
        folder = Path(model).parent
        proto = read_model_file(model)
    require_own_data(proto, folder)
    require_bounded_functions(proto)
    return proto


def _load(model: Any, libraries: Sequence[str | os.PathLike[str]]) -> Runner:
    try:
        return Runner(model, libraries)
    except RUNTIME_ERRORS as error:
        told = one_line(str(error), _LONGEST)
        raise CheckError(f"onnxruntime cannot load the model: {told}; {_LOADABLE}") from error


def _loaded(runtime: Callable[[onnx.ModelProto], Runtime], proto: onnx.ModelProto) -> Runtime:
    """Return the model in a runtime of the user's."""
    try:
        loaded = runtime(proto)
    except RUNTIME_ERRORS as error:
        told = one_line(str(error), _LONGEST)
        raise CheckError(f"the runtime cannot load the model: {told}; leave runtime= out for onnxruntime") from error
    except MemoryError:
        raise
    except (Exception, SystemExit) as error:  # of the user's code: whatever it raises
        told = one_line(described_error(error), _LONGEST)
        raise CheckError(
            f"runtime: the function fails: {told}; mend it, or leave runtime out for onnxruntime"
        ) from error
    return UsersRuntime.of(loaded)


def _state_names(
    input_names: Sequence[str],
    specs: Sequence[InputSpec],
    state: Mapping[str, Any],
) -> list[str]:
    """Return the names of the state that the model takes after the inputs."""
    count = len(specs)
    names = [state_of(name, state) for name in input_names[count:]]
    if len(input_names) >= count and state.keys() >= set(names):
        return names
    listed = ", ".join(input_names)
    described = ", ".join(spec.name for spec in specs)
    message = f"the model has the inputs {listed}; the specs describe {described}"
    if not state:
        message += " (pass state='io' if the model was exported with it)"
    message += "; pass the specs of the export"
    raise CheckError(message)


def _expected(reference: Reference, batch: Batch, names: Sequence[str], constraints: Sequence[str]) -> list[Array]:
    """Return what JAX computes on a batch.

    Raises:
        CheckError: JAX has no answer at the batch's sizes, and has one at larger ones.
        ProgramError: the program raises an error that depends on values.
    """
    if not batch.sizes:
        return _evaluate(reference, batch.arrays, names)
    try:
        return reference.evaluate(batch.arrays, names)
    except (RuntimeError, *REFUSALS) as error:
        if isinstance(error, RuntimeError) or _FROM_CALLBACK in str(error):
            return _evaluate(reference, batch.arrays, names)
        avals = [spec.aval for spec in reference.inputs.specs]
        refused = refused_sizes(error, batch, avals, constraints, partial(reference.evaluate, names=names))
        if refused is None:
            return _evaluate(reference, batch.arrays, names)
        raise refused from error


def _evaluate(
    reference: Reference,
    arrays: Sequence[Any],
    names: Sequence[str],
    perturbed: Perturbed | None = None,
    rounding: Rounding | None = None,
) -> list[Array]:
    """Return what the program computes, in a way of rounding if one is given.

    Raises:
        ProgramError: the program raises an error that depends on values.
    """
    with explained(reference.opened.signature, reference.opened, reference.inputs):
        try:
            return reference.evaluate(arrays, names, perturbed, rounding)
        except (RuntimeError, ValueError) as error:
            if not _is_of_values(error):
                raise
            raised = error
    raise ProgramError from raised


def _is_of_values(error: Exception) -> bool:
    """Return whether a program raises an error since values do not suit it, and not since it cannot be run at all."""
    if isinstance(error, ValueError):
        return "callback" in str(error).lower()  # so jax 0.8 passes on what a callback raises
    return not isinstance(error, NotImplementedError | RecursionError)
