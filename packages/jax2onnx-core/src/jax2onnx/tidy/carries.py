"""Carries: what a loop carries that no iteration changes, that it carries twice, or that nobody reads, goes.

Likewise what both branches of a choice return alike, or twice; and a count of iterations that only ends the loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx_ir as ir

from jax2onnx.tidy.idle_nodes import remove_dead
from jax2onnx.tidy.loop_state import LOOPS, LoopState, passed_on
from jax2onnx.tidy.match_nodes import scalar_at
from jax2onnx.tidy.subgraphs import bodies, graphs, reads, standard
from jax2onnx.tidy.unread_results import with_results

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["carry_less"]

_KeyOf: TypeAlias = "Callable[[ir.Node, Sequence[ir.Value | None]], Hashable | None]"
"""Returns what is equal for nodes that compute the same of some operands, None if nothing is."""
_FEW = 1024
"""Constants of up to this many elements are compared by their numbers."""


def carry_less(home: Home, key_of: _KeyOf) -> None:
    """Rewrite ``Loop(a, b, c) {b, Add(a, c), c}`` to ``Loop(a, b) {b, Add(a, c)}``, and so on; likewise ``Scan``.

    Args:
        home: a graph with what is in its bodies, and its constants.
        key_of: returns what is equal for nodes that compute the same of some operands, None if nothing is.
    """
    # What an outer loop does not carry any more may be what an inner one never changes, and the other way round.
    while _visit(home.graph, home, key_of):
        pass


def _visit(graph: ir.Graph, home: Home, key_of: _KeyOf) -> bool:
    changed = False
    for node in list(graph):
        if not node.attributes.data:
            continue
        inner = bodies(node)
        kind = standard(node)
        if kind == "If":
            _merge_results(node)
        elif kind in LOOPS:
            changed |= _shorten(LoopState.of(node), home, key_of)
        for body in inner:
            changed |= _visit(body, home, key_of)
    return changed


def _shorten(loop: LoopState, home: Home, key_of: _KeyOf) -> bool:
    """Leave out what a loop need not carry; return whether there is any."""
    _count_by_trips(loop, home)
    same = _same(loop, key_of)
    gone = {place for place, value in enumerate(same) if value is not loop.inputs[place]}
    for place in gone:
        _replace_carry(loop, place, same[place])
    gone |= set(range(len(same))) - _read(loop)
    if gone:
        _leave_out(loop, gone)
    return bool(gone)


@dataclass(slots=True)
class _Numbers:
    """Values that are known to be equal are one value here.

    Attributes:
        key_of: returns what is equal for nodes that compute the same of some operands, None if nothing is.
        same: value -> the value that it is known to be.
        first: what computes a value -> the first such value.
    """

    key_of: _KeyOf
    same: dict[ir.Value | None, Any]
    first: dict[Hashable, Any]

    def of(self, value: ir.Value | None) -> Any:
        """Return the value that stands for one."""
        if value is None or value.const_value is None:
            return self.same.get(value, value)
        tensor = value.const_value
        if tensor.size > _FEW:
            return value
        return self.first.setdefault((tensor.dtype, tuple(tensor.shape.numpy()), tensor.tobytes()), value)

    def read(self, graph: ir.Graph) -> None:
        """Learn what is equal of what the nodes of a graph compute."""
        for node in graph:
            kind = standard(node)
            if kind == "Identity":
                self.same[node.outputs[0]] = self.of(node.inputs[0])
            elif kind == "If":
                self._choice(node)
            elif not (node.attributes.data and bodies(node)):
                key = self.key_of(node, [self.of(value) for value in node.inputs])
                for place, value in enumerate(node.outputs if key is not None else ()):
                    self.same[value] = self.first.setdefault((key, place), value)

    def _choice(self, node: ir.Node) -> None:
        branches = bodies(node)
        for branch in branches:
            self.read(branch)
        for value, *chosen in zip(node.outputs, *[branch.outputs for branch in branches], strict=True):
            one, other = map(self.of, chosen)
            key = ("If", self.of(node.inputs[0]), one, other)
            self.same[value] = one if one is other else self.first.setdefault(key, value)


def _same(loop: LoopState, key_of: _KeyOf) -> list[ir.Value]:
    """Return, for all that is carried, what it always is: a value from before, or the first of equal carried ones.

    First all of it is held to be what it is before the loop, and what an iteration shows to be another value is not.
    Likewise of carried values that begin as the same value.
    """
    numbers = _Numbers(key_of, {}, {})
    before = [numbers.of(value) for value in loop.before]
    found: list[Any] = list(before)
    groups: list[Hashable] = [None] * len(before)
    while True:
        numbers.same = dict(zip(loop.inputs, found, strict=True))
        numbers.read(loop.body)
        results = [numbers.of(value) for value in loop.results]
        leaders: dict[Hashable, ir.Value] = {}
        following: list[Any] = []
        # A value of the body that stands for others may stand for fewer in the next round.
        numbers.first = {key: value for key, value in numbers.first.items() if value.const_value is not None}
        for place, (value, result) in enumerate(zip(loop.inputs, results, strict=True)):
            if groups[place] is None and result is found[place]:
                following.append(result)
                continue
            groups[place] = (before[place], groups[place], result)
            following.append(leaders.setdefault(groups[place], value))
        if all(one is other for one, other in zip(found, following, strict=True)):
            return [loop.before[place] if group is None else following[place] for place, group in enumerate(groups)]
        found = following


def _replace_carry(loop: LoopState, place: int, value: ir.Value) -> None:
    """Give the users of a carried value, in the loop and after it, another carried one or one from before the loop."""
    loop.inputs[place].replace_all_uses_with(value)
    after = value
    if value in loop.inputs:
        after = loop.node.outputs[loop.inputs.index(value)]
    result = loop.node.outputs[place]
    if after.shape is None:
        after.shape = result.shape
    if result.is_graph_output():
        same = ir.node("Identity", [after])
        loop.node.append(same)
        same.outputs[0].type, same.outputs[0].shape = result.type, result.shape
        same.outputs[0].meta.update(result.meta)
        name, result.name = result.name, None
        same.outputs[0].name = name
        after = same.outputs[0]
    result.replace_all_uses_with(after, replace_graph_outputs=True)


def _read(loop: LoopState) -> set[int]:
    """Return which of the carried values somebody reads: after the loop, the condition, or what is stacked."""
    places = {value: place for place, value in enumerate(loop.inputs)}
    own = set(map(id, graphs(loop.body)))
    end = loop.result + len(loop.results)
    after = enumerate(loop.node.outputs[: len(loop.results)])
    found = {place for place, value in after if value.uses() or value.is_graph_output()}
    wanted = [*loop.body.outputs[: loop.result], *loop.body.outputs[end:], *(loop.results[place] for place in found)]
    seen: set[ir.Value] = set()
    while wanted:
        value = wanted.pop()
        if value in seen:
            continue
        seen.add(value)
        if value in places:
            found.add(places[value])
            wanted.append(loop.results[places[value]])
        node = value.producer()
        if node is not None and id(node.graph) in own:
            wanted += _computed_of(node, value)
    return found


def _computed_of(node: ir.Node, value: ir.Value) -> list[ir.Value]:
    """Return what a result of a node is computed of."""
    if standard(node) != "If":
        return [read for _, _, read in reads(node)]
    place = node.outputs.index(value)
    chosen = [branch.outputs[place] for branch in bodies(node)]
    return [*chosen, *(value for value in node.inputs if value is not None)]


def _leave_out(loop: LoopState, places: set[int]) -> None:
    """Put a loop that carries less in the place of a loop, without nodes that only made what it carried."""
    node = loop.node
    for place in sorted(places, reverse=True):
        loop.body.inputs.pop(loop.operand + place)
        loop.body.outputs.pop(loop.result + place)
    remove_dead(loop.body)
    operands = [value for place, value in enumerate(node.inputs, -loop.operand) if place not in places]
    kept = [value for place, value in enumerate(node.outputs) if place not in places]
    with_results(node, kept, operands)


def _count_by_trips(loop: LoopState, home: Home) -> None:
    """Rewrite ``Loop(i=0) {And(c, Less(Add(i, 1), 9)), Add(i, 1)}`` to ``Loop(i=0) {c, Add(i, 1)}`` of 9 trips."""
    if standard(loop.node) != "Loop" or loop.node.inputs[0] is not None:
        return
    going = loop.body.outputs[0].producer()
    if going is None or standard(going) != "And" or going.graph is not loop.body or going.outputs[0].uses():
        return
    for place in (0, 1):
        trips = _trips(loop, going.inputs[place])
        rest = going.inputs[1 - place]
        if trips is None or rest is None or rest.shape is None or rest.shape.rank():
            continue
        node = rest.producer()
        if node is None or node.graph is not loop.body or rest.is_graph_output():
            continue
        loop.node.replace_input_with(0, home.constant(np.asarray(max(trips, 0), np.int64)))
        loop.body.outputs[0] = rest
        return


def _trips(loop: LoopState, test: ir.Value | None) -> int | None:
    """Return after how many iterations a test ends the loop: it is ``Less`` of a count that is carried and a limit."""
    node = None if test is None else test.producer()
    if test is None or node is None or standard(node) not in _LIMITS or test.shape is None or test.shape.rank():
        return None
    limit, count = scalar_at(node, 1), node.inputs[0]
    if limit is None or count not in loop.results or count.dtype is None or not count.dtype.is_integer():
        return None
    place = loop.results.index(count)
    start = loop.before[place].const_value
    step = count.producer()
    if start is None or step is None or standard(step) != "Add" or loop.inputs[place] not in step.inputs:
        return None
    if scalar_at(step, 1 - step.inputs.index(loop.inputs[place])) != 1:
        return None
    return int(limit) - int(start.numpy()) + _LIMITS[standard(node)]


_LIMITS = {"Less": 0, "LessOrEqual": 1}
"""Comparison -> how many iterations it allows beyond its limit."""


def _merge_results(node: ir.Node) -> None:
    """Rewrite ``a, b, c = If(p) {x, y, y} else {x, z, z}`` to ``b, _, _ = If(p) {y, ...} else {z, ...}``: a is x."""
    branches = bodies(node)
    first: dict[Hashable, ir.Value] = {}
    for value, *chosen in zip(node.outputs, *[branch.outputs for branch in branches], strict=True):
        one, other = map(passed_on, chosen)
        same = first.setdefault((one, other), value)
        if one is other:
            same = one  # both can only be a value from around the choice
        if same is not value and not value.is_graph_output():
            if same.shape is None:
                same.shape = value.shape
            value.replace_all_uses_with(same)
