"""The target ``openvino``: the kernels of its CPU device, and its faults."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import resources

import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx.plugin import Fault, Target, read_target
from jax2onnx_openvino import arrays, constants, conversions, functions, integers, reductions, scans, unsigned

__all__ = ["FAULTS", "openvino"]

FAULTS = (
    Fault("Scan overwrites rows before it reads them", ("Scan",), scans.mend_scan),
    Fault("a Loop that never runs is refused"),
    Fault("Pad takes a computed value for 0", ("Pad",), arrays.mend_pad),
    Fault("Split fails where a result turns out unused", ("Split",), arrays.mend_split),
    Fault("Conv needs kernels of known sizes", ("Conv", "ConvTranspose"), arrays.refuse_weights),
    Fault("Softplus is right near 0 only", ("Softplus",), functions.mend_softplus),
    Fault("log(1 + exp(x)) becomes Softplus", ("Log",), functions.mend_logarithm),
    Fault("constant factors are multiplied first", ("Mul", "Div"), functions.mend_factors),
    Fault("Erf loses the digits of small numbers", ("Erf",), functions.mend_erf),
    Fault("-2**31 is false, and slices are not cast to bool", ("Cast",), conversions.mend_truth),
    Fault("uint32 becomes the float of an int32", ("Cast",), conversions.mend_from_unsigned),
    Fault("floats become uint32 below 2**31 only", ("Cast",), conversions.mend_to_unsigned),
    Fault("TopK of no elements fails", ("TopK",), arrays.refuse_empty_top),
    Fault(
        "integers are ordered in float32",
        ("Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Max", "Min"),
        integers.mend_order,
    ),
    Fault("integers are compared in float32", ("Equal",), integers.mend_equal),
    Fault("integers are scaled by a number in float32", ("Add", "Sub", "Mul"), integers.mend_number),
    Fault("integers are chosen in float32", ("Where",), integers.mend_choice),
    Fault("only bytes are shifted, and by one place", ("BitShift",), integers.mend_shift),
    Fault("integers are reduced in float32", ("ReduceMax", "ReduceMin"), reductions.mend_extreme),
    Fault("uint32 is ordered as int32", ("ArgMax", "ArgMin"), reductions.mend_unsigned_order),
    Fault("TopK gives equal numbers in any order", ("TopK",), reductions.mend_order_of_equals),
    Fault("quotients are rounded to float32", ("Div", "Mod"), integers.mend_division),
    Fault("constants of uint32 are clamped to int32"),
    Fault("what is computed of constants is overwritten", constants.KEPT, constants.fold),
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


def _finish(model: ir.Model) -> None:
    """Rewrite what concerns the model as a whole: after everything else, which inserts constants too."""
    unsigned.as_signed(model)
    constants.fold_all(model)
    scans.drop_idle_loops(model)


_TABLE = "openvino-2026.4.json"


def openvino() -> Target:
    """Return the target: OpenVINO 2026.4 or newer."""
    table = read_target(resources.files("jax2onnx_openvino") / _TABLE)
    needs = (
        "no NaN or infinity as a number",
        "64-bit integers within 32 bits",
        f"at most {reductions.LONGEST} elements to sort",
    )
    return replace(
        table,
        faults=FAULTS,
        guards=False,
        functions=False,
        refused=_REFUSED,
        refuses=_refused_results,
        needs=needs,
        finish=_finish,
    )
