"""The command line's ``diff`` and ``profile``, and the table of costs that ``inspect --by`` prints."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jax2onnx._printable import counted
from jax2onnx.cli.arguments import find_object, require_no_input
from jax2onnx.cli.shared_options import CALL, DEBUG, EXISTING_FILE, FILE, JSON, MODEL, repeated
from jax2onnx.cli.terminal import progress, say, shown_warnings, table
from jax2onnx.cli.values import read_sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.inspect.costs import Cost, Costs

__all__ = ["diff", "print_costs", "print_portability", "profile"]


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


@click.command()
@MODEL
@click.argument("source", metavar="[MODULE:OBJECT]", required=False)
@repeated("--size", "sizes", metavar="B=2", callback=read_sizes, text="Size of a symbolic dim (else 1)")
@click.option("--runs", type=click.IntRange(1), default=10, help="How many runs to measure.")
@click.option("--seed", type=int, default=0, help="Seed of the drawn inputs.")
@click.option("--svg", "picture", type=FILE, help="Draw a flame graph of modules and operators to this file.")
@CALL
@JSON
@DEBUG
def profile(
    *,
    model: Path,
    source: str | None,
    sizes: list[Any] | None,
    runs: int,
    seed: int,
    picture: Path | None,
    call: bool,
    as_json: bool,
) -> None:
    """Show where MODEL spends its time in onnxruntime; with MODULE:OBJECT also how long jax.jit of it takes.

    The inputs are drawn. OBJECT takes them as arrays, in the model's order.
    """
    if not all(isinstance(given, dict) for given in sizes or ()):
        raise click.UsageError("--size: write the name of the dim too, for example --size B=2")
    named = {name: size for given in sizes or () for name, size in given.items()}
    fn = None if source is None else find_object(source, call=call)
    from jax2onnx.checking.profile import profile as measured

    if picture is not None:
        require_no_input("--svg", picture, [model])
    with progress(f"running {model}"), shown_warnings():
        found = measured(model, fn, sizes=named, runs=runs, seed=seed)
    if picture is not None:
        from jax2onnx.inspect.flame import flame_graph
        from jax2onnx.output.text_file import write_text

        write_text(flame_graph(found.stacks), picture, "picture")
    if as_json:
        say(json.dumps(asdict(found), indent=2))
        return
    told = "" if found.jax is None else f", jax.jit {found.jax:.1f} µs"
    at = "".join(f", {name}={size}" for name, size in found.sizes.items())
    say(f"{model}: {found.total:.1f} µs per run in onnxruntime{told} ({found.runs} runs{at})")
    parts = {"kind": found.kinds, "operator": found.operators, "fused": found.fused}
    parts |= {"module": found.modules, "line": found.lines}
    rows = [
        (what, f"{time:.1f}", f"{time / (found.total or 1):.1%}", name)
        for what in parts
        for name, time in parts[what].items()
    ]
    table(("by", "µs", "share", "name"), rows)


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


def print_portability(model: Path, targets: Sequence[str], *, as_json: bool) -> None:
    """Print which runtimes execute a model, and which nodes they do not execute as they are."""
    from jax2onnx.checking.portability import portability

    found = portability(model, "all" if "all" in targets else list(targets))
    if as_json:
        say(json.dumps([asdict(one) for one in found], indent=2))
        return
    rows = []
    for one in found:
        slower = sum(finding.count for finding in one.findings if finding.what == "falls back")
        told = one.reason or (f"falls back at {counted(slower, 'node')}" if slower else "")
        rows.append((one.target, "runs" if one.loads else "no", "; ".join(filter(None, [told, *one.needs]))))
    table(("target", "", ""), rows)
    nodes = [
        (one.target, f"{finding.count} {finding.operator}", finding.what, finding.where, finding.instead)
        for one in found
        for finding in one.findings
    ]
    if nodes:
        say("")
        table(("target", "nodes", "what", "line", "instead"), nodes)
