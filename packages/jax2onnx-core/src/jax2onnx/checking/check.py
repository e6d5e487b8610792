"""Check: run the exported model in onnxruntime and compare it with JAX, evaluated eagerly.

:mod:`~jax2onnx.checking.compare` describes what is accepted.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Never, Unpack, overload

import numpy as np

from jax2onnx._accepted import NEEDED, readable
from jax2onnx.checking.compare import CheckReport, combine
from jax2onnx.checking.comparison import Comparison, ProgramError, require_batches
from jax2onnx.checking.inputs import KINDS
from jax2onnx.checking.loop import EntriesReport, compare_loop, model_files
from jax2onnx.earlier import model_first, refuse_positions
from jax2onnx.errors import CheckError, InputSpecError
from jax2onnx.frontend.elsewhere import opened_weights
from jax2onnx.frontend.entries import read_entries
from jax2onnx.options import CheckOptions, ComparisonOptions, Images, check_values, refuse_unknown
from jax2onnx.output.memory import memory_explained
from jax2onnx.plugin import loader as plugins

if TYPE_CHECKING:
    import onnx


__all__ = ["allclose", "check", "require_comparable"]

Array = np.ndarray[Any, Any]

_LONGEST = 2000
"""Characters of what onnxruntime says."""


@overload
def check(
    model: onnx.ModelProto | str | os.PathLike[str],
    fn: Any,
    inputs: Sequence[Any] | Mapping[str, Any],
    **options: Unpack[ComparisonOptions],
) -> CheckReport: ...
@overload
def check(
    model: str | os.PathLike[str] | Mapping[str, Any],
    fn: Mapping[str, Any],
    **options: Unpack[CheckOptions],
) -> EntriesReport: ...
@readable
@memory_explained()
def check(
    model: onnx.ModelProto | str | os.PathLike[str] | Mapping[str, Any],
    fn: Any,
    inputs: Any = NEEDED,
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
    weights: Any = None,
    weight_names: Mapping[str, str] | Callable[[str], str | None] | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    kinds: Sequence[str] = KINDS,
    seed: int = 0,
    libraries: Sequence[str | os.PathLike[str]] = (),
    runtime: Callable[..., Any] | None = None,
    steps: int = 3,
    carry: Mapping[str, str] | None = None,
    **unknown: Never,
) -> CheckReport | EntriesReport:
    """Run an exported model in onnxruntime and compare it with JAX.

    ``check(path, entries)``, of entries that ``save_onnx(entries, path)`` wrote, compares each model alone, and then
    all of them one after the other: each is fed what the earlier ones returned, and one that takes what it returns is
    run ``steps`` times. ``values`` are batches for the latter: ``{"prefill.tokens": ..., "decode.0.token": ...}``.

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
        weights: as ``to_onnx`` got it; JAX reads the arrays into memory.
        weight_names: as ``to_onnx`` got it.
        rtol: relative tolerance instead of the dtype's.
        atol: absolute tolerance instead of the dtype's.
        kinds: the kinds of inputs to draw, of ``ordinary``, ``moderate``, ``large`` and ``special``.
        seed: seed of the drawn inputs.
        libraries: files with further operators that onnxruntime loads first, such as ``get_library_path()`` of
            onnxruntime-extensions.
        runtime: another runtime than onnxruntime: a function of the model that returns an object with ``name``,
            ``input_names``, ``output_names`` and ``run(arrays)``, which returns the outputs as numpy arrays.
        steps: of entries: how often an entry is run that takes what it returns; 0 compares each alone only.
        carry: of entries: as ``save_onnx`` got it.
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
        "weights": weights,
        "weight_names": weight_names,
        "rtol": rtol,
        "atol": atol,
        "kinds": kinds,
        "seed": seed,
        "libraries": libraries,
        "runtime": runtime,
    }
    refuse_unknown(unknown, (CheckOptions if inputs is NEEDED else ComparisonOptions).__annotations__)
    check_values({**given, "steps": steps, "carry": carry})
    if isinstance(fn, Mapping) and inputs is NEEDED:
        return _check_entries(model, fn, {**given, "carry": carry}, steps)
    if inputs is NEEDED:
        raise InputSpecError(
            "check: inputs is missing; write check(model, fn, inputs, ...): inputs has one spec per argument"
        )
    return _report(Comparison.of(model, fn, inputs, given), seed)


def require_comparable(fn: Any, inputs: Any = NEEDED, **options: Any) -> None:
    """Raise InputSpecError for options of ``check`` that no model of a program, or of entries, can be compared with."""
    check_values(options)
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(check).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    if inputs is not NEEDED:
        require_batches(fn, inputs, {**defaults, **options})
        return
    for entry in read_entries(fn).values():
        own = {option: value for option, value in entry.options.items() if option in CheckOptions.__annotations__}
        require_batches(entry.fn, entry.inputs, {**defaults, **options, **own})


def _check_entries(model: Any, given: Mapping[str, Any], options: Mapping[str, Any], steps: int) -> EntriesReport:
    """Compare the models of entries, each alone and one after the other."""
    entries = read_entries(given)
    models = model_files(model, entries)
    alone = {}
    # Opened once: entries share what they have in common.
    options = {**options, "weights": opened_weights(options["weights"], plugins.load().hook)}
    for name, entry in entries.items():
        own = {option: value for option, value in entry.options.items() if option in CheckOptions.__annotations__}
        of_entry = {**options, "values": None, **own}
        try:
            alone[name] = _report(Comparison.of(models[name], entry.fn, entry.inputs, of_entry), options["seed"])
        except CheckError as error:
            raise CheckError(f"entry {name!r}: {error.message}") from error.__cause__
    if not steps:
        return EntriesReport(alone, None)
    comparison = compare_loop(models, entries, options, steps)
    try:
        loop = _report(comparison, options["seed"])
    except CheckError as error:
        raise CheckError(f"entries one after the other: {error.message}") from error.__cause__
    return EntriesReport(alone, loop)


def _report(comparison: Comparison, seed: int) -> CheckReport:
    """Compare on all batches."""
    reports = []
    compared = []
    refused = []
    for batch in comparison.batches:
        label = f"{batch} (seed {seed})"
        try:
            report = comparison.on(batch, label)
        except ProgramError as error:
            # The program may refuse what is drawn, as ``equinox.error_if`` does; what is given is to be compared.
            refused.append(str(batch))
            if batch.kind == "given" or len(refused) == len(comparison.batches):
                raise _no_result(label, error) from error.__cause__
            continue
        reports.append(report)
        compared.append(str(batch))
    outputs = tuple(map(combine, zip(*reports, strict=True)))
    return CheckReport(comparison.runner.name, tuple(compared), outputs, tuple(refused))


@readable
@memory_explained()
def allclose(
    model: onnx.ModelProto | str | os.PathLike[str],
    fn: Any,
    inputs: Sequence[Any] | Mapping[str, Any],
    *further: Any,
    **options: Unpack[ComparisonOptions],
) -> tuple[bool, str]:
    """As :func:`check`, returning whether they agree, and the report or the disagreement in words.

    The callable may come first, as in jax2onnx 0.17.
    """
    refuse_positions("allclose", further)
    refuse_unknown(options, ComparisonOptions.__annotations__)
    model, fn = model_first(model, fn)
    try:
        report = check(model, fn, inputs, **options)
    except CheckError as error:
        return False, str(error)
    return True, str(report)


def _no_result(label: str, error: ProgramError) -> CheckError:
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
