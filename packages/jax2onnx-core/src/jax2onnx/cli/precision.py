"""The command line's ``precision``: what half precision does to a program, and what should stay float32."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from jax2onnx.cli.arguments import arrange_inputs, find_object
from jax2onnx.cli.shared_options import CALL, DEBUG, JSON, KEEP, SHARED, SOURCE, repeated, with_options
from jax2onnx.cli.terminal import progress, say, shown_warnings, table
from jax2onnx.cli.values import read_sizes
from jax2onnx.options import DEFAULT_TARGET

if TYPE_CHECKING:
    from jax2onnx.checking.halves import PrecisionReport

__all__ = ["precision"]


@click.command()
@SOURCE
@repeated("-i", "--input", "inputs", metavar="[NAME=]DTYPE[DIMS]", text="An input as in export")
@click.option("--precision", type=click.Choice(("float16", "bfloat16")), default="float16", help="What to measure.")
@KEEP
@click.option("--target", metavar="NAME", default=DEFAULT_TARGET, help="Runtime that the model is for.")
@click.option("--tolerance", type=float, help="Error that is small enough (else 1e-3, for bfloat16 1e-2).")
@repeated("--size", "sizes", metavar="B=2", callback=read_sizes, text="Sizes of symbolic dims to measure at")
@click.option("--seed", type=int, default=0, help="Seed of the drawn inputs.")
@CALL
@with_options(SHARED)
@JSON
@DEBUG
def precision(*, source: str, inputs: tuple[str, ...], call: bool, as_json: bool, **options: Any) -> int:
    """Measure MODULE:OBJECT in half precision, module by module, and propose what to keep in float32.

    Errors are the largest difference to JAX, in terms of the largest number of an output. Exits with 1 if no list of
    modules makes the error small enough.
    """
    fn = find_object(source, call=call)
    from jax2onnx.checking.halves import measure

    specs, _ = arrange_inputs(fn, inputs)
    options["sizes"] = options["sizes"] or ()
    with progress(f"measuring {source}"), shown_warnings():
        report = measure(fn, specs, **options)
    if as_json:
        say(json.dumps(asdict(report), indent=2))
    else:
        _show(report)
    return int(not report.kept <= report.tolerance)


def _show(report: PrecisionReport) -> None:
    what = f"{report.precision} for {report.target}, on {report.inputs}"
    say(f"{what}: error {report.error:.1e} (float32: {report.full:.1e})")
    if report.modules:
        table(("error alone", "module"), [(f"{one.error:.1e}", one.module) for one in report.modules])
    if report.error <= report.tolerance:
        say(f"below {report.tolerance:.1e}; nothing more has to stay float32")
        return
    listed = " ".join(f"--keep {entry!r}" for entry in report.keep)
    say(f"error {report.kept:.1e} with {listed}")
    if not report.kept <= report.tolerance:
        say(f"which is not below {report.tolerance:.1e}; pass another --tolerance, or bfloat16 where numbers are large")
