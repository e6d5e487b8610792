"""Parts of an export, and its model before it is written: for checking and debugging."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jax2onnx._accepted import accept_value, nearest, shown
from jax2onnx.errors import InputSpecError
from jax2onnx.legalise.legalise import legalise
from jax2onnx.legalise.targets import load_target
from jax2onnx.options import DEFAULT_TARGET, STAGES, Options, Stage
from jax2onnx.pipeline.export import Export, Specs
from jax2onnx.pipeline.finish import exported

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

    from jax2onnx.frontend.entries import Ports
    from jax2onnx.lowering.trail import Trail
    from jax2onnx.program.program import Program


def export_ir(fn: Any, inputs: Specs, options: Options | None = None) -> ir.Model:
    """As :func:`to_onnx`, returning an ``onnx_ir.Model`` whose weights are not copied."""
    return exported(fn, inputs, options or Options()).model


def runnable(model: ir.Model) -> ir.Model:
    """Return a model for any target as one that onnxruntime's CPU provider runs, with casts where it has no kernels."""
    target = load_target(DEFAULT_TARGET)
    assert target is not None
    legalise(model, target.at(model.opset_imports[""]))
    return model


def traced_ports(fn: Any, inputs: Specs, options: Options) -> Ports:
    """Return the inputs and outputs of a callable; nothing is lowered."""
    export = Export(fn, inputs, options, is_whole=False)
    next(export.stages())
    return export.ports()


def at_stage(fn: Any, inputs: Specs, stage: Stage, options: Options | None = None) -> Program | ir.Model:
    """As :func:`show`, returning the program or model itself; what comes after the stage is not done."""
    accept_value(_known_stage, "stage", stage)
    export = Export(fn, inputs, options or Options(), is_whole=False)
    return next(result for name, result in export.stages() if name == stage)


def _known_stage(option: str, stage: Any) -> None:
    if not isinstance(stage, str) or stage not in STAGES:
        raise InputSpecError(f"{option}: {shown(stage)} is none of {', '.join(STAGES)}; {nearest(stage, STAGES)}")


def followed(fn: Any, inputs: Specs, options: Options, trail: Trail) -> Iterator[tuple[Stage, Program | ir.Model]]:
    """Do one stage of an export after the other; ``trail`` receives what each value of the program became."""
    export = Export(fn, inputs, options)
    export.trail = trail
    yield from export.stages()
