"""Write: the two files of a report."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jax2onnx.errors import InputSpecError, SaveError
from jax2onnx.output.report.page import page
from jax2onnx.output.report.strip import stripped
from jax2onnx.output.text_file import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["add_to_report", "files_of", "refuse_one_file", "write_report"]


def files_of(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Return the HTML file and the JSON file of a report, which have one name."""
    base = Path(path)
    if base.name in {"", ".."}:
        raise SaveError(
            f"cannot write the report to {os.fspath(path)!r}: it is a folder; add a name such as report.html"
        )
    if base.suffix.lower() in {".html", ".htm", ".json"}:
        base = base.with_suffix("")
    return base.with_name(base.name + ".html"), base.with_name(base.name + ".json")


def refuse_one_file(report: str | os.PathLike[str] | None, model: str | os.PathLike[str]) -> None:
    """Raise InputSpecError if a file of a report is also that of the model."""
    if report is None:
        return
    for file in files_of(report):
        if os.path.realpath(file) in {os.path.realpath(model), os.path.realpath(f"{os.fspath(model)}.data")}:
            raise InputSpecError(
                f"report: {str(file)!r} is a file of the model; name another one, such as 'report.html'"
            )


def write_report(document: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a report.

    Raises:
        SaveError: a file cannot be written.
    """
    page_file, data_file = files_of(path)
    write_text(json.dumps(document, indent=2, default=str) + "\n", data_file, "report")
    write_text(page(document), page_file, "report")


def add_to_report(path: str | os.PathLike[str], part: str, told: Any) -> None:
    """Add a part to a report that is written."""
    _, data_file = files_of(path)
    document = json.loads(data_file.read_text(encoding="utf-8"))
    document[part] = stripped(told)
    write_report(document, path)
