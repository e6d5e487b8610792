"""Half precision inside of a model, which rounds more than the tolerances of its results allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["half_hint", "half_within"]

_HALVES: Mapping[int, str] = {onnx.TensorProto.FLOAT16: "float16", onnx.TensorProto.BFLOAT16: "bfloat16"}


def half_within(proto: onnx.ModelProto) -> str:
    """Return float16 or bfloat16 if a model has it inside and not at its borders, else nothing."""
    border = {value.type.tensor_type.elem_type for value in (*proto.graph.input, *proto.graph.output)}
    stored = {tensor.data_type for tensor in proto.graph.initializer}
    casts = {a.i for node in proto.graph.node if node.op_type == "Cast" for a in node.attribute if a.name == "to"}
    found = (stored | casts) & _HALVES.keys()
    return _HALVES[min(found)] if found and not border & _HALVES.keys() else ""


def half_hint(proto: onnx.ModelProto) -> str:
    """Return what to say of a model that disagrees and has half precision inside."""
    half = half_within(proto)
    if not half:
        return ""
    return (
        f"\n  the model has numbers in {half}; if precision={half!r} made it, pass rtol= and atol= for that "
        "(jax2onnx precision measures the error)"
    )
