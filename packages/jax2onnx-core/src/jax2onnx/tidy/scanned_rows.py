"""Scanned rows: what a step of a scan computes of its slices alone is computed for all steps at once, before the scan.

What all steps slice alike is no slice: a scan over ``jnp.arange(n)`` whose steps test whether their count is negative
knows the result, as constants are computed at once at the export.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.known_results import FEW
from jax2onnx.tidy.match_nodes import copied, new_node, sizes_of
from jax2onnx.tidy.one_more_dim import keeps_rows
from jax2onnx.tidy.operators import RESHAPES
from jax2onnx.tidy.rules import rewrites
from jax2onnx.tidy.scanned_inputs import BY_INPUT
from jax2onnx.tidy.subgraphs import bodies

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jax2onnx.tidy.initializers import Home
    from jax2onnx.tidy.match_nodes import Dim

__all__ = ["compute_rows", "take_equal_rows"]


@rewrites("Scan")
def compute_rows(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``Scan(x[9]) {a -> Sin(Add(a, 1))}`` to ``Scan(Sin(Add(x, 1))) {a -> a}``, where that takes fewer nodes.

    Rows are to be numbers or short vectors, since what is computed at once is stored at once: matrices may be weights
    of layers. The nodes in the body are left without users.
    """
    for scan in nodes:
        for direction in (0, 1):
            _compute(scan, direction, home)


def _compute(scan: ir.Node, direction: int, home: Home) -> None:
    """Compute before a scan what is computed of the arrays that it goes through in one direction."""
    (body,) = bodies(scan)
    arrays = _sliced(scan, body, direction)
    found = _of_rows(body, arrays)
    rows = {*arrays, *(node.outputs[0] for node in found)}
    read = {value for value in rows if any(user not in found for user, _ in value.uses())}
    added = [node.outputs[0] for node in found if node.outputs[0] in read]
    idle = [value for value in arrays if value not in read and not value.is_graph_output()]
    # A slice takes about as long as a node.
    if len(added) - len(idle) >= len(found):
        return
    for node in found:
        arrays[node.outputs[0]] = _at_once(node, arrays, scan, home)
    for value in added:
        _slice(scan, body, value, arrays[value], direction)


@rewrites("Scan", keeps_nodes=True)
def take_equal_rows(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``Scan(x, [1, 1, 1]) {a, b -> Add(a, b)}`` to ``Scan(x, [1, 1, 1]) {a, b -> Add(a, 1)}``."""
    for scan in nodes:
        (body,) = bodies(scan)
        for value, source in [*_sliced(scan, body, 0).items(), *_sliced(scan, body, 1).items()]:
            tensor = source.const_value
            if tensor is None or home.is_parameter(source) or not 0 < tensor.size <= FEW or value.is_graph_output():
                continue
            rows = tensor.numpy()
            first = np.array(rows[0])
            # The bits are compared: -0.0 is not 0.0.
            if all(row.tobytes() == first.tobytes() for row in rows):
                value.replace_all_uses_with(home.constant(first))


def _sliced(scan: ir.Node, body: ir.Graph, direction: int) -> dict[ir.Value, ir.Value]:
    """Return the slices that a body has in one direction, and the arrays of known dims of which they are the rows."""
    count = scan.attributes["num_scan_inputs"].as_int()
    axes, directions = (scan.attributes.get_ints(name, [0] * count) for name in BY_INPUT)
    places = [place for place in range(count) if (axes[place], directions[place]) == (0, direction)]
    first = len(scan.inputs) - count
    pairs = [(body.inputs[first + place], scan.inputs[first + place]) for place in places]
    return {value: source for value, source in pairs if source is not None and source.shape is not None}


def _of_rows(body: ir.Graph, arrays: Mapping[ir.Value, ir.Value]) -> dict[ir.Node, None]:
    """Return the nodes that compute of slices alone, and of what is the same in all steps, in their order."""
    own = {*body.inputs, *(value for node in body for value in node.outputs)}
    is_counted = isinstance(_length(arrays), int)
    rows = set(arrays)
    found: dict[ir.Node, None] = {}
    for node in body:
        if len(node.outputs) != 1 or node.domain or node.outputs[0].is_graph_output():
            continue
        given = [value for value in node.inputs if value is not None]
        sliced = [value for value in given if value in rows]
        if not sliced or any(value in own for value in given if value not in rows):
            continue
        is_reshaped = node.op_type in RESHAPES and sliced == [node.inputs[0]] and is_counted
        if _is_small(node.outputs[0]) and (is_reshaped or keeps_rows(node, given, sliced)):
            rows.add(node.outputs[0])
            found[node] = None
    return found


def _is_small(value: ir.Value) -> bool:
    sizes = sizes_of(value.shape)
    return sizes is not None and len(sizes) < 2 and math.prod(sizes) <= FEW and value.dtype is not None


def _length(arrays: Mapping[ir.Value, ir.Value]) -> Dim | None:
    """Return how many rows arrays have, as an integer if one of them says so; None if there are no arrays."""
    lengths = [source.shape[0] for source in arrays.values() if source.shape is not None]
    return next((length for length in lengths if isinstance(length, int)), lengths[0] if lengths else None)


def _at_once(node: ir.Node, arrays: Mapping[ir.Value, ir.Value], scan: ir.Node, home: Home) -> ir.Value:
    """Return what a node computes in all steps: a new node before the scan computes it."""
    made, length = copied(node, arrays), _length(arrays)
    assert length is not None
    sizes = sizes_of(node.outputs[0].shape) or ()
    if node.op_type in RESHAPES and isinstance(length, int):
        made = new_node("Reshape", [made.inputs[0], home.ints([length, *sizes])], None, node)
    made.outputs[0].shape = ir.Shape([length, *sizes])
    scan.prepend(made)
    return made.outputs[0]


def _slice(scan: ir.Node, body: ir.Graph, value: ir.Value, array: ir.Value, direction: int) -> None:
    """Slice one array more, in the place of a value of the body."""
    row = ir.Value(type=value.type, shape=value.shape)
    row.name, value.name = value.name, None
    value.replace_all_uses_with(row)
    body.inputs.append(row)
    scan.resize_inputs(len(scan.inputs) + 1)
    scan.replace_input_with(len(scan.inputs) - 1, array)
    count = scan.attributes["num_scan_inputs"].as_int()
    scan.attributes.add(ir.AttrInt64("num_scan_inputs", count + 1))
    for name, last in zip(BY_INPUT, (0, direction), strict=True):
        if name in scan.attributes or last:
            before = scan.attributes.get_ints(name, [0] * count)
            scan.attributes.add(ir.AttrInt64s(name, [*before, last]))
