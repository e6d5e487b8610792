"""The command line's export of several entries: one model each, and one file of weights."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

import click

from jax2onnx.cli.terminal import brief, progress, say, shown_warnings
from jax2onnx.options import ComparisonOptions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from jax2onnx.options import EntriesOptions

__all__ = ["export_entries"]

_OF_ONE = ("input_params", "static", "inputs_as_nchw", "outputs_as_nchw", "report", "name")
"""Options that would mean something else for each entry."""


def export_entries(
    source: str,
    entries: Mapping[str, Any],
    output: Path,
    options: Mapping[str, Any],
    comparison: Mapping[str, Any] | None,
    *,
    as_json: bool,
) -> None:
    """Export entries to a folder; with the options of a comparison, check them too."""
    import jax2onnx
    from jax2onnx.checking.check import require_comparable
    from jax2onnx.inspect.summary import summarise

    given = [option for option in _OF_ONE if options.get(option)]
    if given:
        raise click.UsageError(f"{given[0]}: {source} is a dict of entries; write it among the options of the entry")
    exported = {option: value for option, value in options.items() if option not in _OF_ONE}
    if comparison is not None:
        wanted = {option: value for option, value in comparison.items() if value not in ((), None)}
        if "values" in wanted:
            raise click.UsageError("--values: the inputs of entries are given in Python only; leave it out")
        shared = {option: value for option, value in exported.items() if option in ComparisonOptions.__annotations__}
        comparison = {**shared, **wanted}
        require_comparable(entries, **comparison)
    start = time.perf_counter()
    with progress(f"exporting {source}") as tell, shown_warnings():
        jax2onnx.save_onnx(entries, output, **cast("EntriesOptions", {**exported, "progress": tell}))
    seconds = time.perf_counter() - start
    report = None
    if comparison is not None:
        with progress(f"checking {output}"), shown_warnings():
            report = jax2onnx.check(str(output), entries, **cast("ComparisonOptions", comparison))
    files = {name: path_of(output, name) for name in entries}
    models = {name: summarise(file) for name, file in files.items()}
    if as_json:
        result = {"output": {name: str(file) for name, file in files.items()}, "seconds": seconds}
        result["model"] = {name: asdict(summary) for name, summary in models.items()}
        result["check"] = report and asdict(report)
        say(json.dumps(result, indent=2))
        return
    for name, summary in models.items():
        say(f"{files[name]}: {brief(summary)}")
    say(f"{seconds:.1f} s")
    if report is not None:
        say(str(report))


def path_of(output: Path, entry: str) -> Path:
    """Return the file of an entry's model."""
    if output.is_dir():
        return output / f"{entry}.onnx"
    return output.with_name(f"{output.name.removesuffix('.onnx')}.{entry}.onnx")
