"""Whole bytes: integers of few bits that a model computes, kept in 8 bits.

Before 1.31, onnxruntime plans memory by the shapes of arrays and the bytes of an element, and takes integers of 2 and 4
bits for bytes. An array of them that is read no more gives its memory, half as large, to an array of bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx.legalise.carriers import Carrier
from jax2onnx.legalise.casts import like, narrow
from jax2onnx.tidy.subgraphs import every_node, standard

if TYPE_CHECKING:
    from jax2onnx.legalise.derived import Derived
    from jax2onnx.legalise.schema import Functions

__all__ = ["FEW_BITS", "SHARED_MEMORY", "keep_in_bytes"]

SHARED_MEMORY = "integers of few bits give their memory to bytes"
"""The fault that asks for this."""

_BITS = {DataType.INT2: 2, DataType.UINT2: 2, DataType.INT4: 4, DataType.UINT4: 4}
FEW_BITS = frozenset(_BITS)
_SIGNED = frozenset({DataType.INT2, DataType.INT4})
_MOVES = frozenset({"Identity", "Transpose"})
"""Operators that onnxruntime executes on integers of few bits, besides casts and quantisation, and calls."""


def keep_in_bytes(root: ir.Graph, derived: Derived, functions: Functions, *, is_function: bool) -> None:
    """Compute no integers of few bits but results of the model, in place.

    Inputs, initializers and results have memory of their own. For ``x: int32[3]`` and a result ``z: int4[3]``,

    rewrite ``y = Cast(x, to=int4)`` to ``y = Cast(Sub(BitwiseXor(BitwiseAnd(x, 15), 8), 8), to=int8)``;
    rewrite ``z = Transpose(y)`` to ``z = Cast(Transpose(y), to=int4)``.

    Args:
        root: the model's graph, or that of a function, whose operands and results are kept in bytes too.
        derived: makes the constants.
        functions: the domains and names of the model's functions.
        is_function: whether ``root`` is a function's.
    """
    held = _Held(root, derived, is_function=is_function)
    for node in list(every_node(root)):
        op_type = standard(node)
        if op_type == "Cast":
            held.cast(node)
        elif op_type == "QuantizeLinear":
            held.quantize(node)
        elif op_type == "DequantizeLinear":
            if node.inputs[0] in held.values:
                held.give_bytes(node)
        elif op_type in _MOVES or (node.domain, node.op_type) in functions:
            held.give_bytes(node)
            for value in node.outputs:
                held.take_bytes(value)


class _Held:
    """The values that are kept in bytes.

    Attributes:
        values: those seen so far; their dtype is that of the bytes.
    """

    def __init__(self, root: ir.Graph, derived: Derived, *, is_function: bool) -> None:
        self.values: set[ir.Value] = set()
        self._root = root
        self._derived = derived
        self._is_function = is_function
        if is_function:
            for value in root.inputs:
                self._retype(value)

    def cast(self, node: ir.Node) -> None:
        """Wrap the numbers of a cast to few bits, unless it gives a result of the model."""
        value, source = node.outputs[0], node.inputs[0]
        if value.dtype not in _BITS or self._is_result(value):
            return
        assert source is not None
        bits, signed = _BITS[value.dtype], value.dtype in _SIGNED
        self._retype(value)
        number = self._step(node, "Cast", source, DataType.INT32) if source.dtype != DataType.INT32 else source
        number = self._step(node, "BitwiseAnd", number, DataType.INT32, 2**bits - 1)
        if signed:
            number = self._step(node, "BitwiseXor", number, DataType.INT32, 2 ** (bits - 1))
            number = self._step(node, "Sub", number, DataType.INT32, 2 ** (bits - 1))
        node.replace_input_with(0, number)
        node.attributes["to"] = ir.AttrInt64("to", int(_bytes_of(signed=signed)))

    def quantize(self, node: ir.Node) -> None:
        """Clip the numbers of a quantisation to few bits, which in bytes has wider bounds."""
        value = node.outputs[0]
        if value.dtype not in _BITS or self._is_result(value):
            return
        bits, signed = _BITS[value.dtype], value.dtype in _SIGNED
        self.give_bytes(node)
        self._retype(value)
        dtype = _bytes_of(signed=signed)
        if "output_dtype" in node.attributes:
            node.attributes["output_dtype"] = ir.AttrInt64("output_dtype", int(dtype))
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        bounds = [self._derived.scalar(node, dtype.numpy().type(bound)) for bound in (low, high)]
        clipped = like(value, dtype)
        value.replace_all_uses_with(clipped)
        clip = ir.node("Clip", [value, *bounds], outputs=[clipped])
        clip.metadata_props.update(node.metadata_props)
        node.append(clip)

    def give_bytes(self, node: ir.Node) -> None:
        """Let a node read its operands of few bits in bytes."""
        for index, value in enumerate(node.inputs):
            if value is not None and value.dtype in _BITS:
                node.replace_input_with(index, self._in_bytes(value, node))

    def take_bytes(self, value: ir.Value) -> None:
        """Keep what a node computes in bytes; a result of the model is cast back."""
        original, node = value.dtype, value.producer()
        if original not in _BITS or not self._is_result(value):
            self._retype(value)
            return
        assert node is not None
        node.append(narrow(value, Carrier(_bytes_of(signed=original in _SIGNED))))

    def _is_result(self, value: ir.Value) -> bool:
        return not self._is_function and any(value is output for output in self._root.outputs)

    def _retype(self, value: ir.Value) -> None:
        if value.dtype in _BITS:
            value.type = ir.TensorType(_bytes_of(signed=value.dtype in _SIGNED))
            self.values.add(value)

    def _in_bytes(self, value: ir.Value, node: ir.Node) -> ir.Value:
        """Return an input, initializer or result of the model in bytes; what it is cast to is read where it is."""
        dtype = _bytes_of(signed=value.dtype in _SIGNED)
        if value.dtype is not None and (small := self._derived.small(value, dtype)) is not None:
            return small
        return self._step(node, "Cast", value, dtype)

    def _step(
        self, node: ir.Node, op_type: str, value: ir.Value, dtype: DataType, number: int | None = None
    ) -> ir.Value:
        """Insert a node before another; return what it computes of a value, and of a constant."""
        operands = [value] if number is None else [value, self._derived.scalar(node, np.int32(number))]
        attributes = {"to": int(dtype)} if op_type == "Cast" else {}
        step = ir.node(op_type, operands, attributes, outputs=[like(value, dtype)])
        step.metadata_props.update(node.metadata_props)
        node.prepend(step)
        return step.outputs[0]


def _bytes_of(*, signed: bool) -> DataType:
    return DataType.INT8 if signed else DataType.UINT8
