"""What the commands print: tables, progress, warnings."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from jax2onnx._printable import counted, one_line, printable

if TYPE_CHECKING:
    from jax2onnx.inspect.summary import Summary

__all__ = ["brief", "progress", "say", "shown_warnings", "table"]

_BIG = 2**27
"""Bytes of weights from which on a terminal shows how many are written."""
_WIDEST = 200
"""The characters of a cell, unless it is the last one of its row."""


def say(text: str, *, err: bool = False, bold: bool | None = None) -> None:
    """Print a text, with every character that a terminal would obey as Python writes it."""
    click.secho(printable(text), err=err, bold=bold)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns; on a terminal the header stands out."""
    if not rows:
        return
    rows = [[*(one_line(cell, _WIDEST) for cell in row[:-1]), one_line(row[-1])] for row in rows]
    widths = []
    for column in zip(*filter(None, [header, *rows]), strict=True):
        widest = max(column, key=len)
        widths.append(len(widest))
    if header:
        say(_row(header, widths), bold=True)
    for row in rows:
        say(_row(row, widths))


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = map(str.ljust, cells, widths)
    return "  ".join(padded).rstrip()


def brief(summary: Summary) -> str:
    """Return a model in one line."""
    from jax2onnx.inspect.summary import format_operators, format_size

    nodes = "no nodes"
    if summary.nodes:
        nodes = f"{counted(summary.nodes, 'node')} ({format_operators(summary.operators)})"
    return one_line(f"{nodes}, opset {summary.opset}, {format_size(summary.size)}")


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a spinner on a terminal, nothing in a pipe; yield what tells how many bytes of how many are written."""
    if not sys.stderr.isatty():
        yield _say_nothing
        return
    from rich.console import Console
    from rich.text import Text

    with Console(stderr=True).status(Text(one_line(what))) as status:
        shown = -1

        def tell(done: int, total: int) -> None:
            nonlocal shown
            percent = 100 * done // max(1, total)
            if total >= _BIG and percent > shown:
                shown = percent
                status.update(Text(f"{one_line(what)}: {done / 2**30:.1f} of {total / 2**30:.1f} GiB ({percent} %)"))

        yield tell


def _say_nothing(_done: int, _total: int) -> None:
    """Report to nobody."""


@contextlib.contextmanager
def shown_warnings() -> Iterator[None]:
    """Print warnings as one line each on stderr, without Python's source lines."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default", UserWarning)
        try:
            yield
        finally:
            messages = [str(w.message) for w in caught if issubclass(w.category, UserWarning)]
            for message in dict.fromkeys(messages):
                say(f"warning: {message}", err=True)
