"""Prefilter: which structures may end in an equation, by the primitives of the equations just behind it.

The prefilter looks at the equations that compute an equation's operands, at those behind these, and so on, ``DEPTH``
equations deep. It sees primitives, and which values are constants or sizes. It sees no shapes and no numbers, and not
whether two operands are one value. So it lists more structures than there are, but leaves none out.

What it sees behind a value is a *view*. Equal views have one number, in all programs with the same primitives. The list
for an equation is kept under the numbers of its operands. So a repeated layer costs only the numbers.
"""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from jax2onnx._compat import trace_context
from jax2onnx.fusion.structures import Structures
from jax2onnx.program.program import Const

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jax2onnx.fusion.reference import Node
    from jax2onnx.fusion.structures import Structure
    from jax2onnx.plugin.fusions import Fusion
    from jax2onnx.program.facts import FactTable
    from jax2onnx.program.graph import Graph
    from jax2onnx.program.program import Atom, Eqn, Var

__all__ = ["DEPTH", "Prefilter"]

DEPTH = 4
"""How many equations deep the prefilter looks; behind the last it sees the primitives that compute the operands."""


class Prefilter:
    """Lists the structures that may end in the equations of one program.

    Args:
        graph: the program.
        fusions: the functions to look for.
        facts: what is registered about primitives.
    """

    def __init__(
        self,
        graph: Graph,
        fusions: Iterable[Fusion],
        facts: FactTable,
    ) -> None:
        imported = tuple(f for f in fusions if not f.library or f.library in sys.modules)
        present = frozenset(e.primitive for e in graph.eqns)
        self._graph = graph
        self._memory = _memory(imported, present, facts, trace_context())
        self._numbers: list[dict[Atom, int]] = [{} for _ in range(DEPTH)]

    def candidates(self, eqn: Eqn, result: Var) -> Sequence[Structure]:
        """Return the structures that may end in a result of an equation, the largest first."""
        dtype = result.aval.dtype
        structures = self._memory.structures.ending_in(eqn.primitive, dtype)
        if not structures:
            return structures
        key = (eqn.primitive, len(eqn.outputs), dtype, *map(self._number, eqn.inputs))
        candidates = self._memory.candidates.get(key)
        if candidates is None:
            candidates = [s for s in structures if self._may_be(s.pattern.anchor, eqn)]
            self._memory.candidates[key] = candidates
        return candidates

    def _number(self, atom: Atom, depth: int = DEPTH - 1) -> int:
        """Return the number of a value's view, which goes as many equations deep."""
        number = self._numbers[depth].get(atom)
        if number is None:
            # A view holds the numbers of other views, not the views: it is as small as its equation.
            numbers = self._memory.numbers
            number = numbers.setdefault(self._view(atom, depth), len(numbers))
            self._numbers[depth][atom] = number
        return number

    def _view(self, atom: Atom, depth: int) -> tuple[Any, ...]:
        # It holds all that _may_be asks of a value. So equations whose operands have equal views have equal lists.
        graph = self._graph
        if isinstance(atom, Const):
            return ()
        broadcast = None
        if atom in graph.scalars:
            broadcast = self._number(graph.scalars[atom], depth)
        is_size = atom in graph.sizes
        view = graph.maker.get(atom), is_size, broadcast
        position = graph.producer.get(atom)
        if depth == 0 or position is None:
            return view
        eqn = graph.eqns[position]
        which = None  # a search asks for the output too; most equations have one
        if len(eqn.outputs) > 1:
            which = len(eqn.outputs), eqn.outputs.index(atom)
        operands = [self._number(operand, depth - 1) for operand in eqn.inputs]
        return *view, which, *operands

    def _may_be(self, node: Node, eqn: Eqn, depth: int = DEPTH) -> bool:
        """Return whether an equation may be a reference's, by what stands at most ``depth`` equations behind it."""
        if not node.same_operation(eqn):
            return False
        if self._may_read(node, eqn.inputs, depth):
            return True
        swapped = eqn.inputs[::-1]
        return node.eqn.facts.commutes and self._may_read(node, swapped, depth)

    def _may_read(
        self,
        node: Node,
        inputs: Sequence[Atom],
        depth: int,
    ) -> bool:
        graph = self._graph
        for operand, atom in zip(node.operands, inputs, strict=True):
            read = operand.read(atom, graph, sizes=True)
            if read is None:
                return False
            if operand.node is None:
                continue
            eqn = graph.eqns[graph.producer[read]]
            if not operand.node.gives(eqn, read):
                return False
            if depth > 1 and not self._may_be(operand.node, eqn, depth - 1):
                return False
        return True


@dataclass(frozen=True, slots=True, eq=False)
class _Memory:
    """What programs that have the same primitives share.

    Attributes:
        structures: what is looked for in them.
        numbers: view of a value -> its number.
        candidates: an equation and the numbers of its operands' views -> the structures that may end in it.
    """

    structures: Structures
    numbers: dict[tuple[Any, ...], int] = field(default_factory=dict)
    candidates: dict[tuple[Any, ...], list[Structure]] = field(default_factory=dict)


@functools.lru_cache(maxsize=64)
def _memory(
    fusions: tuple[Fusion, ...],
    present: frozenset[str],
    facts: FactTable,
    _context: Any,
) -> _Memory:
    return _Memory(Structures(fusions, present, facts))
