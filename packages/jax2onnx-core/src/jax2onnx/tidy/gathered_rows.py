"""Gathered rows: of a quantised table only the rows that are looked up are dequantised."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from jax2onnx.tidy.match_nodes import producer_at, replace, tensor_at
from jax2onnx.tidy.rules import rewrites

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["dequantise_rows"]

_BYTES = frozenset({ir.DataType.INT8, ir.DataType.UINT8})
"""Dtypes of which runtimes gather rows: of those of 4 bits they do not."""


@rewrites("Gather")
def dequantise_rows(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``Gather(DequantizeLinear(w: int8[1000, 8], s[1000], axis=0), i[N])``.

    It becomes ``Mul(Cast(Gather(w, i)), Gather(s_rearranged[1000, 1], i))``. A scale for each column, or a single one,
    is not gathered. Zero points are subtracted before, likewise.
    """
    if home.is_function:
        return
    for node in nodes:
        if node.attributes.get_int("axis", 0) == 0:
            _rewrite(node, home)


def _rewrite(node: ir.Node, home: Home) -> None:
    made = producer_at(node, 0)
    if made is None or made.domain or made.op_type != "DequantizeLinear" or "block_size" in made.attributes:
        return
    weights, result = made.inputs[0], node.outputs[0]
    sizes = home.sizes(weights)
    if weights is None or sizes is None or weights.dtype not in _BYTES or result.dtype != ir.DataType.FLOAT:
        return
    if any(tensor_at(made, index) is None for index in range(1, len(made.inputs))):
        return
    rows = _Rows(node, made, sizes, home)
    value = rows.cast(rows.gathered(weights))
    if len(made.inputs) > 2:
        value = rows.computed("Sub", value, rows.cast(rows.along(2)))
    value = rows.computed("Mul", value, rows.along(1))
    value.name, result.name = result.name, value.name
    replace(node, value)


class _Rows:
    """Inserts the nodes for one look-up."""

    def __init__(self, node: ir.Node, made: ir.Node, sizes: Sequence[int], home: Home) -> None:
        self._node = node
        self._made = made
        self._sizes = sizes
        self._home = home

    def along(self, index: int) -> ir.Value:
        """Return the scales or zero points of the rows."""
        value, tensor = self._made.inputs[index], tensor_at(self._made, index)
        assert value is not None
        assert tensor is not None
        axis = self._made.attributes.get_int("axis", 1)
        shape = [1] * len(self._sizes)
        if not len(tensor.shape):
            return value
        shape[axis] = self._sizes[axis]
        spread = self._home.reshaped(value, shape)
        return self.gathered(spread) if axis == 0 else spread

    def gathered(self, table: ir.Value) -> ir.Value:
        """Return the rows of a table."""
        indices = self._node.inputs[1]
        assert table.shape is not None
        assert indices is not None
        shape = None if indices.shape is None else ir.Shape([*indices.shape, *table.shape[1:]])
        return self._put("Gather", [table, indices], shape, table.dtype, axis=0)

    def cast(self, value: ir.Value) -> ir.Value:
        """Return a value as float32."""
        return self._put("Cast", [value], value.shape, ir.DataType.FLOAT, to=int(ir.DataType.FLOAT))

    def computed(self, op_type: str, left: ir.Value, right: ir.Value) -> ir.Value:
        """Return a difference or a product of the shape of the rows."""
        return self._put(op_type, [left, right], self._node.outputs[0].shape, ir.DataType.FLOAT)

    def _put(
        self,
        op_type: str,
        inputs: Sequence[ir.Value],
        shape: ir.Shape | None,
        dtype: ir.DataType | None,
        **attributes: int,
    ) -> ir.Value:
        node = ir.node(op_type, inputs, attributes)
        assert dtype is not None
        node.outputs[0].shape, node.outputs[0].type = shape, ir.TensorType(dtype)
        node.metadata_props.update(self._node.metadata_props)
        self._node.prepend(node)
        return node.outputs[0]
