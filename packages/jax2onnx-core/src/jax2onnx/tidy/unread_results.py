"""Unread results: what a choice or a loop returns and nobody reads is not computed in its bodies."""

from __future__ import annotations

import onnx_ir as ir

from jax2onnx.tidy.subgraphs import bodies, standard

__all__ = ["drop_unread"]


def drop_unread(node: ir.Node) -> ir.Node:
    """Rewrite ``a, _ = If(p) {Exp(x), Log(x)} else {x, y}`` to ``a = If(p) {Exp(x)} else {x}``; return the node.

    Likewise what ``Scan`` and ``Loop`` stack. What they carry stays: a body reads it in the next iteration.
    """
    kind = standard(node)
    if kind not in _FIRST:
        return node
    first, offset = _FIRST[kind](node)
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
    _without(node, frozenset(unread))
    return node


def _is_unread(value: ir.Value) -> bool:
    return not value.uses() and not value.is_graph_output()


def _without(node: ir.Node, unread: frozenset[int]) -> None:
    """Remove results of a node: those after them move up."""
    kept = [value for place, value in enumerate(node.outputs) if place not in unread]
    for place, value in enumerate(kept):
        target = node.outputs[place]
        if target is not value:
            target.type, target.shape = value.type, value.shape
            target.name, value.name = value.name, target.name
            value.replace_all_uses_with(target, replace_graph_outputs=True)
    node.resize_outputs(len(kept))


def _of_choice(_: ir.Node) -> tuple[int, int]:
    return 0, 0


def _of_scan(node: ir.Node) -> tuple[int, int]:
    return len(node.inputs) - node.attributes["num_scan_inputs"].as_int(), 0


def _of_loop(node: ir.Node) -> tuple[int, int]:
    # Besides what it carries a loop takes how often it runs at most, and its body returns whether it goes on.
    return len(node.inputs) - 2, 1


_FIRST = {"If": _of_choice, "Loop": _of_loop, "Scan": _of_scan}
"""Operator -> the first of its results that no iteration reads, and where its bodies have the first result."""
