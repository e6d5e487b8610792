"""Own branches: what one branch of an ``If`` alone needs is computed in it, and so only where the branch is taken.

JAX evaluates both operands of a choice. A branch can do so where a choice has become an ``If``, and where a program
computes ahead of ``lax.cond`` what one of its functions alone reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jax2onnx.tidy.subgraphs import bodies, graph_of, graphs, standard

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir

__all__ = ["compute_in_branches"]


def compute_in_branches(graph: ir.Graph, *, is_body: bool = False) -> None:
    """Move nodes of bodies into the branches that alone need what they compute; outer graphs first.

    ::

        before: y = Exp(x[4]), z = If(c) {Identity(y)} else {Identity(x)}
        after:  z = If(c) {Exp(x[4])} else {Identity(x)}

    What is computed before an ``If`` that is in no body runs once, and stays.
    """
    if is_body:
        nodes = list(graph)
        for place, node in reversed(list(enumerate(nodes))):
            if standard(node) == "If":
                _take(graph, nodes[:place], node)
    for node in graph:
        for body in bodies(node):
            compute_in_branches(body, is_body=True)


def _take(graph: ir.Graph, before: Sequence[ir.Node], choice: ir.Node) -> None:
    """Move nodes before an ``If`` into its branches, from the last one to the first."""
    branches = bodies(choice)
    inside = {inner: branch for branch in branches for inner in graphs(branch)}
    for node in reversed(before):
        branch = _sole_branch(node, inside) if node.graph is graph else None
        if branch is None:
            continue
        graph.remove(node)
        # Names are unique within a graph only: it gets those of the other one.
        node.name = None
        for value in node.outputs:
            value.name = None
        first = branch.node(0)
        first.prepend(node)
        inside.update(dict.fromkeys((inner for body in bodies(node) for inner in graphs(body)), branch))
    for branch in branches:
        _drop_passing(branch)


def _sole_branch(node: ir.Node, inside: Mapping[ir.Graph, ir.Graph]) -> ir.Graph | None:
    """Return the branch in which all is that needs a node, of the standard operators; None if there is no such one."""
    if node.domain:
        return None  # what it does besides computing its results is not known
    found: set[ir.Graph | None] = set()
    for value in node.outputs:
        if value.is_graph_output():
            return None
        found.update(inside.get(graph_of(user)) for user, _ in value.uses())
    return found.pop() if len(found) == 1 else None


def _drop_passing(branch: ir.Graph) -> None:
    """Return what a branch computes in place of what is equal to it: a branch returns no value of another graph."""
    for place, result in enumerate(branch.outputs):
        node = result.producer()
        if node is None or standard(node) != "Identity" or result.uses():
            continue
        value = node.inputs[0]
        producer = None if value is None else value.producer()
        if value is not None and producer is not None and producer.graph is branch and not value.is_graph_output():
            branch.outputs[place] = value
            branch.remove(node, safe=True)
