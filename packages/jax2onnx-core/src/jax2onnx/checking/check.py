"""Check: run the exported model in onnxruntime and compare it with JAX, evaluated eagerly.

:mod:`~jax2onnx.checking.compare` describes what is accepted.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Never, Unpack

import numpy as np
import onnx

from jax2onnx._accepted import readable, shown
from jax2onnx._compat import unchecked
from jax2onnx._printable import one_line
from jax2onnx.checking.compare import CheckReport, OutputReport, combine, compare, finite_part, is_finite
from jax2onnx.checking.given import concrete_batch, given_batch
from jax2onnx.checking.inputs import KINDS, Batch, draw
from jax2onnx.checking.kernels import coarse_primitives, keeps_local
from jax2onnx.checking.reference import Reference
from jax2onnx.checking.refusals import REFUSALS, refused_sizes
from jax2onnx.checking.rounding import Perturbed, Rounding
from jax2onnx.checking.runtime import RUNTIME_ERRORS, Runner
from jax2onnx.earlier import model_first, refuse_positions
from jax2onnx.errors import CheckError, InputSpecError
from jax2onnx.frontend.explain import explained, refuse_nested
from jax2onnx.frontend.open import open_callable
from jax2onnx.frontend.specs import parse_inputs
from jax2onnx.options import CheckOptions, Images, check_values, refuse_unknown
from jax2onnx.output.model_file import read_model_file, require_bounded_functions, require_own_data
from jax2onnx.output.names import state_of
from jax2onnx.plugin import loader as plugins
from jax2onnx.plugin.opening import Opening

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax2onnx.checking.runtime import Runtime
    from jax2onnx.frontend.specs import InputSpec

__all__ = ["allclose", "check"]

Array = np.ndarray[Any, Any]

_LONGEST = 2000
"""Characters of what onnxruntime says."""
_ROUNDINGS = 4
"""How many times JAX is evaluated with other roundings."""


class _ProgramError(Exception):
    """The user's program itself raises an error at run time, so that there is nothing to compare with."""


@readable
def check(
    model: onnx.ModelProto | str | os.PathLike[str],
    fn: Any,
    inputs: Sequence[Any] | Mapping[str, Any],
    *,
    values: Sequence[Any] | None = None,
    sizes: Sequence[int] | Sequence[Mapping[str, int]] | None = None,
    input_params: Mapping[str, Any] | None = None,
    static: Mapping[str, Any] | None = None,
    inputs_as_nchw: Images = (),
    outputs_as_nchw: Images = (),
    constraints: Sequence[str] = (),
    state: Literal["drop", "io"] = "drop",
    training: bool = False,
    rtol: float | None = None,
    atol: float | None = None,
    kinds: Sequence[str] = KINDS,
    seed: int = 0,
    libraries: Sequence[str | os.PathLike[str]] = (),
    runtime: Callable[[onnx.ModelProto], Runtime] | None = None,
    **unknown: Never,
) -> CheckReport:
    """Run an exported model in onnxruntime and compare it with JAX.

    Args:
        model: the model, or the path of one.
        fn: what was exported.
        inputs: the specs it was exported with. Concrete arrays among them are one more batch to compare on.
        values: batches to compare on instead of drawn ones: each is a sequence with one (pytree of) array(s) per
            argument, or a mapping of keyword arguments.
        sizes: sizes of the symbolic dims, e.g. ``(1, 3, 7)`` (the default) or ``[{'B': 2, 'T': 5}]``.
        input_params: as ``to_onnx`` got them.
        static: as ``to_onnx`` got it.
        inputs_as_nchw: as ``to_onnx`` got it.
        outputs_as_nchw: as ``to_onnx`` got it.
        constraints: as ``to_onnx`` got them.
        state: as ``to_onnx`` got it; with ``'io'`` the model steps from the state that ``fn`` has now, and its new
            state is compared too.
        training: as ``to_onnx`` got it.
        rtol: relative tolerance instead of the dtype's.
        atol: absolute tolerance instead of the dtype's.
        kinds: the kinds of inputs to draw, of ``ordinary``, ``moderate``, ``large`` and ``special``.
        seed: seed of the drawn inputs.
        libraries: files with further operators that onnxruntime loads first, such as ``get_library_path()`` of
            onnxruntime-extensions.
        runtime: another runtime than onnxruntime: a function of the model that returns an object with ``name``,
            ``input_names``, ``output_names`` and ``run(arrays)``, which returns the outputs as numpy arrays.
        **unknown: nothing; what is given here is refused.

    Returns:
        What was compared, and how closely it agreed.

    Raises:
        CheckError: they disagree, or onnxruntime refuses the model; the message shows the worst element. Also if JAX
            itself raises an error on given inputs, or on all drawn ones.
        InputSpecError: an argument is not of an accepted form.
    """
    given = {
        "values": values,
        "sizes": sizes,
        "input_params": input_params,
        "static": static,
        "inputs_as_nchw": inputs_as_nchw,
        "outputs_as_nchw": outputs_as_nchw,
        "constraints": constraints,
        "state": state,
        "training": training,
        "rtol": rtol,
        "atol": atol,
        "kinds": kinds,
        "seed": seed,
        "libraries": libraries,
        "runtime": runtime,
    }
    refuse_unknown(unknown, CheckOptions.__annotations__)
    check_values(given)
    refuse_nested()
    proto = _read(model)
    runner: Runtime = _load(model, libraries) if runtime is None else _loaded(runtime, proto)
    loaded = plugins.load()
    opening = Opening(training=training, state=state)
    with unchecked():
        opened = open_callable(fn, loaded.hook, opening)
        parsed = parse_inputs(
            opened.signature or fn,
            inputs,
            input_params=input_params,
            constraints=constraints,
            static=static,
            training=training,
        )
    opened = replace(opened, signature=opened.signature or fn)
    specs = parsed.specs
    state_names = _state_names(runner.input_names, specs, opened.state)
    reference = Reference(
        opened,
        parsed,
        state_names,
        inputs_as_nchw,
        outputs_as_nchw,
        facts=loaded.registry().facts,
        coarse=coarse_primitives(proto),
        local=keeps_local(proto),
    )
    if values is None:
        avals = [spec.aval for spec in specs]
        with unchecked():
            batches = draw(avals, sizes, constraints=constraints, kinds=kinds, seed=seed)
        batches = concrete_batch(batches[0], specs) + batches
    else:
        if isinstance(values, str | Mapping) or not isinstance(values, Sequence):
            raise InputSpecError(f"values: expected a list of batches, got {shown(values)}; write values=[[...]]")
        batches = [given_batch(batch, specs) for batch in values]
    if not batches:
        raise InputSpecError(
            "values: there is no batch; pass at least one, or leave values out to compare on drawn inputs"
        )
    reports = []
    compared = []
    refused = []
    for batch in batches:
        label = f"{batch} (seed {seed})"
        try:
            report = _compare_batch(batch, label, runner, reference, constraints, rtol=rtol, atol=atol)
        except _ProgramError as error:
            # The program may refuse what is drawn, as ``equinox.error_if`` does; what is given is to be compared.
            refused.append(str(batch))
            if batch.kind == "given" or len(refused) == len(batches):
                raise _no_result(label, error) from error.__cause__
            continue
        reports.append(report)
        compared.append(str(batch))
    outputs = tuple(map(combine, zip(*reports, strict=True)))
    return CheckReport(runner.name, tuple(compared), outputs, tuple(refused))


@readable
def allclose(
    model: onnx.ModelProto | str | os.PathLike[str],
    fn: Any,
    inputs: Sequence[Any] | Mapping[str, Any],
    *further: Any,
    **options: Unpack[CheckOptions],
) -> tuple[bool, str]:
    """As :func:`check`, returning whether they agree, and the report or the disagreement in words.

    The callable may come first, as in jax2onnx 0.17.
    """
    refuse_positions("allclose", further)
    refuse_unknown(options, CheckOptions.__annotations__)
    model, fn = model_first(model, fn)
    try:
        report = check(model, fn, inputs, **options)
    except CheckError as error:
        return False, str(error)
    return True, str(report)


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
        raise CheckError(f"onnxruntime cannot load the model: {one_line(str(error), _LONGEST)}") from error


def _loaded(runtime: Callable[[onnx.ModelProto], Runtime], proto: onnx.ModelProto) -> Runtime:
    """Return the model in a runtime of the user's."""
    try:
        return runtime(proto)
    except RUNTIME_ERRORS as error:
        raise CheckError(f"the runtime cannot load the model: {one_line(str(error), _LONGEST)}") from error


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


def _compare_batch(
    batch: Batch,
    label: str,
    runner: Runtime,
    reference: Reference,
    constraints: Sequence[str],
    *,
    rtol: float | None,
    atol: float | None,
) -> list[OutputReport]:
    names = runner.output_names

    arrays = batch.arrays

    perturbed = reference.perturbed()

    def nearby(loose: bool) -> list[list[Array]]:  # noqa: FBT001
        results = []
        for seed in range(_ROUNDINGS):
            rounding = Rounding(seed, loose, reference.coarse.under(loose=loose))
            # The program may raise on what is near to inputs on which it does not.
            with contextlib.suppress(_ProgramError):
                results.append(_evaluate(reference, arrays, names, perturbed, rounding))
        return results

    expected = _expected(reference, batch, names, constraints)
    feeds = reference.feeds(arrays, runner.input_names)
    inputs = dict(zip(runner.input_names, feeds, strict=True))
    try:
        actual = runner.run(feeds)
    except RUNTIME_ERRORS as error:
        name = runner.name.partition(" ")[0]
        raise CheckError(f"{name} cannot run the model on {label}: {one_line(str(error), _LONGEST)}") from error
    if reference.local and not all(map(is_finite, feeds)):
        actual = list(map(finite_part, expected, actual))
    try:
        return compare(
            expected,
            actual,
            names,
            rtol=rtol,
            atol=atol,
            nearby=nearby,
            inputs=inputs,
        )
    except CheckError as error:
        raise CheckError(f"the model disagrees with JAX on {label}\n{error.message}") from None


def _expected(reference: Reference, batch: Batch, names: Sequence[str], constraints: Sequence[str]) -> list[Array]:
    """Return what JAX computes on a batch.

    Raises:
        CheckError: JAX has no answer at the batch's sizes, and has one at larger ones.
        _ProgramError: the program raises an error that depends on values.
    """
    if not batch.sizes:
        return _evaluate(reference, batch.arrays, names)
    try:
        return reference.evaluate(batch.arrays, names)
    except RuntimeError:
        return _evaluate(reference, batch.arrays, names)
    except REFUSALS as error:
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
        _ProgramError: the program raises an error that depends on values.
    """
    with explained(reference.opened.signature, reference.opened, reference.inputs):
        try:
            return reference.evaluate(arrays, names, perturbed, rounding)
        except (RuntimeError, ValueError) as error:
            if not _is_of_values(error):
                raise
            raised = error
    raise _ProgramError from raised


def _is_of_values(error: Exception) -> bool:
    """Return whether a program raises an error since values do not suit it, and not since it cannot be run at all."""
    if isinstance(error, ValueError):
        return "callback" in str(error).lower()  # so jax 0.8 passes on what a callback raises
    return not isinstance(error, NotImplementedError | RecursionError)


def _no_result(label: str, error: _ProgramError) -> CheckError:
    cause = error.__cause__
    assert cause is not None
    name = f"{type(cause).__name__}: "
    lines = str(cause).strip().splitlines() or [""]
    # equinox has its message behind the stack inside of jit.
    named = [line.partition(name)[2] for line in lines if name in line]
    message = (named or lines)[0]
    return CheckError(
        f"nothing to compare with: JAX itself raises {type(cause).__name__} on {label}: {message}; "
        "pass values= on which the program computes something"
    )
