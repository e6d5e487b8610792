"""Flattened images: a product reads them in the layout that they have, by reordering the rows of its weights."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

from jax2onnx.tidy.initializers import only_here
from jax2onnx.tidy.reshapes import same_dims

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from jax2onnx.tidy.initializers import Home


def reorder_rows(graph: ir.Graph, home: Home) -> None:
    """Let products of a transposed value that is flattened read it as it is before the transpose."""
    for product in graph:
        if product.op_type != "MatMul" or product.domain:
            continue
        flat, weights = product.inputs
        reshape = _sole_producer(flat, "Reshape", graph)
        transpose = _sole_producer(reshape.inputs[0], "Transpose", graph) if reshape is not None else None
        if reshape is None or transpose is None or weights is None or not home.holds(weights):
            continue
        order = _flattened(transpose, reshape)
        if order is None or weights.shape is None or len(weights.shape) != 2 or not only_here(weights):
            continue
        rows, columns = weights.shape.numpy()
        sizes, axes = order
        if math.prod(sizes) == rows:
            arrange = functools.partial(_rows, (*sizes, columns), (*axes, len(axes)))
            reordered = home.derive(weights, arrange, (rows, columns))
            product.replace_input_with(1, reordered)
            reshape.replace_input_with(0, transpose.inputs[0])


def _rows(sizes: Sequence[int], order: Sequence[int], weights: Any) -> Any:
    """Return weights with their rows, which count through ``sizes``, in another order."""
    return weights.reshape(sizes).transpose(order).reshape(weights.shape)


def _sole_producer(value: ir.Value | None, op_type: str, graph: ir.Graph) -> ir.Node | None:
    """Return the node of this graph that computes a value which one node alone uses."""
    node = value.producer() if value is not None else None
    if value is None or node is None or node.op_type != op_type or node.domain or node.graph is not graph:
        return None
    return node if len(value.uses()) == 1 and not value.is_graph_output() else None


def _flattened(transpose: ir.Node, reshape: ir.Node) -> tuple[list[int], list[int]] | None:
    """Return the sizes that the last dim is made of, and for each dim of the source which it is; None if not."""
    source, flat = transpose.inputs[0], reshape.outputs[0]
    if source is None or source.shape is None or flat.shape is None:
        return None
    perm, kept = list(transpose.attributes["perm"].as_ints()), len(flat.shape) - 1
    sizes = [source.shape[p] for p in perm[kept:]]
    if perm[:kept] != [*range(kept)] or not same_dims(source.shape[:kept], flat.shape[:kept]):
        return None
    known = [s for s in sizes if isinstance(s, int)]
    return (known, [perm[kept:].index(d) for d in range(kept, len(perm))]) if len(known) == len(sizes) else None
