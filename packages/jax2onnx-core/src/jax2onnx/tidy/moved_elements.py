"""Moved elements: elements of one value that are moved, and chosen by known conditions, are looked up at once.

before: a = Expand(x[2, 2], [2, 2, 2]); c = Transpose(a); y = Where(known, a, c)
after:  y = Gather(Reshape(x, [-1]), places)

That is what a choice among branches becomes in a batch whose choices are known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.idle_nodes import is_dead
from jax2onnx.tidy.match_nodes import (
    input_at,
    ints_at,
    is_transpose,
    new_node,
    permutation,
    replace,
    sizes_of,
    tensor_at,
)
from jax2onnx.tidy.operators import RESHAPES
from jax2onnx.tidy.rules import rewrites
from jax2onnx.tidy.subgraphs import standard

if TYPE_CHECKING:
    from jax2onnx.tidy.initializers import Home

__all__ = ["look_up_moved"]

_MOST = 64
"""How many elements are looked up: of more, it takes longer than to move them."""
_WHERE, _LOOKUP = 3, 5
"""How many nodes that move elements take as long as a ``Where``; and what has to be spared at least."""


@rewrites("Where")
def look_up_moved(nodes: Sequence[ir.Node], home: Home) -> None:
    """Rewrite choices by known conditions among rearrangements of one value to a ``Gather``."""
    # The last ones first: those before are without users then.
    for node in reversed(nodes):
        result = node.outputs[0]
        sizes = sizes_of(result.shape)
        if is_dead(node) or sizes is None or not 1 < math.prod(sizes) <= _MOST:
            continue
        moves = _Moves(node, home)
        source, places = moves.of(result)
        if source is result or source.shape is None or moves.spared() < _LOOKUP:
            continue
        flat: ir.Value = source
        if source.shape.rank() != 1:
            count = math.prod(sizes_of(source.shape) or ())
            reshape = new_node("Reshape", [source, home.ints([count])], ir.Shape([count]), node)
            node.prepend(reshape)
            flat = reshape.outputs[0]
        lookup = new_node("Gather", [flat, home.constant(places.astype(np.int64))], result.shape, node)
        lookup.attributes.add(ir.AttrInt64("axis", 0))
        node.prepend(lookup)
        found = lookup.outputs[0]
        found.name, result.name = result.name, found.name
        replace(node, found)


@dataclass
class _Moves:
    """The moves that lead to the result of a ``Where``.

    Attributes:
        node: the node.
        home: whose parameters stay.
        found: of each value, of what its elements are, and from which places.
        passed: the nodes that move them, each after those before it.
    """

    node: ir.Node
    home: Home
    found: dict[ir.Value, tuple[ir.Value, Any]] = field(default_factory=dict)
    passed: list[ir.Node] = field(default_factory=list)

    def of(self, value: ir.Value) -> tuple[ir.Value, Any]:
        """Return of what the elements of a value are, and from which places; its own if nothing moves them."""
        if value not in self.found:
            self.found[value] = self._found(value)
        return self.found[value]

    def _found(self, value: ir.Value) -> tuple[ir.Value, Any]:
        sizes = sizes_of(value.shape)
        node = value.producer()
        if sizes is None or not 0 < math.prod(sizes) <= _MOST:
            return value, None
        moved = None
        if node is not None and node.graph is self.node.graph and len(node.outputs) == 1:
            moved = self._chosen(node) if standard(node) == "Where" else self._moved(node, sizes)
        if node is None or moved is None or moved[1].shape != sizes:
            return value, np.arange(math.prod(sizes)).reshape(sizes)
        self.passed.append(node)
        return moved

    def _chosen(self, node: ir.Node) -> tuple[ir.Value, Any] | None:
        """Return the elements that a known condition chooses, if all are of one value."""
        condition, *both = node.inputs
        mask = tensor_at(node, 0)
        if condition is None or mask is None or self.home.is_parameter(condition) or None in both:
            return None
        (one, places), (other, others) = (self.of(value) for value in both if value is not None)
        return (one, np.where(mask.numpy(), places, others)) if one is other and places is not None else None

    def _moved(self, node: ir.Node, sizes: tuple[int, ...]) -> tuple[ir.Value, Any] | None:
        move, before = _MOVES.get(standard(node) or ""), input_at(node, 0)
        if move is None or before is None:
            return None
        source, places = self.of(before)
        moved = None if places is None else move(node, places, sizes)
        return None if moved is None else (source, moved)

    def spared(self) -> int:
        """Return how much time the nodes take that nothing needs any more, in nodes."""
        gone: set[ir.Node] = set()
        for node in reversed(self.passed):
            value = node.outputs[0]
            if node is self.node or (not value.is_graph_output() and all(user in gone for user, _ in value.uses())):
                gone.add(node)
        return sum(_WHERE if node.op_type == "Where" else 1 for node in gone)


def _sliced(node: ir.Node, x: Any, _: tuple[int, ...]) -> Any:
    starts, ends, axes, steps = (ints_at(node, place) if place < len(node.inputs) else [] for place in (1, 2, 3, 4))
    if starts is None or ends is None or axes is None or steps is None:
        return None
    taken = [slice(None)] * x.ndim
    places = axes or range(len(starts))
    for axis, start, end, step in zip(places, starts, ends, steps or [1] * len(starts), strict=True):
        # Python and ONNX mean the same by bounds that are negative, or beyond the axis.
        taken[axis] = slice(start, end, step)
    return x[tuple(taken)]


def _transposed(node: ir.Node, x: Any, _: tuple[int, ...]) -> Any:
    return np.transpose(x, permutation(node)) if is_transpose(node) else None


def _reshaped(_node: ir.Node, x: Any, sizes: tuple[int, ...]) -> Any:
    return x.reshape(sizes)


def _expanded(_node: ir.Node, x: Any, sizes: tuple[int, ...]) -> Any:
    return np.broadcast_to(x, sizes)


_MOVES: dict[str, Callable[[ir.Node, Any, tuple[int, ...]], Any]] = {
    "Expand": _expanded,
    "Slice": _sliced,
    "Transpose": _transposed,
    **dict.fromkeys(RESHAPES, _reshaped),
}
"""Operators that move elements, and what becomes of the places where they were."""
