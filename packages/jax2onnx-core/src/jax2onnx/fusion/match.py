"""Unification: find a traced reference in a program, backwards from one equation, without recursion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from jax2onnx.fusion.equality import difference, same_constant, told
from jax2onnx.program.program import Const

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from jax2onnx.fusion.reference import Node, Operand, Pattern
    from jax2onnx.program.graph import Graph
    from jax2onnx.program.program import Atom, Eqn, Var

Bindings: TypeAlias = "dict[Atom, Atom]"
"""Values of the reference -> values of the program."""

Goals: TypeAlias = "tuple[Operand, Atom, Goals] | None"
"""A linked list of pairs still to be unified."""

MAX_STEPS_PER_NODE = 64
"""Bounds the search over swapped operands, which is exponential in the worst case."""


class Search:
    """One attempt to find a pattern; :meth:`run` returns the bindings, or None.

    Args:
        pattern: the traced reference.
        graph: the program.
        exact: compare parameters, literals, shapes and dtypes too, instead of binding whatever has the structure.
        bound: what the pattern's inputs are bound to, for an exact search.
    """

    def __init__(self, pattern: Pattern, graph: Graph, *, exact: bool, bound: Bindings | None = None) -> None:
        self._pattern = pattern
        self._graph = graph
        self._exact = exact
        self._env: Bindings = dict(bound or {})
        self._trail: list[Atom] = []
        self._choices: list[tuple[Goals, int]] = []
        self._difference: Callable[[], str] = str
        self.reached = -1

    @property
    def difference(self) -> str:
        """What stood against the pattern where the search got furthest, after :attr:`reached` equations."""
        return self._difference()

    def run(self, anchor: Eqn, result: Var) -> Bindings | None:
        """Search backwards from one result of an equation."""
        node = self._pattern.anchor
        self._bind(self._pattern.output, result)
        goals = self._equation(node, anchor, None) if self._ends(node, anchor, result) else False
        for _ in range(MAX_STEPS_PER_NODE * self._pattern.size):
            if goals is False:
                if not self._choices:
                    return None
                goals = self._backtrack()
            elif goals is None:
                return self._env
            else:
                operand, atom, rest = goals
                goals = self._step(operand.atom, atom, rest)
        return None

    def _backtrack(self) -> Goals:
        goals, mark = self._choices.pop()
        while len(self._trail) > mark:
            del self._env[self._trail.pop()]
        return goals

    def _bind(self, reference: Atom, atom: Atom) -> None:
        self._env[reference] = atom
        self._trail.append(reference)

    def _step(self, reference: Atom, atom: Atom, rest: Goals) -> Goals | Literal[False]:
        """Unify one pair; return the goals that remain, or False."""
        if isinstance(reference, Const):
            return rest if self._constants_agree(reference, atom) else False
        known = self._env.get(reference)
        if known is not None:
            if known is atom or self._same_constant(known, atom):
                return rest
            return self._differ(lambda: "two values stand where the function has one")
        node = self._pattern.nodes.get(reference)
        if node is None:
            self._bind(reference, atom)
            return rest
        index = self._graph.producer.get(atom)
        if index is None:
            return self._differ(lambda: f"an input or a constant stands where the function has {node.primitive}")
        eqn = self._graph.eqns[index]
        if not self._ends(node, eqn, atom):
            return False
        self._bind(reference, atom)
        return self._equation(node, eqn, rest)

    def _ends(self, node: Node, eqn: Eqn, result: Atom) -> bool:
        if not self._agree(node, eqn):
            return False
        return eqn.outputs[node.index] is result or self._differ(lambda: f"another result of {node.primitive} is read")

    def _agree(self, node: Node, eqn: Eqn) -> bool:
        same = node.primitive == eqn.primitive and len(node.operands) == len(eqn.inputs)
        if not same or node.index >= len(eqn.outputs):
            return self._differ(lambda: f"{eqn.primitive} stands where the function has {node.primitive}")
        if not self._exact:
            return True
        aval = eqn.outputs[node.index].aval
        if node.aval.dtype != aval.dtype or node.aval.shape != aval.shape:
            return self._differ(
                lambda: f"{node.primitive} gives {aval.str_short()} where the function gives {node.aval.str_short()}"
            )
        other = difference(eqn, node)
        if other is not None:
            return self._differ(lambda: f"{node.primitive} has {other}")
        return True

    def _equation(self, node: Node, eqn: Eqn, rest: Goals) -> Goals | Literal[False]:
        """Return the goals of an equation's operands, in the order given or swapped."""
        inputs = eqn.inputs
        straight = self._push(node, inputs, rest)
        if node.commutes and inputs[0] is not inputs[1]:
            swapped = self._push(node, inputs[::-1], rest)
            if straight is False:
                straight = swapped
            elif swapped is not False:
                self._choices.append((swapped, len(self._trail)))
        return straight if straight is not False else self._differ(lambda: f"{node.primitive} has other operands")

    def _push(self, node: Node, inputs: Sequence[Atom], rest: Goals) -> Goals | Literal[False]:
        """Add the pairs of operands, unless one tells at a glance that it is another."""
        graph = self._graph
        for operand, atom in zip(reversed(node.operands), reversed(inputs), strict=True):
            read = graph.scalars.get(atom, atom) if operand.scalar else atom
            if operand.maker is not None:
                if graph.maker.get(read) != operand.maker:
                    return False
            elif isinstance(operand.atom, Const) and not (
                isinstance(read, Const) or (not self._exact and read in graph.sizes)
            ):
                return False
            rest = (operand, read, rest)
        return rest

    def _constants_agree(self, reference: Const, atom: Atom) -> bool:
        if not self._exact:
            return isinstance(atom, Const) or atom in self._graph.sizes
        if self._same_constant(reference, atom):
            return True
        return self._differ(lambda: f"{told(atom)} stands where the function has {told(reference)}")

    def _same_constant(self, known: Atom, atom: Atom) -> bool:
        return isinstance(known, Const) and isinstance(atom, Const) and same_constant(known, atom)

    def _differ(self, what: Callable[[], str]) -> Literal[False]:
        if len(self._trail) > self.reached:
            self._difference = what
            self.reached = len(self._trail)
        return False


def interior(graph: Graph, pattern: Pattern, env: Mapping[Atom, Atom]) -> tuple[set[int], set[int]]:
    """Return the equations found, and those passed on the way: broadcasts of scalars and sizes."""
    found = {graph.producer[env[v]] for v in pattern.nodes if v in env}
    bound = {env[v] for v in pattern.inputs}
    passed = {i for i in found if all(o in graph.sizes for o in graph.eqns[i].outputs)}
    pending = list(found)
    while pending:
        for atom in graph.eqns[pending.pop()].inputs:
            index = graph.producer.get(atom)
            if atom in bound or index is None or index in found or index in passed:
                continue
            passed.add(index)
            pending.append(index)
    return found - passed, passed


def owned(graph: Graph, users: Mapping[Atom, Sequence[int]], found: set[int], passed: Iterable[int]) -> set[int]:
    """Return the equations found with those passed that are not shared with the rest of the program.

    What is shared stays; whoever needs it may compute it anew.
    """
    own = set(found)
    for i in sorted(passed, reverse=True):
        if not _read_outside(graph, users, own, (i,)):
            own.add(i)
    return own


def _read_outside(graph: Graph, users: Mapping[Atom, Sequence[int]], found: set[int], eqns: Iterable[int]) -> bool:
    for i in eqns:
        for output in graph.eqns[i].outputs:
            if not found.issuperset(users.get(output, ())):
                return True
    return False


def escapes(
    graph: Graph, users: Mapping[Atom, Sequence[int]], found: set[int], anchor: int, results: Sequence[Var]
) -> bool:
    """Tell whether a value inside, other than the results, is used outside."""
    others = (o for o in graph.eqns[anchor].outputs if o not in results)
    return any(o in users for o in others) or _read_outside(graph, users, found, found - {anchor})
