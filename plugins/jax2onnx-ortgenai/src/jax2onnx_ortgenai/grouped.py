"""Grouped: rewrite attention over a growing cache to the contrib operator ``GroupQueryAttention``.

The operator hides what comes later, by itself. So only masks are taken of which this is proven; padding is hidden by
its bias. An attention with another mask, or of another form, stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from jax2onnx_ortgenai import attention, masks
from jax2onnx_ortgenai.angles import Angles, rotated
from jax2onnx_ortgenai.graphs import RESHAPES, NotFound, added, inputs_of, made_by, new_node
from jax2onnx_ortgenai.joined import joined_product

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx_ortgenai.attention import Attention

__all__ = ["DOMAIN", "group", "shares_buffers"]

DOMAIN = "com.microsoft"
_IN_PLACE = ("GroupQueryAttention", "TensorScatter")
"""Operators that write into a cache which is their input and output at once."""

_LOWEST = np.float32(-1e30)


def group(model: ir.Model, *, max_length: int) -> list[str]:
    """Rewrite the attentions of a model in place; return why others stay, in words.

    Args:
        model: the model, with the inputs of a step.
        max_length: how many positions there may be.
    """
    grouper = _Grouper(model.graph, max_length)
    reasons = []
    for node in list(model.graph):
        if node.op_type == "Softmax" and not node.domain:
            try:
                grouper.rewrite(attention.found(node))
            except NotFound as reason:
                reasons.append(str(reason))
    if grouper.count:
        model.graph.opset_imports[DOMAIN] = 1
        _remove_dead(model.graph)
        grouper.measure_by_mask()
        _remove_dead(model.graph)
    return reasons


def shares_buffers(graph: ir.Graph, *, grows: bool) -> bool:
    """Return whether the cache may lie in buffers that are inputs and outputs at once, of any length if it grows.

    So it is if such operators alone read and write it. The shape of a buffer is not the length of a cache that grows.
    """
    past = [value for value in graph.inputs if value.name and value.name.startswith("past_key_values.")]
    users = [node for value in past for node, _ in value.uses()]
    return bool(users) and all(node.op_type in _IN_PLACE or (node.op_type == "Shape" and not grows) for node in users)


@dataclass(slots=True)
class _Grouper:
    graph: ir.Graph
    max_length: int
    count: int = 0
    _made: dict[Any, ir.Value] = field(default_factory=dict)
    _angles: Angles | None = None

    def rewrite(self, found: Attention) -> None:
        """Put one operator in the place of an attention."""
        past = found.keys.past
        given = {value.name: value for value in self.graph.inputs}
        near = masks.window(found.mask, past)
        if near is not None or masks.hides_later(found.mask, past):
            bias = None
        elif masks.hides_later_and_padding(found.mask, past, given["attention_mask"]):
            bias = self._bias(found)
        else:
            raise NotFound("the mask is not proven to hide what comes later, and padding, alone")
        anchor = made_by(found.result, "Reshape")
        query, key, rotary, attributes = self._rotated(found, anchor, rotates=bias is None)
        separate = [query, key, self._flat(found.values.new, anchor)]
        arrays = self._packed(separate) if rotary else separate
        lengths = [self._last(), self._total()]
        inputs = [*arrays, past, found.values.past, *lengths, *(rotary or [None, None]), None, bias]
        node = ir.Node(
            DOMAIN,
            "GroupQueryAttention",
            _trimmed(inputs),
            [
                ir.AttrInt64("num_heads", found.heads),
                ir.AttrInt64("kv_num_heads", found.shared),
                ir.AttrFloat32("scale", found.scale),
                *([] if near is None else [ir.AttrInt64("local_window_size", near)]),
                *([] if found.cap is None else [ir.AttrFloat32("softcap", found.cap)]),
                *attributes,
            ],
            outputs=[_like(value) for value in (found.result, found.keys.present, found.values.present)],
            metadata_props=dict(anchor.metadata_props),
        )
        anchor.prepend(node)
        for old, new in zip((found.result, found.keys.present, found.values.present), node.outputs, strict=True):
            _replace(old, new)
        self.count += 1

    def _rotated(
        self, found: Attention, anchor: ir.Node, *, rotates: bool
    ) -> tuple[ir.Value, ir.Value, Any, list[ir.Attr]]:
        """Return queries and keys, and the tables by which the operator rotates them, if their angles are proven.

        The operator counts positions from the length of the cache, padding too: with padding it cannot rotate.
        """
        try:
            _require_rotation(found.depth, rotates=rotates)
            query, key = rotated(found.query), rotated(found.keys.new)
            self._angles = self._angles or Angles(self.graph, self.max_length, found.keys.past)
            tables = self._angles.tables(query, key)
        except NotFound:
            return self._flat(found.query, anchor), self._flat(found.keys.new, anchor), None, []
        attributes: list[ir.Attr] = [
            ir.AttrInt64("do_rotary", 1),
            ir.AttrInt64("rotary_interleaved", query.interleaved),
        ]
        return query.source, key.source, tables, attributes

    def _packed(self, arrays: Sequence[ir.Value]) -> list[ir.Value | None]:
        """Return one product instead of three where that is possible, and no keys and values then."""
        try:
            return [joined_product(arrays, self.graph), None, None]
        except NotFound:
            return list(arrays)

    def _flat(self, value: ir.Value, anchor: ir.Node) -> ir.Value:
        """Return an array of (batch, tokens, heads, depth) with the heads side by side."""
        producer = value.producer()
        if producer is not None and producer.op_type in RESHAPES and not producer.domain:
            source = inputs_of(producer, 1)[0]
            dims = () if source.shape is None else tuple(source.shape)
            if len(dims) == 3 and value.shape is not None and dims[:2] == tuple(value.shape)[:2]:
                return source
        assert value.shape is not None
        sizes = list(value.shape)
        width = sizes[2] * sizes[3] if isinstance(sizes[2], int) and isinstance(sizes[3], int) else None
        target = self._constant(np.asarray([0, 0, -1], np.int64))
        node = new_node("Reshape", [value, target], [], ir.Shape([*sizes[:2], width]), value.dtype)
        anchor.prepend(node)
        return node.outputs[0]

    def _bias(self, found: Attention) -> ir.Value:
        """Return zero where a token sees a key, and a large negative number elsewhere: (batch, 1, tokens, keys)."""

        def make() -> ir.Value:
            assert found.mask.shape is not None
            numbers = [self._constant(np.asarray(n, np.float32)) for n in (0, _LOWEST)]
            node = new_node("Where", [found.mask, *numbers], [], found.mask.shape, ir.DataType.FLOAT)
            producer = found.mask.producer()
            assert producer is not None
            producer.append(node)
            return node.outputs[0]

        if found.mask.shape is None or found.mask.shape.rank() != 4:
            raise NotFound("the mask has no axis for the heads")
        return self._once(("bias", found.mask), make)

    def measure_by_mask(self) -> None:
        """Rewrite ``Shape(past)`` to ``Shape(attention_mask) - Shape(input_ids)``, of the axes of positions.

        They are equal where a cache grows. Where it lies in a longer buffer, its length is not its shape.
        """
        for node in list(self.graph):
            source = node.inputs[0] if node.op_type == "Shape" and not node.domain else None
            if source is None or not source.is_graph_input() or not str(source.name).startswith("past_key_values."):
                continue
            if (node.attributes.get_int("start", 0), node.attributes.get_int("end", 0)) == (2, 3):
                length = self._once("used", self._used)
                node.outputs[0].replace_all_uses_with(length)

    def _used(self) -> ir.Value:
        sizes = [self._size("attention_mask"), self._size("input_ids")]
        return self._first("Sub", sizes, [], ir.Shape([1]), ir.DataType.INT64)

    def _size(self, name: str) -> ir.Value:
        """Return the size of the second axis of an input, as int64 of shape [1]."""

        def make() -> ir.Value:
            (given,) = (value for value in self.graph.inputs if value.name == name)
            attributes = [ir.AttrInt64("start", 1), ir.AttrInt64("end", 2)]
            return self._first("Shape", [given], attributes, ir.Shape([1]), ir.DataType.INT64)

        return self._once(("size", name), make)

    def _total(self) -> ir.Value:
        """Return how many positions there are with the new ones, as an int32 scalar."""

        def make() -> ir.Value:
            total = self._size("attention_mask")
            axes = self._constant(np.asarray([0], np.int64))
            scalar = self._first("Squeeze", [total, axes], [], ir.Shape([]), ir.DataType.INT64)
            return self._first(
                "Cast", [scalar], [ir.AttrInt64("to", ir.DataType.INT32)], ir.Shape([]), ir.DataType.INT32
            )

        return self._once("total", make)

    def _last(self) -> ir.Value:
        """Return the last position of each row, as int32."""

        def make() -> ir.Value:
            one = self._constant(np.asarray(1, np.int32))
            last = self._first("Sub", [self._total(), one], [], ir.Shape([]), ir.DataType.INT32)
            ids = self.graph.inputs[0]
            assert ids.shape is not None
            attributes: list[ir.Attr] = [ir.AttrInt64("start", 0), ir.AttrInt64("end", 1)]
            rows = self._first("Shape", [ids], attributes, ir.Shape([1]), ir.DataType.INT64)
            return self._first("Expand", [last, rows], [], ir.Shape([ids.shape[0]]), ir.DataType.INT32)

        return self._once("last", make)

    def _once(self, key: Any, make: Any) -> ir.Value:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _first(
        self, op_type: str, inputs: Sequence[ir.Value], attributes: Sequence[ir.Attr], shape: Any, dtype: ir.DataType
    ) -> ir.Value:
        """Emit a node before all others, behind those emitted by this so far."""
        node = new_node(op_type, inputs, attributes, shape, dtype)
        last = self._made.get("last of the first")
        if last is None:
            self.graph.node(0).prepend(node)
        else:
            producer = last.producer()
            assert producer is not None
            producer.append(node)
        self._made["last of the first"] = node.outputs[0]
        return node.outputs[0]

    def _constant(self, array: np.ndarray[Any, Any]) -> ir.Value:
        return added(self.graph, array, "grouped")


def _require_rotation(depth: int, *, rotates: bool) -> None:
    if not rotates:
        raise NotFound("there may be padding")
    if depth % 16:
        raise NotFound("the operator rotates features in numbers that are multiples of 16")


def _like(value: ir.Value) -> ir.Value:
    return ir.Value(type=value.type, shape=value.shape)


def _replace(old: ir.Value, new: ir.Value) -> None:
    if old.is_graph_output():
        old.name, new.name = None, old.name
    old.replace_all_uses_with(new, replace_graph_outputs=True)


def _trimmed(inputs: Sequence[ir.Value | None]) -> list[ir.Value | None]:
    kept = list(inputs)
    while kept and kept[-1] is None:
        kept.pop()
    return kept


def _remove_dead(graph: ir.Graph) -> None:
    """Remove the nodes and initializers that nothing uses any more."""
    for node in reversed(list(graph)):
        if not any(value.uses() or value.is_graph_output() for value in node.outputs):
            graph.remove(node, safe=True)
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[name]
