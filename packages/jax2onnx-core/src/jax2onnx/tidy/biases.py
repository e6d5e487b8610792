"""Biases: constants added to the result of a product or a convolution."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.layout_ops import BROADCASTING
from jax2onnx.tidy.reshapes import RESHAPES, drop, same_shape, shorten_reshape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.tidy.initializers import Home


def place_biases(graph: ir.Graph, home: Home) -> None:
    """Add biases before reshapes that split features, without leading dims of size 1."""
    moved, reshaped = False, _Reshaped(home)
    for node in list(graph):
        if node.domain:
            continue
        if node.op_type in BROADCASTING:
            if node.op_type == "Add" and _add_before_split(graph, node, reshaped):
                moved = True
            else:
                _strip_ones(node, reshaped)
        elif moved and node.op_type in RESHAPES:
            shorten_reshape(graph, node, home)


@dataclass(frozen=True, slots=True)
class _Reshaped:
    """Initializers in another shape: one for all who want it."""

    home: Home
    made: dict[tuple[ir.Value, tuple[int, ...]], ir.Value] = field(default_factory=dict)

    def get(self, value: ir.Value, shape: Sequence[int]) -> ir.Value:
        key = value, tuple(shape)
        if key not in self.made:
            self.made[key] = self.home.derive(value, lambda a: np.reshape(a, key[1]), key[1])
        return self.made[key]


def merge_biases(graph: ir.Graph, home: Home) -> None:
    """Make a product or convolution and the addition of a bias one node."""
    for node in list(graph):
        if node.op_type != "Add" or node.domain or None in node.inputs:
            continue
        for product, bias in (node.inputs, node.inputs[::-1]):
            assert product is not None
            assert bias is not None
            producer = product.producer()
            if (
                producer is None
                or producer.graph is not graph
                or len(product.uses()) != 1
                or product.is_graph_output()
                or not same_shape(product, node.outputs[0])
            ):
                continue
            merge = {"MatMul": _gemm, "Conv": _conv, "ConvTranspose": _conv}.get(producer.op_type)
            inputs = merge(producer, bias, home) if merge is not None and not producer.domain else None
            if inputs is not None:
                _replace(graph, node, producer, inputs)
                break


def _strip_ones(node: ir.Node, reshaped: _Reshaped) -> None:
    """Take the leading dims of size 1 from a constant that broadcasts."""
    for index, value in enumerate(node.inputs):
        if value is None or value.shape is None or value.shape[:1] != (1,) or not reshaped.home.holds(value):
            continue
        others = [v.shape for i, v in enumerate(node.inputs) if i != index and v is not None]
        if any(s is not None and len(s) >= len(value.shape) for s in others):
            node.replace_input_with(index, reshaped.get(value, value.shape.numpy()[_ones(value.shape) :]))


def _ones(shape: ir.Shape) -> int:
    """Return the number of leading dims of size 1."""
    return next((i for i, d in enumerate(shape) if d != 1), len(shape))


def _add_before_split(graph: ir.Graph, node: ir.Node, reshaped: _Reshaped) -> bool:
    """Add a bias before a reshape splits the features into heads and the like; tell whether there was one."""
    for split, bias in (node.inputs, node.inputs[::-1]):
        if split is None or bias is None:
            continue
        reshape = split.producer()
        if (
            reshape is None
            or reshape.op_type != "Reshape"
            or reshape.graph is not graph
            or not reshaped.home.holds(bias)
        ):
            continue
        whole, last = reshape.inputs[0], _split_last(reshape)
        if whole is None or last is None or len(split.uses()) > 1 or split.is_graph_output():
            continue
        if bias.shape is None or [*bias.shape][_ones(bias.shape) :] != last:
            continue
        added = ir.Node("", "Add", [whole, reshaped.get(bias, [math.prod(last)])], metadata_props=node.metadata_props)
        added.outputs[0].type, added.outputs[0].shape = whole.type, whole.shape
        graph.insert_before(reshape, added)
        reshape.replace_input_with(0, added.outputs[0])
        drop(graph, node, split)
        return True
    return False


def _split_last(reshape: ir.Node) -> list[int] | None:
    """Return the sizes into which a reshape splits the last dim, the first above 1, if that is all it does."""
    before, after = reshape.inputs[0].shape if reshape.inputs[0] is not None else None, reshape.outputs[0].shape
    if before is None or after is None or not 0 < len(before) < len(after):
        return None
    leading = len(before) - 1
    for old, new in zip(before[:leading], after[:leading], strict=True):
        if old != new or not (isinstance(old, int) or old.value is not None):
            return None
    sizes = [d for d in after[leading:] if isinstance(d, int)]
    whole = len(sizes) == len(after) - leading and math.prod(sizes) == before[-1]
    return sizes if whole and sizes[0] > 1 else None


def _gemm(matmul: ir.Node, bias: ir.Value, home: Home) -> list[ir.Value | None] | None:
    del home
    ranks = [v.shape.rank() if v is not None and v.shape is not None else None for v in (*matmul.inputs, bias)]
    if ranks not in ([2, 2, 1], [2, 2, 2]) or bias.dtype not in _GEMM_DTYPES:
        return None
    if ranks[2] == 2 and (bias.shape is None or bias.shape[0] != 1):
        return None
    return [*matmul.inputs, bias]


def _conv(conv: ir.Node, bias: ir.Value, home: Home) -> list[ir.Value | None] | None:
    """A constant that differs only between channels is a bias."""
    out = conv.outputs[0].shape
    if len(conv.inputs) > 2 or out is None or bias.shape is None or not home.holds(bias):
        return None
    shape = [1] * (len(out) - len(bias.shape)) + list(bias.shape)
    channels = out[1]
    if not isinstance(channels, int) or shape != [1 if i != 1 else channels for i in range(len(out))]:
        return None
    return [*conv.inputs, home.derive(bias, lambda a: np.reshape(a, (channels,)), [channels])]


def _replace(graph: ir.Graph, node: ir.Node, producer: ir.Node, inputs: Sequence[ir.Value | None]) -> None:
    """Put what ``producer`` computes from ``inputs`` in the place of ``node``."""
    op_type = "Gemm" if producer.op_type == "MatMul" else producer.op_type
    metadata = dict(producer.metadata_props)
    merged = ir.Node("", op_type, inputs, list(producer.attributes.values()), metadata_props=metadata)
    new, old = merged.outputs[0], node.outputs[0]
    new.type, new.shape = old.type, old.shape
    graph.insert_after(node, merged)
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    new.name, old.name = old.name, new.name
    graph.remove(node, safe=True)


_GEMM_DTYPES = {ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16}
