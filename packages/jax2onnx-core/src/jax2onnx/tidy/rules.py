"""Rules: rewrites of the nodes of some operators. A graph that has none of these is not looked through for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from jax2onnx.tidy.initializers import Home

__all__ = ["Rewrite", "by_rules", "rewrite_all", "rewrites"]

_Function: TypeAlias = "Callable[[Sequence[ir.Node], Home], object]"


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A rewrite of the nodes of some operators.

    Attributes:
        operators: the operators, of the default domain.
        beside: operators of which the graph must have one as well; if it is empty, none.
        function: is given such nodes of a graph, in their order; it may return False if it has changed nothing.
        keeps_nodes: whether the graph has the same nodes afterwards, with other operands or shapes.
    """

    operators: frozenset[str]
    beside: frozenset[str]
    function: _Function
    keeps_nodes: bool = False

    def __call__(self, graph: ir.Graph, home: Home) -> None:
        """Rewrite the nodes of a graph."""
        rewrite_all([self], graph, home)


def rewrites(*operators: str, beside: Iterable[str] = (), keeps_nodes: bool = False) -> Callable[[_Function], Rewrite]:
    """Make a rewrite of a function of the nodes of some operators."""
    return lambda function: Rewrite(frozenset(operators), frozenset(beside), function, keeps_nodes)


def by_rules(rules: Mapping[str, Callable[[ir.Node, Home], None]]) -> Rewrite:
    """Return the rewrite that applies to each node that leaves out no input the rule of its operator.

    Nodes without users stay.
    """

    @rewrites(*rules)
    def apply(nodes: Sequence[ir.Node], home: Home) -> None:
        for node in nodes:
            rule = rules.get(node.op_type)
            if rule is not None and None not in node.inputs:
                rule(node, home)

    return apply


def rewrite_all(several: Iterable[Rewrite], graph: ir.Graph, home: Home) -> None:
    """Apply rewrites one after the other. Those that the graph has no nodes for leave it as it is."""
    nodes: list[ir.Node] = []
    kinds: list[str] = []
    present: set[str] | None = None
    for rewrite in several:
        if present is None:
            nodes = list(graph)
            kinds = [node.op_type for node in nodes]
            present = set(kinds)
        operators, beside = rewrite.operators, rewrite.beside
        if present.isdisjoint(operators) or (beside and present.isdisjoint(beside)):
            continue
        chosen = [node for node, kind in zip(nodes, kinds, strict=True) if kind in operators and not node.domain]
        if chosen:
            changed = rewrite.function(chosen, home)
            present = present if rewrite.keeps_nodes or changed is False else None
