"""Mending: the nodes that a runtime would compute wrongly are rewritten, or refused, as its target tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jax2onnx.errors import ConversionError, NoKernelError
from jax2onnx.tidy.subgraphs import graphs, standard

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.legalise.targets import Fault, Target

__all__ = ["Mender", "mend"]

_SEEN = "jax2onnx.mended"
"""What nodes have in their metadata that were looked at."""


class Mender:
    """Rewrites nodes, each once, for the faults of a target.

    Args:
        target: the target.
        without: receives an error for each node that cannot be rewritten.

    Attributes:
        faults: the faults that are mended, by operator.
    """

    def __init__(self, target: Target, without: list[NoKernelError]) -> None:
        self._runtime = target.runtime
        self._without = without
        self.faults: dict[str, list[Fault]] = {}
        for fault in target.faults:
            if fault.mend is not None:
                for op_type in fault.operators:
                    self.faults.setdefault(op_type, []).append(fault)

    def mend(self, graph: ir.Graph, node: ir.Node) -> None:
        """Rewrite a node if a fault concerns it."""
        op_type = node.op_type
        if op_type not in self.faults or node.meta.get(_SEEN):
            return
        node.meta[_SEEN] = True
        for fault in self.faults[op_type]:
            if node.graph is graph and standard(node) == op_type:
                self._rewrite(graph, node, fault)

    def _rewrite(self, graph: ir.Graph, node: ir.Node, fault: Fault) -> None:
        assert fault.mend is not None
        reason = fault.mend(graph, node)
        if reason is not None:
            self._without.append(
                NoKernelError(
                    f"{self._runtime}: {fault.fact}; {reason}",
                    where=node.metadata_props.get("jax2onnx.source"),
                    plugin=node.metadata_props.get("jax2onnx.plugin"),
                    remedy=fault.remedy or "target='onnx' for a runtime that computes it",
                )
            )


def mend(model: ir.Model, target: Target) -> None:
    """Rewrite the nodes of a model before they are written for an older opset: rules of mending know no older forms.

    Raises:
        NoKernelError: a node cannot be rewritten; one error for all such nodes.
    """
    without: list[NoKernelError] = []
    mender = Mender(target, without)
    for root in (model.graph, *(function.graph for function in model.functions.values())):
        for graph in reversed(graphs(root)):
            for node in list(graph):
                mender.mend(graph, node)
    if without:
        raise ConversionError.together(without)
