"""Scanned constants: what a scan computes of constants that it slices, such as counts of its steps, is such a constant.

A scan over ``jnp.arange(n)`` that adds 1 to each count, and tests it, slices ``1, 2, ..., n``, and the test is known
if it has one result in all steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.known_results import FEW, KNOWN_OPERATORS, computed
from jax2onnx.tidy.match_nodes import sizes_of
from jax2onnx.tidy.operators import RESHAPES
from jax2onnx.tidy.rules import rewrites
from jax2onnx.tidy.subgraphs import bodies

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["scan_known"]


@rewrites("Scan", keeps_nodes=True)
def scan_known(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``Scan([0, 1, 2]) {i -> Add(i, 1)}`` to ``Scan([1, 2, 3]) {j -> j}``.

    The nodes in the body are left without users.
    """
    for node in nodes:
        given = _given(node, home)
        if given:
            _compute(node, given, home)


def _given(scan: ir.Node, home: Home) -> dict[ir.Value, Any]:
    """Return the inputs of the body that are slices of small constants, and these, a row for each step."""
    (body,) = bodies(scan)
    count = scan.attributes["num_scan_inputs"].as_int()
    axes = scan.attributes.get_ints("scan_input_axes", [0] * count)
    directions = scan.attributes.get_ints("scan_input_directions", [0] * count)
    found = {}
    for place, axis, direction in zip(range(-count, 0), axes, directions, strict=True):
        source = scan.inputs[place]
        tensor = None if source is None else source.const_value
        if source is None or tensor is None or axis != 0 or home.is_parameter(source) or not 0 < tensor.size <= FEW:
            continue
        if body.inputs[place].is_graph_output():
            continue
        rows = tensor.numpy()
        found[body.inputs[place]] = rows[::-1] if direction else rows
    return found


def _compute(scan: ir.Node, given: Mapping[ir.Value, Any], home: Home) -> None:
    """Compute what is known in all steps, if fewer nodes and slices are left."""
    (body,) = bodies(scan)
    rows = {value: array for value, array in given.items() if not _is_one(value, array, home)}
    known: set[ir.Node] = set()
    for node in body:
        result = _rows_of(node, rows, home)
        if result is None:
            continue
        value = node.outputs[0]
        if not _is_one(value, result, home):
            rows[value] = result
            known.add(node)
    read = [value for value in rows if any(user not in known for user, _ in value.uses())]
    added = [value for value in read if value not in given]
    idle = [value for value in rows if value in given and value not in read and not value.is_graph_output()]
    # A slice takes about as long as a node.
    if len(added) - len(idle) < len(known):
        for value in added:
            _slice(scan, body, value, home.constant(np.ascontiguousarray(rows[value])))


def _is_one(value: ir.Value, rows: Any, home: Home) -> bool:
    """Return whether a value of the body is the same in all steps, and give this constant to its users then."""
    first = np.array(rows[0])
    # The bits are compared: -0.0 is not 0.0.
    if any(row.tobytes() != first.tobytes() for row in rows[1:]):
        return False
    value.replace_all_uses_with(home.constant(first))
    return True


def _rows_of(node: ir.Node, rows: Mapping[ir.Value, Any], home: Home) -> Any:
    """Return what a node computes in all steps, a row for each; None if it is not known, or a result of the body."""
    if node.domain or len(node.outputs) != 1 or rows.keys().isdisjoint(node.inputs):
        return None
    value = node.outputs[0]
    sizes = sizes_of(value.shape)
    if sizes is None or value.dtype is None or value.is_graph_output():
        return None
    if node.op_type in RESHAPES:
        source = rows.get(node.inputs[0]) if node.inputs[0] is not None else None
        return None if source is None else source.reshape(len(source), *sizes)
    if node.op_type not in KNOWN_OPERATORS:
        return None
    columns = [column for operand in node.inputs if operand is not None and (column := _column(operand, rows, home))]
    if len(columns) < len(node.inputs):
        return None
    results = []
    for step in range(max(len(array) for array, _ in columns)):
        one = computed(node, [array[step if is_sliced else 0] for array, is_sliced in columns])
        if one is None or np.shape(one) != tuple(sizes) or one.dtype != value.dtype.numpy():
            return None
        results.append(one)
    return np.stack(results)


def _column(operand: ir.Value, rows: Mapping[ir.Value, Any], home: Home) -> tuple[Any, bool] | None:
    """Return an operand's rows, and whether there is one for each step, or else the same in all."""
    if operand in rows:
        return rows[operand], True
    tensor = operand.const_value
    if tensor is None or home.is_parameter(operand) or not 0 < tensor.size <= FEW:
        return None
    return tensor.numpy()[None], False


def _slice(scan: ir.Node, body: ir.Graph, value: ir.Value, constant: ir.Value) -> None:
    """Slice one constant more, in the place of a value of the body."""
    row = ir.Value(type=value.type, shape=value.shape)
    row.name, value.name = value.name, None
    value.replace_all_uses_with(row)
    body.inputs.append(row)
    scan.resize_inputs(len(scan.inputs) + 1)
    scan.replace_input_with(len(scan.inputs) - 1, constant)
    count = scan.attributes["num_scan_inputs"].as_int()
    scan.attributes.add(ir.AttrInt64("num_scan_inputs", count + 1))
    for name in ("scan_input_axes", "scan_input_directions"):
        if name in scan.attributes:
            scan.attributes.add(ir.AttrInt64s(name, [*scan.attributes[name].as_ints(), 0]))
