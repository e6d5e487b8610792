"""Scatters that add, multiply or compare: without an operator for that, one update after the other.

``y = ScatterElements(x, indices, updates, axis=1, reduction="add")`` becomes a loop over the places ``j`` along the
axis. Updates at one place have different targets, so that they are made at once:

    i, u = indices[:, j:j+1], updates[:, j:j+1]
    y = ScatterElements(y, i, GatherElements(y, i, axis=1) + u, axis=1)

``ScatterND`` is a loop over the slices that are updated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx.legalise.opsets.site import Nodes

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax2onnx.legalise.opsets.site import Site

__all__ = ["reduce_elements", "reduce_slices"]

_OPERATORS = {"add": "Add", "mul": "Mul", "max": "Max", "min": "Min"}
_CHOICES = {"Max": "Less", "Min": "Greater"}
"""How integers are compared: onnxruntime takes the larger of two int64 by their halves, the lower ones as signed."""


def reduce_elements(*unsaid: str) -> Callable[[Site], list[ir.Node] | None]:
    """Return the rewrite of ``ScatterElements`` with one of these reductions."""

    def rewrite(site: Site) -> list[ir.Node] | None:
        operator = _operator(site, unsaid)
        if operator is None:
            return None
        data, indices, updates = (site.required(index) for index in range(3))
        axis = site.node.attributes.get_int("axis", 0)

        def step(nodes: Nodes, carried: ir.Value, place: ir.Value) -> ir.Value:
            targets = nodes.add("Gather", indices, place, axis=axis)
            present = nodes.add("GatherElements", carried, targets, axis=axis)
            changed = _combined(nodes, operator, present, nodes.add("Gather", updates, place, axis=axis))
            return nodes.add("ScatterElements", carried, targets, changed, axis=axis)

        return site.replace(_loop(site, data, site.size(indices, axis), step))

    return rewrite


def reduce_slices(*unsaid: str) -> Callable[[Site], list[ir.Node] | None]:
    """Return the rewrite of ``ScatterND`` with one of these reductions."""

    def rewrite(site: Site) -> list[ir.Node] | None:
        operator = _operator(site, unsaid)
        if operator is None:
            return None
        data, indices, updates = (site.required(index) for index in range(3))
        rank = site.rank(1)
        if rank != 2:
            depth = site.size(indices, -1)
            indices = site.add("Reshape", indices, site.add("Concat", site.ints(-1), depth, axis=0))
            ends = site.ints(site.rank(2))
            rest = site.add("Slice", site.sizes(updates), site.ints(rank - 1), ends, site.ints(0))
            updates = site.add("Reshape", updates, site.add("Concat", site.ints(-1), rest, axis=0))
        rows = site.add("Slice", site.sizes(indices), site.ints(0), site.ints(1), site.ints(0))

        def step(nodes: Nodes, carried: ir.Value, place: ir.Value) -> ir.Value:
            targets = nodes.add("Gather", indices, place, axis=0)
            present = nodes.add("GatherND", carried, targets)
            changed = _combined(nodes, operator, present, nodes.add("Gather", updates, place, axis=0))
            return nodes.add("ScatterND", carried, targets, changed)

        return site.replace(_loop(site, data, rows, step))

    return rewrite


def _operator(site: Site, unsaid: tuple[str, ...]) -> str | None:
    """Return the operator of a reduction that cannot be said; None for another."""
    reduction = site.node.attributes.get_string("reduction", "none")
    return _OPERATORS[reduction] if reduction in unsaid else None


def _combined(nodes: Nodes, operator: str, present: ir.Value, update: ir.Value) -> ir.Value:
    """Append the nodes that put an update on what is there."""
    if operator in _CHOICES and present.dtype not in _FLOATS:
        taken = nodes.add(_CHOICES[operator], present, update, dtype=DataType.BOOL)
        return nodes.add("Where", taken, update, present, dtype=present.dtype)
    return nodes.add(operator, present, update)


_FLOATS = frozenset({DataType.FLOAT, DataType.DOUBLE, DataType.FLOAT16, DataType.BFLOAT16})


def _loop(
    site: Site,
    start: ir.Value,
    trips: ir.Value,
    step: Callable[[Nodes, ir.Value, ir.Value], ir.Value],
) -> ir.Value:
    """Append a loop that carries one array; ``step`` gets it and the number of the iteration, as a vector."""
    scalar = ir.Shape(())
    iteration = ir.Value(shape=scalar, type=ir.TensorType(DataType.INT64))
    going = ir.Value(shape=scalar, type=ir.TensorType(DataType.BOOL))
    carried = ir.Value(shape=start.shape, type=start.type)
    nodes = Nodes()
    place = nodes.add("Unsqueeze", iteration, nodes.ints(0), shape=ir.Shape([1]))
    goes_on = nodes.add("Identity", going, shape=scalar)
    result = step(nodes, carried, place)
    result.shape = start.shape
    body = ir.Graph([iteration, going, carried], [goes_on, result], nodes=nodes.made, name="scatter")
    for node in nodes.made:
        node.metadata_props.update(site.node.metadata_props)
    count = site.add("Squeeze", trips, site.ints(0), shape=scalar)
    return site.add("Loop", count, None, start, dtype=start.dtype, shape=start.shape, body=body)
