"""Glances: what may end in an equation, told from its nearest producers, so that like places and programs share it."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from jax2onnx._compat import trace_context
from jax2onnx.fusion.reference import structures
from jax2onnx.program.program import Const

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.fusion.reference import Node, Pattern, Structure
    from jax2onnx.plugin.fusions import Fusion
    from jax2onnx.program.facts import FactTable
    from jax2onnx.program.graph import Graph
    from jax2onnx.program.program import Atom, Eqn, Var

DEPTH = 4
"""How many equations deep a glance goes, the last one's operands by their producers' names only."""


class Glances:
    """Looks backwards from a program's equations for the functions that may end in them.

    Args:
        graph: the program.
        fusions: the functions to look for.
        facts: what is registered about primitives.
    """

    def __init__(self, graph: Graph, fusions: Sequence[Fusion], facts: FactTable) -> None:
        imported = tuple(f for f in fusions if not f.library or f.library in sys.modules)
        self._graph = graph
        self._sought = _sought(imported, frozenset(e.primitive for e in graph.eqns), facts, trace_context())
        self._kinds: tuple[dict[Atom, int], ...] = tuple({} for _ in range(DEPTH))

    def at(self, eqn: Eqn, result: Var) -> list[Structure]:
        """Return the structures that may end in a result of an equation, largest first, by a glance at its operands."""
        dtype = result.aval.dtype
        anchors = self._sought.anchors(dtype)
        if eqn.primitive not in anchors:
            return []
        key = (eqn.primitive, len(eqn.outputs), dtype, *map(self._kind, eqn.inputs))
        shapes = self._sought.plausible.get(key)
        if shapes is None:
            shapes = [s for s in anchors[eqn.primitive] if plausible(s.pattern, self._graph, eqn)]
            self._sought.plausible[key] = shapes
        return shapes

    def _kind(self, atom: Atom, depth: int = DEPTH - 1) -> int:
        """Return a number for what is seen of a value to a depth: where it is equal, so is what is plausible."""
        kinds, numbers = self._kinds[depth], self._sought.numbers
        number = kinds.get(atom)
        if number is None:
            number = kinds[atom] = numbers.setdefault(self._seen(atom, depth), len(numbers))
        return number

    def _seen(self, atom: Atom, depth: int) -> tuple[Any, ...]:
        graph = self._graph
        if isinstance(atom, Const):
            return ()
        scalar = graph.scalars.get(atom)
        seen = graph.maker.get(atom), atom in graph.sizes, None if scalar is None else self._kind(scalar, depth)
        producer = graph.producer.get(atom)
        if depth == 0 or producer is None:
            return seen
        eqn, known = graph.eqns[producer], self._kinds[depth - 1]
        which = () if len(eqn.outputs) == 1 else (len(eqn.outputs), eqn.outputs.index(atom))
        return *seen, which, *[known[a] if a in known else self._kind(a, depth - 1) for a in eqn.inputs]


class _Sought:
    """What is looked for in programs that have the same primitives, and what glances at them left of it.

    Attributes:
        numbers: what a glance saw of a value -> its kind.
        plausible: an equation and the kinds of its operands -> the structures that may end in it.
    """

    def __init__(self, fusions: Sequence[Fusion], present: frozenset[str], facts: FactTable) -> None:
        self._fusions = fusions
        self._facts = facts
        self._present = present
        self._anchors: dict[Any, dict[str, list[Structure]]] = {}
        self.numbers: dict[tuple[Any, ...], int] = {}
        self.plausible: dict[tuple[Any, ...], list[Structure]] = {}

    def anchors(self, dtype: Any) -> dict[str, list[Structure]]:
        """Return the structures whose result has a dtype, largest first, by their last primitive."""
        anchors = self._anchors.get(dtype)
        if anchors is None:
            anchors = self._anchors[dtype] = {}
            name, floating = str(dtype), dtype is not None and jnp.issubdtype(dtype, np.floating)
            tried = [f for f in self._fusions if (name in f.dtypes if f.dtypes else floating)]
            shapes = [s for f in tried for s in structures(f, dtype, self._present, self._facts)]
            for shape in sorted(shapes, key=lambda s: -s.pattern.size):
                anchors.setdefault(shape.pattern.anchor.primitive, []).append(shape)
        return anchors


@functools.lru_cache(maxsize=64)
def _sought(fusions: tuple[Fusion, ...], present: frozenset[str], facts: FactTable, _context: Any) -> _Sought:
    return _Sought(fusions, present, facts)


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
