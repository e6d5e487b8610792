"""What the commands print: tables, progress, warnings."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from jax2onnx.inspect.summary import Summary


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns; on a terminal the header stands out."""
    if not rows:
        return
    widths = [max(len(row[c]) for row in [*rows, *([header] if header else [])]) for c in range(len(rows[0]))]
    if header:
        click.secho(_row(header, widths), bold=True)
    for row in rows:
        click.echo(_row(row, widths))


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def brief(summary: Summary) -> str:
    """Return a model in one line."""
    from jax2onnx.inspect.summary import told_operators, told_size

    told = f"{summary.nodes} nodes ({told_operators(summary.operators)})" if summary.nodes else "no nodes"
    return f"{told}, opset {summary.opset}, {told_size(summary.size)}"


@contextlib.contextmanager
def progress(what: str) -> Iterator[None]:
    """Show a spinner on a terminal, nothing in a pipe."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what):
        yield


@contextlib.contextmanager
def shown_warnings() -> Iterator[None]:
    """Print warnings as one line each on stderr, without Python's source lines."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default", UserWarning)
        try:
            yield
        finally:
            for message in dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, UserWarning)):
                click.echo(f"warning: {message}", err=True)
