"""Sizes: which array onnxruntime reads a size from, in models that have integers of 4 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx.legalise.whole_bytes import FEW_BITS
from jax2onnx.tidy.subgraphs import every_node, standard

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["read_sizes_of_bytes"]


def read_sizes_of_bytes(root: ir.Graph, sizes: Sequence[ir.Node]) -> None:
    """Read sizes from arrays of a rank that no array of 4-bit integers has, in place.

    onnxruntime has no ``Shape`` of integers of 4 bits. Its optimiser lets every ``Shape`` read the first array that has
    the same dims, and does not ask for the dtype of that. For ``x: int4[N]`` and ``y: int8[N]``,

    rewrite ``Shape(y)`` to ``Shape(Unsqueeze(y, [0]), start=1)``: there is no array of 4 bits with the dims ``[1, N]``.

    Args:
        root: the outermost graph, or the function.
        sizes: its nodes ``Shape``, those in subgraphs too, of dtypes that the target has.
    """
    ranks = [len(shape) for shape in map(_dims_of_few_bits, _values(root)) if shape is not None]
    if not ranks:
        return
    for node in sizes:
        value = node.inputs[0] if standard(node) == "Shape" else None
        if value is None or value.shape is None or value.shape.is_static():
            continue
        new = max(ranks) + 1 - len(value.shape)
        if new > 0:
            _put_dims_before(node, value, new)


def _values(root: ir.Graph) -> Iterator[ir.Value]:
    yield from root.inputs
    for node in every_node(root):
        yield from node.outputs


def _dims_of_few_bits(value: ir.Value) -> ir.Shape | None:
    """Return the shape of an array of 4-bit integers whose sizes are not all known, None for other values."""
    if value.dtype not in FEW_BITS or value.shape is None or value.shape.is_static():
        return None
    return value.shape


def _put_dims_before(node: ir.Node, value: ir.Value, count: int) -> None:
    """Put dims of 1 in front of the array that a ``Shape`` reads, and leave them out of its result.

    With ``count = 2``, rewrite ``Shape(x[a, b])`` to ``Shape<start = 2>(Unsqueeze(x, [0, 1]))``.
    """
    assert value.shape is not None
    assert node.graph is not None
    rank = len(value.shape)
    bounds = slice(node.attributes.get_int("start", 0), node.attributes.get_int("end", rank))
    start, end, _ = bounds.indices(rank)
    constant = ir.node("Constant", [], {"value": ir.tensor(np.arange(count))})
    axes = constant.outputs[0]
    axes.shape, axes.dtype = ir.Shape([count]), DataType.INT64
    wide = ir.Value(shape=ir.Shape([*[1] * count, *value.shape]), type=value.type)
    unsqueeze = ir.node("Unsqueeze", [value, axes], outputs=[wide])
    unsqueeze.metadata_props.update(node.metadata_props)
    node.graph.insert_before(node, [constant, unsqueeze])
    node.replace_input_with(0, wide)
    node.attributes["start"] = ir.AttrInt64("start", start + count)
    node.attributes["end"] = ir.AttrInt64("end", end + count)
