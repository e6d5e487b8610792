"""The commands of the command line. Each imports what it needs when it runs."""

from __future__ import annotations

import json
import sys
import time
import traceback
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

import click

from jax2onnx.cli.arguments import arrange_inputs, find_object, input_as_in_jax
from jax2onnx.cli.examples import examples
from jax2onnx.cli.terminal import brief, progress, shown_warnings, table
from jax2onnx.errors import Jax2OnnxError
from jax2onnx.options import DEFAULT_OPSET, DEFAULT_TARGET, STAGES
from jax2onnx.plugin.owner import require_sole_owner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.fusion.report import FusionReport
    from jax2onnx.options import ExportOptions, SharedOptions, Stage
    from jax2onnx.plugin.loader import LoadedPlugins

__all__ = ["cli", "main"]

_FILE = click.Path(dir_okay=False, path_type=Path)
_EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_MODEL = click.argument("model", type=_EXISTING_FILE)
_SOURCE = click.argument("source", metavar="MODULE:OBJECT")
_DEBUG = click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_CONSTRAINT = click.option(
    "--constraint",
    "constraints",
    multiple=True,
    metavar="EXPR",
    help="A condition on symbolic dims, e.g. 'T >= 4'; may repeat.",
)
_TRAINING = click.option("--training", is_flag=True, help="Training behaviour (default: inference).")
_CALL = click.option("--call", is_flag=True, help="OBJECT is a function without arguments that makes the callable.")
_NCHW_INPUT = click.option(
    "--nchw-input",
    "inputs_as_nchw",
    multiple=True,
    metavar="NAME",
    help="One of the inputs that is channels-last in JAX and channels-first in the model; may repeat.",
)
_NCHW_OUTPUT = click.option(
    "--nchw-output",
    "outputs_as_nchw",
    multiple=True,
    metavar="NAME",
    help="One of the outputs that is channels-last in JAX and channels-first in the model; may repeat.",
)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 for success, 1 for failure, 2 for a wrong call."""
    args = sys.argv[1:] if args is None else args
    try:
        code = cli.main(args=list(args), prog_name="jax2onnx", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        code = 1
    except Exception as error:  # noqa: BLE001 - the border to the shell: a message, or with --debug the traceback
        if "--debug" in args:
            traceback.print_exc()
        elif isinstance(error, Jax2OnnxError):
            click.echo(f"error: {error}\n(--debug shows the traceback)", err=True)
        else:
            click.echo(f"error: {type(error).__name__}: {error}", err=True)
        code = 1
    sys.exit(code)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="jax2onnx-core", prog_name="jax2onnx", message="%(prog)s %(version)s")
@_DEBUG
def cli() -> None:
    """Convert JAX programs to ONNX.

    MODULE:OBJECT names a callable (a function, or a framework object such as a flax.nnx module): MODULE is a module
    that can be imported from here or the path of a Python file, OBJECT a name in it, dots allowed. With --call, OBJECT
    is a function without arguments that returns the callable.
    """
    require_sole_owner()


@cli.command()
@_SOURCE
@click.option(
    "-i",
    "--input",
    "inputs",
    multiple=True,
    metavar="[NAME=]DTYPE[DIMS]",
    help="An input, e.g. x=float32[B,30]; repeat for more. It goes to the parameter NAME if there is one; "
    "else the order counts and NAME is what the model calls it.",
)
@click.option("-o", "--output", type=_FILE, help="File to write.")
@click.option(
    "--show",
    type=click.Choice(STAGES),
    help="Print what the export has at this stage, for debugging, and write no file.",
)
@click.option("--opset", type=int, default=DEFAULT_OPSET, help="Opset of ONNX.")
@click.option("--target", metavar="NAME", default=DEFAULT_TARGET, help="Runtime to legalise for; 'onnx' for none.")
@_CONSTRAINT
@click.option("--output-name", "output_names", multiple=True, metavar="NAME", help="Name of an output, in order.")
@click.option("--no-fusions", is_flag=True, help="Keep primitives instead of whole functions such as Gelu.")
@click.option("--fold-batch-norm", is_flag=True, help="Fold batch normalisation into the weights before it.")
@click.option("--explain", is_flag=True, help="Report functions that were found, and those nearly found and why not.")
@click.option("--check", "checked", is_flag=True, help="Run the model in onnxruntime and compare it with JAX.")
@_TRAINING
@_CALL
@_NCHW_INPUT
@_NCHW_OUTPUT
@_DEBUG
def export(
    *,
    source: str,
    inputs: tuple[str, ...],
    output: Path | None,
    show: Stage | None,
    opset: int,
    target: str,
    output_names: tuple[str, ...],
    no_fusions: bool,
    fold_batch_norm: bool,
    explain: bool,
    checked: bool,
    call: bool,
    **shared: Unpack[SharedOptions],
) -> None:
    """Export MODULE:OBJECT to an ONNX file."""
    fn = find_object(source, call=call)
    specs, names = arrange_inputs(fn, inputs)
    if (output is None) is (show is None):
        raise click.UsageError("give either a file to write (--output) or a stage to print (--show)")
    import jax2onnx
    from jax2onnx.inspect.summary import summarise

    reports: list[FusionReport] = []
    options: ExportOptions = {
        "opset": opset,
        "target": target,
        "input_names": names,
        "output_names": output_names or None,
        "fusions": not no_fusions,
        "fold_batch_norm": fold_batch_norm,
        "explain": reports.append if explain else False,
        **cast("ExportOptions", shared),
    }
    start = time.perf_counter()
    with progress(f"exporting {source}"), shown_warnings():
        if output is None:
            assert show is not None
            click.echo(jax2onnx.show(fn, specs, show, **options))
            return
        jax2onnx.save_onnx(fn, specs, output, **options)
    seconds = time.perf_counter() - start
    click.echo(f"{output}: {brief(summarise(output))}, {seconds:.1f} s")
    for report in reports:
        click.echo(str(report))
    if checked:
        _check(output, fn, specs, **shared)


@cli.command()
@_MODEL
@_SOURCE
@_CONSTRAINT
@_TRAINING
@_CALL
@_NCHW_INPUT
@_NCHW_OUTPUT
@_DEBUG
def check(*, model: Path, source: str, call: bool, **shared: Unpack[SharedOptions]) -> None:
    """Run MODEL in onnxruntime and compare it with MODULE:OBJECT in JAX.

    The inputs are those of the model: by name where the callable has parameters of these names, else in order.
    """
    fn = find_object(source, call=call)
    from jax2onnx.inspect.summary import summarise

    images = cast("Sequence[str]", shared["inputs_as_nchw"])  # --nchw-input takes names only
    inputs = [input_as_in_jax(tensor, images) for tensor in summarise(model).inputs]
    specs, _ = arrange_inputs(fn, inputs)
    _check(model, fn, specs, **shared)


def _check(model: Path, fn: Any, specs: Any, **shared: Unpack[SharedOptions]) -> None:
    from jax2onnx import check as compare

    with progress(f"checking {model}"), shown_warnings():
        report = compare(str(model), fn, specs, **shared)
    click.echo(str(report))


@cli.command()
@_MODEL
@_JSON
@click.option("--largest", type=click.IntRange(0), default=10, help="How many initializers to list.")
@click.option("--svg", "picture", type=_FILE, help="Draw the graph to this file.")
@_DEBUG
def inspect(*, model: Path, as_json: bool, largest: int, picture: Path | None) -> None:
    """Show inputs, outputs, opset, operators, size and largest initializers of MODEL."""
    from jax2onnx.inspect.summary import format_size, summarise

    summary = summarise(model)
    if picture is not None:
        from jax2onnx.inspect.picture import svg

        with progress(f"drawing {model}"):
            drawing = svg(model)
        picture.write_text(drawing, encoding="utf-8")
    if as_json:
        click.echo(json.dumps(asdict(summary), indent=2))
        return
    click.echo(f"{model}: {brief(summary)}")
    rows = [("input", t.name, t.spec, "") for t in summary.inputs]
    rows += [("output", t.name, t.spec, "") for t in summary.outputs]
    rows += [("operator", name, str(count), "") for name, count in summary.operators.items()]
    rows += [("initializer", t.name, t.spec, format_size(t.nbytes)) for t in summary.initializers[:largest]]
    table((), rows)


@cli.command("list-plugins")
@_JSON
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Also one line per lowering and fusion; this runs the plugins' registration.",
)
@_DEBUG
def list_plugins(*, as_json: bool, verbose: bool) -> None:
    """Show the plugins found, and why one is not in use."""
    from jax2onnx.plugin.loader import load

    loaded = load()
    entries = _entries(loaded) if verbose else []
    if as_json:
        report = {"plugins": list(map(asdict, loaded.infos))}
        if verbose:
            report["entries"] = [dict(zip(_ENTRY_KEYS, entry, strict=True)) for entry in entries]
        click.echo(json.dumps(report, indent=2))
        return
    rows = []
    for info in loaded.infos:
        hooks = [hook.removeprefix("jax2onnx_").removeprefix("register_") for hook in info.hooks]
        row = (info.name, info.status, info.version, info.distribution, ", ".join(hooks), info.reason)
        rows.append(row)
    table(("plugin", "status", "version", "distribution", "provides", "reason"), rows)
    if verbose:
        click.echo()
        table(("kind", "name", "plugin", "opset from"), entries)


_ENTRY_KEYS = ("kind", "name", "plugin", "min_opset")


def _entries(loaded: LoadedPlugins) -> list[tuple[str, str, str, str]]:
    """Return kind, name, plugin and lowest opset of what is registered."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the table shows what the warning would
        registry = loaded.registry()
    lowerings = [("lowering", entry.primitive, entry.plugin, str(entry.min_opset)) for entry in registry.lowerings]
    fusions = [("fusion", fusion.name, fusion.plugin, str(min(fusion.emit))) for fusion in registry.fusions]
    return lowerings + sorted(fusions)


cli.add_command(examples)
