"""Call a rule with the params that it names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jax2onnx.errors import UnsupportedCaseError
from jax2onnx.lowering.faults import no_complex
from jax2onnx.program.represent import on_pairs

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from jax2onnx.plugin.context import LoweringContext
    from jax2onnx.plugin.lowerings import Lowering
    from jax2onnx.program.program import Eqn

__all__ = ["BENIGN_PARAMS", "apply"]

BENIGN_PARAMS = frozenset(
    {
        "accuracy",
        "backend",
        "donated_invars",
        "indices_are_sorted",
        "is_stable",
        "linear",
        "name",
        "out_sharding",
        "precision",
        "sharding",
        "unique_indices",
        "weak_type",
    }
)
"""Params that never change the values a rule must compute; any other that a rule does not name is refused."""


def apply(entry: Lowering, ctx: LoweringContext, operands: list[ir.Value]) -> Any:
    """Call a rule with the params that it names."""
    eqn = ctx.eqn
    params = _named_params(entry, eqn)
    if not entry.via_jax:
        if eqn.paired is not None:
            raise no_complex(eqn)
        return entry.rule(ctx, *operands, **params)
    function = entry.rule
    if eqn.paired is not None:
        function = on_pairs(function, eqn.paired)
    return ctx.via_jax(function, *operands, **params)


def _named_params(entry: Lowering, eqn: Eqn) -> Mapping[str, Any]:
    """Return the params that a rule names; refuse a further one that may change the result."""
    params = eqn.params
    if entry.params is None or entry.params == params.keys():
        return params
    named = {}
    for name, value in params.items():
        if name in entry.params:
            named[name] = value
        elif name not in BENIGN_PARAMS and value is not None:
            msg = f"{eqn.primitive}: the rule does not know the parameter {name}={value!r}"
            raise UnsupportedCaseError(msg, remedy="update the plugin; this jax is newer than it")
    return named
