"""Exports of several entries that share their weights."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from jax2onnx.errors import ConversionError, InputSpecError
from jax2onnx.frontend.elsewhere import opened_weights
from jax2onnx.frontend.entries import find_links, read_entries
from jax2onnx.options import EntriesOptions, Options, check_values
from jax2onnx.output.memory import memory_explained
from jax2onnx.output.names import NEXT
from jax2onnx.output.report.write import files_of
from jax2onnx.output.save_entries import entry_files, preflight_entries, save_entries
from jax2onnx.pipeline.collector import seldom_collecting
from jax2onnx.pipeline.export import Export
from jax2onnx.pipeline.finish import finish, warn_unused
from jax2onnx.plugin import loader

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    import onnx_ir as ir

    from jax2onnx.frontend.entries import Entry
    from jax2onnx.options import ExportOptions


def write_entries(given: Mapping[str, Any], path: str | os.PathLike[str], options: Mapping[str, Any]) -> None:
    """Write the models of several entries, and their weights."""
    entries = read_entries(given)
    own = {name: options.get(name) for name in ("carry", "progress")}
    check_values(own)
    shared = {name: value for name, value in options.items() if name not in own}
    # Opened once, so that entries which have one of its arrays share it.
    shared["weights"] = opened_weights(shared.get("weights"), loader.load().hook)
    checked = {}
    for name, entry in entries.items():
        with _in_entry(name):
            together = cast("ExportOptions", {"name": name, **shared, **entry.options})
            checked[name] = Options.of(together, EntriesOptions.__annotations__)
    with entry_files(path, entries) as files:
        preflight_entries(files)
        with memory_explained(), seldom_collecting():
            models = _exported_entries(entries, checked, own["carry"])
            save_entries(models, files, own["progress"])


def _exported_entries(
    entries: Mapping[str, Entry], options: Mapping[str, Options], carry: Mapping[str, str] | None
) -> dict[str, ir.Model]:
    """Do all stages of the exports of entries; what one gives another has one name in both."""
    options = {name: _with_own_report(chosen, name) for name, chosen in options.items()}
    exports = {name: Export(entry.fn, entry.inputs, options[name]) for name, entry in entries.items()}
    running = {}
    ports = {}
    for name, export in exports.items():
        with _in_entry(name):
            running[name] = export.stages()
            next(running[name])
            ports[name] = export.ports()
    links = find_links(ports, carry)
    for name, export in exports.items():
        carried = {link.output: link.name + NEXT for link in links[name]}
        export.traced = replace(export.traced, carried=carried)
        with _in_entry(name):
            finish(export, running[name], options[name])
    warn_unused(export)
    return {name: export.model for name, export in exports.items()}


def _with_own_report(options: Options, name: str) -> Options:
    """Return the options of an entry, whose report has its name."""
    if options.report is None:
        return options
    page, _ = files_of(options.report)
    return replace(options, report=page.with_name(f"{page.stem}-{name}.html"))


@contextlib.contextmanager
def _in_entry(name: str) -> Iterator[None]:
    """Name the entry in which an error was."""
    try:
        yield
    except ConversionError as error:
        error.what = f"entry {name!r}: {error.what}"
        raise
    except InputSpecError as error:
        raise InputSpecError(f"entry {name!r}: {error.message}") from error.__cause__
