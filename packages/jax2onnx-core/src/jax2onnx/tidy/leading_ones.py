"""Leading ones: what is computed between squeezing an array and unsqueezing it keeps the dim of size 1.

Programs that read ``x[2]``, compute with the number or the row, and write ``x.at[3]`` say so: each access costs a node.
A region of elementwise nodes, reductions and lookups is computed with the leading dim if that takes fewer nodes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import onnx_ir as ir

from jax2onnx.tidy.match_nodes import drop, input_at, ints_at, new_node, same_dims, shape_at
from jax2onnx.tidy.operators import BROADCASTING, REDUCTIONS, UNARY
from jax2onnx.tidy.rules import rewrites
from jax2onnx.tidy.subgraphs import graph_of, standard

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jax2onnx.tidy.initializers import Home
    from jax2onnx.tidy.match_nodes import Dim

__all__ = ["keep_leading_ones"]

_ELEMENTWISE = (BROADCASTING | UNARY | {"BitShift"}) - {"PRelu", "Identity"}
_ADDING = frozenset({"Reshape", "Unsqueeze"})
_REMOVING = frozenset({"Reshape", "Squeeze"})


@rewrites(*_REMOVING)
def keep_leading_ones(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``Unsqueeze(Mul(Squeeze(x[1, 3], 0), Squeeze(y[1, 3], 0)), 0)`` to ``Mul(x, y)``."""
    graph = graph_of(nodes[0])
    regions = _Regions()
    for node in graph:
        regions.add(node)
    for region in regions.worthwhile(graph):
        _Lifting(graph, home, region).apply()


@dataclass(slots=True)
class _Regions:
    """The values that may have a leading dim of size 1 more, by regions that need or leave it together."""

    _parents: dict[ir.Value, ir.Value] = field(default_factory=dict)
    sources: set[ir.Value] = field(default_factory=set)

    def __contains__(self, value: ir.Value | None) -> bool:
        return value in self._parents

    def add(self, node: ir.Node) -> None:
        """Add the result of a node if it has the dim wherever an operand has."""
        if len(node.outputs) != 1:
            return
        result = node.outputs[0]
        if standard(node) in _REMOVING and _has_one_more(input_at(node, 0), result):
            self._parents[result] = result
            self.sources.add(result)
            return
        operands = [value for value in _carriers(node, self) if value is not None]
        if operands:
            self._parents[result] = self._root(operands[0])
            for value in operands[1:]:
                self._parents[self._root(value)] = self._root(result)

    def _root(self, value: ir.Value) -> ir.Value:
        while self._parents[value] is not value:
            value = self._parents[value]
        return value

    def worthwhile(self, graph: ir.Graph) -> Iterator[set[ir.Value]]:
        """Yield the regions that take fewer nodes with the leading dim."""
        members: dict[ir.Value, set[ir.Value]] = {}
        for value in self._parents:
            members.setdefault(self._root(value), set()).add(value)
        for region in members.values():
            if sum(self._gain(value, region, graph) for value in region) > 0:
                yield region

    def _gain(self, value: ir.Value, region: set[ir.Value], graph: ir.Graph) -> int:
        uses = [_use(user, place, region, graph) for user, place in value.uses()]
        gain = uses.count("adds")
        kept = value.is_graph_output() or "other" in uses
        return gain + (value in self.sources) - kept


def _use(user: ir.Node, place: int, region: set[ir.Value], graph: ir.Graph) -> str:
    """Return what a node does with a value of a region: ``adds`` the dim, takes it with it or without, or neither."""
    if user.graph is not graph or len(user.outputs) != 1:
        return "other"
    value, result = user.inputs[place], user.outputs[0]
    if standard(user) in _ADDING and place == 0 and _has_one_more(result, value):
        return "adds"
    if result in region and value in _carriers(user, region):
        return "with"
    if standard(user) == "Reshape" and place == 0:
        target = ints_at(user, 1)
        return "without" if target is not None and min(target, default=0) > 0 else "other"
    is_free = standard(user) in BROADCASTING and standard(user) in _ELEMENTWISE
    rank, own = _rank(result), _rank(value)
    return "without" if is_free and rank is not None and own is not None and own < rank else "other"


def _carriers(node: ir.Node, region: _Regions | set[ir.Value]) -> list[ir.Value | None]:
    """Return the operands in a region with which the result of a node has the leading dim, too."""
    kind = standard(node)
    first = input_at(node, 0)
    if kind in UNARY and kind in _ELEMENTWISE:
        _infer(node)
        return [first] if first in region and _rank(node.outputs[0]) is not None else []
    if kind in _ELEMENTWISE:
        _infer(node)
        rank = _rank(node.outputs[0])
        return [value for value in node.inputs if value in region and rank is not None and _rank(value) == rank]
    if kind in REDUCTIONS:
        is_known_ = bool(ints_at(node, 1)) and _rank(node.outputs[0]) is not None
        return [first] if first in region and is_known_ else []
    if kind == "Gather":
        index = input_at(node, 1)
        at_first = node.attributes.get_int("axis", 0) == 0
        known = _rank(node.outputs[0]) is not None
        return [index] if at_first and known and _rank(index) == 0 and index in region and first not in region else []
    return []


def _infer(node: ir.Node) -> None:
    """Note the shape of an elementwise node's result, if that follows from equal shapes and scalars."""
    result = node.outputs[0]
    if result.shape is not None:
        return
    shapes = [shape_at(node, place) for place in range(len(node.inputs))]
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes):
        return
    widest = max(known, key=len)
    if all(len(shape) == 0 or same_dims(shape, widest) for shape in known):
        result.shape = ir.Shape(list(widest))


def _rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def _has_one_more(long: ir.Value | None, short: ir.Value | None) -> bool:
    """Return whether a shape is another one after a dim of size 1."""
    if long is None or short is None or long.shape is None or short.shape is None:
        return False
    dims = list(long.shape)
    return len(dims) == len(short.shape) + 1 and dims[0] == 1 and same_dims(dims[1:], short.shape)


@dataclass(slots=True)
class _Lifting:
    """Gives the values of one region the leading dim."""

    graph: ir.Graph
    home: Home
    region: set[ir.Value]

    def apply(self) -> None:
        """Rewrite the nodes of the region, in their order."""
        plans = []
        for node in self.graph:
            for value in node.outputs:
                if value in self.region:
                    uses = [(u, place, _use(u, place, self.region, self.graph)) for u, place in value.uses()]
                    plans.append((node, value, uses))
        shapes = {value: list(value.shape or ()) for _, value, _ in plans}
        adding = []
        for node, value, uses in plans:
            is_source = standard(node) in _REMOVING and node.inputs[0] not in self.region
            lifted = node.inputs[0] if is_source else value
            assert lifted is not None
            if not is_source:
                self._lift(node, [1, *shapes[value]])
            others = [(user, place) for user, place, what in uses if what == "other"]
            if not is_source and (others or value.is_graph_output()):
                self._squeeze(node, shapes[value], others)
            for user, place, what in uses:
                if what == "adds":
                    adding.append(user)
                if what != "other" and is_source:
                    user.replace_input_with(place, lifted)
        for node in adding:
            drop(node)

    def _lift(self, node: ir.Node, dims: list[Dim]) -> None:
        """Give the result of a node whose operands have the dim its shape with the dim."""
        kind = standard(node)
        if kind in REDUCTIONS:
            axes = ints_at(node, 1)
            assert axes is not None
            node.replace_input_with(1, self.home.ints([axis + 1 if axis >= 0 else axis for axis in axes]))
        node.outputs[0].shape = ir.Shape(dims)

    def _squeeze(self, node: ir.Node, dims: list[Dim], users: list[tuple[ir.Node, int]]) -> None:
        """Squeeze the result of a node for the users that take it without the dim."""
        value = node.outputs[0]
        squeeze = new_node("Squeeze", [value, self.home.ints([0])], ir.Shape(dims), node)
        node.append(squeeze)
        result = squeeze.outputs[0]
        for user, place in users:
            user.replace_input_with(place, result)
        if value.is_graph_output():
            result.name, value.name = value.name, result.name
            for place, output in enumerate(self.graph.outputs):
                if output is value:
                    self.graph.outputs[place] = result
