"""The bodies in a graph, and where its operators stand: in a loop, or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx


def placed_operators(graph: onnx.GraphProto, *, is_inside: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield each operator of a graph and of the bodies in it, and whether it is in the body of a loop."""
    for node in graph.node:
        yield node.op_type, is_inside
        for attribute in node.attribute:
            yield from placed_operators(attribute.g, is_inside=is_inside or node.op_type in {"Loop", "Scan"})


def bodies_in(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield the bodies of the loops and choices in a graph, those inside of other bodies too."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield attribute.g
                yield from bodies_in(attribute.g)
