"""Integer products: in onnxruntime, sums of products of 8 bits are exact on every processor, and fast, if unsigned.

On x86 processors without VNNI onnxruntime adds two products of uint8 and int8 in 16 bits, which saturate. Its products
of int8 and int8 are slow. Those of uint8 and uint8 are neither. With VNNI those of uint8 and int8 are exact, and more
than twice as fast. In a convolution the weights are the unsigned ones: its kernel multiplies them by the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx.legalise.casts import like

if TYPE_CHECKING:
    from jax2onnx.legalise.derived import Derived
    from jax2onnx.legalise.rounded_bytes import RoundedBytes

__all__ = ["ADDS_BYTES", "INTEGER_PRODUCTS", "make_unsigned"]

_Array: TypeAlias = np.ndarray[Any, Any]

INTEGER_PRODUCTS = frozenset({"ConvInteger", "MatMulInteger"})
_ZERO_POINT = 2
"""Where the zero point of the first operand is; that of the second one follows."""
_MIDDLE = 128
_SIGNED = {"ConvInteger": 0, "MatMulInteger": 1}
"""Which operand is the signed one where dtypes are mixed."""


def make_unsigned(node: ir.Node, derived: Derived, rounded: RoundedBytes, *, adds: bool, mixes: bool) -> None:
    """Rewrite ``MatMulInteger(x: int8[N, 4], w: int8[4, 5])``, in place, to one of uint8 with zero points of 128.

    ``x`` becomes ``Add(Cast(x), 128)``, which wraps; in int32, unless the runtime ``adds`` uint8. What is rounded is
    rounded to uint8. An initializer ``w`` becomes another one. Where the runtime ``mixes`` dtypes, ``w`` stays int8.
    """
    if len(node.inputs) > _ZERO_POINT or any(value is None or value.dtype not in _SHIFTS for value in node.inputs):
        return
    operands = list(node.inputs)
    node.resize_inputs(2 * _ZERO_POINT)
    for index, value in enumerate(operands):
        assert value is not None
        assert value.dtype is not None
        stays = mixes and value.dtype == DataType.INT8 and index == _SIGNED[node.op_type]
        zero = np.int8(0) if stays else np.uint8(_SHIFTS[value.dtype])
        node.replace_input_with(_ZERO_POINT + index, derived.scalar(node, zero))
        if stays:
            node.replace_input_with(index, rounded.quantised(value, DataType.INT8, derived) or value)
        elif value.dtype == DataType.INT8:
            made = rounded.quantised(value, DataType.UINT8, derived) or _unsigned(node, value, derived, adds=adds)
            node.replace_input_with(index, made)


_SHIFTS = {DataType.INT8: _MIDDLE, DataType.UINT8: 0}


def _unsigned(node: ir.Node, value: ir.Value, derived: Derived, *, adds: bool) -> ir.Value:
    tensor = value.const_value
    if tensor is not None and value.is_initializer():
        sizes = tuple(map(int, tensor.shape.numpy()))
        return derived.once(value, "_unsigned", lambda: _shifted(tensor.numpy()), DataType.UINT8, sizes)
    if not adds or derived.opset < ADDS_BYTES:
        nodes = [_cast(value, DataType.INT32)]
        nodes.append(_added(nodes[-1].outputs[0], derived.scalar(node, np.int32(_MIDDLE))))
        nodes.append(_cast(nodes[-1].outputs[0], DataType.UINT8))
    else:
        nodes = [_cast(value, DataType.UINT8)]
        nodes.append(_added(nodes[-1].outputs[0], derived.scalar(node, np.uint8(_MIDDLE))))
    for one in nodes:
        one.metadata_props.update(node.metadata_props)
        node.prepend(one)
    return nodes[-1].outputs[0]


ADDS_BYTES = 14
"""The first opset whose ``Add`` takes 8-bit integers."""


def _cast(value: ir.Value, dtype: DataType) -> ir.Node:
    return ir.node("Cast", [value], {"to": int(dtype)}, outputs=[like(value, dtype)])


def _added(value: ir.Value, number: ir.Value) -> ir.Node:
    assert value.dtype is not None
    return ir.node("Add", [value, number], outputs=[like(value, value.dtype)])


def _shifted(array: _Array) -> _Array:
    return (array.astype(np.int16) + _MIDDLE).astype(np.uint8)
