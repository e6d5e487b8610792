"""Nodes: what the rewrites of this plugin insert, with dtypes, shapes and the user's line."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir

__all__ = ["Maker", "chosen_by_mask", "drop", "finish", "is_constant", "replaced", "standard"]

_Array: TypeAlias = np.ndarray[Any, Any]


class Maker:
    """Inserts nodes before a node, on its behalf."""

    def __init__(self, graph: ir.Graph, node: ir.Node) -> None:
        self._graph = graph
        self._node = node

    def constant(self, value: _Array) -> ir.Value:
        """Return a constant."""
        node = ir.node("Constant", [], {"value": ir.tensor(value)})
        self._insert(node)
        result = node.outputs[0]
        result.dtype, result.shape = ir.DataType.from_numpy(value.dtype), ir.Shape(value.shape)
        return result

    def ints(self, *values: int) -> ir.Value:
        """Return int64 numbers."""
        return self.constant(np.array(values, np.int64))

    def op(
        self,
        op_type: str,
        *inputs: ir.Value | None,
        dtype: ir.DataType | None,
        shape: ir.Shape | None,
        **attributes: Any,
    ) -> ir.Value:
        """Return the result of a node."""
        node = ir.node(op_type, list(inputs), attributes)
        self._insert(node)
        result = node.outputs[0]
        result.shape = shape
        if dtype is not None:
            result.dtype = dtype
        return result

    def pair(
        self,
        op_type: str,
        *inputs: ir.Value,
        dtypes: tuple[ir.DataType | None, ir.DataType],
        shape: ir.Shape | None,
        **attributes: Any,
    ) -> tuple[ir.Value, ir.Value]:
        """Return the two results of a node, which have the same shape."""
        node = ir.node(op_type, list(inputs), attributes, num_outputs=2)
        self._insert(node)
        for result, dtype in zip(node.outputs, dtypes, strict=True):
            result.shape = shape
            if dtype is not None:
                result.dtype = dtype
        return node.outputs[0], node.outputs[1]

    def like(self, op_type: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
        """Return the result of a node that has the dtype and shape of its first operand."""
        return self.op(op_type, *inputs, dtype=inputs[0].dtype, shape=inputs[0].shape, **attributes)

    def cast(self, value: ir.Value, dtype: ir.DataType) -> ir.Value:
        """Return a value in a dtype."""
        if value.dtype == dtype:
            return value
        return self.op("Cast", value, dtype=dtype, shape=value.shape, to=int(dtype))

    def _insert(self, node: ir.Node) -> None:
        node.metadata_props.update(self._node.metadata_props)
        self._graph.insert_before(self._node, node)


def standard(node: ir.Node | None) -> str:
    """Return the operator of a node of the default domain; nothing for others."""
    return "" if node is None or node.domain else node.op_type


def is_constant(value: ir.Value | None) -> bool:
    """Return whether a value is a constant of the model."""
    return value is not None and (value.is_initializer() or standard(value.producer()) == "Constant")


def replaced(node: ir.Node, index: int = 0) -> ir.Value:
    """Return a new value that has the name and the users of a node's result; the node's own result keeps its node.

    The new value is to be made of the node's result, or of something else.
    """
    old = node.outputs[index]
    new = ir.Value(shape=old.shape, type=old.type)
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    new.name = old.name
    old.name = None if old.name is None else f"{old.name}_before"
    return new


def finish(graph: ir.Graph, node: ir.Node, new: ir.Value, op_type: str, *inputs: ir.Value, **attributes: Any) -> None:
    """Make a value that ``replaced`` returned the result of one more node, which is the last in front of ``node``."""
    last = ir.node(op_type, list(inputs), attributes, outputs=[new])
    last.metadata_props.update(node.metadata_props)
    graph.insert_before(node, last)


def chosen_by_mask(make: Maker, mask: ir.Value, operands: list[ir.Value], shape: ir.Shape | None) -> ir.Value:
    """Return the first of two int32 where a mask is -1, and the second where it is 0."""

    def op(op_type: str, *operands: ir.Value, shape: ir.Shape | None = None) -> ir.Value:
        return make.op(op_type, *operands, dtype=ir.DataType.INT32, shape=shape)

    first, second = operands  # which may be smaller than the mask, so that what is between has no shape of its own
    return op("BitwiseXor", second, op("BitwiseAnd", op("BitwiseXor", first, second), mask), shape=shape)


def drop(graph: ir.Graph, node: ir.Node) -> None:
    """Remove a node whose results nobody uses any more."""
    graph.remove(node, safe=True)
