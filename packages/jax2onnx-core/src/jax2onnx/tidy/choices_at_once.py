"""Choices at once: several choices by one condition of rank 0 are made by one ``If``, which passes values on.

onnxruntime's ``Where`` looks at each element of three arrays. What takes little is to choose between the arrays. It is
done in bodies alone: a model that has none stays one for runtimes without control flow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from jax2onnx.tidy.match_nodes import rank_of, same_shape
from jax2onnx.tidy.rules import rewrites
from jax2onnx.tidy.subgraphs import bodies, graph_of, graphs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["choose_at_once"]

_LEAST = 3
"""So many choices take longer than an ``If`` and a node in its branch for each of them."""


@rewrites("Where")
def choose_at_once(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite choices by one condition, such as whether an episode has ended, to one choice.

    ::

        before: a = Where(c[], x[4], y[4]), b = Where(c, u[], v[]), d = Where(c, p[], q[])
        after:  a, b, d = If(c) {Identity(x), Identity(u), Identity(p)} else {Identity(y), Identity(v), Identity(q)}
    """
    graph = graph_of(nodes[0])
    if graph is home.graph:
        return
    by_condition: dict[ir.Value, list[ir.Node]] = {}
    for node in nodes:
        condition, yes, no = node.inputs
        if condition is None or rank_of(condition) != 0:
            continue
        if same_shape(yes, node.outputs[0]) and same_shape(no, node.outputs[0]):
            by_condition.setdefault(condition, []).append(node)
    candidates = [group for group in by_condition.values() if len(group) >= _LEAST]
    if not candidates:
        return
    places = _places(graph)
    for candidate in candidates:
        for group in _apart(candidate, places):
            if len(group) >= _LEAST:
                _join(graph, group)


def _places(graph: ir.Graph) -> dict[ir.Node, int]:
    """Return at which place of a graph each of its nodes is, and at which those in the bodies of its nodes are."""
    places: dict[ir.Node, int] = {}
    for place, node in enumerate(graph):
        places[node] = place
        for body in bodies(node) if node.attributes.data else ():
            for inner in graphs(body):
                places.update(dict.fromkeys(inner, place))
    return places


def _apart(group: Iterable[ir.Node], places: Mapping[ir.Node, int]) -> Iterator[list[ir.Node]]:
    """Yield parts of a group, in their order, such that nothing reads a choice of a part before the last one of it."""
    part: list[ir.Node] = []
    first_read = len(places)
    for node in group:
        if part and places[node] >= first_read:
            yield part
            part, first_read = [], len(places)
        part.append(node)
        first_read = min([first_read, *(places[user] for user, _ in node.outputs[0].uses())])
    yield part


def _join(graph: ir.Graph, group: Sequence[ir.Node]) -> None:
    """Put one ``If`` in the place of the last one of some choices."""
    attributes = [
        ir.AttrGraph(name, _branch(name, group, place)) for name, place in (("then_branch", 1), ("else_branch", 2))
    ]
    outputs = [ir.Value(type=node.outputs[0].type, shape=node.outputs[0].shape) for node in group]
    last = group[-1]
    choice = ir.Node("", "If", [last.inputs[0]], attributes, outputs=outputs, metadata_props=dict(last.metadata_props))
    last.append(choice)
    for node, value in zip(group, outputs, strict=True):
        old = node.outputs[0]
        value.name, old.name = old.name, value.name
        old.replace_all_uses_with(value, replace_graph_outputs=True)
        graph.remove(node, safe=True)


def _branch(name: str, group: Sequence[ir.Node], place: int) -> ir.Graph:
    """Return the graph that passes on one operand of each choice."""
    nodes = []
    for node in group:
        value = node.inputs[place]
        assert value is not None
        result = ir.Value(type=node.outputs[0].type, shape=node.outputs[0].shape)
        passing = ir.Node("", "Identity", [value], outputs=[result], metadata_props=dict(node.metadata_props))
        nodes.append(passing)
    return ir.Graph([], [node.outputs[0] for node in nodes], nodes=nodes, name=name)
