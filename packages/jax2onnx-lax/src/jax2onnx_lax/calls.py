"""State the facts of primitives that only call a jaxpr, and of those that return their operands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jax2onnx.plugin import Facts, composite_name, expand_hi_primitive, expand_run_state, open_jaxpr

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundLowerings

CALLS = {
    "jit": ("jaxpr",),
    "pjit": ("jaxpr",),
    "call": ("call_jaxpr",),
    "closed_call": ("call_jaxpr",),
    "core_call": ("call_jaxpr",),
    "eval_jaxpr": ("call_jaxpr", "jaxpr"),
    "remat2": ("jaxpr",),
    "checkpoint": ("jaxpr",),
    "remat_opt": ("fwd_jaxpr",),
    "custom_jvp_call": ("call_jaxpr",),
    "custom_vjp_call": ("call_jaxpr",),
    "custom_vjp_call_jaxpr": ("fun_jaxpr",),
    "custom_vmap_call": ("call",),
    "custom_dce_call": ("fun_jaxpr",),
    "custom_partitioning": ("call",),
    "custom_transpose_call": ("call",),
    "linear_call": ("callee",),
    "composite": ("call_jaxpr", "jaxpr"),
    "compute_on": ("jaxpr",),
    "xla_metadata_call": ("jaxpr",),
    "cudnn_fusion": ("jaxpr",),
}
"""Primitives that only call a jaxpr, with the params that may hold it (the name changes between jax releases)."""

IDENTITIES = (
    "stop_gradient", "copy", "copy_p", "sharding_constraint", "layout_constraint", "optimization_barrier", "reshard",
    "pvary", "name", "device_put", "random_clone", "reduced_vary_cast", "with_memory_space_constraint", "pin", "unpin",
)  # fmt: skip
"""Primitives that return their operands; they matter to derivatives, devices or XLA only."""


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts({name: Facts(calls=params) for name, params in CALLS.items()})
    registry.facts(dict.fromkeys(IDENTITIES, Facts(identity=True)))
    registry.facts(
        {
            **dict.fromkeys(("jit", "pjit"), Facts(compiles=True)),
            "composite": Facts(named=_composite_name),
            "call_hi_primitive": Facts(calls=expand_hi_primitive),
            "run_state": Facts(calls=expand_run_state),
            "shard_map": Facts(calls=_on_one_device),
            "new_ref": Facts(stateful=True),
        }
    )


def _composite_name(eqn: Any) -> str:
    return composite_name(eqn.params["name"], eqn.params["version"])


def _on_one_device(eqn: Any) -> tuple[Any, Sequence[Any]] | None:
    """Return the jaxpr of a ``shard_map`` over one device, which is only called."""
    return open_jaxpr(eqn.params["jaxpr"]) if eqn.params["mesh"].size == 1 else None
