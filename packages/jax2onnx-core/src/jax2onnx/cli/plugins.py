"""The command line's ``list-plugins``: what is installed, what it covers, and what a program lacks."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import click

from jax2onnx._printable import counted
from jax2onnx.cli.arguments import arrange_inputs, find_object
from jax2onnx.cli.shared_options import CALL, DEBUG, JSON, SHARED, repeated, with_options
from jax2onnx.cli.terminal import say, table
from jax2onnx.errors import (
    ConversionError,
    MissingPluginWarning,
    NoKernelError,
    OpsetError,
    UnsupportedCaseError,
    UnsupportedPrimitiveError,
)
from jax2onnx.options import DEFAULT_OPSET, DEFAULT_TARGET

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jax2onnx.options import ExportOptions
    from jax2onnx.plugin.loaded import LoadedPlugins

__all__ = ["list_plugins"]

_ENTRY_KEYS = ("kind", "name", "plugin", "min_opset")


@click.command("list-plugins")
@JSON
@click.option(
    "-v",
    "--verbose",
    is_flag=True,
    help="Also how many lowerings, fusions and targets each has, and one line per lowering and fusion; this runs the "
    "plugins' registration.",
)
@click.option("--primitives", is_flag=True, help="Show the primitives that have a rule.")
@click.option("--functions", is_flag=True, help="Show the functions that are found as a whole.")
@click.option("--missing", metavar="MODULE:OBJECT", help="Show all that this program needs and nobody provides.")
@repeated("-i", "--input", "inputs", metavar="[NAME=]DTYPE[DIMS]", text="An input of the program, as in export")
@CALL
@with_options(SHARED)
@click.option("--opset", type=int, default=DEFAULT_OPSET, show_default=True, help="Opset of the program's model.")
@click.option("--target", default=DEFAULT_TARGET, show_default=True, help="Runtime of the program's model.")
@DEBUG
def list_plugins(
    *,
    as_json: bool,
    verbose: bool,
    primitives: bool,
    functions: bool,
    missing: str | None,
    inputs: tuple[str, ...],
    call: bool,
    **options: Any,
) -> None:
    """Show the plugins found, and why one is not in use."""
    if missing is not None:
        _show_missing(_missing(missing, inputs, options, call=call), as_json=as_json)
        return
    if inputs or call:
        raise click.UsageError("--input and --call are of --missing; add --missing MODULE:OBJECT")
    from jax2onnx.plugin.loader import load

    loaded = load()
    kinds = {"lowering": primitives, "fusion": functions}
    chosen = [kind for kind, wanted in kinds.items() if wanted]
    entries = _entries(loaded) if verbose or chosen else []
    if chosen:
        entries = [entry for entry in entries if entry[0] in chosen]
    if as_json:
        report: dict[str, Any] = {"plugins": list(map(asdict, loaded.infos))}
        if verbose or chosen:
            report["entries"] = [dict(zip(_ENTRY_KEYS, entry, strict=True)) for entry in entries]
        if verbose:
            report["counts"] = _counts(loaded)
        say(json.dumps(report, indent=2))
        return
    if not chosen:
        _show_plugins(loaded, with_counts=verbose)
    if verbose and not chosen:
        say("")
    if entries:
        table(("kind", "name", "plugin", "opset from"), entries)


def _show_plugins(loaded: LoadedPlugins, *, with_counts: bool) -> None:
    counts = _counts(loaded) if with_counts else {}
    rows = []
    for info in loaded.infos:
        hooks = [hook.removeprefix("jax2onnx_").removeprefix("register_") for hook in info.hooks]
        if with_counts:
            own = counts.get(info.name, {})
            hooks = [counted(own[hook], hook.removesuffix("s")) if hook in own else hook for hook in hooks]
        provides = ", ".join(hooks)
        rows.append((info.name, info.status, info.version, info.distribution, info.requires, provides, info.reason))
    table(("plugin", "status", "version", "distribution", "requires", "provides", "reason"), rows)


def _counts(loaded: LoadedPlugins) -> dict[str, dict[str, int]]:
    """Return for each plugin in use how many lowerings, fusions and targets it registers."""
    registry = loaded.registry()
    kinds: dict[str, Iterable[Any]] = {
        "lowerings": registry.lowerings,
        "fusions": registry.fusions,
        "targets": registry.targets,
    }
    counted = {kind: Counter(entry.plugin for entry in entries) for kind, entries in kinds.items()}
    return {info.name: {kind: counted[kind][info.name] for kind in kinds} for info in loaded.infos}


def _entries(loaded: LoadedPlugins) -> list[tuple[str, str, str, str]]:
    """Return kind, name, plugin and lowest opset of what is registered."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the table shows what the warning would
        registry = loaded.registry()
    lowerings = [("lowering", entry.primitive, entry.plugin, str(entry.min_opset)) for entry in registry.lowerings]
    fusions = [("fusion", fusion.name, fusion.plugin, str(min(fusion.emit))) for fusion in registry.fusions]
    return lowerings + sorted(fusions)


@dataclass(frozen=True, slots=True)
class _Missing:
    """One thing that a program needs and nobody provides."""

    kind: str
    what: str
    where: str
    install: str


def _missing(source: str, inputs: Sequence[str], options: dict[str, Any], *, call: bool) -> list[_Missing]:
    """Return what a program needs and nobody provides."""
    fn = find_object(source, call=call)
    specs, names = arrange_inputs(fn, inputs)
    from jax2onnx import to_onnx

    exported = {"input_names": names and [*names, *sorted(options["input_params"] or ())], **options}
    errors: list[ConversionError] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            to_onnx(fn, specs, **cast("ExportOptions", exported))
        except ConversionError as error:
            if not isinstance(error, _LACKING):
                raise
            errors = [error, *error.others]
    told = [warning.message for warning in caught]
    found = [_framework(warning) for warning in told if isinstance(warning, MissingPluginWarning)]
    return found + list(map(_place, errors))


def _framework(warning: MissingPluginWarning) -> _Missing:
    install = warning.distribution and f"pip install {warning.distribution}"
    return _Missing("framework", f"{warning.framework}: its objects are not opened", "", install)


def _place(error: ConversionError) -> _Missing:
    where = error.where or ""
    if isinstance(error, UnsupportedPrimitiveError):
        install = f"pip install {error.distribution}" if error.distribution else "a rule of your own (docs/plugins.md)"
        return _Missing("primitive", error.primitive, where, install)
    kind = "kernel" if isinstance(error, NoKernelError) else "case"
    return _Missing(kind, error.what, where, error.remedy or "")


_LACKING = (UnsupportedPrimitiveError, UnsupportedCaseError, OpsetError, NoKernelError)
"""Errors that say that something is not provided; others say that there is nothing to tell."""


def _show_missing(found: Sequence[_Missing], *, as_json: bool) -> None:
    """Print what is missing; exit with 1 if anything is."""
    if as_json:
        say(json.dumps({"missing": list(map(asdict, found))}, indent=2))
    elif not found:
        say("nothing is missing")
    else:
        table(("kind", "what", "where", "remedy"), [(m.kind, m.what, m.where, m.install) for m in found])
    if found:
        click.get_current_context().exit(1)
