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

from jax2onnx.cli.arguments import arrange_inputs, find_object, require_no_input, require_no_module
from jax2onnx.cli.checking import COMPARED, check, compare, is_given, noted, save_comparable, with_arrays
from jax2onnx.cli.comparing import diff, profile
from jax2onnx.cli.entries import export_entries
from jax2onnx.cli.examples import examples
from jax2onnx.cli.extensible import Extensible
from jax2onnx.cli.inspecting import inspect
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
    JSON,
    PATH,
    PRECISION,
    SHARED,
    SOURCE,
    WEIGHTS,
    repeated,
    with_options,
)
from jax2onnx.cli.terminal import brief, progress, say, shown_warnings
from jax2onnx.cli.values import split_name
from jax2onnx.errors import ConversionError, Jax2OnnxError, described_error
from jax2onnx.options import DEFAULT_OPSET, DEFAULT_TARGET, STAGES, SharedOptions
from jax2onnx.plugin.owner import require_sole_owner

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jax2onnx.fusion.report import FusionReport
    from jax2onnx.options import ExportOptions, Stage

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
    except SystemExit:  # of a command that is done
        raise
    except BaseException as raised:  # noqa: BLE001 - the border to the shell: a message, or with --debug the traceback
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


def _message(error: BaseException) -> str:
    """Return what to say of an exception that ends a command."""
    if isinstance(error, Jax2OnnxError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        name = "" if error.filename is None else f"{os.fsdecode(error.filename)!r}: "
        return f"{name}{error.strerror}; name another file or folder"
    return described_error(error, whole=True)


def _error_report(error: BaseException) -> dict[str, Any]:
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
    comparison = {name: options.pop(name) for name in COMPARED}
    if (output is None) is (show is None):
        raise click.UsageError("nothing to do; give either a file to write (--output) or a stage to print (--show)")
    if not checked and any(map(is_given, comparison)):
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
        comparison = with_arrays(comparison)
    start = time.perf_counter()
    with progress(f"exporting {source}") as tell, shown_warnings():
        if output is None:
            assert show is not None
            say(jax2onnx.show(fn, specs, show, **exported))
            return
        if checked:
            save_comparable(output, fn, specs, {**exported, "progress": tell}, comparison)
        else:
            jax2onnx.save_onnx(fn, specs, output, **exported, progress=tell)
    seconds = time.perf_counter() - start
    summary = summarise(output)
    shared = {name: value for name, value in options.items() if name in SharedOptions.__annotations__}
    agreed = None
    if checked:
        agreed = noted(options["report"], lambda: compare(output, fn, specs, shared, comparison))
    if as_json:
        result = {"output": str(output), "seconds": seconds, "model": asdict(summary)}
        result["explain"] = [line for text in map(str, reports) for line in text.splitlines()]
        result["check"] = agreed and asdict(agreed)
        say(json.dumps(result, indent=2))
        return
    say(f"{output}: {brief(summary)}, {seconds:.1f} s")
    for text in (*reports, *filter(None, [agreed])):
        say(str(text))


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


cli.add_command(check)
cli.add_command(diff)
cli.add_command(examples)
cli.add_command(inspect)
cli.add_command(list_plugins)
cli.add_command(new_plugin)
cli.add_command(precision)
cli.add_command(profile)
cli.add_command(report)
