"""The command line. Each command imports what it needs when it runs."""

from __future__ import annotations

import importlib
import importlib.util
import inspect as inspection
import json
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from jax2onnx.cli.examples import examples
from jax2onnx.cli.terminal import brief, progress, shown_warnings, table
from jax2onnx.errors import Jax2OnnxError
from jax2onnx.plugin.owner import require_sole_owner

if TYPE_CHECKING:
    from jax2onnx.fusion.report import FusionReport
    from jax2onnx.inspect.summary import Tensor
    from jax2onnx.plugin.loader import LoadedPlugins

F = TypeVar("F", bound=Callable[..., Any])


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
        else:
            kind = "" if isinstance(error, Jax2OnnxError) else f"{type(error).__name__}: "
            click.echo(f"error: {kind}{error}", err=True)
            if not kind:
                click.echo("(--debug shows the traceback)", err=True)
        code = 1
    sys.exit(code)


def _debug(command: F) -> F:
    return click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")(command)


def _object_options(command: F) -> F:
    for option, what in (("--nchw-output", "outputs"), ("--nchw-input", "inputs")):
        command = click.option(
            option, f"{what}_as_nchw", multiple=True, metavar="NAME",
            help=f"One of the {what} that is channels-last in JAX and channels-first in the model; may repeat.",
        )(command)  # fmt: skip
    command = click.option(
        "--call", is_flag=True, help="OBJECT is a function without arguments that makes the callable."
    )(command)
    return click.option("--training", is_flag=True, help="Training behaviour (default: inference).")(command)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(package_name="jax2onnx-core", prog_name="jax2onnx", message="%(prog)s %(version)s")
@_debug
def cli() -> None:
    """Convert JAX programs to ONNX.

    MODULE:OBJECT names a callable (a function, or a framework object such as a flax.nnx module): MODULE is a module
    that can be imported from here or the path of a Python file, OBJECT a name in it, dots allowed. With --call, OBJECT
    is a function without arguments that returns the callable.
    """
    require_sole_owner()


@cli.command()
@click.argument("source", metavar="MODULE:OBJECT")
@click.option(
    "-i", "--input", "inputs", multiple=True, metavar="[NAME=]DTYPE[DIMS]",
    help="An input, e.g. x=float32[B,30]; repeat for more. It goes to the parameter NAME if there is one; "
    "else the order counts and NAME is what the model calls it.",
)  # fmt: skip
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path), help="File to write.")
@click.option("--opset", type=int, help="Opset of ONNX (default: that of to_onnx).")
@click.option("--target", metavar="NAME", help="Runtime to legalise for; 'onnx' for none.")
@click.option(
    "--constraint", "constraints", multiple=True, metavar="EXPR", help="What holds of symbolic dims, e.g. 'T >= 4'."
)
@click.option("--output-name", "output_names", multiple=True, metavar="NAME", help="Name of an output, in order.")
@click.option("--no-fusions", is_flag=True, help="Keep primitives instead of whole functions such as Gelu.")
@click.option("--fold-batch-norm", is_flag=True, help="Batch normalisation in the weights before it.")
@click.option("--explain", is_flag=True, help="Tell which functions were found, and which nearly, and why not.")
@click.option("--check", "checked", is_flag=True, help="Run the model in onnxruntime and compare it with JAX.")
@_object_options
@_debug
def export(
    *,
    source: str,
    inputs: tuple[str, ...],
    output: Path,
    opset: int | None,
    target: str | None,
    constraints: tuple[str, ...],
    output_names: tuple[str, ...],
    no_fusions: bool,
    fold_batch_norm: bool,
    explain: bool,
    checked: bool,
    call: bool,
    **shared: Any,
) -> None:
    """Export MODULE:OBJECT to an ONNX file."""
    fn = _find(source, call=call)
    specs, names = _arrange(fn, inputs)
    from jax2onnx import save_onnx
    from jax2onnx.inspect.summary import summarise

    options: dict[str, Any] = {"opset": opset, "target": target}
    options = {k: v for k, v in options.items() if v is not None}
    reports: list[FusionReport] = []
    start = time.perf_counter()
    with progress(f"exporting {source}"), shown_warnings():
        save_onnx(
            fn,
            specs,
            output,
            input_names=names,
            output_names=output_names or None,
            constraints=constraints,
            fusions=not no_fusions,
            fold_batch_norm=fold_batch_norm,
            explain=reports.append if explain else False,
            **shared,
            **options,
        )
    took = time.perf_counter() - start
    click.echo(f"{output}: {brief(summarise(output))}, {took:.1f} s")
    for report in reports:
        click.echo(str(report))
    if checked:
        _check(output, fn, specs, constraints=constraints, **shared)


@cli.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("source", metavar="MODULE:OBJECT")
@click.option(
    "--constraint", "constraints", multiple=True, metavar="EXPR", help="What holds of symbolic dims, e.g. 'T >= 4'."
)
@_object_options
@_debug
def check(*, model: Path, source: str, constraints: tuple[str, ...], call: bool, **shared: Any) -> None:
    """Run MODEL in onnxruntime and compare it with MODULE:OBJECT in JAX.

    The inputs are those of the model: by name where the callable has parameters of these names, else in order.
    """
    fn = _find(source, call=call)
    from jax2onnx.inspect.summary import summarise

    tensors = [_as_in_jax(tensor, shared["inputs_as_nchw"]) for tensor in summarise(model).inputs]
    specs, _ = _arrange(fn, [text.replace("?", "_") for text in tensors])
    _check(model, fn, specs, constraints=constraints, **shared)


@cli.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--largest", type=click.IntRange(0), default=10, help="How many initializers to list.")
@click.option("--svg", "picture", type=click.Path(dir_okay=False, path_type=Path), help="Draw the graph to this file.")
@_debug
def inspect(*, model: Path, as_json: bool, largest: int, picture: Path | None) -> None:
    """Show inputs, outputs, opset, operators, size and largest initializers of MODEL."""
    from jax2onnx.inspect.summary import summarise, told_size

    summary = summarise(model)
    if picture is not None:
        from jax2onnx.inspect.picture import svg

        with progress(f"drawing {model}"):
            drawn = svg(model)
        picture.write_text(drawn, encoding="utf-8")
    if as_json:
        click.echo(json.dumps(asdict(summary), indent=2))
        return
    click.echo(f"{model}: {brief(summary)}")
    rows = [("input", t.name, t.spec, "") for t in summary.inputs]
    rows += [("output", t.name, t.spec, "") for t in summary.outputs]
    rows += [("operator", name, str(count), "") for name, count in summary.operators.items()]
    rows += [("initializer", t.name, t.spec, told_size(t.nbytes)) for t in summary.initializers[:largest]]
    table((), rows)


@cli.command("list-plugins")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "-v", "--verbose", is_flag=True, help="Also one line per lowering and fusion; this runs the plugins' registration."
)
@_debug
def list_plugins(*, as_json: bool, verbose: bool) -> None:
    """Show the plugins found, and why one is not in use."""
    from jax2onnx.plugin.loader import load

    loaded = load()
    entries = _entries(loaded) if verbose else []
    if as_json:
        report: dict[str, Any] = {"plugins": [asdict(info) for info in loaded.infos]}
        if verbose:
            report["entries"] = [dict(zip(("kind", "name", "plugin", "min_opset"), e, strict=True)) for e in entries]
        click.echo(json.dumps(report, indent=2))
        return
    rows = [
        (i.name, i.status, i.version, i.distribution, ", ".join(_told_hook(h) for h in i.hooks), i.reason)
        for i in loaded.infos
    ]
    table(("plugin", "status", "version", "distribution", "provides", "reason"), rows)
    if verbose:
        click.echo()
        table(("kind", "name", "plugin", "opset from"), entries)


cli.add_command(examples)


def _told_hook(hook: str) -> str:
    return hook.removeprefix("jax2onnx_").removeprefix("register_")


def _entries(loaded: LoadedPlugins) -> list[tuple[str, str, str, str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the table tells what the warning would
        registry = loaded.registry()
    lowerings = [("lowering", entry.primitive, entry.plugin, str(entry.min_opset)) for entry in registry.lowerings]
    fusions = [("fusion", f.name, f.plugin, str(min(f.emit))) for f in registry.fusions]
    return lowerings + sorted(fusions)


def _as_in_jax(tensor: Tensor, images: Sequence[str]) -> str:
    """Return NAME=DTYPE[DIMS] of a model's input; the dims of an image in the order that they have in JAX."""
    dtype, _, dims = tensor.spec.rstrip("]").partition("[")
    first, *rest = dims.split(",")
    if tensor.name in images and len(rest) > 1:
        return f"{tensor.name}={dtype}[{','.join([first, *rest[1:], rest[0]])}]"
    return str(tensor)


def _check(model: Path, fn: Any, specs: Any, **options: Any) -> None:
    from jax2onnx import check as compare

    with progress(f"checking {model}"), shown_warnings():
        report = compare(str(model), fn, specs, **options)
    click.echo(str(report))


def _find(source: str, *, call: bool) -> Any:
    """Return the object that ``MODULE:OBJECT`` names."""
    module_name, colon, path = source.rpartition(":")
    if not colon or not module_name or not path:
        raise click.UsageError(f"{source!r} is not of the form MODULE:OBJECT, e.g. mypackage.models:mlp")
    found: Any = _module(module_name)
    for part in path.split("."):
        if not hasattr(found, part):
            raise click.UsageError(f"{module_name} has no {path!r}")
        found = getattr(found, part)
    if call:
        return found()
    if inspection.isclass(found):
        raise click.UsageError(f"{source} is a class; name an instance, or with --call a function that returns one")
    return found


def _module(name: str) -> Any:
    if name.endswith(".py"):
        path = Path(name).resolve()
        if not path.is_file():
            raise click.UsageError(f"there is no file {name}")
        sys.path.insert(0, str(path.parent))
        name = path.stem
    else:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise click.UsageError(f"there is no module {name!r} (searched from {Path.cwd()})") from error
        raise


def _arrange(fn: Any, inputs: Sequence[str]) -> tuple[list[str] | dict[str, str], list[str] | None]:
    """Return what ``to_onnx`` takes as ``inputs`` and ``input_names``."""
    named = [(name.strip(), spec) for name, _, spec in (text.rpartition("=") for text in inputs)]
    specs, names = [spec for _, spec in named], [name for name, _ in named]
    if not any(names):
        return specs, None
    if not all(names) or len(set(names)) != len(names):
        raise click.UsageError("--input: give each input a name of its own, or none")
    try:
        parameters = inspection.signature(fn).parameters.values()
    except (TypeError, ValueError):
        return specs, names
    positions = [p.name for p in parameters if p.kind is not p.VAR_POSITIONAL and p.kind is not p.VAR_KEYWORD]
    if not set(names) <= set(positions):
        return specs, names
    ordered = dict(sorted(named, key=lambda item: positions.index(item[0])))
    if list(ordered) == positions[: len(ordered)] and all(
        p.kind is not p.KEYWORD_ONLY for p in parameters if p.name in ordered
    ):
        return list(ordered.values()), list(ordered)
    return ordered, None
