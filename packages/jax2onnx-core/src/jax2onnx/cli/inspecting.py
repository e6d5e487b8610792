"""The command line's ``inspect``."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from jax2onnx.cli.arguments import require_no_input
from jax2onnx.cli.comparing import print_costs, print_portability
from jax2onnx.cli.shared_options import DEBUG, FILE, JSON, MODEL, repeated
from jax2onnx.cli.terminal import brief, progress, say, table
from jax2onnx.cli.values import read_sizes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jax2onnx.inspect.costs import By, Costs

__all__ = ["inspect"]


@click.command()
@MODEL
@JSON
@click.option("--largest", type=click.IntRange(0), default=10, help="How many initializers to list.")
@click.option("--svg", "picture", type=FILE, help="Draw the graph to this file.")
@click.option(
    "--by",
    type=click.Choice(("module", "operator", "line")),
    help="Show parameters, FLOPs and bytes of each module, operator or line instead.",
)
@repeated("--size", "sizes", metavar="B=2", callback=read_sizes, text="Size of a symbolic dim for --by (else 1)")
@repeated(
    "--targets",
    metavar="NAME",
    text="Show instead which runtimes execute the model, 'all' or one such as 'onnxruntime>=1.20', and which nodes not",
)
@DEBUG
def inspect(
    *,
    model: Path,
    as_json: bool,
    largest: int,
    picture: Path | None,
    by: By | None,
    sizes: list[Any] | None,
    targets: tuple[str, ...],
) -> None:
    """Show inputs, outputs, opset, operators, size and largest initializers of MODEL."""
    from jax2onnx.inspect.summary import format_size, summarise

    if sizes and by is None:
        raise click.UsageError("--size is of --by; add --by module")
    if targets:
        print_portability(model, targets, as_json=as_json)
        return
    summary = summarise(model)
    counted = None if by is None else _costs(model, by, sizes or [])
    if picture is not None:
        from jax2onnx.inspect.picture import svg
        from jax2onnx.output.external_data import locations
        from jax2onnx.output.text_file import write_text

        beside = [model.parent / name for name in locations(model)]
        require_no_input("--svg", picture, [model, *beside])
        with progress(f"drawing {model}"):
            drawing = svg(model)
        write_text(drawing, picture, "picture")
    if counted is not None:
        if as_json:
            say(json.dumps(asdict(counted), indent=2))
        else:
            print_costs(counted, str(by))
        return
    if as_json:
        say(json.dumps(asdict(summary), indent=2))
        return
    say(f"{model}: {brief(summary)}")
    rows = [("input", t.name, t.spec, "") for t in summary.inputs]
    rows += [("output", t.name, t.spec, "") for t in summary.outputs]
    rows += [("operator", name, str(count), "") for name, count in summary.operators.items()]
    rows += [("initializer", t.name, t.spec, format_size(t.nbytes)) for t in summary.initializers[:largest]]
    table((), rows)


def _costs(model: Path, by: By, sizes: Sequence[Any]) -> Costs:
    from jax2onnx.inspect.costs import costs

    if not all(isinstance(given, dict) for given in sizes):
        raise click.UsageError("--size: write the name of the dim too, for example --size B=2")
    return costs(model, by, {name: size for given in sizes for name, size in given.items()})
