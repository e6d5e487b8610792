"""Prefilter: which structures may end in an equation, by the primitives of the equations just behind it.

The prefilter looks at the equations that compute an equation's operands, at those behind these, and so on, ``DEPTH``
equations deep. It sees primitives, and which values are constants or sizes. It sees no shapes and no numbers, and not
whether two operands are one value. So it lists more structures than there are, but leaves none out.

What it sees behind a value is a *view*. Equal views have one number, in all programs with the same primitives. The list
for an equation is kept under the numbers of its operands. So a repeated layer costs only the numbers.

The view of a value consists of those of the operands of its equation, which are one equation shorter. What is left of a
view that is made shorter is kept under its number too.
"""

from __future__ import annotations

import functools
import itertools
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from jax2onnx._compat import trace_context
from jax2onnx.fusion.structures import Structures
from jax2onnx.program.program import Const

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from jax2onnx.fusion.reference import Node
    from jax2onnx.fusion.structures import Structure
    from jax2onnx.plugin.fusions import Fusion
    from jax2onnx.program.facts import FactTable
    from jax2onnx.program.graph import Graph
    from jax2onnx.program.program import Atom, Eqn, Var

__all__ = ["DEPTH", "Prefilter"]

DEPTH = 4
"""How many equations deep the prefilter looks; behind the last it sees the primitives that compute the operands."""

_View: TypeAlias = tuple[Any, ...]
"""The primitive that computes a value, whether that is a size, the view of the scalar that it is the broadcast of,
which result of the equation it is and the views of the operands. It is empty for a constant."""

_INPUT: _View = (None, False, None)
"""The view of an input of a program."""


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

    def candidates(self, eqn: Eqn, result: Var) -> Sequence[Structure]:
        """Return the structures that may end in a result of an equation, the largest first."""
        dtype = result.aval.dtype
        structures = self._memory.structures.ending_in(eqn.primitive, dtype)
        if not structures:
            return structures
        key = (eqn.primitive, len(eqn.outputs), dtype, *[self._number(self._views, atom) for atom in eqn.inputs])
        candidates = self._memory.candidates.get(key)
        if candidates is None:
            candidates = [s for s in structures if self._may_be(s.pattern.anchor, eqn)]
            self._memory.candidates[key] = candidates
        return candidates

    @functools.cached_property
    def _views(self) -> Mapping[Atom, int]:
        """The numbers of the views of all that equations compute, each ``DEPTH - 1`` equations deep."""
        graph, memory = self._graph, self._memory
        found: dict[Atom, int] = {}
        for eqn in graph.eqns:
            operands = [memory.shorter(self._number(found, atom), DEPTH - 1) for atom in eqn.inputs]
            count = len(eqn.outputs)
            for index, output in enumerate(eqn.outputs):
                # It holds all that _may_be asks of a value. So equations whose operands have equal views have equal
                # lists. A search asks for the output too; most equations have one.
                scalar = graph.scalars.get(output)
                broadcast = None if scalar is None else self._number(found, scalar)
                which = None if count == 1 else (count, index)
                view = (eqn.primitive, output in graph.sizes, broadcast, which, *operands)
                found[output] = memory.number(view)
        return found

    def _number(self, views: Mapping[Atom, int], atom: Atom) -> int:
        """Return the number of the view of a value; nothing is behind a constant, or an input of the program."""
        known = views.get(atom)
        return self._memory.number(() if isinstance(atom, Const) else _INPUT) if known is None else known

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

    A view holds the numbers of other views, not the views: it is as small as its equation.

    Attributes:
        structures: what is looked for in them.
        candidates: an equation and the numbers of its operands' views -> the structures that may end in it.
    """

    structures: Structures
    candidates: dict[tuple[Any, ...], list[Structure]] = field(default_factory=dict)
    _numbers: dict[_View, int] = field(default_factory=dict)
    _views: dict[int, _View] = field(default_factory=dict)
    _shorter: dict[tuple[int, int], int] = field(default_factory=dict)
    _unused: Iterator[int] = field(default_factory=itertools.count)

    def number(self, view: _View) -> int:
        """Return the number of a view."""
        number = self._numbers.get(view)
        if number is None:
            number = self._numbers.setdefault(view, next(self._unused))
            self._views[number] = view
        return number

    def shorter(self, number: int, depth: int) -> int:
        """Return the number of what is left of a view, so many equations deep, if it goes one equation less deep."""
        left = self._shorter.get((number, depth))
        if left is None:
            left = self._shorter[number, depth] = self.number(self._cut(self._views[number], depth))
        return left

    def _cut(self, view: _View, depth: int) -> _View:
        if len(view) < len(_INPUT):
            return view
        primitive, is_size, broadcast, *behind = view
        if broadcast is not None:
            broadcast = self.shorter(broadcast, depth)
        if depth == 1 or not behind:
            return primitive, is_size, broadcast
        which, *operands = behind
        return primitive, is_size, broadcast, which, *[self.shorter(operand, depth - 1) for operand in operands]


@functools.lru_cache(maxsize=64)
def _memory(
    fusions: tuple[Fusion, ...],
    present: frozenset[str],
    facts: FactTable,
    _context: Any,
) -> _Memory:
    return _Memory(Structures(fusions, present, facts))
