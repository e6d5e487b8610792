"""All stages of an export, and what its user is told."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from jax2onnx._printable import printable
from jax2onnx.errors import InputSpecError
from jax2onnx.frontend.explain import internal, named_error
from jax2onnx.fusion.report import report as summed_up
from jax2onnx.pipeline.collector import seldom_collecting
from jax2onnx.pipeline.export import Export, Specs
from jax2onnx.plugin.user_warnings import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jax2onnx.fusion.report import FusionReport
    from jax2onnx.options import Options


@seldom_collecting()
def exported(fn: Any, inputs: Specs, options: Options) -> Export:
    """Do all stages of an export, verify the model, and tell the user what there is to tell."""
    export = Export(fn, inputs, options)
    finish(export, export.stages(), options)
    warn_unused(export)
    return export


def finish(export: Export, stages: Iterator[object], options: Options) -> None:
    """Do the stages of an export that are left, verify the model, and tell the user what there is to tell."""
    try:
        for _ in stages:
            pass
    finally:
        for told in export.unopened:
            warn(told)
    with export.reporting(), internal():
        export.verify()
    for message in dict.fromkeys(export.warnings):
        warn(message)
    export.write_report()
    if export.records is not None and options.explain:
        receive = _print if options.explain is True else options.explain
        assert callable(receive)
        _deliver(receive, summed_up(export.records, export.notes))


def warn_unused(export: Export) -> None:
    """Warn of weights that no parameter has taken."""
    unused = export.unused_weights()
    if unused:
        warn(unused)


def _deliver(receive: Callable[[FusionReport], object], fusions: FusionReport) -> None:
    """Give the user's callable the report."""
    try:
        receive(fusions)
    except (Exception, SystemExit) as error:  # the border to the user's code
        raise InputSpecError(
            f"explain: the callable raises {named_error(error)}; pass one that takes a FusionReport, such as print"
        ) from error


def _print(fusions: FusionReport) -> None:
    print(printable(str(fusions)), file=sys.stderr)  # noqa: T201 - explain=True asks for it
