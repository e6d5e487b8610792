"""Composites: the rule of one ``jax.lax.composite`` among all, registered by its name and version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax

from jax2onnx._compat import plain_attribute
from jax2onnx.plugin.fusions import Decline

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

    from jax2onnx.plugin.context import LoweringContext

__all__ = ["composite", "composite_name"]


def composite_name(name: str, version: int) -> str:
    """Return the name under which the rule for a composite is registered."""
    return f"composite {name} {version}"


def composite(rule: Callable[..., Any] | None) -> Callable[..., Any]:
    """Return the rule of a composite's equation: the given one for its operands and attributes, or its body."""

    def lower(ctx: LoweringContext, *operands: ir.Value, attributes: Any, **params: Any) -> Any:
        if rule is not None:
            values = {
                name: jax.tree_util.tree_unflatten(tree, map(plain_attribute, leaves))
                for name, leaves, tree in attributes
            }
            try:
                return rule(ctx, *operands, **values)
            except Decline:
                pass
        body = params["call_jaxpr"] if "call_jaxpr" in params else params["jaxpr"]
        return ctx.inline(body, *operands)

    return lower
