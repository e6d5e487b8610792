"""Write: the two files of a report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jax2onnx.output.report.page import page
from jax2onnx.output.report.strip import stripped
from jax2onnx.output.text_file import write_text

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

__all__ = ["add_to_report", "files_of", "write_report"]


def files_of(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    """Return the HTML file and the JSON file of a report, which have one name."""
    base = Path(path)
    if base.suffix.lower() in {".html", ".htm", ".json"}:
        base = base.with_suffix("")
    return base.with_name(base.name + ".html"), base.with_name(base.name + ".json")


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
