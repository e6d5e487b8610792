"""The command line's ``examples``: list, export and check the examples of the plugins."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jax2onnx.cli.shared_options import FILE
from jax2onnx.cli.terminal import brief, progress, say, shown_warnings, table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jax2onnx.testing import Case

__all__ = ["examples"]

_CONTEXT = click.option("--context", "contexts", multiple=True, help="Only the examples of this area; may repeat.")


@click.group()
def examples() -> None:
    """List, export and check the examples of the installed plugins."""


@examples.command("list")
@_CONTEXT
def list_examples(*, contexts: tuple[str, ...]) -> None:
    """Show every example: its name, what it shows, the plugin it comes from.

    A name that ends in _dynamic keeps its dimensions symbolic.
    """
    rows = []
    for case in _cases(contexts):
        if case.fusions:
            row = (_full_name(case), case.example.component, case.example.plugin)
            rows.append(row)
    table(("example", "shows", "plugin"), rows)


@examples.command()
@click.argument("name")
@click.option(
    "-o",
    "--output",
    type=FILE,
    help="File to write.  [default: NAME.onnx]",
)
@click.option("--no-fusions", is_flag=True, help="Keep primitives instead of whole functions such as Gelu.")
def export(*, name: str, output: Path | None, no_fusions: bool) -> None:
    """Export the example NAME (its context may be left out where that is clear) to an ONNX file."""
    cases = _find(name)
    (case,) = [case for case in cases if case.fusions is not no_fusions]
    from jax2onnx.api import save_onnx
    from jax2onnx.inspect.summary import summarise
    from jax2onnx.testing import x64

    example = case.example
    path = output or Path(f"{case.name}.onnx")
    with progress(f"exporting {name}"), shown_warnings(), x64(enabled=example.x64):
        save_onnx(
            example.make(),
            case.inputs,
            path,
            fusions=case.fusions,
            **case.options,
        )
    summary = summarise(path)
    say(f"{path}: {brief(summary)}")


@examples.command()
@click.argument("name", required=False)
@_CONTEXT
def check(*, name: str | None, contexts: tuple[str, ...]) -> None:
    """Export the example NAME, or all, run it in onnxruntime and compare it with JAX, with and without fusions."""
    cases = _find(name) if name else _cases(contexts)
    from jax2onnx.testing import run

    failed = 0
    for case in cases:
        try:
            with progress(f"checking {case}"), shown_warnings():
                run(case)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong in an example, the others are checked
            failed += 1
            reason = f"{type(error).__name__}: {error}"
            say(f"FAILED  {case}: {reason}")
        else:
            say(f"ok      {case}")
    passed = len(cases) - failed
    say(f"{passed} ok, {failed} failed")
    sys.exit(1 if failed else 0)


def _cases(contexts: tuple[str, ...] = ()) -> list[Case]:
    from jax2onnx.testing import cases

    found = cases(contexts=contexts)
    if contexts and not found:
        known = {case.example.context for case in cases()}
        raise click.UsageError(
            f"--context: no example belongs to {_listed(contexts)}; the contexts are {_listed(known)}"
        )
    return found


def _find(name: str) -> list[Case]:
    """Return the case of this name, with fusions and without."""
    cases = _cases()
    found = [case for case in cases if _full_name(case) == name]
    if not found:
        found = [case for case in cases if case.name == name]
    if not found:
        raise click.UsageError(f"no example is called {name!r}; 'jax2onnx examples list' shows all")
    full_names = set(map(_full_name, found))
    if len(full_names) > 1:
        raise click.UsageError(f"{name!r} may mean {_listed(full_names)}")
    return found


def _full_name(case: Case) -> str:
    return f"{case.example.context}.{case.name}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
