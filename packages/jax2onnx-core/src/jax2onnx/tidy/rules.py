"""Rules: rewrites of single nodes and of what is before them, by operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import onnx_ir as ir

    from jax2onnx.tidy.initializers import Home

__all__ = ["apply_rules"]


def apply_rules(graph: ir.Graph, rules: Mapping[str, Callable[[ir.Node, Home], None]], home: Home) -> None:
    """Apply to each standard node that leaves out no input the rule of its operator; nodes without users stay."""
    for node in list(graph):
        rule = rules.get(node.op_type)
        if rule is not None and not node.domain and None not in node.inputs:
            rule(node, home)
