"""The commands of the command line. Each imports what it needs when it runs."""

from __future__ import annotations

import io
import json
import os
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

import click

from jax2onnx.cli.arguments import arrange_inputs, find_object, input_as_in_jax, require_no_input, require_no_module
from jax2onnx.cli.comparing import diff, print_costs, print_portability, profile
from jax2onnx.cli.entries import export_entries
from jax2onnx.cli.examples import examples
from jax2onnx.cli.extensible import Extensible
from jax2onnx.cli.new_plugin import new_plugin
from jax2onnx.cli.plugins import list_plugins
from jax2onnx.cli.precision import precision
from jax2onnx.cli.reporting import report
from jax2onnx.cli.shared_options import (
    CALL,
    COMPARISON,
    DEBUG,
    DESCRIPTION,
    FILE,
    FOLDER,
    JSON,
    MODEL,
    PATH,
    PRECISION,
    SHARED,
    SOURCE,
    WEIGHTS,
    repeated,
    with_options,
)
from jax2onnx.cli.terminal import brief, progress, say, shown_warnings, table
from jax2onnx.cli.values import read_arrays, read_batch, read_sizes, split_name
from jax2onnx.errors import ConversionError, Jax2OnnxError, described_error
from jax2onnx.options import DEFAULT_OPSET, DEFAULT_TARGET, STAGES, SharedOptions
from jax2onnx.plugin.owner import require_sole_owner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from jax2onnx.checking.compare import CheckReport
    from jax2onnx.fusion.report import FusionReport
    from jax2onnx.inspect.costs import By, Costs
    from jax2onnx.options import ComparisonOptions, ExportOptions, Stage

__all__ = ["cli", "main"]


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 for success, 1 for failure, 2 for a wrong call."""
    args = sys.argv[1:] if args is None else args
    try:
        code = cli.main(args=list(args), prog_name="jax2onnx", standalone_mode=False)
    except click.ClickException as error:
        usage = io.StringIO()
        error.show(usage)
        say(usage.getvalue().rstrip(), err=True)
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 1
    except Exception as raised:  # noqa: BLE001 - the border to the shell: a message, or with --debug the traceback
        from jax2onnx.output.memory import explained

        told = explained(raised)
        if "--json" in args:
            say(json.dumps(_error_report(told), indent=2))
        if "--debug" in args:
            traceback.print_exc()
        else:
            say(f"error: {_message(told)}\n(--debug shows the traceback)", err=True)
        code = 1
    sys.exit(code)


def _message(error: Exception) -> str:
    """Return what to say of an exception that ends a command."""
    if isinstance(error, Jax2OnnxError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        name = "" if error.filename is None else f"{os.fsdecode(error.filename)!r}: "
        return f"{name}{error.strerror}; name another file or folder"
    return described_error(error, whole=True)


def _error_report(error: Exception) -> dict[str, Any]:
    report: dict[str, Any] = {"class": type(error).__name__, "message": str(error)}
    if isinstance(error, Jax2OnnxError):
        report["code"] = error.code
    if isinstance(error, ConversionError):
        report |= {"what": error.what, "where": error.where, "remedy": error.remedy}
    return {"error": report}


@click.group(cls=Extensible, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="jax2onnx-core", prog_name="jax2onnx", message="%(prog)s %(version)s")
@DEBUG
def cli() -> None:
    """Convert JAX programs to ONNX.

    MODULE:OBJECT names a callable (a function, or a framework object such as a flax.nnx module): MODULE is a module
    that can be imported from here or the path of a Python file, OBJECT a name in it, dots allowed. With --call, OBJECT
    is a function without arguments that returns the callable.
    """
    require_sole_owner()


@cli.command()
@SOURCE
@repeated(
    "-i",
    "--input",
    "inputs",
    metavar="[NAME=]DTYPE[DIMS]",
    text="An input, e.g. x=float32[B,30]. It goes to the parameter NAME if there is one; else the order counts and "
    "NAME is what the model calls it. A dict or list is a literal, x={'a': 'int32[B]'}, or in parts, x.a=int32[B]",
)
@click.option("-o", "--output", type=PATH, help="File to write; for a dict of entries, a folder.")
@click.option(
    "--show",
    type=click.Choice(STAGES),
    help="Print what the export has at this stage, for debugging, and write no file.",
)
@click.option("--opset", type=int, help=f"Opset of ONNX (default: {DEFAULT_OPSET}, or the newest of the target).")
@click.option(
    "--target",
    metavar="NAME",
    default=DEFAULT_TARGET,
    help="Runtime to legalise for, or a range of its versions, e.g. 'onnxruntime>=1.20'; 'onnx' for none.",
)
@click.option("--guards/--no-guards", default=None, help="Keep NaN where kernels lose it, or use the operator alone.")
@click.option("--output-name", "output_names", multiple=True, metavar="NAME", help="Name of an output, in order.")
@click.option("--name", metavar="NAME", help="Name of the graph.")
@with_options(DESCRIPTION)
@click.option(
    "--functions",
    type=click.Choice(("marked", "modules")),
    default="marked",
    help="What becomes an ONNX function: what onnx_function marks, or every submodule too.",
)
@repeated(
    "--lowering", "lowerings", metavar="PRIMITIVE=MODULE:OBJECT", text="A rule for a primitive; it beats every plugin"
)
@click.option("--no-fusions", is_flag=True, help="Keep primitives instead of whole functions such as Gelu.")
@click.option("--fold-batch-norm", is_flag=True, help="Fold batch normalisation into the weights before it.")
@with_options(PRECISION)
@click.option(
    "--unroll-layers/--no-unroll-layers",
    default=None,
    help="Write a scan over stacked weights as one layer after the other (default: over quantised ones).",
)
@click.option(
    "--round-activations", is_flag=True, help="Let onnxruntime round to 8 bits what quantised weights multiply."
)
@click.option("--explain", is_flag=True, help="Report functions that were found, and those nearly found and why not.")
@click.option("--report", type=FILE, help="Write a report of the export: an HTML page, and JSON beside it.")
@click.option("--check", "checked", is_flag=True, help="Run the model in onnxruntime and compare it with JAX.")
@CALL
@with_options(SHARED)
@with_options(WEIGHTS)
@with_options(COMPARISON)
@JSON
@DEBUG
def export(
    *,
    source: str,
    inputs: tuple[str, ...],
    output: Path | None,
    show: Stage | None,
    output_names: tuple[str, ...],
    lowerings: tuple[str, ...],
    no_fusions: bool,
    explain: bool,
    checked: bool,
    call: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Export MODULE:OBJECT to an ONNX file.

    If OBJECT is a dict of entries, {"prefill": (fn, inputs), "decode": (fn, inputs)}, each becomes a model in the
    folder --output, and they share one file of weights.
    """
    comparison = {name: options.pop(name) for name in _COMPARED}
    if (output is None) is (show is None):
        raise click.UsageError("nothing to do; give either a file to write (--output) or a stage to print (--show)")
    if not checked and any(map(_is_given, comparison)):
        raise click.UsageError("--sizes, --values, --rtol, --atol, --kind and --seed are of --check; add --check")
    if output is None and (checked or options["report"] is not None):
        raise click.UsageError("--check and --report are of a file that is written; add --output instead of --show")
    fn = find_object(source, call=call)
    rules = _rules(lowerings)
    if isinstance(fn, Mapping):
        if output is None or inputs or output_names:
            raise click.UsageError(
                f"{source} is a dict of entries, which say their inputs; give --output and no --input"
            )
        chosen = {**options, "lowerings": rules, "fusions": not no_fusions}
        export_entries(source, fn, output, chosen, comparison if checked else None, as_json=as_json)
        return
    if output is not None and output.is_dir():
        raise click.UsageError(f"--output: {str(output)!r} is a folder; add a name such as model.onnx")
    specs, names = arrange_inputs(fn, inputs)
    if output is not None:
        require_no_module("--output", output)
        require_no_input("--output", output, comparison["values"])
    import jax2onnx
    from jax2onnx.inspect.summary import summarise

    reports: list[FusionReport] = []
    exported: ExportOptions = {
        "input_names": names and [*names, *sorted(options["input_params"] or ())],
        "output_names": output_names or None,
        "lowerings": rules,
        "fusions": not no_fusions,
        "explain": reports.append if explain else False,
        **cast("ExportOptions", options),
    }
    if checked:
        comparison = _with_arrays(comparison)
    start = time.perf_counter()
    with progress(f"exporting {source}") as tell, shown_warnings():
        if output is None:
            assert show is not None
            say(jax2onnx.show(fn, specs, show, **exported))
            return
        if checked:
            _save_comparable(output, fn, specs, {**exported, "progress": tell}, comparison)
        else:
            jax2onnx.save_onnx(fn, specs, output, **exported, progress=tell)
    seconds = time.perf_counter() - start
    summary = summarise(output)
    shared = {name: value for name, value in options.items() if name in SharedOptions.__annotations__}
    agreed = None
    if checked:
        agreed = _noted(options["report"], lambda: _compare(output, fn, specs, shared, comparison))
    if as_json:
        result = {"output": str(output), "seconds": seconds, "model": asdict(summary)}
        result["explain"] = [line for text in map(str, reports) for line in text.splitlines()]
        result["check"] = agreed and asdict(agreed)
        say(json.dumps(result, indent=2))
        return
    say(f"{output}: {brief(summary)}, {seconds:.1f} s")
    for text in (*reports, *filter(None, [agreed])):
        say(str(text))


_COMPARED = ("sizes", "values", "rtol", "atol", "kinds", "seed")


def _is_given(option: str) -> bool:
    """Return whether the user gives an option of the running command."""
    source = click.get_current_context().get_parameter_source(option)
    return source is click.core.ParameterSource.COMMANDLINE


def _rules(texts: Sequence[str]) -> dict[str, Any] | None:
    rules = {}
    for text in texts:
        primitive, source = split_name(text)
        if not primitive:
            raise click.UsageError(
                f"--lowering: {text!r} is not of the form PRIMITIVE=MODULE:OBJECT; write for example sin=rules:sine"
            )
        rules[primitive] = find_object(source, call=False)
    return rules or None


@cli.command()
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
    if not diagnosed and any(map(_is_given, ("reproducer", "target", "no_fusions"))):
        raise click.UsageError("--reproducer, --target and --no-fusions are of --diagnose; add --diagnose")
    comparison = {name: options.pop(name) for name in _COMPARED}
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
        arrays = _read_values(model, options, _with_arrays(comparison))
        with progress(f"diagnosing {model}"), shown_warnings():
            found = diagnose(model, fn, specs, reproducer=reproducer, **cast("Any", {**options, **exported, **arrays}))
        say(json.dumps(asdict(found), indent=2) if as_json else str(found))
        return int(not found.agrees)
    report = _compare(model, fn, specs, options, _with_arrays(comparison))
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


def _with_arrays(comparison: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a comparison with the contents of the files; refuse what no model can be compared with."""
    from jax2onnx.options import check_values

    options = {name: value for name, value in comparison.items() if value not in ((), None)}
    check_values(options)
    if "values" in options:
        options["values"] = [(path, read_arrays(path)) for path in options["values"]]
    return options


def _save_comparable(output: Path, fn: Any, specs: Any, options: dict[str, Any], comparison: Mapping[str, Any]) -> None:
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


def _compare(model: Path, fn: Any, specs: Any, shared: Mapping[str, Any], comparison: Mapping[str, Any]) -> CheckReport:
    """Compare a model with JAX."""
    from jax2onnx import check as compare

    options = _read_values(model, shared, comparison)
    with progress(f"checking {model}"), shown_warnings():
        return compare(str(model), fn, specs, **cast("ComparisonOptions", {**shared, **options}))


def _noted(report: Path | None, compare: Callable[[], CheckReport]) -> CheckReport:
    """Compare a model with JAX, and add the result to the report of the export, if there is one."""
    from jax2onnx.output.report.write import add_to_report

    told: Any = None
    try:
        agreed = compare()
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


@cli.command()
@MODEL
@JSON
@click.option("--largest", type=click.IntRange(0), default=10, help="How many initializers to list.")
@click.option("--svg", "picture", type=FILE, help="Draw the graph to this file.")
@click.option(
    "--by",
    type=click.Choice(("module", "operator", "line")),
    help="Show parameters, FLOPs and bytes of each module, operator or line instead.",
)
@repeated("--size", "sizes", metavar="B=2", callback=read_sizes, text="Size of a symbolic dim for --by (else 1)")
@repeated(
    "--targets",
    metavar="NAME",
    text="Show instead which runtimes execute the model, 'all' or one such as 'onnxruntime>=1.20', and which nodes not",
)
@DEBUG
def inspect(
    *,
    model: Path,
    as_json: bool,
    largest: int,
    picture: Path | None,
    by: By | None,
    sizes: list[Any] | None,
    targets: tuple[str, ...],
) -> None:
    """Show inputs, outputs, opset, operators, size and largest initializers of MODEL."""
    from jax2onnx.inspect.summary import format_size, summarise

    if sizes and by is None:
        raise click.UsageError("--size is of --by; add --by module")
    if targets:
        print_portability(model, targets, as_json=as_json)
        return
    summary = summarise(model)
    counted = None if by is None else _costs(model, by, sizes or [])
    if picture is not None:
        from jax2onnx.inspect.picture import svg
        from jax2onnx.output.external_data import locations
        from jax2onnx.output.text_file import write_text

        beside = [model.parent / name for name in locations(model)]
        require_no_input("--svg", picture, [model, *beside])
        with progress(f"drawing {model}"):
            drawing = svg(model)
        write_text(drawing, picture, "picture")
    if counted is not None:
        if as_json:
            say(json.dumps(asdict(counted), indent=2))
        else:
            print_costs(counted, str(by))
        return
    if as_json:
        say(json.dumps(asdict(summary), indent=2))
        return
    say(f"{model}: {brief(summary)}")
    rows = [("input", t.name, t.spec, "") for t in summary.inputs]
    rows += [("output", t.name, t.spec, "") for t in summary.outputs]
    rows += [("operator", name, str(count), "") for name, count in summary.operators.items()]
    rows += [("initializer", t.name, t.spec, format_size(t.nbytes)) for t in summary.initializers[:largest]]
    table((), rows)


def _costs(model: Path, by: By, sizes: Sequence[Any]) -> Costs:
    from jax2onnx.inspect.costs import costs

    if not all(isinstance(given, dict) for given in sizes):
        raise click.UsageError("--size: write the name of the dim too, for example --size B=2")
    return costs(model, by, {name: size for given in sizes for name, size in given.items()})


cli.add_command(diff)
cli.add_command(examples)
cli.add_command(list_plugins)
cli.add_command(new_plugin)
cli.add_command(precision)
cli.add_command(profile)
cli.add_command(report)
