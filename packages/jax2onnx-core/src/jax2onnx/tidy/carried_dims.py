"""Carried dims: what a loop carries has the dims of size 1 that its body adds to it, and removes at its end.

A potential ``g[5]`` that is added to the columns of a matrix has two dims in each iteration. The loop carries both::

    before: Scan(g[5]) {v: x[1, 5] = Reshape(v); ...; y[1, 5]; Squeeze(y)}
    after:  Squeeze(Scan(Reshape(g)[1, 5]) {x[1, 5]: ...; y})
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from jax2onnx.tidy.loop_state import LOOPS, LoopState
from jax2onnx.tidy.match_nodes import FLOATS, new_node, sizes_of
from jax2onnx.tidy.one_more_dim import ADDING, ELEMENTWISE, REMOVING
from jax2onnx.tidy.subgraphs import bodies, standard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.tidy.initializers import Home

__all__ = ["carry_dims"]

_DEEP = 8
"""So many elementwise nodes before the end of a body it is looked for the removal of a dim."""


def carry_dims(graph: ir.Graph, home: Home) -> None:
    """Let the loops of a graph carry values with the dims that their bodies add, where that spares nodes.

    Inner loops first. Dims that elementwise nodes between the two ends have not are kept by the rewrites of regions.
    """
    for node in list(graph):
        if not node.attributes.data:
            continue
        for body in bodies(node):
            carry_dims(body, home)
        if standard(node) in LOOPS:
            for place in range(len(LoopState.of(node).inputs)):
                carried = _Carried.of(node, place)
                if carried is not None:
                    _Rewriting(LoopState.of(node), place, carried, home).apply()


@dataclass(frozen=True, slots=True)
class _Carried:
    """A value that a loop carries, which gets other dims.

    Attributes:
        sizes: the dims that it gets.
        adding: nodes of the body that give it these.
        others: what else reads it, and at which place.
        with_dims: what the body makes of it with these dims, which only an end of the body removes; None if the dims
            are removed before.
    """

    sizes: tuple[int, ...]
    adding: list[ir.Node]
    others: list[tuple[ir.Node, int]]
    with_dims: ir.Value | None

    @classmethod
    def of(cls, node: ir.Node, place: int) -> _Carried | None:
        """Return what one of the values is that a loop carries; None if it is carried as it is."""
        loop = LoopState.of(node)
        value, result = loop.inputs[place], loop.results[place]
        own, last = sizes_of(value.shape), result.producer()
        if own is None or sizes_of(result.shape) != own or sizes_of(loop.before[place].shape) != own:
            return None
        if last is None or last.graph is not loop.body:
            return None
        adding = [user for user, at in value.uses() if at == 0 and _adds(user, loop.body)]
        source = _with_more_dims(result, own, _DEEP)
        if source is None:
            return None
        sizes = sizes_of(adding[0].outputs[0].shape if adding else source.shape)
        if sizes is None or sizes == own or sizes_of(source.shape) != sizes:
            return None
        # Of dims that two readers add, the first are those.
        adding = [user for user in adding if _adds(user, loop.body, sizes)]
        others = [(user, at) for user, at in value.uses() if user not in adding]
        is_direct = source is last.inputs[0] and not source.is_graph_output() and _is_made_by(source, loop.body)
        # Rewrites of regions keep one dim more of what is computed; conditions are chosen by in other forms.
        if not is_direct and (value.dtype not in FLOATS or not _is_one_more(own, sizes)):
            return None
        # What others read of the value needs a node, and so does what reads the result without the dims.
        is_added = [not at and _adds(user, loop.body, sizes) for user, at in result.uses()]
        if not (adding or any(is_added) or (is_direct and not others)):
            return None
        gain = len(adding) + all(is_added) - bool(others)
        if gain <= 0 and not all(_is_elementwise(user, loop.body) for user, _ in others):
            return None
        return cls(sizes, adding, others, source if is_direct else None)


def _adds(user: ir.Node, body: ir.Graph, sizes: tuple[int, ...] | None = None) -> bool:
    """Return whether a node of a body gives a value other dims, or just these."""
    if user.graph is not body or standard(user) not in ADDING or user.outputs[0].is_graph_output():
        return False
    return sizes is None or sizes_of(user.outputs[0].shape) == sizes


def _is_elementwise(user: ir.Node, body: ir.Graph) -> bool:
    return user.graph is body and standard(user) in ELEMENTWISE


def _is_made_by(value: ir.Value, body: ir.Graph) -> bool:
    node = value.producer()
    return node is not None and node.graph is body


def _is_one_more(short: Sequence[int], long: Sequence[int]) -> bool:
    """Return whether dims are others after or before one of size 1, as rewrites of regions keep."""
    return tuple(long) in {(1, *short), (*short, 1)}


def _with_more_dims(value: ir.Value, own: tuple[int, ...], depth: int) -> ir.Value | None:
    """Return the array of which a value, computed by elementwise nodes that nothing else reads, has the elements."""
    node = value.producer()
    if node is None or depth == 0 or len(node.outputs) != 1:
        return None
    if standard(node) in REMOVING:
        return node.inputs[0] if sizes_of(value.shape) == own else None
    if standard(node) not in ELEMENTWISE:
        return None
    for operand in node.inputs:
        if operand is None or sizes_of(operand.shape) != own or operand.producer() is None:
            continue
        is_inside = (
            all(_is_elementwise(user, node.graph) for user, _ in operand.uses()) if node.graph is not None else False
        )
        if is_inside and (found := _with_more_dims(operand, own, depth - 1)) is not None:
            return found
    return None


@dataclass(frozen=True, slots=True)
class _Rewriting:
    """Gives one of the values that a loop carries other dims."""

    loop: LoopState
    place: int
    carried: _Carried
    home: Home

    def apply(self) -> None:
        """Rewrite the body and what is around the loop."""
        self._at_the_end()
        self._at_the_begin()
        self._around()

    def _reshape(self, value: ir.Value, sizes: Sequence[int]) -> ir.Node:
        return new_node("Reshape", [value, self.home.ints(sizes)], ir.Shape(sizes), self.loop.node)

    def _at_the_end(self) -> None:
        body, place = self.loop.body, self.loop.result + self.place
        with_dims = self.carried.with_dims
        if with_dims is None:
            adding = self._reshape(self.loop.results[self.place], self.carried.sizes)
            body.append(adding)
            with_dims = adding.outputs[0]
        body.outputs[place] = with_dims

    def _at_the_begin(self) -> None:
        value = self.loop.inputs[self.place]
        own = sizes_of(value.shape)
        assert own is not None
        value.shape = ir.Shape(self.carried.sizes)
        for node in self.carried.adding:
            result = node.outputs[0]
            result.replace_all_uses_with(value)
            self.loop.body.remove(node, safe=True)
        if self.carried.others:
            removing = self._reshape(value, own)
            first = next(iter(self.loop.body))
            first.prepend(removing)
            for user, at in self.carried.others:
                user.replace_input_with(at, removing.outputs[0])

    def _around(self) -> None:
        node, result = self.loop.node, self.loop.node.outputs[self.place]
        before = self.loop.before[self.place]
        own = sizes_of(before.shape)
        assert own is not None
        adding = self._reshape(before, self.carried.sizes)
        node.prepend(adding)
        node.replace_input_with(self.loop.operand + self.place, adding.outputs[0])
        removing = self._reshape(result, own)
        same = removing.outputs[0]
        is_output = result.is_graph_output()
        if not result.uses() and not is_output:
            result.shape = ir.Shape(self.carried.sizes)
            return
        result.replace_all_uses_with(same, replace_graph_outputs=True)
        removing.replace_input_with(0, result)
        if is_output:
            same.name, result.name = result.name, same.name
        same.meta.update(result.meta)
        result.shape = ir.Shape(self.carried.sizes)
        node.append(removing)
