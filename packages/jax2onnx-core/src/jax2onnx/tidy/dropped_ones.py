"""Dropped ones: what is computed between adding a leading dim of size 1 and squeezing it has no such dim.

A number that finds a place is a vector of one number where an index is to be one: ``x[jnp.argmax(y)]`` is then
``Squeeze(Gather(x, Reshape(ArgMax(y), [1])))``. A region of elementwise nodes and lookups is computed without the dim
if that takes fewer nodes, contrary to :mod:`~jax2onnx.tidy.leading_ones`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import onnx_ir as ir

from jax2onnx.tidy.match_nodes import drop, ints_at, rank_of, same_dims, sizes_of
from jax2onnx.tidy.one_more_dim import ADDING, ELEMENTWISE, REMOVING, Regions, gain, give_dims
from jax2onnx.tidy.operators import BROADCASTING
from jax2onnx.tidy.rules import rewrites
from jax2onnx.tidy.subgraphs import graph_of, standard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["drop_leading_ones"]


@rewrites("Gather", beside=REMOVING)
def drop_leading_ones(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite ``Squeeze(Gather(x[4, 3], Reshape(i, [1])), 0)`` to ``Gather(x, i)`` in the body of a loop.

    Elsewhere the forms stay that plugins look for, such as those of attention: a node is executed once there.
    """
    graph = graph_of(nodes[0])
    if graph is home.graph:
        return
    found = _Regions(graph, home)
    for node in graph:
        found.add(node)
    for region in found.regions.worthwhile(found.gain):
        found.shorten(region)


@dataclass(slots=True)
class _Regions:
    """The values that may lose a leading dim of size 1, by regions that lose it together.

    Attributes:
        graph: the graph.
        home: where its constants live.
        regions: the regions.
        added: the values whose nodes only add the dim.
    """

    graph: ir.Graph
    home: Home
    regions: Regions = field(default_factory=Regions)
    added: set[ir.Value] = field(default_factory=set)

    def add(self, node: ir.Node) -> None:
        """Add the result of a node if it can be computed without the dim."""
        if len(node.outputs) != 1 or not _has_leading_one(node.outputs[0]):
            return
        result = node.outputs[0]
        if standard(node) in ADDING:
            if _is_without(node.inputs[0], result):
                self.regions.begin(result)
                self.added.add(result)
            return
        operands = _carriers(node)
        inside = [value for value in operands if value in self.regions]
        if not operands or any(not self._is_constant(value) for value in operands if value not in self.regions):
            return
        if inside:
            self.regions.join(result, inside)
        elif standard(node) == "Gather":
            self.regions.begin(result)

    def _is_constant(self, value: ir.Value) -> bool:
        return self.home.holds(value) and not self.home.is_parameter(value)

    def gain(self, value: ir.Value, region: set[ir.Value]) -> int:
        """Return how many nodes a value of a region spares without the dim."""
        uses = [self._use(user, place, region) for user, place in value.uses()]
        return gain(value, uses, is_removed=value in self.added)

    def _use(self, user: ir.Node, place: int, region: set[ir.Value]) -> str:
        """Return what a node does: ``adds`` to what is spared, takes it ``with`` or ``without`` the dim, or neither."""
        if user.graph is not self.graph or len(user.outputs) != 1:
            return "other"
        value, result = user.inputs[place], user.outputs[0]
        assert value is not None
        if standard(user) in REMOVING and place == 0 and _is_without(result, value):
            return "adds"
        if result in region:
            return "with"
        if standard(user) == "Reshape" and place == 0:
            return "without" if min(ints_at(user, 1) or [0]) > 0 else "other"
        is_free = standard(user) in BROADCASTING and standard(user) in ELEMENTWISE
        others = [rank_of(other) or 0 for other in user.inputs if other is not value]
        return "without" if is_free and max(others, default=0) >= (rank_of(value) or 0) else "other"

    def shorten(self, values: Sequence[ir.Value]) -> None:
        """Compute the values of a region without the dim."""
        region = set(values)
        uses = {value: [(*use, self._use(*use, region)) for use in value.uses()] for value in values}
        shapes = {value: list(value.shape or ()) for value in values}
        removing = []
        for value in values:
            node = value.producer()
            assert node is not None
            short = node.inputs[0] if value in self.added else value
            assert short is not None
            if value not in self.added:
                self._shorten(node, region)
                value.shape = ir.Shape(shapes[value][1:])
                others = [(user, place) for user, place, what in uses[value] if what == "other"]
                if others or value.is_graph_output():
                    give_dims(value, shapes[value], others, "Unsqueeze", self.home.ints([0]))
            for user, place, what in uses[value]:
                if what == "adds":
                    removing.append(user)
                if what != "other" and value in self.added:
                    user.replace_input_with(place, short)
        for node in removing:
            drop(node)

    def _shorten(self, node: ir.Node, region: set[ir.Value]) -> None:
        """Take the dim of the constants with which a node of a region computes."""
        for place, value in enumerate(node.inputs):
            if value is not None and value not in region and value in _carriers(node):
                node.replace_input_with(place, self.home.reshaped(value, (sizes_of(value.shape) or ())[1:]))


def _has_leading_one(value: ir.Value | None) -> bool:
    return value is not None and value.shape is not None and len(value.shape) > 0 and value.shape[0] == 1


def _is_without(short: ir.Value | None, long: ir.Value) -> bool:
    """Return whether a shape is another one without its leading dim of size 1."""
    if short is None or short.shape is None or long.shape is None:
        return False
    dims = list(long.shape)
    return _has_leading_one(long) and len(short.shape) == len(dims) - 1 and same_dims(short.shape, dims[1:])


def _carriers(node: ir.Node) -> list[ir.Value]:
    """Return the operands without whose leading dim the result has none; none if it is not only theirs."""
    kind = standard(node)
    if kind == "Gather":
        index = node.inputs[1]
        at_first = node.attributes.get_int("axis", 0) == 0
        return [index] if at_first and index is not None and rank_of(index) == 1 and _has_leading_one(index) else []
    if kind not in ELEMENTWISE:
        return []
    rank = rank_of(node.outputs[0])
    operands = [value for value in node.inputs if value is not None]
    whole = [value for value in operands if rank_of(value) == rank]
    is_known = all(value.shape is not None for value in operands) and all(map(_has_leading_one, whole))
    return whole if is_known else []
