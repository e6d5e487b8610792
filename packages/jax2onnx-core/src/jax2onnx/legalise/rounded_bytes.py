"""Rounded bytes: what is rounded to integers of 8 bits is quantised by one node, in the form that products take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx.legalise.bounded_quotients import is_bounded
from jax2onnx.legalise.casts import like
from jax2onnx.legalise.derived import remove_unread
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.legalise.derived import Derived

__all__ = ["RoundedBytes"]

_VIEWS = frozenset({"Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_LEAST, _MOST, _MIDDLE = -128, 127, 128
_FLOAT = DataType.FLOAT
_LOWEST = -3e38


class RoundedBytes:
    """Values of int8 in the form in which products take them, where they are rounded; each is made once.

    Of fewer numbers than int8 has, this takes a runtime that ``narrows`` the dtype, by ``Max`` and ``Min``.
    One that ``thresholds`` numbers makes NaN 0 by one node.
    """

    def __init__(self, narrows: frozenset[DataType], *, thresholds: bool) -> None:
        self._narrows = narrows
        self._thresholds = thresholds
        self._made: dict[tuple[ir.Value, DataType], ir.Value | None] = {}

    def quantised(self, value: ir.Value, dtype: DataType, derived: Derived) -> ir.Value | None:
        """Return an int8 value as it is, or as uint8 with 128 added, made by one node; None if it is not rounded.

        Rewrite ``r = Round(x: float32[N, 4])``, ``Cast(Clip(Where(IsNaN(r), 0, r), -128, 127), to=int8)`` to
        ``Where(IsNaN(x), 128, QuantizeLinear(x, 1, 128))``; what only rearranges it stays behind it. ``Clip(r, -7, 7)``
        becomes ``Max`` and ``Min``. For int8 it is ``QuantizeLinear(Where(IsNaN(x), 0, x), 1, 0)``: not every release
        of onnxruntime chooses between integers of int8. An ``x`` that is bounded is
        ``QuantizeLinear(ThresholdedRelu(x, alpha=-3e38), 1, 128)``: what is not greater, as NaN, becomes 0.

        ``QuantizeLinear`` rounds half to even and saturates, as ``Round`` and ``Clip`` do. What it makes of NaN depends
        on the processor.
        """
        if (value, dtype) not in self._made:
            self._made[value, dtype] = self._rounded(value, dtype, derived)
        return self._made[value, dtype]

    def _rounded(self, value: ir.Value, dtype: DataType, derived: Derived) -> ir.Value | None:
        node = value.producer()
        if node is None or value.is_graph_output() or not isinstance(node.graph, ir.Graph):
            return None
        if standard(node) in _VIEWS and node.inputs[0] is not None:
            return self._rearranged(node, node.inputs[0], dtype, derived)
        found = _source(node)
        if found is None or (found[1:] != (_LEAST, _MOST) and dtype not in self._narrows):
            return None
        source, *bounds = found
        one, number = np.float32(1), dtype.numpy().type
        shift = _MIDDLE if dtype == DataType.UINT8 else 0
        middle = derived.scalar(node, number(shift))
        nodes: list[ir.Node] = []
        unknown: ir.Value | None = None
        if self._thresholds and is_bounded(source):
            nodes.append(ir.node("ThresholdedRelu", [source], {"alpha": _LOWEST}, outputs=[like(source, _FLOAT)]))
            source = nodes[-1].outputs[0]
        else:
            nodes.append(ir.node("IsNaN", [source], outputs=[like(source, DataType.BOOL)]))
            unknown = nodes[-1].outputs[0]
            if dtype == DataType.INT8:
                chosen = [unknown, derived.scalar(node, np.float32(0)), source]
                nodes.append(ir.node("Where", chosen, outputs=[like(source, _FLOAT)]))
                source = nodes[-1].outputs[0]
        operands = [source, derived.scalar(node, one), middle]
        nodes.append(ir.node("QuantizeLinear", operands, outputs=[like(source, dtype)]))
        for op_type, bound, end in zip(("Max", "Min"), bounds, (_LEAST, _MOST), strict=True):
            if bound != end:
                operands = [nodes[-1].outputs[0], derived.scalar(node, number(bound + shift))]
                nodes.append(ir.node(op_type, operands, outputs=[like(source, dtype)]))
        if unknown is not None and dtype == DataType.UINT8:
            chosen = [unknown, middle, nodes[-1].outputs[0]]
            nodes.append(ir.node("Where", chosen, outputs=[like(source, dtype)]))
        return self._inserted(node, nodes)

    def _rearranged(self, node: ir.Node, before: ir.Value, dtype: DataType, derived: Derived) -> ir.Value | None:
        inner = self.quantised(before, dtype, derived)
        if inner is None:
            return None
        inputs = [inner, *node.inputs[1:]]
        attributes = list(node.attributes.values())
        result = like(node.outputs[0], dtype)
        copy = ir.Node("", node.op_type, inputs, attributes, outputs=[result])
        return self._inserted(node, [copy])

    @staticmethod
    def _inserted(node: ir.Node, nodes: Sequence[ir.Node]) -> ir.Value:
        for one in nodes:
            one.metadata_props.update(node.metadata_props)
        assert isinstance(node.graph, ir.Graph)
        node.graph.insert_after(node, nodes)
        return nodes[-1].outputs[0]

    def remove_unused(self) -> list[ir.Value]:
        """Remove the nodes whose values nothing reads any more; return the initializers that they read."""
        read: list[ir.Value] = []
        for (value, _), made in reversed(self._made.items()):
            if made is not None:
                read += remove_unread(value.producer())
        return read


def _source(node: ir.Node) -> tuple[ir.Value, int, int] | None:
    """Return the float32 value that a cast to int8 is the rounded one of, and its bounds; None if it is none."""
    if standard(node) != "Cast" or node.outputs[0].dtype != DataType.INT8:
        return None
    clip = _producer(node, 0, "Clip")
    chosen = None if clip is None else _producer(clip, 0, "Where")
    unknown = None if chosen is None else _producer(chosen, 0, "IsNaN")
    if clip is None or chosen is None or unknown is None or unknown.inputs[0] is not chosen.inputs[2]:
        return None
    if _bounds(clip) != (_LEAST, _MOST) or _number(chosen.inputs[1]) != 0:
        return None
    inner = _producer(chosen, 2, "Clip")
    bounds = (_LEAST, _MOST) if inner is None else _bounds(inner)
    rounding = _producer(chosen if inner is None else inner, 2 if inner is None else 0, "Round")
    source = None if rounding is None else rounding.inputs[0]
    if bounds is None or source is None or source.dtype != DataType.FLOAT or source.shape is None:
        return None
    # A number that is chosen may give the result more dims.
    return (source, *bounds) if source.shape == node.outputs[0].shape else None


def _bounds(clip: ir.Node) -> tuple[int, int] | None:
    """Return the least and the greatest 8-bit integers that a ``Clip`` leaves, None if its bounds are no integers."""
    numbers = [_number(value) for value in clip.inputs[1:]]
    if len(numbers) != 2 or any(number is None or not number.is_integer() for number in numbers):
        return None
    low, high = (min(max(int(number), _LEAST), _MOST) for number in numbers if number is not None)
    return (low, high) if low <= high else None


def _producer(node: ir.Node, place: int, op_type: str) -> ir.Node | None:
    value = node.inputs[place]
    producer = None if value is None else value.producer()
    return producer if producer is not None and standard(producer) == op_type else None


def _number(value: ir.Value | None) -> float | None:
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return float(tensor.numpy().reshape(-1)[0]) if tensor is not None and tensor.size == 1 else None
