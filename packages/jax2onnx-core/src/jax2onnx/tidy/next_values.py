"""Next values: what an iteration computes of its new state as well as of its old one, it leaves to the next iteration.

A leapfrog step ends with the gradient with which the next one begins, and a condition compares what the next iteration
computes first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import onnx_ir as ir

from jax2onnx.tidy.loop_state import LOOPS, LoopState, passed_on
from jax2onnx.tidy.match_nodes import copied, same_shape
from jax2onnx.tidy.operators import RESHAPES
from jax2onnx.tidy.subgraphs import bodies, standard
from jax2onnx.tidy.unread_results import with_results

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

__all__ = ["carry_next_values"]


def carry_next_values(
    graph: ir.Graph,
    key_of: Callable[[ir.Node, Sequence[ir.Value | None]], Hashable | None],
    is_safe: Callable[[ir.Node], bool],
) -> None:
    """Rewrite ``Loop(x) {y = f(x); z = g(y); z, f(z)}`` to ``Loop(x, f(x)) {x, y: z = g(y); w = f(z); z, w, w}``.

    Inner loops first; likewise ``Scan``.

    Args:
        graph: a graph, with what is in its bodies.
        key_of: returns what is equal for nodes that compute the same of some operands, None if nothing is.
        is_safe: whether a node may run where the loop makes no iteration.
    """
    for node in list(graph):
        if not node.attributes.data:
            continue
        for body in bodies(node):
            carry_next_values(body, key_of, is_safe)
        if standard(node) in LOOPS:
            loop = _Loop.of(node)
            _match(loop, key_of, is_safe)
            carried = loop.carried()
            if carried and any(standard(one) not in _VIEWS for one in loop.repeated):
                _carry(loop, carried)


_VIEWS = RESHAPES | {"Expand", "Identity", "Transpose"}
"""Operators that other rewrites leave out in many places: they alone are not worth a value that is carried."""


@dataclass(frozen=True)
class _Loop:
    """A loop, and what its iterations compute twice.

    Attributes:
        node: the loop.
        body: what each iteration does.
        state: the operands of the loop that become the carried inputs of the body.
        operand: the place of the first of them among the operands, which is that among the body's inputs.
        result: the place of the first carried one among the body's results.
        following: value of the body -> the value that it is in the next iteration.
        repeated: the nodes whose results the iteration before has computed.
    """

    node: ir.Node
    body: ir.Graph
    state: list[ir.Value]
    operand: int
    result: int
    following: dict[ir.Value, ir.Value]
    repeated: list[ir.Node] = field(default_factory=list)

    @classmethod
    def of(cls, node: ir.Node) -> _Loop:
        """Return a loop of which nothing is known yet."""
        loop = LoopState.of(node)
        following = {value: passed_on(other) for value, other in zip(loop.inputs, loop.results, strict=True)}
        return cls(node, loop.body, loop.before, loop.operand, loop.result, following)

    def carried(self) -> list[ir.Value]:
        """Return the results of repeated nodes that others read."""
        results = [value for node in self.repeated for value in node.outputs]
        return [value for value in results if any(user not in self.repeated for user, _ in value.uses())]


def _match(
    loop: _Loop,
    key_of: Callable[[ir.Node, Sequence[ir.Value | None]], Hashable | None],
    is_safe: Callable[[ir.Node], bool],
) -> None:
    """Find the nodes that compute of the old state what others compute of the new one."""
    own = {*loop.body.inputs, *(value for node in loop.body for value in node.outputs)}
    known = {key: node for node in loop.body if (key := key_of(node, node.inputs)) is not None}
    # What may fail stays in the body, and with it what is computed of it.
    before_the_loop = {value for value in own if value in loop.following}
    for node in loop.body:
        if own.isdisjoint(node.inputs) or any(value in own and value not in loop.following for value in node.inputs):
            continue
        key = key_of(node, [value and loop.following.get(value, value) for value in node.inputs])
        later = None if key is None else known.get(key)
        if later is None or later is node or not _alike(node, later):
            continue
        loop.following.update(zip(node.outputs, later.outputs, strict=True))
        is_ready = all(value in before_the_loop for value in node.inputs if value in own)
        if is_ready and is_safe(node) and not any(value.is_graph_output() for value in node.outputs):
            loop.repeated.append(node)
            before_the_loop.update(node.outputs)


def _alike(node: ir.Node, other: ir.Node) -> bool:
    """Return whether the results of two nodes are known to have the same types."""
    pairs = zip(node.outputs, other.outputs, strict=True)
    return all(one.dtype == two.dtype is not None and same_shape(one, two) for one, two in pairs)


def _carry(loop: _Loop, carried: Sequence[ir.Value]) -> None:
    """Carry some results of repeated nodes, computed for the first iteration before the loop; the nodes go."""
    before = dict(zip(loop.body.inputs[loop.operand :], loop.state, strict=False))
    for node in loop.repeated:
        first = copied(node, before)
        before.update(zip(node.outputs, first.outputs, strict=True))
        loop.node.prepend(first)
    inputs = {value: ir.Value(type=value.type, shape=value.shape) for value in carried}
    for value, other in inputs.items():
        for user, place in list(value.uses()):
            if user not in loop.repeated:
                user.replace_input_with(place, other)
    end = loop.operand + len(loop.state)
    loop.body.inputs[end:end] = [*inputs.values()]
    end = loop.result + len(loop.state)
    loop.body.outputs[end:end] = [_returned(loop.body, loop.following[value], inputs) for value in carried]
    _with_state(loop, [before[value] for value in carried])
    for node in reversed(loop.repeated):
        loop.body.remove(node, safe=True)


def _returned(body: ir.Graph, value: ir.Value, inputs: dict[ir.Value, ir.Value]) -> ir.Value:
    """Return a value as a result of a body: of a node of it, and no other result."""
    value = inputs.get(value, value)
    node = value.producer()
    if node is not None and node.graph is body and not value.is_graph_output():
        return value
    same = ir.node("Identity", [value])
    same.outputs[0].type, same.outputs[0].shape = value.type, value.shape
    body.append(same)
    return same.outputs[0]


def _with_state(loop: _Loop, values: Sequence[ir.Value]) -> None:
    """Put a loop that carries some values more in the place of the loop."""
    node, count = loop.node, len(loop.state)
    end = loop.operand + count
    carried = [ir.Value(type=value.type, shape=value.shape) for value in values]
    results = [*node.outputs[:count], *carried, *node.outputs[count:]]
    with_results(node, results, [*node.inputs[:end], *values, *node.inputs[end:]])
