"""Subgraphs: the bodies of ``If``, ``Loop`` and ``Scan``, all graphs of a model; what nodes are, what tensors store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["bodies", "every_node", "graph_of", "graphs", "held_array", "reads", "standard", "stored_bytes"]


def standard(node: ir.Node) -> str:
    """Return the operator of a node if it is one of ONNX's default domain, else an empty string.

    Other domains, and functions, may have operators of the same names that mean something else.
    """
    return "" if node.domain else node.op_type


def bodies(node: ir.Node) -> list[ir.Graph]:
    """Return the graphs that a node holds as attributes."""
    attributes = node.attributes.data.values()
    return [a.as_graph() for a in attributes if a.type == ir.AttributeType.GRAPH]


def graphs(graph: ir.Graph) -> list[ir.Graph]:
    """Return a graph and its subgraphs, outer ones first."""
    found = [graph]
    for node in graph:
        if node.attributes.data:
            for body in bodies(node):
                found += graphs(body)
    return found


def graph_of(node: ir.Node) -> ir.Graph:
    """Return the graph that a node is in."""
    assert isinstance(node.graph, ir.Graph)
    return node.graph


def every_node(graph: ir.Graph) -> Iterator[ir.Node]:
    """Yield the nodes of a graph and of its subgraphs."""
    inner: list[ir.Graph] = []
    for node in graph:
        if node.attributes.data:
            inner += bodies(node)
        yield node
    for body in inner:
        yield from every_node(body)


def reads(node: ir.Node) -> Iterator[tuple[ir.Node, int, ir.Value]]:
    """Yield what a node and those in its bodies read: the reading node, which of its inputs, the value."""
    readers = [node]
    for body in bodies(node):
        readers += every_node(body)
    for reader in readers:
        for index, value in enumerate(reader.inputs):
            if value is not None:
                yield reader, index, value


def held_array(tensor: ir.TensorProtocol | None) -> np.ndarray[Any, Any] | None:
    """Return the numpy array that holds a tensor's numbers, None if something else does."""
    raw = tensor.raw if isinstance(tensor, ir.Tensor) else None
    return raw if isinstance(raw, np.ndarray) else None


def stored_bytes(tensor: ir.TensorProtocol) -> int:
    """Return a tensor's size in bytes."""
    # onnx-ir multiplies the dims of a tensor each time; an array has its size at hand.
    array = held_array(tensor)
    return tensor.nbytes if array is None else array.nbytes
