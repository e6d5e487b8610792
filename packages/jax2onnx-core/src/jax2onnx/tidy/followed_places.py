"""Followed places: a loop that looks up where the next step looks up, in a row of its own, is one lookup a step.

Programs trace back the best path through states so. Rows that stand one behind the other in one array have places that
tell the row, too; what a step finds is then the next step's place as it is::

    before: Scan(p, rows[39, 6]) {p, row: q = Gather(row, p); q, p}
    after:  next = Reshape(Add(rows, [[6], [12], ...]), [234]); p1 = Gather(next, p); p2 = Gather(next, p1); ...
            Sub(Concat(p, p1, p2, ...), [0, 6, 12, ...])
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.match_nodes import new_node, sizes_of
from jax2onnx.tidy.operators import RESHAPES
from jax2onnx.tidy.subgraphs import bodies, every_node, graph_of, standard

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["follow_places"]

_MOST_STEPS = 64
"""So many nodes take the place of a loop at most."""
_LARGEST = 2**16
"""So many places all rows have at most."""
_INTEGERS = frozenset({ir.DataType.INT32, ir.DataType.INT64})
_SAME = RESHAPES | {"Identity"}


def follow_places(graph: ir.Graph, home: Home) -> bool:
    """Replace the loops in a graph, and in its bodies, that only look up places; return whether there was one."""
    found = False
    for node in list(graph):
        if not node.attributes.data:
            continue
        for body in bodies(node):
            found |= follow_places(body, home)
        path = _Path.of(node, home.graph) if standard(node) == "Scan" else None
        if path is not None:
            _Following(node, path, home).apply()
            found = True
    return found


@dataclass(frozen=True, slots=True)
class _Path:
    """A loop that looks up places.

    Attributes:
        rows: the rows of places, of the shape ``[steps, size]``.
        start: the places, one or several, that the first step looks up.
        steps: how many there are.
        size: how many places a row has.
        is_reversed: whether the first step reads the last row.
        stacked: for each stacked result whether it has what a step finds, not what it looks up; and whether the last
            step's stands first.
    """

    rows: ir.Value
    start: ir.Value
    steps: int
    size: int
    is_reversed: bool
    stacked: list[tuple[bool, bool]]

    @classmethod
    def of(cls, node: ir.Node, outermost: ir.Graph) -> _Path | None:
        """Return what a loop in a graph, or in a body of it, does; None if that is something else."""
        (body,) = bodies(node)
        if len(node.inputs) != 2 or node.attributes["num_scan_inputs"].as_int() != 1:
            return None
        start, rows = node.inputs
        if start is None or rows is None or any(node.attributes.get_ints("scan_input_axes", [])):
            return None
        sizes = sizes_of(rows.shape)
        lookups = [one for one in body if standard(one) == "Gather"]
        if sizes is None or len(sizes) != 2 or len(lookups) != 1 or sizes_of(start.shape) is None:
            return None
        if not 1 < sizes[0] <= _MOST_STEPS or math.prod(sizes) > _LARGEST or rows.dtype not in _INTEGERS:
            return None
        # A negative place counts from the end of its own row, and is returned as it is.
        if not all(_is_counted_from_start(value, outermost) for value in (rows, start)):
            return None
        state, row = body.inputs
        (lookup,) = lookups
        is_plain = all(standard(one) in _SAME for one in body if one is not lookup)
        if not is_plain or start.dtype != rows.dtype or lookup.attributes.get_int("axis", 0) != 0:
            return None
        if lookup.inputs[0] is not row or _made_of(lookup.inputs[1]) is not state:
            return None
        made = [_made_of(value) for value in body.outputs]
        if made[0] is not lookup.outputs[0] or any(value not in (state, lookup.outputs[0]) for value in made):
            return None
        if any(node.attributes.get_ints("scan_output_axes", [])):
            return None
        backwards = node.attributes.get_ints("scan_output_directions", []) or [0] * len(made[1:])
        stacked = [(value is not state, bool(order)) for value, order in zip(made[1:], backwards, strict=True)]
        is_reversed = any(node.attributes.get_ints("scan_input_directions", []))
        return cls(rows, start, *sizes, is_reversed, stacked)


def _made_of(value: ir.Value | None) -> ir.Value | None:
    """Return what a value has the elements of."""
    node = None if value is None else value.producer()
    return value if node is None or standard(node) not in _SAME else _made_of(node.inputs[0])


@dataclass(frozen=True, slots=True)
class _Following:
    """Puts lookups in the place of a loop."""

    node: ir.Node
    path: _Path
    home: Home

    def apply(self) -> None:
        """Replace the loop."""
        path, node = self.path, self.node
        dtype = path.rows.dtype
        assert dtype is not None
        # Which rows, of all that stand one behind the other, a step reads: the last place is in none.
        blocks = np.arange(path.steps + 1, dtype=dtype.numpy())
        blocks = (path.steps - 1 - blocks if path.is_reversed else blocks) * path.size
        following = np.sort(blocks[1:])[:, None]
        sums = self._put("Add", [path.rows, self.home.constant(following)], (path.steps, path.size))
        table = self._put("Reshape", [sums, self.home.ints([-1])], (path.steps * path.size,))
        own = sizes_of(path.start.shape)
        assert own is not None
        one = (1, math.prod(own))
        start = self._put("Reshape", [path.start, self.home.ints(one)], one)
        if path.is_reversed:
            start = self._put("Add", [start, self.home.constant(np.asarray(blocks[0]))], one)
        places = [start]
        for _ in range(path.steps):
            places.append(self._put("Gather", [table, places[-1]], one))
        for number, result in enumerate(node.outputs):
            if result.uses() or result.is_graph_output():
                self._give(result, number, places, blocks)
        graph_of(node).remove(node, safe=True)

    def _give(self, result: ir.Value, number: int, places: Sequence[ir.Value], blocks: np.ndarray) -> None:
        """Give the users of a result of the loop what it is."""
        own = sizes_of(self.path.start.shape)
        assert own is not None
        if number == 0:
            chosen, before, shape = [places[-1]], blocks[-1:], own
        else:
            is_found, is_last_first = self.path.stacked[number - 1]
            span = slice(1, None) if is_found else slice(-1)
            turn = slice(None, None, -1 if is_last_first else 1)
            chosen, before, shape = list(places[span])[turn], blocks[span][turn], (self.path.steps, *own)
        joined = chosen[0]
        if len(chosen) > 1:
            joined = self._put("Concat", chosen, (len(chosen), math.prod(own)))
            producer = joined.producer()
            assert producer is not None
            producer.attributes.add(ir.AttrInt64("axis", 0))
        within = self._put("Sub", [joined, self.home.constant(before[:, None])], (len(chosen), math.prod(own)))
        given = self._put("Reshape", [within, self.home.ints(shape)], shape)
        if result.is_graph_output():
            given.name, result.name = result.name, None
        given.type = result.type
        given.meta.update(result.meta)
        result.replace_all_uses_with(given, replace_graph_outputs=True)

    def _put(self, op_type: str, inputs: Sequence[ir.Value], sizes: Sequence[int]) -> ir.Value:
        node = new_node(op_type, inputs, ir.Shape(sizes), self.node)
        self.node.prepend(node)
        return node.outputs[0]


def _is_counted_from_start(value: ir.Value | None, outermost: ir.Graph) -> bool:
    """Return whether places are known not to be negative: those of extrema, bounded ones, and choices of them."""

    def are_counted(values: Iterable[ir.Value | None]) -> Iterator[bool]:
        return (_is_counted_from_start(one, outermost) for one in values)

    if value is not None and value.const_value is not None and value.const_value.size <= _LARGEST:
        return bool(np.all(value.const_value.numpy() >= 0))
    node = None if value is None else value.producer()
    if node is None:
        sliced = None if value is None else _sliced_from(value, outermost)
        return sliced is not None and _is_counted_from_start(sliced, outermost)
    kind = standard(node)
    if kind in {"ArgMax", "ArgMin"}:
        return True
    if kind in {"Max", "Clip"}:
        is_bounded = any(are_counted(node.inputs[:2]))
        return is_bounded and (kind == "Max" or all(are_counted(node.inputs[-1:])))
    if kind == "Min":
        return all(are_counted(node.inputs))
    if kind == "Where":
        return all(are_counted(node.inputs[1:]))
    return kind in _SAME | {"Cast", "Transpose"} and all(are_counted(node.inputs[:1]))


def _sliced_from(value: ir.Value, outermost: ir.Graph) -> ir.Value | None:
    """Return the array of which a value is a slice in the body of a scan, None if it is none."""
    for node in every_node(outermost):
        if standard(node) != "Scan":
            continue
        (body,) = bodies(node)
        count = node.attributes["num_scan_inputs"].as_int()
        for place in range(-count, 0):
            if body.inputs[place] is value:
                return node.inputs[place]
    return None
