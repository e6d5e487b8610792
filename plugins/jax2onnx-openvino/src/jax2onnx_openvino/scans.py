"""Scans: OpenVINO takes as inputs of a body what the body uses, be it the body's own input or a value from outside."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from jax2onnx_openvino.nodes import Maker, is_constant

__all__ = ["mend_scan", "refuse_nested"]

_numbers = itertools.count()


def mend_scan(graph: ir.Graph, node: ir.Node) -> str | None:
    """Rewrite a ``Scan`` such that its body uses each of its inputs, and nothing from outside but constants.

    For a value ``v`` from outside, rewrite

        y, ys = Scan(init, xs)        body(state, x): state + v, x
        y, _, ys = Scan(init, v, xs)  body(state, w, x): state + w, Identity(w), x

    and for an input ``x`` that the body does not use, add the output ``Identity(x)``, which nobody reads. A scan that
    uses none of its sequences, or holds another scan, becomes a ``Loop``.
    """
    body = node.attributes["body"].as_graph()
    sequences = node.attributes["num_scan_inputs"].as_int()
    states = len(node.inputs) - sequences
    idle = [value for value in body.inputs if not value.uses()]
    if all(value in idle for value in body.inputs[states:]) or any(
        inner.op_type == "Scan" for inner in body.all_nodes()
    ):
        return _loop(graph, node, states)
    captured = list(_captured(body))
    if not captured and not idle:
        return None
    inputs, outputs = list(node.inputs), list(node.outputs)
    for value in captured:
        inner = ir.Value(name=f"carried_{next(_numbers)}", shape=value.shape, type=value.type)
        _replace_within(body, value, inner)
        body.inputs.insert(states, inner)
        body.outputs.insert(states, _identity(body, inner))
        inputs.insert(states, value)
        outputs.insert(states, _like(value))
        states += 1
    for value in idle:
        if value.is_graph_output():
            _replace_outputs(body, value, _identity(body, value))
        else:
            body.outputs.append(_identity(body, value))
            outputs.append(_like(value, stacked=True))
    _renew(graph, node, inputs, outputs)
    return None


_SPECIAL = ("scan_input_axes", "scan_output_axes", "scan_output_directions")


def refuse_nested(graph: ir.Graph, node: ir.Node) -> str | None:
    """Refuse a ``Loop`` that holds another, or carries uint32: OpenVINO does not compute all of them as ONNX says."""
    del graph
    body = node.attributes["body"].as_graph()
    if any(inner.op_type == "Loop" for inner in body.all_nodes()):
        return "a loop within a loop is not computed reliably"
    if any(value.dtype == ir.DataType.UINT32 for value in body.inputs):
        return "a loop that carries uint32 is not computed reliably"
    return None


def _loop(graph: ir.Graph, node: ir.Node, states: int) -> str | None:
    """Put a ``Loop`` in the place of a ``Scan``.

    Rewrite ``y, ys = Scan(init, xs)`` to ``y, ys = Loop(length of xs, true, init)``, whose body gathers the rows of xs.
    """
    attributes = node.attributes
    if (reason := refuse_nested(graph, node)) is not None:
        return reason
    if any(any(attributes[name].as_ints()) for name in _SPECIAL if name in attributes):
        return "a scan within a scan, along other axes or backwards, has no other form"
    body = attributes["body"].as_graph()
    make = Maker(graph, node)
    lengths = make.op("Shape", node.inputs[states], dtype=ir.DataType.INT64, shape=None)
    length = make.op("Gather", lengths, make.constant(np.array(0)), dtype=ir.DataType.INT64, shape=ir.Shape([]))
    goes_on = make.constant(np.ones((), bool))
    backwards = attributes["scan_input_directions"].as_ints() if "scan_input_directions" in attributes else ()
    index = ir.Value(name=f"carried_{next(_numbers)}", shape=ir.Shape([]), type=ir.TensorType(ir.DataType.INT64))
    again = ir.Value(name=f"carried_{next(_numbers)}", shape=ir.Shape([]), type=ir.TensorType(ir.DataType.BOOL))
    rows = list(body.inputs[states:])
    del body.inputs[states:]
    first: list[ir.Node] = []
    for place, row in enumerate(rows):
        at = index
        if place < len(backwards) and backwards[place]:
            last = ir.node("Sub", [length, index])
            one = ir.node("Constant", [], {"value": ir.tensor(np.array(1))})
            before = ir.node("Sub", [last.outputs[0], one.outputs[0]])
            first += [last, one, before]
            at = before.outputs[0]
        gather = ir.node("Gather", [node.inputs[states + place], at])
        result = gather.outputs[0]
        result.name, result.shape, result.type = f"carried_{next(_numbers)}", row.shape, row.type
        _replace_within(body, row, result)
        first.append(gather)
    if len(body):
        body.insert_before(body[0], first)
    else:
        body.extend(first)
    body.inputs.insert(0, index)
    body.inputs.insert(1, again)
    body.outputs.insert(0, _identity(body, again))
    for value in body.inputs[2:]:
        if value.is_graph_output():
            _replace_outputs(body, value, _identity(body, value))
    node.op_type = "Loop"
    for name in list(attributes):
        if name != "body":
            del attributes[name]
    _renew(graph, node, [length, goes_on, *node.inputs[:states]], list(node.outputs))
    return None


def _renew(graph: ir.Graph, node: ir.Node, inputs: list[ir.Value | None], outputs: list[ir.Value]) -> None:
    """Put a node with these inputs and outputs in the place of one."""
    fresh = [_like(value) if value in node.outputs else value for value in outputs]
    names = [(value, new) for value, new in zip(outputs, fresh, strict=True) if value is not new]
    new_node = ir.Node("", node.op_type, inputs, node.attributes.values(), outputs=fresh, name=node.name)
    new_node.metadata_props.update(node.metadata_props)
    graph.insert_before(node, new_node)
    for value, new in names:
        name, value.name = value.name, None
        value.replace_all_uses_with(new, replace_graph_outputs=True)
        new.name = name
    graph.remove(node, safe=True)


def _like(value: ir.Value, *, stacked: bool = False) -> ir.Value:
    """Return a new value of the type of another; with ``stacked``, of a sequence of such values."""
    shape = None if stacked else value.shape
    return ir.Value(name=f"carried_{next(_numbers)}", shape=shape, type=value.type)


def _identity(body: ir.Graph, value: ir.Value) -> ir.Value:
    node = ir.node("Identity", [value])
    body.append(node)
    result = node.outputs[0]
    result.name, result.shape, result.type = f"carried_{next(_numbers)}", value.shape, value.type
    return result


def _graphs(body: ir.Graph) -> Iterator[ir.Graph]:
    yield body
    for node in body:
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.GRAPH:
                yield from _graphs(attribute.as_graph())


def _captured(body: ir.Graph) -> Iterator[ir.Value]:
    """Yield the values from outside, other than constants, that a body or a graph in it uses, each once."""
    graphs = list(_graphs(body))
    own = {value for graph in graphs for value in graph.inputs}
    own |= {value for graph in graphs for value in graph.initializers.values()}
    own |= {value for graph in graphs for node in graph for value in node.outputs}
    used = [value for graph in graphs for node in graph for value in node.inputs]
    used += [value for graph in graphs for value in graph.outputs]
    for value in dict.fromkeys(used):
        if value is not None and value not in own and not is_constant(value):
            yield value


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
