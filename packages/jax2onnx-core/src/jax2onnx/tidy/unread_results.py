"""Unread results: what a choice or a loop returns and nobody reads is not computed in its bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from jax2onnx.tidy.loop_state import LOOPS, carried_places
from jax2onnx.tidy.subgraphs import bodies, standard

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["drop_unread", "with_results"]


def drop_unread(node: ir.Node) -> ir.Node:
    """Rewrite ``a, _ = If(p) {Exp(x), Log(x)} else {x, y}`` to ``a = If(p) {Exp(x)} else {x}``; return the node.

    Likewise what ``Scan`` and ``Loop`` stack. What they carry stays: a body reads it in the next iteration.
    """
    first = offset = 0
    if standard(node) in LOOPS:
        _, offset, first = carried_places(node)
    elif standard(node) != "If":
        return node
    unread = [place for place in range(first, len(node.outputs)) if _is_unread(node.outputs[place])]
    if not unread or len(unread) == len(node.outputs):
        return node
    for body in bodies(node):
        for place in reversed(unread):
            body.outputs.pop(place + offset)
    directions = node.attributes.get("scan_output_directions")
    if directions is not None:
        kept = [one for place, one in enumerate(directions.as_ints(), first) if place not in unread]
        del node.attributes["scan_output_directions"]
        if kept:
            node.attributes.add(ir.AttrInt64s("scan_output_directions", kept))
    return with_results(node, [value for place, value in enumerate(node.outputs) if place not in unread])


def _is_unread(value: ir.Value) -> bool:
    return not value.uses() and not value.is_graph_output()


def with_results(
    node: ir.Node, results: Sequence[ir.Value], operands: Sequence[ir.Value | None] | None = None
) -> ir.Node:
    """Put a node that has some of the results, perhaps others, and perhaps other operands, in the place of a node.

    The results keep their names.
    """
    assert node.graph is not None
    kept = {value: ir.Value(type=value.type, shape=value.shape) for value in results if value.producer() is node}
    new = ir.Node(
        node.domain,
        node.op_type,
        node.inputs if operands is None else operands,
        node.attributes.values(),
        outputs=[kept.get(value, value) for value in results],
        name=node.name,
        metadata_props=dict(node.metadata_props),
    )
    node.append(new)
    for value, result in kept.items():
        name, value.name = value.name, None
        result.name = name
        result.meta.update(value.meta)
        value.replace_all_uses_with(result, replace_graph_outputs=True)
    node.graph.remove(node, safe=True)
    return new
