"""Match: unify a traced reference with a program, backwards from one equation, without recursion.

A search has a list of goals. A goal is a value of the reference and the value of the program that has to be the same.
If equations compute both, the equations must agree, and their operands are further goals. An input of the reference is
bound to the value of the program; wherever else the input is used, the same value has to stand. If the operands of an
equation commute, they are tried in the given order, and the swapped order is kept as an alternative. The search goes
back to the latest alternative when a goal cannot be reached.

Invariant: a successful search has bound each value of the reference to one value of the program, and the equations of
all these pairs agree. In an exact search they agree in all that changes numbers. Then the program computes there what
the reference computes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from jax2onnx.fusion.equality import describe, difference, same_constant
from jax2onnx.program.program import Const

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax2onnx.fusion.reference import Node, Operand, Pattern
    from jax2onnx.program.graph import Graph
    from jax2onnx.program.program import Atom, Eqn

__all__ = ["MAX_STEPS_PER_NODE", "Search"]

_Goals: TypeAlias = "tuple[Operand, Atom, _Goals] | tuple[()]"
"""A linked list: an operand of the reference, the value of the program that has to be it, the other goals."""

MAX_STEPS_PER_NODE = 64
"""Bounds the search over swapped operands, which is exponential in the worst case."""


class Search:
    """One attempt to find a pattern in a program.

    Args:
        pattern: the traced reference.
        graph: the program.
        bound: what the pattern's inputs are bound to, for an exact search, which compares parameters, literals, shapes
            and dtypes. A loose search, without ``bound``, compares the structure alone.

    Attributes:
        bindings: values of the reference -> values of the program.
        difference: what stood against the pattern where the search got furthest.
        matched: how many equations were equal before that.
    """

    def __init__(
        self,
        pattern: Pattern,
        graph: Graph,
        bound: Sequence[Atom] | None = None,
    ) -> None:
        self.bindings: dict[Atom, Atom] = {}
        self.difference = ""
        self.matched = -1
        self._pattern = pattern
        self._graph = graph
        self._exact = bound is not None
        self._trail: list[Atom] = []  # what the search has bound, in this order
        self._alternatives: list[tuple[_Goals, int]] = []  # goals, and how long the trail was when they were kept
        if bound is not None:
            self.bindings.update(zip(pattern.program.inputs, bound, strict=True))

    def run(self, anchor: Eqn, result: Atom) -> bool:
        """Search backwards from one result of an equation; return whether the pattern is there."""
        node = self._pattern.anchor
        self._bind(node.output, result)
        goals: _Goals | None = None
        if self._agree(node, anchor, result):
            goals = self._operand_goals(node, anchor, ())
        for _ in range(MAX_STEPS_PER_NODE * len(self._pattern.program.eqns)):
            if goals is None:
                if not self._alternatives:
                    return False
                goals = self._go_back()
            elif not goals:
                return True
            else:
                operand, atom, rest = goals
                goals = self._unify(operand, atom, rest)
        return False

    def _go_back(self) -> _Goals:
        """Return the goals of the latest alternative, and forget what was bound since."""
        goals, length = self._alternatives.pop()
        while len(self._trail) > length:
            reference = self._trail.pop()
            del self.bindings[reference]
        return goals

    def _bind(self, reference: Atom, atom: Atom) -> None:
        self.bindings[reference] = atom
        self._trail.append(reference)

    def _fail(self, difference: str) -> None:
        """Note a difference, if the search has not been further before."""
        if len(self._trail) > self.matched:
            self.difference = difference
            self.matched = len(self._trail)

    def _unify(
        self,
        operand: Operand,
        atom: Atom,
        rest: _Goals,
    ) -> _Goals | None:
        """Reach one goal; return the goals that are left then, or None if it cannot be reached."""
        reference = operand.atom
        if isinstance(reference, Const):
            # Operand.read has seen to it that the atom is a constant too, or, in a loose search, perhaps a size.
            if not self._exact or same_constant(reference, atom):
                return rest
            self._fail(f"{describe(atom)} stands where the function has {describe(reference)}")
            return None
        # The same constant may stand at two uses of one input, as two objects.
        known = self.bindings.get(reference)
        if known is not None:
            if known is atom or same_constant(known, atom):
                return rest
            self._fail("two values stand where the function has one")
            return None
        node = operand.node
        if node is None:
            self._bind(reference, atom)
            return rest
        position = self._graph.producer.get(atom)
        if position is None:
            self._fail(f"an input or a constant stands where the function has {node.primitive}")
            return None
        eqn = self._graph.eqns[position]
        if not self._agree(node, eqn, atom):
            return None
        self._bind(reference, atom)
        return self._operand_goals(node, eqn, rest)

    def _agree(self, node: Node, eqn: Eqn, result: Atom) -> bool:
        """Return whether an equation is the reference's, except for its operands."""
        mismatch = self._mismatch(node, eqn)
        if not mismatch and not node.gives(eqn, result):
            mismatch = f"another result of {node.primitive} is read"
        if mismatch:
            self._fail(mismatch)
        return not mismatch

    def _mismatch(self, node: Node, eqn: Eqn) -> str | None:
        if not node.same_operation(eqn):
            return f"{eqn.primitive} stands where the function has {node.primitive}"
        if not self._exact:
            return None
        aval = eqn.outputs[node.index].aval
        wanted = node.output.aval
        if aval.dtype != wanted.dtype or aval.shape != wanted.shape:
            return f"{node.primitive} gives {aval.str_short()} where the function gives {wanted.str_short()}"
        parameter = difference(eqn, node.eqn)
        if parameter is None:
            return None
        return f"{node.primitive} has {parameter}"

    def _operand_goals(self, node: Node, eqn: Eqn, rest: _Goals) -> _Goals | None:
        """Return the goals with an equation's operands before them, in the order given or swapped."""
        goals = self._push(node, eqn.inputs, rest)
        if node.eqn.facts.commutes and eqn.inputs[0] is not eqn.inputs[1]:
            swapped = self._push(node, eqn.inputs[::-1], rest)
            if goals is None:
                goals = swapped
            elif swapped is not None:
                self._alternatives.append((swapped, len(self._trail)))
        if goals is None:
            self._fail(f"{node.primitive} has other operands")
        return goals

    def _push(self, node: Node, inputs: Sequence[Atom], rest: _Goals) -> _Goals | None:
        for operand, atom in zip(reversed(node.operands), reversed(inputs), strict=True):
            read = operand.read(atom, self._graph, sizes=not self._exact)
            if read is None:
                return None
            rest = (operand, read, rest)
        return rest

    def positions(self) -> tuple[set[int], list[int]]:
        """Return the positions of the equations that were matched, and of all that the function stands for, in order.

        The others are auxiliary: they broadcast scalars or compute sizes, and the search has read through them.
        """
        graph = self._graph
        program = self._pattern.program
        inputs = {self.bindings[v] for v in program.inputs}
        matched: set[int] = set()
        for eqn in program.eqns:
            for output in self.bindings.keys() & eqn.outputs:
                matched.add(graph.producer[self.bindings[output]])
        # An operand of an equation inside is an input, a constant, or computed inside: by what was matched, or by what
        # was read through. So the walk never leaves the function.
        inside = set(matched)
        pending = list(matched)
        while pending:
            for atom in graph.eqns[pending.pop()].inputs:
                position = graph.producer.get(atom)
                if position is None or position in inside or atom in inputs:
                    continue
                inside.add(position)
                pending.append(position)
        sizes = {i for i in matched if graph.sizes.issuperset(graph.eqns[i].outputs)}
        return matched - sizes, sorted(inside)
