"""Scanned inputs: an array that a scan has twice is sliced once, and one that no step reads is not."""

from __future__ import annotations

import onnx_ir as ir

from jax2onnx.tidy.subgraphs import bodies, standard

__all__ = ["BY_INPUT", "scan_once"]

BY_INPUT = ("scan_input_axes", "scan_input_directions")
"""The attributes of ``Scan`` that have a number for each array that it slices."""


def scan_once(node: ir.Node) -> None:
    """Rewrite ``Scan(x, x) {a, b -> a + b}`` to ``Scan(x) {a -> a + a}``, and ``Scan(x, y) {a, b -> a}`` likewise.

    One array is left, as it is what says how many steps there are.
    """
    if standard(node) != "Scan":
        return
    count = node.attributes["num_scan_inputs"].as_int()
    carries = len(node.inputs) - count
    (body,) = bodies(node)
    lists = {name: list(node.attributes[name].as_ints()) for name in BY_INPUT if name in node.attributes}
    firsts: dict[object, int] = {}
    kept = []
    for place in range(count):
        key = (node.inputs[carries + place], *(values[place] for values in lists.values()))
        first = firsts.setdefault(key, place)
        if first == place:
            kept.append(place)
        else:
            body.inputs[carries + place].replace_all_uses_with(body.inputs[carries + first], replace_graph_outputs=True)
    read = [place for place in kept if _is_read(body.inputs[carries + place])]
    kept = read or kept[:1]
    if len(kept) == count:
        return
    scanned = [node.inputs[carries + place] for place in kept]
    node.resize_inputs(carries + len(kept))
    for place, value in enumerate(scanned, carries):
        node.replace_input_with(place, value)
    for place in reversed(range(count)):
        if place not in kept:
            body.inputs.pop(carries + place)
    node.attributes.add(ir.AttrInt64("num_scan_inputs", len(kept)))
    for name, values in lists.items():
        node.attributes.add(ir.AttrInt64s(name, [values[place] for place in kept]))


def _is_read(value: ir.Value) -> bool:
    return bool(value.uses()) or value.is_graph_output()
