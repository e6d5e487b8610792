"""Glances: whether a pattern may end in an equation, told from its nearest producers, so that like places share it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jax2onnx.program import Const

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx._graph import Graph
    from jax2onnx._reference import Node, Pattern
    from jax2onnx.program import Atom, Eqn

DEPTH = 4
"""How many equations deep a glance goes, the last one's operands by their producers' names only."""


class Kinds:
    """Numbers for what a glance sees: where the operands' are equal, :func:`plausible` says the same."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._numbers: dict[Any, int] = {}
        self._known: tuple[dict[Atom, int], ...] = tuple({} for _ in range(DEPTH))

    def of(self, atom: Atom, depth: int = DEPTH - 1) -> int:
        """Return the number of a value, seen to a depth."""
        known = self._known[depth]
        number = known.get(atom)
        if number is None:
            number = known[atom] = self._numbers.setdefault(self._seen(atom, depth), len(self._numbers))
        return number

    def _seen(self, atom: Atom, depth: int) -> tuple[Any, ...]:
        graph = self._graph
        if isinstance(atom, Const):
            return ()
        scalar = graph.scalars.get(atom)
        seen = graph.maker.get(atom), atom in graph.sizes, None if scalar is None else self.of(scalar, depth)
        producer = graph.producer.get(atom)
        if depth == 0 or producer is None:
            return seen
        eqn = graph.eqns[producer]
        return *seen, *[o is atom for o in eqn.outputs], *[self.of(a, depth - 1) for a in eqn.inputs]


def plausible(pattern: Pattern, graph: Graph, anchor: Eqn) -> bool:
    """Tell at a glance whether a pattern may end in an equation."""
    return _agrees(pattern, pattern.anchor, graph, anchor, DEPTH)


def _agrees(pattern: Pattern, node: Node, graph: Graph, eqn: Eqn, depth: int) -> bool:
    inputs = eqn.inputs
    if node.primitive != eqn.primitive or len(node.operands) != len(inputs) or node.index >= len(eqn.outputs):
        return False
    return _fit(pattern, node, graph, inputs, depth) or (
        node.commutes and _fit(pattern, node, graph, inputs[::-1], depth)
    )


def _fit(pattern: Pattern, node: Node, graph: Graph, inputs: Sequence[Atom], depth: int) -> bool:
    deeper = []
    for operand, atom in zip(node.operands, inputs, strict=True):
        read = graph.scalars.get(atom, atom) if operand.scalar else atom
        if isinstance(operand.atom, Const):
            if not isinstance(read, Const) and read not in graph.sizes:
                return False
        elif operand.maker is not None:
            if graph.maker.get(read) != operand.maker:
                return False
            deeper.append((pattern.nodes[operand.atom], read))
    return all(_ends(pattern, inner, graph, read, depth - 1) for inner, read in deeper)


def _ends(pattern: Pattern, node: Node, graph: Graph, result: Atom, depth: int) -> bool:
    eqn = graph.eqns[graph.producer[result]]
    if node.index >= len(eqn.outputs) or eqn.outputs[node.index] is not result:
        return False
    return depth == 0 or _agrees(pattern, node, graph, eqn, depth)
