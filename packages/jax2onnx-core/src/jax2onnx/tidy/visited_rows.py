"""Visited rows: what a body computes of one row after the other is computed of all rows, and looked up.

A search goes down a tree: each level scores the children of the node that the level before found. The scores of all
nodes are one array, since no level changes the tree; what takes part in them stands for all levels::

    before: s1 = Gather(Sin(Gather(x[9, 4], i))); s2 = Sin(Gather(x, j)); s3 = Sin(Gather(x, k)), where s1 gives j ...
    after:  s = Sin(x); s1 = Gather(s, i); s2 = Gather(s, j); s3 = Gather(s, k)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.known_results import FEW
from jax2onnx.tidy.match_nodes import FLOATS, copied, ints_at, new_node, producer_at, rank_of, replace, sizes_of
from jax2onnx.tidy.one_more_dim import keeps_rows
from jax2onnx.tidy.operators import RESHAPES
from jax2onnx.tidy.rules import rewrites
from jax2onnx.tidy.subgraphs import graph_of, standard

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["compute_visited"]

_LEAST_VISITS = 3
_Place: TypeAlias = "tuple[ir.Value | int, int]"
"""Where a row is, as a value or a known number, and of how many rows it is one."""
_PLACES = frozenset({"ArgMax", "ArgMin"})
_TRAPS = frozenset({"Div", "Mod"})
"""Operators that stop the process where integers are divided by 0, which may stand in a row that nothing visits."""


@rewrites("Gather")
def compute_visited(nodes: Sequence[ir.Node], home: Home) -> None:
    """Compute at once what a body computes of three rows or more of the same arrays, where that takes fewer nodes.

    All rows together have few elements. The nodes in the body are left without users.
    """
    graph = graph_of(nodes[0])
    if graph is home.graph:
        return
    found = _Visits()
    for node in graph:
        found.add(node)
    chosen = found.chosen()
    if chosen:
        _Table(found, chosen, home).apply(graph)


@dataclass(slots=True)
class _Visits:
    """What is computed of single rows.

    Attributes:
        places: of which row each value is computed.
        kinds: what is computed, as a number: the same of every row.
        operands: for each node that computes of a row, the kinds of its operands; None for those that are the same for
            all rows.
        rows: the arrays that have rows, by the kind of their rows.
        takers: for each row, a node that takes it: its index may become a lookup.
    """

    places: dict[ir.Value, _Place] = field(default_factory=dict)
    kinds: dict[ir.Value, int] = field(default_factory=dict)
    operands: dict[ir.Node, list[int | None]] = field(default_factory=dict)
    rows: dict[int, ir.Value] = field(default_factory=dict)
    takers: dict[_Place, ir.Node] = field(default_factory=dict)
    _numbers: dict[Hashable, int] = field(default_factory=dict)

    def add(self, node: ir.Node) -> None:
        """Look at a node: those that it reads were looked at before."""
        is_known = len(node.outputs) == 1 and not node.domain and node.outputs[0].dtype is not None
        if is_known and not self._visit(node):
            self._compute(node)

    def _visit(self, node: ir.Node) -> bool:
        """Return whether a node takes one row of an array, and remember which."""
        if node.op_type != "Gather" or node.attributes.get_int("axis", 0) != 0:
            return False
        array, index = node.inputs
        sizes = None if array is None else sizes_of(array.shape)
        if array is None or index is None or not sizes or not sizes[0]:
            return False
        if rank_of(index) != 0 or array in self.places:
            return False
        known = ints_at(node, 1)
        place = (index if known is None else known[0] % sizes[0], sizes[0])
        self.takers.setdefault(place, node)
        self._note(node.outputs[0], place, self._kind_of_row(array))
        return True

    def _compute(self, node: ir.Node) -> None:
        """Remember a node that computes of one row alone."""
        several = {self.places[value] for value in node.inputs if value in self.places}
        sizes = sizes_of(node.outputs[0].shape)
        if len(several) != 1 or sizes is None:
            return
        (place,) = several
        kinds = [self._kind_of(value, place) for value in node.inputs]
        given = {value: kind for value, kind in zip(node.inputs, kinds, strict=True) if value is not None}
        of_rows = [value for value, kind in given.items() if kind is not None]
        if math.prod(sizes) * place[1] > FEW or not _computes_rows(node, list(given), of_rows):
            return
        same = tuple(value if kind is None else kind for value, kind in zip(node.inputs, kinds, strict=True))
        attributes = tuple(sorted((name, str(one.value)) for name, one in node.attributes.items()))
        self.operands[node] = kinds
        self._note(node.outputs[0], place, self._number((node.op_type, place[1], attributes, same)))

    def _kind_of(self, value: ir.Value | None, place: _Place) -> int | None:
        """Return the kind of an operand; None if it is the same for all rows."""
        if value is None:
            return None
        if value in self.kinds:
            return self.kinds[value]
        # A row of a known place may have been taken outside of the body.
        array = _row_taken(value, place)
        return None if array is None else self._kind_of_row(array)

    def _kind_of_row(self, array: ir.Value) -> int:
        kind = self._number(array)
        self.rows[kind] = array
        return kind

    def _number(self, what: Hashable) -> int:
        return self._numbers.setdefault(what, len(self._numbers))

    def _note(self, value: ir.Value, place: _Place, kind: int) -> None:
        self.places[value] = place
        self.kinds[value] = kind

    def chosen(self) -> set[int]:
        """Return what is to be computed of all rows; nothing if that would take as many nodes."""
        of_kind: dict[int, set[_Place]] = {}
        for node in self.operands:
            result = node.outputs[0]
            of_kind.setdefault(self.kinds[result], set()).add(self.places[result])
        chosen = {kind for kind, places in of_kind.items() if len(places) >= _LEAST_VISITS}
        before = [node for node in self.operands if self.kinds[node.outputs[0]] in chosen]
        read = [node for node in before if self.is_read(node, chosen)]
        # What rows are computed at once takes a node, and each of them that is read another one.
        return chosen if len(before) - len(read) >= 2 * len(chosen) else set()

    def is_read(self, node: ir.Node, chosen: set[int]) -> bool:
        """Return whether a node's result is returned, or read by a node that stays."""
        users = [user for user, _ in node.outputs[0].uses()]
        is_left = any(user not in self.operands or self.kinds[user.outputs[0]] not in chosen for user in users)
        return is_left or node.outputs[0].is_graph_output()


def _row_taken(value: ir.Value, place: _Place) -> ir.Value | None:
    """Return the array of whose row of a known place a value has the elements; None if it has not."""
    node = value.producer()
    if node is not None and standard(node) in RESHAPES:
        node = producer_at(node, 0)
    if node is None or standard(node) != "Gather" or node.attributes.get_int("axis", 0) != 0:
        return None
    array = node.inputs[0]
    sizes = None if array is None else sizes_of(array.shape)
    numbers = ints_at(node, 1)
    if not sizes or not numbers or len(numbers) != 1 or sizes_of(value.shape) != sizes[1:]:
        return None
    index, count = place
    return array if sizes[0] == count and numbers[0] % count == index else None


def _computes_rows(node: ir.Node, given: Sequence[ir.Value], of_rows: Sequence[ir.Value]) -> bool:
    """Return whether a node computes of each row of an array what it computes of one row."""
    first = given[0]
    if node.op_type in _TRAPS and first.dtype not in FLOATS:
        return False
    if node.op_type == "Gather":
        is_looked_up = first not in of_rows and node.attributes.get_int("axis", 0) == 0
        return is_looked_up and bool(sizes_of(first.shape)) and bool(sizes_of(given[1].shape))
    if node.op_type in _PLACES:
        return bool(sizes_of(first.shape))
    return keeps_rows(node, given, of_rows)


@dataclass(frozen=True, slots=True)
class _Table:
    """Computes of all rows, and looks up what is read."""

    visits: _Visits
    chosen: set[int]
    home: Home
    made: dict[int, ir.Value] = field(default_factory=dict)
    clipped: dict[tuple[ir.Value, int], ir.Value] = field(default_factory=dict)

    def apply(self, graph: ir.Graph) -> None:
        """Put the nodes that compute of all rows before those that compute of the first one."""
        self.made.update(self.visits.rows)
        read = {node for node in self.visits.operands if self.visits.is_read(node, self.chosen)}
        for node in list(graph):
            kind = self.visits.kinds[node.outputs[0]] if node in self.visits.operands else None
            if kind is None or kind not in self.chosen:
                continue
            if kind not in self.made:
                self.made[kind] = self._at_once(node)
            if node in read:
                result = node.outputs[0]
                index = self.visits.takers[self.visits.places[result]].inputs[1]
                lookup = new_node("Gather", [self.made[kind], index], result.shape, node)
                node.prepend(lookup)
                replace(node, lookup.outputs[0])

    def _at_once(self, node: ir.Node) -> ir.Value:
        """Return what a node computes of all rows, by a new node before it."""
        result, kinds = node.outputs[0], self.visits.operands[node]
        count = self.visits.places[result][1]
        pairs = zip(node.inputs, kinds, strict=True)
        given = {value: self.made[kind] for value, kind in pairs if value is not None and kind is not None}
        if node.op_type == "Gather":
            array, index = node.inputs
            assert array is not None
            assert index is not None
            given[index] = self._within(given[index], array, node)
        made = copied(node, given)
        if node.op_type in _PLACES:
            axis = node.attributes.get_int("axis", 0)
            made.attributes.add(ir.AttrInt64("axis", axis if axis < 0 else axis + 1))
        made.outputs[0].shape = ir.Shape([count, *(sizes_of(result.shape) or ())])
        node.prepend(made)
        return made.outputs[0]

    def _within(self, index: ir.Value, array: ir.Value, node: ir.Node) -> ir.Value:
        """Return places in an array, those of rows that nothing visits within it, too: there they may be any number."""
        sizes, dtype = sizes_of(array.shape), index.dtype
        assert sizes is not None
        assert dtype is not None
        wanted = (index, sizes[0])
        if wanted not in self.clipped:
            least, most = (self.home.constant(np.array(one, dtype.numpy())) for one in (-sizes[0], sizes[0] - 1))
            clip = new_node("Clip", [index, least, most], index.shape, node)
            node.prepend(clip)
            self.clipped[wanted] = clip.outputs[0]
        return self.clipped[wanted]
