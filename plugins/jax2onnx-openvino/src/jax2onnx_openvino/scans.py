"""Scans: OpenVINO writes the new state of a ``Scan`` over a row that it has not read yet; its loops are right."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
from onnx_ir import DataType

from jax2onnx_openvino.constants import known
from jax2onnx_openvino.nodes import Maker, drop, finish, replaced, standard

__all__ = ["drop_idle_loops", "mend_scan"]

_AXES = ("scan_input_axes", "scan_output_axes")
_numbers = itertools.count()


def mend_scan(graph: ir.Graph, node: ir.Node) -> str | None:
    """Put a ``Loop`` in the place of a ``Scan``: its body gathers the rows.

    Rewrite ``state, rows = Scan(init, xs)`` to

        state, rows = Loop(length of xs, true, init)

    whose body takes the number ``i`` of the iteration, and ``xs[i]`` instead of a row. Rows that the scan writes
    backwards are turned round behind the loop.
    """
    attributes = node.attributes
    if any(any(attributes[name].as_ints()) for name in _AXES if name in attributes):
        return "along other axes, it has no other form"
    body = attributes["body"].as_graph()
    states = len(node.inputs) - attributes["num_scan_inputs"].as_int()
    make = Maker(graph, node)
    length = _length(make, node.inputs[states])
    index, goes_on = _value(DataType.INT64), _value(DataType.BOOL)
    _gather_rows(body, node, states, index, length)
    body.inputs.insert(0, index)
    body.inputs.insert(1, goes_on)
    for value in body.inputs[2:]:
        if value.is_graph_output():
            _replace_outputs(body, value, _identity(body, value))
    body.outputs.insert(0, _identity(body, goes_on))
    inputs = [length, make.constant(np.ones((), bool)), *node.inputs[:states]]
    new = [replaced(node, place) for place in range(len(node.outputs))]
    backwards = _directions(node, "scan_output_directions", len(new) - states)
    results = [
        *new[:states],
        *(_like(value) if is_reversed else value for value, is_reversed in zip(new[states:], backwards, strict=True)),
    ]
    loop = ir.Node("", "Loop", inputs, [attributes["body"]], outputs=results, name=node.name)
    loop.metadata_props.update(node.metadata_props)
    graph.insert_before(node, loop)
    for value, result in zip(new, results, strict=True):
        if value is not result:
            ends = make.ints(-1), make.ints(np.iinfo(np.int64).min), make.ints(0), make.ints(-1)
            finish(graph, node, value, "Slice", result, *ends)
    drop(graph, node)
    return None


def _length(make: Maker, sequence: ir.Value | None) -> ir.Value:
    """Return the number of rows."""
    assert sequence is not None
    size = None if sequence.shape is None else sequence.shape[0]
    if isinstance(size, int):
        return make.constant(np.array(size))
    lengths = make.op("Shape", sequence, dtype=DataType.INT64, shape=None)
    return make.op("Gather", lengths, make.constant(np.array(0)), dtype=DataType.INT64, shape=ir.Shape([]))


def _directions(node: ir.Node, name: str, count: int) -> list[bool]:
    """Return which sequences are read, or written, from the last row on."""
    if name not in node.attributes:
        return [False] * count
    return [bool(direction) for direction in node.attributes[name].as_ints()]


def _gather_rows(body: ir.Graph, node: ir.Node, states: int, index: ir.Value, length: ir.Value) -> None:
    """Gather the rows of a body, which were its inputs, from the sequences outside of it."""
    rows = list(body.inputs[states:])
    del body.inputs[states:]
    backwards = _directions(node, "scan_input_directions", len(rows))
    first: list[ir.Node] = []
    for place, row in enumerate(rows):
        at = index
        if backwards[place]:
            one = ir.node("Constant", [], {"value": ir.tensor(np.array(1))})
            last = ir.node("Sub", [length, one.outputs[0]])
            before = ir.node("Sub", [last.outputs[0], index])
            first += [one, last, before]
            at = before.outputs[0]
        gather = ir.node("Gather", [node.inputs[states + place], at])
        result = gather.outputs[0]
        result.name, result.shape, result.type = _name(), row.shape, row.type
        _replace_within(body, row, result)
        first.append(gather)
    if len(body):
        body.insert_before(body[0], first)
    else:
        body.extend(first)


def drop_idle_loops(model: ir.Model) -> None:
    """Put its first state in the place of a ``Loop`` that never runs: OpenVINO does not load one.

    Rewrite ``y = Loop(n, False, x)`` to ``y = Identity(x)``, where constants tell that the condition is false. A loop
    that gives rows, of which there are none, stays.
    """
    opset = model.opset_imports[""]
    for node in list(model.graph.all_nodes()):
        if standard(node) == "Loop" and isinstance(node.graph, ir.Graph):
            _drop_idle(node.graph, node, opset)


def _drop_idle(graph: ir.Graph, node: ir.Node, opset: int) -> None:
    states = len(node.inputs) - 2
    gives_rows = any(value.uses() or value.is_graph_output() for value in node.outputs[states:])
    goes_on = node.inputs[1]
    if gives_rows or goes_on is None:
        return
    value = known(goes_on, opset)
    if value is None or value.all():
        return
    for index in range(states):
        initial = node.inputs[index + 2]
        assert initial is not None
        finish(graph, node, replaced(node, index), "Identity", initial)
    drop(graph, node)


def _name() -> str:
    return f"carried_{next(_numbers)}"


def _value(dtype: DataType) -> ir.Value:
    """Return a new number."""
    return ir.Value(name=_name(), shape=ir.Shape([]), type=ir.TensorType(dtype))


def _like(value: ir.Value) -> ir.Value:
    """Return a new value of the type of another."""
    return ir.Value(name=_name(), shape=value.shape, type=value.type)


def _identity(body: ir.Graph, value: ir.Value) -> ir.Value:
    node = ir.node("Identity", [value])
    body.append(node)
    result = node.outputs[0]
    result.name, result.shape, result.type = _name(), value.shape, value.type
    return result


def _graphs(body: ir.Graph) -> Iterator[ir.Graph]:
    yield body
    yield from body.subgraphs()


def _replace_within(body: ir.Graph, value: ir.Value, new: ir.Value) -> None:
    for graph in _graphs(body):
        for node in graph:
            for index, operand in enumerate(node.inputs):
                if operand is value:
                    node.replace_input_with(index, new)
        _replace_outputs(graph, value, new)


def _replace_outputs(graph: ir.Graph, value: ir.Value, new: ir.Value) -> None:
    for index, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[index] = new
