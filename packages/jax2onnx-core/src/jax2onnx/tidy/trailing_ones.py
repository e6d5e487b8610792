"""Trailing ones: components of vectors that are computed one by one, and joined again, keep a last dim of size 1.

Programs that rotate vectors say ``x[..., 1]``, compute with components and stack what they get: each of the components
is then reshaped to be joined. onnxruntime reads all components by one node if they keep the dim, else it squeezes each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.match_nodes import drop, input_at, ints_at, new_node, rank_of, same_dims, shape_at, tensor_at
from jax2onnx.tidy.one_more_dim import ADDING, ELEMENTWISE, REMOVING, Regions, gain, give_dims
from jax2onnx.tidy.operators import BROADCASTING, REDUCTIONS, UNARY
from jax2onnx.tidy.rules import rewrites
from jax2onnx.tidy.subgraphs import graph_of, standard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["keep_trailing_ones"]


@rewrites("Concat", *REDUCTIONS, beside=ADDING)
def keep_trailing_ones(nodes: Sequence[ir.Node], home: Home) -> None:
    """Keep the last dim of components that are joined along it, where that takes fewer nodes.

    ::

        before: Concat(Reshape(Neg(Gather(x[2, 3], 1, axis=1)), [2, 1]), Reshape(Gather(x, 0, axis=1), [2, 1]), axis=1)
        after:  Concat(Neg(Gather(x, [1], axis=1)), Gather(x, [0], axis=1), axis=1)
    """
    graph = graph_of(nodes[0])
    found = _Regions(graph, home)
    for node in graph:
        found.add(node)
    for region in found.regions.worthwhile(found.gain):
        _lift(region, found.sources, home, graph)


@dataclass(slots=True)
class _Regions:
    """The values that may have a last dim of size 1 more, by regions that get it together."""

    graph: ir.Graph
    home: Home
    regions: Regions = field(default_factory=Regions)
    sources: dict[ir.Value, str] = field(default_factory=dict)

    def add(self, node: ir.Node) -> None:
        """Add the result of a node if it can have the dim."""
        if len(node.outputs) != 1 or node.outputs[0].shape is None:
            return
        result = node.outputs[0]
        kind = _source(node)
        if kind and node.inputs[0] not in self.regions:
            self.regions.begin(result)
            self.sources[result] = kind
            return
        if standard(node) not in ELEMENTWISE:
            return
        operands = [value for value in node.inputs if value is not None and value in self.regions]
        if operands and _is_computed_of(node, operands, self.home):
            self.regions.join(result, operands)

    def gain(self, value: ir.Value, region: set[ir.Value]) -> int:
        """Return how many nodes a value of a region spares with the dim."""
        uses = [_use(user, place, region, self.graph) for user, place in value.uses()]
        return gain(value, uses, is_removed=self.sources.get(value) == "removes")


def _source(node: ir.Node) -> str:
    """Return how a node loses a last dim of size 1, or takes one entry of a last dim; nothing if it does neither."""
    kind, shape = standard(node), shape_at(node, 0)
    if shape is None or not shape:
        return ""
    last = len(shape) - 1
    if kind in REMOVING:
        return "removes" if _has_one_more(input_at(node, 0), node.outputs[0]) else ""
    if kind == "Gather":
        index = tensor_at(node, 1)
        at_last = node.attributes.get_int("axis", 0) % len(shape) == last
        return "takes" if index is not None and index.shape.rank() == 0 and at_last else ""
    if kind in REDUCTIONS:
        axes = ints_at(node, 1)
        is_of_last = axes in ([last], [-1]) and node.attributes.get_int("keepdims", 1) == 0
        return "reduces" if is_of_last else ""
    return ""


def _has_one_more(long: ir.Value | None, short: ir.Value | None) -> bool:
    """Return whether a shape is another one before a dim of size 1."""
    if long is None or short is None or long.shape is None or short.shape is None:
        return False
    dims = list(long.shape)
    return len(dims) == len(short.shape) + 1 and dims[-1] == 1 and same_dims(dims[:-1], short.shape)


def _is_computed_of(node: ir.Node, operands: Sequence[ir.Value], home: Home) -> bool:
    """Return whether the result of an elementwise node has the dim if some operands have: others are numbers.

    Arrays that are initializers may be other operands, too: these get the dim.
    """
    rank = max(rank_of(value) or 0 for value in operands)
    if rank_of(node.outputs[0]) != rank:
        return False
    if standard(node) in UNARY:
        return node.inputs[0] in operands
    others = [value for value in node.inputs if value is not None and value not in operands]
    return all(rank_of(value) == 0 or home.sizes(value) is not None for value in others)


def _use(user: ir.Node, place: int, region: set[ir.Value], graph: ir.Graph) -> str:
    """Return what a node does with a value of a region: ``adds`` the dim, takes it with it or without, or neither."""
    if user.graph is not graph or len(user.outputs) != 1:
        return "other"
    value, result = user.inputs[place], user.outputs[0]
    if standard(user) in ADDING and place == 0 and _has_one_more(result, value):
        return "adds"
    if result in region and standard(user) in ELEMENTWISE:
        return "with"
    if standard(user) == "Reshape" and place == 0:
        target = ints_at(user, 1)
        return "without" if target is not None and min(target, default=0) > 0 else "other"
    is_free = standard(user) in BROADCASTING and rank_of(value) == 0 and (rank_of(result) or 0) > 0
    return "without" if is_free else "other"


def _lift(region: Sequence[ir.Value], sources: dict[ir.Value, str], home: Home, graph: ir.Graph) -> None:
    """Give the values of a region the dim, in their order."""
    inside = set(region)
    plans = [(value, [(user, p, _use(user, p, inside, graph)) for user, p in value.uses()]) for value in region]
    shapes = {value: list(value.shape or ()) for value in region}
    for value in region:
        if value not in sources:
            _reshape_constants(value, inside, home)
    adding = []
    for value, uses in plans:
        lifted = _lifted(value, sources.get(value, ""), home)
        others = [(user, place) for user, place, what in uses if what == "other"]
        if lifted is value:
            value.shape = ir.Shape([*shapes[value], 1])
            if others or value.is_graph_output():
                give_dims(value, shapes[value], others, "Squeeze", home.ints([len(shapes[value])]))
        for user, place, what in uses:
            if what == "adds":
                adding.append(user)
            if what != "other":
                user.replace_input_with(place, lifted)
    for node in adding:
        drop(node)


def _lifted(value: ir.Value, kind: str, home: Home) -> ir.Value:
    """Return a value with the dim: itself, or another one if a source has to stay as it is for other users."""
    node = value.producer()
    assert node is not None
    if kind == "removes":
        assert node.inputs[0] is not None
        return node.inputs[0]
    if kind == "takes":
        index = tensor_at(node, 1)
        assert index is not None
        places = home.constant(np.asarray(index.numpy()).reshape(1))
        taken = new_node("Gather", [node.inputs[0], places], ir.Shape([*(value.shape or ()), 1]), node)
        taken.attributes.update(node.attributes)
        node.append(taken)
        return taken.outputs[0]
    if kind == "reduces":
        node.attributes.add(ir.AttrInt64("keepdims", 1))
    return value


def _reshape_constants(result: ir.Value, region: set[ir.Value], home: Home) -> None:
    """Give the initializers that an elementwise node reads the dim, but for single numbers without dims."""
    node = result.producer()
    assert node is not None
    if standard(node) in UNARY:
        return
    for place, value in enumerate(node.inputs):
        size = None if value in region else home.sizes(value)
        if size:
            node.replace_input_with(place, home.reshaped(value, (*size, 1)))
