"""Choices at once: several choices by one condition of one element are made by one ``If``, which passes values on.

onnxruntime's ``Where`` looks at each element of three arrays. What takes little is to choose between the arrays: an
``If`` takes as long as one ``Where``, and each further value that it passes on half of that. And a branch computes what
it alone needs where it is taken. It is done in bodies alone: a model that has none stays one for runtimes without
control flow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.guarded_choices import told
from jax2onnx.tidy.match_nodes import is_used_once, same_shape, sizes_of, sole_producer, tensor_at
from jax2onnx.tidy.rules import rewrites
from jax2onnx.tidy.subgraphs import bodies, graph_of, graphs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["choose_at_once"]

_LEAST = 2
"""So many choices take longer than an ``If`` and a node in its branch for each of them."""
_OWN = 4
"""One choice takes longer than an ``If`` that leaves out so many nodes, whichever branch it takes."""
_FEW = 64
"""A number that is chosen is made an array of at most so many elements."""


@dataclass(frozen=True)
class _Choice:
    """What a node chooses by a condition of one element.

    Attributes:
        node: the node whose result is what is chosen.
        parts: nodes that serve this one alone.
        places: of which node which input is chosen where the condition holds, and where it does not.
    """

    node: ir.Node
    parts: Sequence[ir.Node]
    places: Sequence[tuple[ir.Node, int]]

    @property
    def condition(self) -> ir.Value | None:
        """Return what chooses: a choice made before may have changed it, as it may have the operands."""
        return told(self.places[0][0].inputs[0])[0]

    def operand(self, truth: int) -> ir.Value | None:
        """Return what is chosen where the condition holds, with 0, and where it does not, with 1."""
        node, place = self.places[truth]
        return node.inputs[place]


@rewrites("Where", "Mul", beside=["Where"])
def choose_at_once(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite choices by one condition, such as whether an episode has ended, to one choice.

    ::

        before: a = Where(c[], x[4], y[4]), b = Where(c, u[], v[]), d = Where(c, p[], 1)
        after:  a, b, d = If(c) {Identity(x), Identity(u), Identity(p)} else {Identity(y), Identity(v), Identity(1)}
    """
    graph = graph_of(nodes[0])
    if graph is home.graph:
        return
    by_condition: dict[ir.Value | None, list[_Choice]] = {}
    for choice in _choices(nodes, home):
        by_condition.setdefault(choice.condition, []).append(choice)
    candidates = [group for group in by_condition.values() if _is_worth_it(group)]
    if not candidates:
        return
    places = _places(graph)
    for candidate in candidates:
        candidate.sort(key=lambda choice: places[choice.node])
        for group in _apart(candidate, places):
            if _is_worth_it(group):
                joined = _join(graph, group, home)
                places.update(_places_in(joined, places[group[-1].node]))


def _choices(nodes: Sequence[ir.Node], home: Home) -> Iterator[_Choice]:
    """Yield what chooses between arrays by a condition of one element."""
    parts: set[ir.Node] = set()
    for node in nodes:
        choice = _keeping_signs(node, home) if node.op_type == "Mul" else None
        if choice is not None:
            parts.update(choice.parts)
            yield choice
    for node in nodes:
        condition, truth = told(node.inputs[0])
        if node.op_type == "Mul" or node in parts or not _is_single(condition):
            continue
        if all(_fits(value, node.outputs[0], home) for value in node.inputs[1:]):
            yield _Choice(node, (), [(node, 1), (node, 2)][:: 1 if truth else -1])


def _keeping_signs(product: ir.Node, home: Home) -> _Choice | None:
    """Return the choice in which -0 stays -0: ``Mul(Where(c, 1, no), Where(Not(c), 1, yes))``.

    onnxruntime's ``Where`` makes 0 of a -0 of its second operand. An ``If`` keeps it.
    """
    parts = [sole_producer(product, place, "Where") for place in (0, 1)]
    found = [part for part in parts if part is not None and _is_one(part, home)]
    if len(found) < len(parts):
        return None
    (condition, truth), (other, contrary) = (told(part.inputs[0]) for part in found)
    if condition is not other or truth is contrary or not _is_single(condition):
        return None
    if not all(same_shape(part.inputs[2], product.outputs[0]) for part in found):
        return None
    places = [(part, 2) for part in found]
    return _Choice(product, found, places[::-1] if truth else places)


def _is_one(choice: ir.Node, home: Home) -> bool:
    """Return whether the first of what is chosen is the constant 1."""
    tensor, value = tensor_at(choice, 1), choice.inputs[1]
    if tensor is None or value is None or tensor.size != 1 or home.is_parameter(value):
        return False
    return bool(tensor.numpy().reshape(()) == 1)


def _is_single(condition: ir.Value | None) -> bool:
    """Return whether a condition has one element."""
    sizes = None if condition is None else sizes_of(condition.shape)
    return sizes is not None and math.prod(sizes) == 1


def _fits(value: ir.Value | None, result: ir.Value, home: Home) -> bool:
    """Return whether an operand has the shape of the result, or is a number of which a small array can be made."""
    sizes, tensor = sizes_of(result.shape), None if value is None else value.const_value
    if same_shape(value, result) or value is None or sizes is None or tensor is None:
        return same_shape(value, result)
    return tensor.size == 1 and math.prod(sizes) <= _FEW and not home.is_parameter(value)


def _is_worth_it(group: Collection[_Choice]) -> bool:
    """Return whether an ``If`` takes less time than some choices."""
    # The nodes of a choice that keeps signs take the time of two and more.
    weight = sum(1 + len(choice.parts) for choice in group)
    return weight >= _LEAST or any(
        all(_count_own([one.operand(truth)], one.node, _OWN) >= _OWN for truth in (0, 1)) for one in group
    )


def _count_own(values: Iterable[ir.Value | None], user: ir.Node, most: int) -> int:
    """Return of how many nodes a node's operands are made that nothing else needs; beyond a bound, no more count."""
    count = 0
    for value in values:
        node = None if value is None else value.producer()
        if node is not None and count < most and node.graph is user.graph and is_used_once(value):
            count += 1 + _count_own(node.inputs, node, most - count - 1)
    return count


def _places(graph: ir.Graph) -> dict[ir.Node, int]:
    """Return at which place of a graph each of its nodes is, and at which those in the bodies of its nodes are."""
    places: dict[ir.Node, int] = {}
    for place, node in enumerate(graph):
        places.update(_places_in(node, place))
    return places


def _places_in(node: ir.Node, place: int) -> Iterator[tuple[ir.Node, int]]:
    """Yield a node and those in its bodies with the place of the node in its graph."""
    yield node, place
    for body in bodies(node) if node.attributes.data else ():
        for inner in graphs(body):
            yield from ((one, place) for one in inner)


def _apart(group: Iterable[_Choice], places: Mapping[ir.Node, int]) -> Iterator[list[_Choice]]:
    """Yield parts of a group, in their order, such that nothing reads a choice of a part before the last one of it."""
    part: list[_Choice] = []
    first_read = len(places)
    for choice in group:
        if part and places[choice.node] >= first_read:
            yield part
            part, first_read = [], len(places)
        part.append(choice)
        first_read = min([first_read, *(places[user] for user, _ in choice.node.outputs[0].uses())])
    yield part


def _join(graph: ir.Graph, group: Sequence[_Choice], home: Home) -> ir.Node:
    """Put one ``If``, which is returned, in the place of the last one of some choices."""
    attributes = [
        ir.AttrGraph(name, _branch(name, group, place, home))
        for place, name in enumerate(("then_branch", "else_branch"))
    ]
    results = [choice.node.outputs[0] for choice in group]
    outputs = [ir.Value(type=value.type, shape=value.shape) for value in results]
    last = group[-1].node
    choice = ir.Node(
        "", "If", [group[-1].condition], attributes, outputs=outputs, metadata_props=dict(last.metadata_props)
    )
    last.append(choice)
    for one, old, value in zip(group, results, outputs, strict=True):
        value.name, old.name = old.name, value.name
        old.replace_all_uses_with(value, replace_graph_outputs=True)
        for node in (one.node, *one.parts):
            graph.remove(node, safe=True)
    return choice


def _branch(name: str, group: Sequence[_Choice], place: int, home: Home) -> ir.Graph:
    """Return the graph that passes on one operand of each choice."""
    nodes = []
    for choice in group:
        old = choice.node.outputs[0]
        value = _whole(choice.operand(place), old, home)
        result = ir.Value(type=old.type, shape=old.shape)
        passing = ir.Node("", "Identity", [value], outputs=[result], metadata_props=dict(choice.node.metadata_props))
        nodes.append(passing)
    return ir.Graph([], [node.outputs[0] for node in nodes], nodes=nodes, name=name)


def _whole(value: ir.Value | None, result: ir.Value, home: Home) -> ir.Value | None:
    """Return a value in the shape of the result: of a number an array is made."""
    sizes, tensor = sizes_of(result.shape), None if value is None else value.const_value
    if same_shape(value, result) or sizes is None or tensor is None:
        return value
    return home.constant(np.full(sizes, tensor.numpy().reshape(()), tensor.dtype.numpy()))
