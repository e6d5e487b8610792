"""Whole bytes: integers of few bits that a model computes, kept in 8 bits.

Before 1.31, onnxruntime plans memory by the shapes of arrays and the bytes of an element, and takes integers of 2 and 4
bits for bytes. An array of them that is read no more gives its memory, half as large, to an array of bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx.legalise.carriers import Carrier
from jax2onnx.legalise.casts import like, narrow
from jax2onnx.tidy.subgraphs import every_node, standard

if TYPE_CHECKING:
    from collections.abc import Container, Iterable

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


def keep_in_bytes(model: ir.Model, derived: Derived, in_functions: Derived, functions: Functions) -> None:
    """Compute no integers of few bits but results of the model, in place.

    Inputs, initializers and results have memory of their own. For ``x: int32[3]`` and a result ``z: int4[3]``,

    rewrite ``y = Cast(x, to=int4)`` to ``y = Cast(Sub(BitwiseXor(BitwiseAnd(x, 15), 8), 8), to=int8)``;
    rewrite ``z = Transpose(y)`` to ``z = Cast(Transpose(y), to=int4)``.

    A function takes what is computed in bytes, and returns bytes. What is an input or an initializer in all calls, as
    weights are, stays in few bits.

    Args:
        model: a model whose nodes all have kernels.
        derived: makes the constants.
        in_functions: makes those of functions.
        functions: the domains and names of the model's functions.
    """
    computed = _computed_operands(model, functions)
    for function in model.functions.values():
        taken = [value for index, value in enumerate(function.inputs) if (_name(function), index) in computed]
        held = _Held(function.graph, in_functions, taken, is_function=True)
        held.rewrite(functions, computed)
        held.return_bytes()
    _Held(model.graph, derived, (), is_function=False).rewrite(functions, computed)


_Name: TypeAlias = tuple[str, str]
_Operand: TypeAlias = tuple[_Name, int]
"""An operand of a function."""


def _name(function: ir.Function) -> _Name:
    return function.domain, function.name


def _computed_operands(model: ir.Model, functions: Functions) -> set[_Operand]:
    """Return the operands of functions that some call gives computed integers of few bits.

    No function passes on an operand as it is: see ``cast_passed_on``.
    """
    found: set[_Operand] = set()
    for root in (model.graph, *(function.graph for function in model.functions.values())):
        for node in every_node(root):
            name = (node.domain, node.op_type)
            for index, value in enumerate(node.inputs if name in functions else ()):
                if value is not None and value.dtype in _BITS and value.producer() is not None:
                    found.add((name, index))
    return found


class _Held:
    """The values that are kept in bytes.

    Attributes:
        values: those seen so far; their dtype is that of the bytes.
    """

    def __init__(self, root: ir.Graph, derived: Derived, taken: Iterable[ir.Value], *, is_function: bool) -> None:
        self.values: set[ir.Value] = set()
        self._root = root
        self._derived = derived
        self._is_function = is_function
        for value in taken:
            self._retype(value)

    def rewrite(self, functions: Functions, computed: Container[_Operand]) -> None:
        """Keep what the nodes compute in bytes."""
        for node in list(every_node(self._root)):
            op_type, name = standard(node), (node.domain, node.op_type)
            if op_type == "Cast":
                self.cast(node)
            elif op_type == "QuantizeLinear":
                self.quantize(node)
            elif op_type == "DequantizeLinear" and node.inputs[0] in self.values:
                self.give_bytes(node)
            elif op_type in _MOVES:
                self.give_bytes(node)
                self.take_bytes(node)
            elif name in functions:
                self.give_bytes(node, [index for index in range(len(node.inputs)) if (name, index) in computed])
                self.take_bytes(node)

    def return_bytes(self) -> None:
        """Cast the operands and constants of few bits that a function returns to bytes."""
        for index, value in enumerate(self._root.outputs):
            if value.dtype in _BITS:
                cast = ir.node("Cast", [value], {"to": int(_bytes_of(value.dtype))})
                cast.outputs[0].type, cast.outputs[0].shape = ir.TensorType(_bytes_of(value.dtype)), value.shape
                self._root.append(cast)
                self._root.outputs[index] = cast.outputs[0]

    def cast(self, node: ir.Node) -> None:
        """Wrap the numbers of a cast to few bits, unless it gives a result of the model."""
        value, source = node.outputs[0], node.inputs[0]
        if value.dtype not in _BITS or self._is_result(value):
            return
        assert source is not None
        bits, signed, held = _BITS[value.dtype], value.dtype in _SIGNED, _bytes_of(value.dtype)
        self._retype(value)
        number = self._step(node, "Cast", source, DataType.INT32) if source.dtype != DataType.INT32 else source
        number = self._step(node, "BitwiseAnd", number, DataType.INT32, 2**bits - 1)
        if signed:
            number = self._step(node, "BitwiseXor", number, DataType.INT32, 2 ** (bits - 1))
            number = self._step(node, "Sub", number, DataType.INT32, 2 ** (bits - 1))
        node.replace_input_with(0, number)
        node.attributes["to"] = ir.AttrInt64("to", int(held))

    def quantize(self, node: ir.Node) -> None:
        """Clip the numbers of a quantisation to few bits, which in bytes has wider bounds."""
        value = node.outputs[0]
        if value.dtype not in _BITS or self._is_result(value):
            return
        bits, signed, dtype = _BITS[value.dtype], value.dtype in _SIGNED, _bytes_of(value.dtype)
        self.give_bytes(node)
        self._retype(value)
        if "output_dtype" in node.attributes:
            node.attributes["output_dtype"] = ir.AttrInt64("output_dtype", int(dtype))
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        bounds = [self._derived.scalar(node, dtype.numpy().type(bound)) for bound in (low, high)]
        clipped = like(value, dtype)
        value.replace_all_uses_with(clipped)
        clip = ir.node("Clip", [value, *bounds], outputs=[clipped])
        clip.metadata_props.update(node.metadata_props)
        node.append(clip)

    def give_bytes(self, node: ir.Node, places: Iterable[int] | None = None) -> None:
        """Replace a node's operands of few bits by their bytes, at some places or at all."""
        for index in range(len(node.inputs)) if places is None else places:
            value = node.inputs[index]
            if value is not None and value.dtype in _BITS:
                node.replace_input_with(index, self._in_bytes(value, node))

    def take_bytes(self, node: ir.Node) -> None:
        """Keep what a node computes in bytes; a result of the model is cast back."""
        for value in node.outputs:
            if value.dtype in _BITS and self._is_result(value):
                node.append(narrow(value, Carrier(_bytes_of(value.dtype))))
            else:
                self._retype(value)

    def _is_result(self, value: ir.Value) -> bool:
        return not self._is_function and any(value is output for output in self._root.outputs)

    def _retype(self, value: ir.Value) -> None:
        if value.dtype in _BITS:
            value.type = ir.TensorType(_bytes_of(value.dtype))
            self.values.add(value)

    def _in_bytes(self, value: ir.Value, node: ir.Node) -> ir.Value:
        """Return an input, initializer or result of the model in bytes; what it is cast to is read where it is."""
        dtype = _bytes_of(value.dtype)
        if (small := self._derived.small(value, dtype)) is not None:
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


def _bytes_of(dtype: DataType | None) -> DataType:
    return DataType.INT8 if dtype in _SIGNED else DataType.UINT8
