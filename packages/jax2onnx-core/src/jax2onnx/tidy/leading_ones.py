"""Leading ones: what is computed between squeezing an array and unsqueezing it keeps the dim of size 1.

Programs that read ``x[2]``, compute with the number or the row, and write ``x.at[3]`` say so: each access costs a node.
A region of elementwise nodes, reductions and lookups is computed with the leading dim if that takes fewer nodes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import onnx_ir as ir

from jax2onnx.tidy.match_nodes import drop, input_at, ints_at, same_dims, shape_at
from jax2onnx.tidy.one_more_dim import ADDING, ELEMENTWISE, REMOVING, Regions, gain, give_dims
from jax2onnx.tidy.operators import BROADCASTING, REDUCTIONS, UNARY
from jax2onnx.tidy.rules import rewrites
from jax2onnx.tidy.subgraphs import graph_of, standard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.tidy.initializers import Home
    from jax2onnx.tidy.match_nodes import Dim

__all__ = ["keep_leading_ones"]


@rewrites(*REMOVING)
def keep_leading_ones(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``Unsqueeze(Mul(Squeeze(x[1, 3], 0), Squeeze(y[1, 3], 0)), 0)`` to ``Mul(x, y)``."""
    graph = graph_of(nodes[0])
    found = _Regions(graph)
    for node in graph:
        found.add(node)
    for region in found.regions.worthwhile(found.gain):
        _Lifting(graph, home, set(region)).apply()


@dataclass(slots=True)
class _Regions:
    """The values that may have a leading dim of size 1 more, by regions that need or leave it together."""

    graph: ir.Graph
    regions: Regions = field(default_factory=Regions)
    sources: set[ir.Value] = field(default_factory=set)

    def add(self, node: ir.Node) -> None:
        """Add the result of a node if it has the dim wherever an operand has."""
        if len(node.outputs) != 1:
            return
        result = node.outputs[0]
        if standard(node) in REMOVING and _has_one_more(input_at(node, 0), result):
            self.regions.begin(result)
            self.sources.add(result)
            return
        operands = [value for value in _carriers(node, self.regions) if value is not None]
        if operands:
            self.regions.join(result, operands)

    def gain(self, value: ir.Value, region: set[ir.Value]) -> int:
        """Return how many nodes a value of a region spares with the dim."""
        uses = [_use(user, place, region, self.graph) for user, place in value.uses()]
        return gain(value, uses, is_removed=value in self.sources)


def _use(user: ir.Node, place: int, region: set[ir.Value], graph: ir.Graph) -> str:
    """Return what a node does with a value of a region: ``adds`` the dim, takes it with it or without, or neither."""
    if user.graph is not graph or len(user.outputs) != 1:
        return "other"
    value, result = user.inputs[place], user.outputs[0]
    if standard(user) in ADDING and place == 0 and _has_one_more(result, value):
        return "adds"
    if result in region and value in _carriers(user, region):
        return "with"
    if standard(user) == "Reshape" and place == 0:
        target = ints_at(user, 1)
        return "without" if target is not None and min(target, default=0) > 0 else "other"
    is_free = standard(user) in BROADCASTING and standard(user) in ELEMENTWISE
    rank, own = _rank(result), _rank(value)
    return "without" if is_free and rank is not None and own is not None and own < rank else "other"


def _carriers(node: ir.Node, region: Regions | set[ir.Value]) -> list[ir.Value | None]:
    """Return the operands in a region with which the result of a node has the leading dim, too."""
    kind = standard(node)
    first = input_at(node, 0)
    if kind in UNARY and kind in ELEMENTWISE:
        _infer(node)
        return [first] if first in region and _rank(node.outputs[0]) is not None else []
    if kind in ELEMENTWISE:
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
            is_source = standard(node) in REMOVING and node.inputs[0] not in self.region
            lifted = node.inputs[0] if is_source else value
            assert lifted is not None
            if not is_source:
                self._lift(node, [1, *shapes[value]])
            others = [(user, place) for user, place, what in uses if what == "other"]
            if not is_source and (others or value.is_graph_output()):
                give_dims(value, shapes[value], others, "Squeeze", self.home.ints([0]))
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
