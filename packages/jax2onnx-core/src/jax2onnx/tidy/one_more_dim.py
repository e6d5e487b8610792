"""Regions of values that are computed with a dim of size 1 more, the first or the last one, where that spares nodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import onnx_ir as ir

from jax2onnx.tidy.match_nodes import new_node, rank_of
from jax2onnx.tidy.operators import BROADCASTING, UNARY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from jax2onnx.tidy.match_nodes import Dim

__all__ = ["ADDING", "ELEMENTWISE", "REMOVING", "Regions", "gain", "give_dims", "keeps_rows"]

ELEMENTWISE = (BROADCASTING | UNARY | {"BitShift"}) - {"PRelu", "Identity"}
"""Operators whose results have the dim if their operands have."""
ADDING = frozenset({"Reshape", "Unsqueeze"})
REMOVING = frozenset({"Reshape", "Squeeze"})


@dataclass(slots=True)
class Regions:
    """The values that may have the dim, by regions that get it together."""

    _parents: dict[ir.Value, ir.Value] = field(default_factory=dict)

    def __contains__(self, value: ir.Value | None) -> bool:
        return value in self._parents

    def begin(self, value: ir.Value) -> None:
        """Add a value that is a region of its own."""
        self._parents[value] = value

    def join(self, result: ir.Value, operands: Sequence[ir.Value]) -> None:
        """Add a value to the regions of some operands, which become one."""
        self._parents[result] = self._root(operands[0])
        for value in operands[1:]:
            self._parents[self._root(value)] = self._root(result)

    def _root(self, value: ir.Value) -> ir.Value:
        while self._parents[value] is not value:
            value = self._parents[value]
        return value

    def worthwhile(self, gain_of: Callable[[ir.Value, set[ir.Value]], int]) -> Iterator[list[ir.Value]]:
        """Yield the regions that spare nodes, each in the order of its nodes.

        Args:
            gain_of: returns how many nodes a value of a region spares.
        """
        members: dict[ir.Value, list[ir.Value]] = {}
        for value in self._parents:
            members.setdefault(self._root(value), []).append(value)
        for region in members.values():
            inside = set(region)
            if sum(gain_of(value, inside) for value in region) > 0:
                yield region


def gain(value: ir.Value, uses: Sequence[str], *, is_removed: bool) -> int:
    """Return how many nodes a value spares if it has the dim.

    Args:
        value: the value.
        uses: what its users do: those that say ``adds`` are spared, one that says ``other`` needs a node.
        is_removed: whether the node that computes it only removes the dim.
    """
    kept = value.is_graph_output() or "other" in uses
    return uses.count("adds") + is_removed - kept


def give_dims(
    value: ir.Value,
    dims: Sequence[Dim],
    users: Sequence[tuple[ir.Node, int]],
    by: str,
    axis: ir.Value,
) -> None:
    """Give a value other dims for the users that need them, and where it is a result of the graph.

    Args:
        value: the value.
        dims: the dims that they need.
        users: these users, and which of their inputs it is.
        by: ``Squeeze`` or ``Unsqueeze``.
        axis: the axis of the dim, a vector of one number.
    """
    node = value.producer()
    assert node is not None
    assert node.graph is not None
    changing = new_node(by, [value, axis], ir.Shape(list(dims)), node)
    node.append(changing)
    result = changing.outputs[0]
    for user, place in users:
        user.replace_input_with(place, result)
    if value.is_graph_output():
        result.name, value.name = value.name, result.name
        for place, output in enumerate(node.graph.outputs):
            if output is value:
                node.graph.outputs[place] = result


def keeps_rows(node: ir.Node, given: Sequence[ir.Value], of_rows: Sequence[ir.Value]) -> bool:
    """Return whether a node computes elements alike of rows and of an array of rows: no other operand has more dims."""
    ranks = [rank_of(value) for value in given]
    rank = rank_of(node.outputs[0])
    is_aligned = all(rank_of(value) == rank for value in of_rows)
    return node.op_type in ELEMENTWISE and is_aligned and all(one is not None and one <= (rank or 0) for one in ranks)
