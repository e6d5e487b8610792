"""Targets of which only facts are known, as their vendors document them: nothing here was executed.

A model for one of them keeps the form that the ONNX spec allows, at an opset that the runtime reads, without guards.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from jax2onnx.legalise.targets.target import Target

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["DOCUMENTED"]


def _unity() -> Sequence[Target]:
    older = Target(
        "unity", "Unity's inference engine before 2.6 (as documented)", 15, None, guards=False, version="1.0"
    )
    return [older, replace(older, runtime="Unity's inference engine 2.6 (as documented)", max_opset=25, version="2.6")]


DOCUMENTED: Sequence[Target] = (
    replace(_unity()[0], releases=_unity),
    Target(
        "qnn",
        "onnxruntime's QNN provider on a Hexagon NPU (as documented)",
        26,
        None,
        guards=False,
        static_shapes=True,
        needs=("int8 or int16 as QuantizeLinear and DequantizeLinear (QDQ), or float16",),
    ),
    Target(
        "openvino-npu",
        "OpenVINO's NPU device (as documented)",
        None,
        None,
        guards=False,
        static_shapes=True,
        needs=("float16, or int8 as QuantizeLinear and DequantizeLinear (QDQ)",),
    ),
)
"""The targets, with what their runtimes need."""
