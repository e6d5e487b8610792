"""The target ``openvino``: the kernels of its CPU device, and its faults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import resources

import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx.plugin import Fault, Target, read_target
from jax2onnx_openvino import arrays, integers, scans

__all__ = ["FAULTS", "openvino"]

FAULTS = (
    Fault("Scan counts the inputs that its body uses", ("Scan",), scans.mend_scan),
    Fault("loops within loops, and over uint32, differ", ("Loop",), scans.refuse_nested),
    Fault("Pad takes a computed value for 0", ("Pad",), arrays.mend_pad),
    Fault("Split fails where a result turns out unused", ("Split",), arrays.mend_split),
    Fault("Conv needs kernels of known sizes", ("Conv", "ConvTranspose"), arrays.refuse_weights),
    Fault("Softplus is right near 0 only", ("Softplus",), arrays.mend_softplus),
    Fault("-2**31 is false", ("Cast",), arrays.mend_truth),
    Fault("TopK of no elements fails", ("TopK",), arrays.refuse_empty_top),
    Fault(
        "integers are ordered in float32",
        ("Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Max", "Min"),
        integers.mend_order,
    ),
    Fault("integers are compared in float32", ("Equal",), integers.mend_equal),
    Fault("integers are scaled by a number in float32", ("Add", "Sub", "Mul"), integers.mend_number),
    Fault("integers are chosen in float32", ("Where",), integers.mend_choice),
    Fault("uint32 is not shifted", ("BitShift",), integers.mend_shift),
    Fault("quotients are rounded to float32", ("Div", "Mod"), integers.mend_division),
)
"""What OpenVINO 2026.4 computes otherwise than ONNX says, or refuses."""

_REFUSED = {
    DataType.INT64: "64-bit integers are computed in 32 bits; use int32",
    DataType.UINT64: "64-bit integers are computed in 32 bits; use uint32",
    DataType.DOUBLE: "float64 is computed in float32; use float32",
    DataType.INT4: "no array of it can be given",
    DataType.UINT4: "no array of it can be given",
}
"""The dtypes of inputs that it does not take as they are."""


def _refused_results(model: ir.Model) -> Iterator[str]:
    """Yield a reason for each result without elements: OpenVINO returns none of its shape."""
    for value in model.graph.outputs:
        if value.shape is not None and 0 in tuple(value.shape):
            yield f"the result {value.name} has no elements, and OpenVINO returns none of its shape"


_TABLE = "openvino-2026.4.json"


def openvino() -> Target:
    """Return the target: OpenVINO 2026.4 or newer."""
    table = read_target(resources.files("jax2onnx_openvino") / _TABLE)
    needs = ("no NaN or infinity as a number", "64-bit integers within 32 bits")
    return replace(
        table, faults=FAULTS, guards=False, functions=False, refused=_REFUSED, refuses=_refused_results, needs=needs
    )
