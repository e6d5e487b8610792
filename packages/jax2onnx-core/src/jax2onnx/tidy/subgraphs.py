"""Graphs within graphs: the bodies of ``If``, ``Loop``, ``Scan`` and the like."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Iterator


def bodies(node: ir.Node) -> list[ir.Graph]:
    """Return the graphs that a node holds as attributes."""
    return [a.as_graph() for a in node.attributes.data.values() if a.type == ir.AttributeType.GRAPH]


def graphs(graph: ir.Graph) -> list[ir.Graph]:
    """Return a graph and those within, outer ones first."""
    found = [graph]
    for node in graph:
        if node.attributes.data:
            for body in bodies(node):
                found += graphs(body)
    return found


def every_node(graph: ir.Graph) -> Iterator[ir.Node]:
    """Yield the nodes of a graph and of those within."""
    return (node for inner in graphs(graph) for node in inner)


def stored_bytes(tensor: ir.TensorProtocol) -> int:
    """Return a tensor's size; onnx-ir multiplies its dims, an array knows it."""
    held = tensor.raw if isinstance(tensor, ir.Tensor) else None
    return held.nbytes if isinstance(held, np.ndarray) else tensor.nbytes
