"""The command line's ``check``, and what ``export --check`` does with a model that it wrote."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

import click

from jax2onnx.cli.arguments import arrange_inputs, find_object, input_as_in_jax
from jax2onnx.cli.shared_options import (
    CALL,
    COMPARISON,
    DEBUG,
    FOLDER,
    JSON,
    MODEL,
    SHARED,
    SOURCE,
    WEIGHTS,
    repeated,
    with_options,
)
from jax2onnx.cli.terminal import progress, say, shown_warnings
from jax2onnx.cli.values import read_arrays, read_batch
from jax2onnx.errors import Jax2OnnxError
from jax2onnx.options import DEFAULT_TARGET, SharedOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from jax2onnx.checking.compare import CheckReport
    from jax2onnx.options import ComparisonOptions

__all__ = ["COMPARED", "check", "compare", "is_given", "noted", "save_comparable", "with_arrays"]

COMPARED = ("sizes", "values", "rtol", "atol", "kinds", "seed")
"""The options of a comparison."""


def is_given(option: str) -> bool:
    """Return whether the user gives an option of the running command."""
    source = click.get_current_context().get_parameter_source(option)
    return source is click.core.ParameterSource.COMMANDLINE


@click.command()
@MODEL
@SOURCE
@repeated(
    "-i",
    "--input",
    "inputs",
    metavar="[NAME=]DTYPE[DIMS]",
    text="An input as in export, where the model does not tell (a tuple, an input that it does not use)",
)
@click.option("--diagnose", "diagnosed", is_flag=True, help="Find the first value that differs, and whose fault it is.")
@click.option("--reproducer", type=FOLDER, help="Folder for a script and a model that show it; with --diagnose.")
@click.option("--target", metavar="NAME", default=DEFAULT_TARGET, help="As the model was exported; for --diagnose.")
@click.option("--no-fusions", is_flag=True, help="The model was exported without fusions; for --diagnose.")
@CALL
@with_options(SHARED)
@with_options(WEIGHTS)
@with_options(COMPARISON)
@JSON
@DEBUG
def check(
    *,
    model: Path,
    source: str,
    inputs: tuple[str, ...],
    call: bool,
    as_json: bool,
    diagnosed: bool,
    reproducer: Path | None,
    target: str,
    no_fusions: bool,
    **options: Any,
) -> int:
    """Run MODEL in onnxruntime and compare it with MODULE:OBJECT in JAX.

    The inputs are those of the model: by name where the callable has parameters of these names, else in order.
    """
    if not diagnosed and any(map(is_given, ("reproducer", "target", "no_fusions"))):
        raise click.UsageError("--reproducer, --target and --no-fusions are of --diagnose; add --diagnose")
    comparison = {name: options.pop(name) for name in COMPARED}
    fn = find_object(source, call=call)
    from jax2onnx.inspect.summary import summarise

    given = inputs
    if not given:
        names = _inputs_of(model, options)
        params = options["input_params"] or {}
        tensors = [tensor for tensor in summarise(model).inputs if tensor.name in names and tensor.name not in params]
        given = tuple(input_as_in_jax(tensor, options["inputs_as_nchw"]) for tensor in tensors)
    specs, _ = arrange_inputs(fn, given)
    if diagnosed:
        from jax2onnx.checking.diagnose import diagnose

        exported = {"target": target, "fusions": not no_fusions}
        arrays = _read_values(model, options, with_arrays(comparison))
        with progress(f"diagnosing {model}"), shown_warnings():
            found = diagnose(model, fn, specs, reproducer=reproducer, **cast("Any", {**options, **exported, **arrays}))
        say(json.dumps(asdict(found), indent=2) if as_json else str(found))
        return int(not found.agrees)
    report = compare(model, fn, specs, options, with_arrays(comparison))
    say(json.dumps(asdict(report), indent=2) if as_json else str(report))
    return 0


def _inputs_of(model: Path, shared: Mapping[str, Any]) -> list[str]:
    """Return the names of the inputs of a model in a file, without its state."""
    from jax2onnx.inspect.summary import summarise

    summary = summarise(model)
    return _without_state([one.name for one in summary.inputs], [one.name for one in summary.outputs], shared)


def _without_state(inputs: Sequence[str], outputs: Sequence[str], shared: Mapping[str, Any]) -> list[str]:
    """Return the names of inputs of a model without its state: those with an output for their next value."""
    from jax2onnx.output.names import NEXT

    if shared["state"] != "io":
        return list(inputs)
    return [name for name in inputs if name + NEXT not in outputs]


def with_arrays(comparison: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a comparison with the contents of the files; refuse what no model can be compared with."""
    from jax2onnx.options import check_values

    options = {name: value for name, value in comparison.items() if value not in ((), None)}
    check_values(options)
    if "values" in options:
        options["values"] = [(path, read_arrays(path)) for path in options["values"]]
    return options


def save_comparable(output: Path, fn: Any, specs: Any, options: dict[str, Any], comparison: Mapping[str, Any]) -> None:
    """Write a model that is to be compared with JAX; nothing is written where no comparison can be made.

    Args:
        output: the file.
        fn: the program.
        specs: its inputs.
        options: those of the export.
        comparison: those of the comparison that are none of the export.
    """
    from jax2onnx.api import options_to_save, save_export
    from jax2onnx.checking.check import require_comparable
    from jax2onnx.output.memory import memory_explained
    from jax2onnx.pipeline.finish import exported

    tell = options.pop("progress")
    shared = {name: value for name, value in options.items() if name in SharedOptions.__annotations__}
    chosen = options_to_save(output, options, tell)
    with memory_explained():
        export = exported(fn, specs, chosen)
        graph = export.model.graph
        names = _without_state([str(v.name) for v in graph.inputs], [str(v.name) for v in graph.outputs], shared)
        require_comparable(fn, specs, **{**shared, **_with_batches(comparison, names)})
        save_export(export, output, tell)


def compare(model: Path, fn: Any, specs: Any, shared: Mapping[str, Any], comparison: Mapping[str, Any]) -> CheckReport:
    """Compare a model with JAX."""
    import jax2onnx

    options = _read_values(model, shared, comparison)
    with progress(f"checking {model}"), shown_warnings():
        return jax2onnx.check(str(model), fn, specs, **cast("ComparisonOptions", {**shared, **options}))


def noted(report: Path | None, compared: Callable[[], CheckReport]) -> CheckReport:
    """Compare a model with JAX, and add the result to the report of the export, if there is one."""
    from jax2onnx.output.report.write import add_to_report

    told: Any = None
    try:
        agreed = compared()
        told = asdict(agreed)
    except Jax2OnnxError as error:
        told = {"agrees": False, "message": str(error)}
        raise
    finally:
        if report is not None and told is not None:
            add_to_report(report, "check", told)
    return agreed


def _read_values(model: Path, shared: Mapping[str, Any], comparison: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a comparison with the batches that the user's files hold."""
    return _with_batches(comparison, _inputs_of(model, shared)) if "values" in comparison else dict(comparison)


def _with_batches(comparison: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the options of a comparison with the batches that files hold for inputs of these names."""
    options = dict(comparison)
    if "values" in options:
        options["values"] = [read_batch(path, given, names) for path, given in options["values"]]
    return options
