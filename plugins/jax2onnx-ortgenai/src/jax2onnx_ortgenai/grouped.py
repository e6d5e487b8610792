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
from jax2onnx_ortgenai.sizes import Sizes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx_ortgenai.attention import Attention

__all__ = ["DOMAIN", "group", "shares_buffers"]

DOMAIN = "com.microsoft"
_IN_PLACE = ("GroupQueryAttention", "TensorScatter")
"""Operators that write into a cache which is their input and output at once."""

_LOWEST = np.float32(-1e30)


def group(model: ir.Model, *, max_length: int | None, begins_empty: bool) -> list[str]:
    """Rewrite the attentions of a model in place; return why others stay, in words.

    Args:
        model: the model, with the inputs of a step.
        max_length: how many positions there may be; None where that is not known, and rotations stay outside.
        begins_empty: whether several tokens of several texts come only where the cache is empty.
    """
    grouper = _Grouper(model.graph, Sizes(model.graph), max_length, begins_empty)
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
        if grouper.sizes.by_mask:
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
    sizes: Sizes
    max_length: int | None
    begins_empty: bool
    count: int = 0
    _made: dict[Any, ir.Value] = field(default_factory=dict)
    _angles: Angles | None = None

    def rewrite(self, found: Attention) -> None:
        """Put one operator in the place of an attention."""
        past = found.keys.past
        self._require_calls(found)
        near, bias = self._hidden(found)
        anchor = made_by(found.result, "Reshape")
        query, key, rotary, attributes = self._rotated(found, anchor, rotates=bias is None)
        separate = [query, key, self._flat(found.values.new, anchor)]
        arrays = self._packed(separate) if rotary else separate
        lengths = self.sizes.lengths(found.keys)
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

    def _require_calls(self, found: Attention) -> None:
        """Require that the operator takes all calls: it refuses several tokens of several rows behind others."""
        shapes = found.keys.past.shape, found.keys.new.shape
        if not (self.begins_empty or any(s is not None and s[axis] == 1 for axis, s in enumerate(shapes))):
            raise NotFound("the operator takes several tokens of several texts only where the cache is empty")

    def _hidden(self, found: Attention) -> tuple[int | None, ir.Value | None]:
        """Return the window of an attention, None if there is none, and what its operator adds to hide padding."""
        past, new, mask = found.keys.past, found.keys.new, found.mask
        if mask is None:
            if new.shape is None or new.shape[1] != 1:
                raise NotFound("nothing hides what comes later")
            return None, None
        near = masks.window(mask, past)
        if near is not None or masks.hides_later(mask, past):
            return near, None
        if masks.hides_later_and_padding(mask, past, self.sizes.mask):
            return None, self._bias(mask)
        raise NotFound("the mask is not proven to hide what comes later, and padding, alone")

    def _rotated(
        self, found: Attention, anchor: ir.Node, *, rotates: bool
    ) -> tuple[ir.Value, ir.Value, Any, list[ir.Attr]]:
        """Return queries and keys, and the tables by which the operator rotates them, if their angles are proven.

        The operator counts positions from the length of the cache, padding too: with padding it cannot rotate.
        """
        try:
            length = _rotation_length(found.depth, self.max_length, rotates=rotates)
            query, key = rotated(found.query), rotated(found.keys.new)
            self._angles = self._angles or Angles(self.graph, length, found.keys.past)
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

    def _bias(self, mask: ir.Value) -> ir.Value:
        """Return zero where a token sees a key, and a large negative number elsewhere: (batch, 1, tokens, keys)."""

        def make() -> ir.Value:
            assert mask.shape is not None
            numbers = [self._constant(np.asarray(n, np.float32)) for n in (0, _LOWEST)]
            node = new_node("Where", [mask, *numbers], [], mask.shape, ir.DataType.FLOAT)
            producer = mask.producer()
            assert producer is not None
            producer.append(node)
            return node.outputs[0]

        if mask.shape is None or mask.shape.rank() != 4:
            raise NotFound("the mask has no axis for the heads")
        return self._once(("bias", mask), make)

    def measure_by_mask(self) -> None:
        """Rewrite ``Shape(past)`` to ``Shape(attention_mask) - Shape(input_ids)``, of the axes of positions.

        They are equal where a cache grows. Where it lies in a longer buffer, its length is not its shape.
        """
        for node in list(self.graph):
            source = node.inputs[0] if node.op_type == "Shape" and not node.domain else None
            if source is None or not source.is_graph_input() or not str(source.name).startswith("past_key_values."):
                continue
            if (node.attributes.get_int("start", 0), node.attributes.get_int("end", 0)) == (2, 3):
                node.outputs[0].replace_all_uses_with(self.sizes.used())

    def _once(self, key: Any, make: Any) -> ir.Value:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _constant(self, array: np.ndarray[Any, Any]) -> ir.Value:
        return added(self.graph, array, "grouped")


def _rotation_length(depth: int, max_length: int | None, *, rotates: bool) -> int:
    """Return of how many positions the operator needs angles, if it can rotate."""
    if not rotates:
        raise NotFound("there may be padding")
    if depth % 16:
        raise NotFound("the operator rotates features in numbers that are multiples of 16")
    if max_length is None:
        raise NotFound("how many positions there may be is not known")
    return max_length


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
