"""The command line's ``diff``, and the table of costs that ``inspect --by`` prints."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jax2onnx.cli.shared_options import DEBUG, EXISTING_FILE, JSON
from jax2onnx.cli.terminal import say, table

if TYPE_CHECKING:
    from jax2onnx.inspect.costs import Cost, Costs

__all__ = ["diff", "print_costs"]


@click.command()
@click.argument("first", type=EXISTING_FILE)
@click.argument("second", type=EXISTING_FILE)
@JSON
@DEBUG
def diff(*, first: Path, second: Path, as_json: bool) -> int:
    """Show in what two models differ; exit with 0 if in nothing, with 1 if they differ.

    Compared are operators, names and types of inputs and outputs, weights and their values, opsets, functions and
    metadata. Names of inner values and the lines that nodes carry are no difference.
    """
    from jax2onnx.inspect.differences import differences

    changes = differences(first, second)
    if as_json:
        say(json.dumps({"equal": not changes, "changes": [asdict(change) for change in changes]}, indent=2))
    for change in () if as_json else changes:
        say(str(change))
    return int(bool(changes))


def print_costs(costs: Costs, by: str) -> None:
    """Print the costs of a model as a table, and what was assumed."""
    rows = [(*_figures(cost), name) for name, cost in costs.rows.items()]
    table(("nodes", "parameters", "bytes", "FLOPs", "activations", by), [*rows, (*_figures(costs.total), "total")])
    if costs.sizes:
        sizes = ", ".join(f"{name}={size}" for name, size in costs.sizes.items())
        say(f"at {sizes}; --size sets other sizes")
    if costs.uncounted:
        listed = ", ".join(f"{count} {name}" for name, count in costs.uncounted.items())
        say(f"without a count of FLOPs: {listed}")


def _figures(cost: Cost) -> tuple[str, ...]:
    from jax2onnx.inspect.summary import format_size

    return (
        str(cost.nodes),
        f"{cost.parameters:,}",
        format_size(cost.parameter_bytes),
        f"{cost.flops:,}",
        format_size(cost.activation_bytes),
    )
