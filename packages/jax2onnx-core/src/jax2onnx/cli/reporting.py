"""The command line's ``report``: export a program, and write what somebody needs who looks into a failure."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click

from jax2onnx.cli.arguments import arrange_inputs, find_object, require_no_module
from jax2onnx.cli.shared_options import CALL, DEBUG, FILE, SHARED, SOURCE, repeated, with_options
from jax2onnx.cli.terminal import progress, say, shown_warnings
from jax2onnx.errors import Jax2OnnxError
from jax2onnx.options import DEFAULT_OPSET, DEFAULT_TARGET

__all__ = ["report"]


@click.command()
@SOURCE
@repeated("-i", "--input", "inputs", metavar="[NAME=]DTYPE[DIMS]", text="An input, as in export")
@click.option("-o", "--output", type=FILE, default=Path("report.html"), help="Page to write; .json is put beside it.")
@click.option("--opset", type=int, help=f"Opset of ONNX (default: {DEFAULT_OPSET}, or the newest of the target).")
@click.option("--target", metavar="NAME", default=DEFAULT_TARGET, help="Runtime to legalise for; 'onnx' for none.")
@click.option("--no-fusions", is_flag=True, help="Keep primitives instead of whole functions such as Gelu.")
@CALL
@with_options(SHARED)
@DEBUG
def report(*, source: str, inputs: tuple[str, ...], output: Path, call: bool, no_fusions: bool, **options: Any) -> int:
    """Export MODULE:OBJECT, write no model, and write a report of what was done, or of what failed.

    The report has versions, plugins, options, the stages, the program that was reached, and the traceback. Folders of
    your machine are left out. Read it before you pass it on: it shows your program.
    """
    require_no_module("--output", output)
    fn = find_object(source, call=call)  # before our libraries are imported, whose names the user's modules may have
    from jax2onnx.options import Options
    from jax2onnx.output.report.write import files_of
    from jax2onnx.pipeline.parts import export_ir

    specs, _ = arrange_inputs(fn, inputs)
    chosen = Options(report=output, fusions=not no_fusions, **cast("Any", options))
    failed = ""
    with progress(f"exporting {source}"), shown_warnings():
        try:
            export_ir(fn, specs, chosen)
        except Jax2OnnxError as error:
            failed = str(error).splitlines()[0]
    page, data = files_of(output)
    say(f"{page}, {data}: {'the export fails: ' + failed if failed else 'the export succeeds'}")
    return int(bool(failed))
