"""What reaches outside the program: callbacks and prints, foreign kernels, and other devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jax import lax

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir

    from jax2onnx.errors import UnsupportedCaseError
    from jax2onnx.lower import LoweringContext
    from jax2onnx.registry import BoundLowerings

DROPPED = (
    "jax.debug prints and callbacks are left out of the model: ONNX has no side effects; "
    "remove them to silence this warning"
)
"""The warning that an export gives once, however many prints there were."""

_COLLECTIVES = (
    "all_gather",
    "all_gather_invariant",
    "all_gather_reduced",
    "all_to_all",
    "axis_index",
    "pbroadcast",
    "pgather",
    "ppermute",
    "psum_invariant",
    "ragged_all_to_all",
    "reduce_scatter",
    "shard_map",
    "xla_pmap",
)


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.table(dict.fromkeys(("debug_callback", "debug_print", "inspect_sharding"), dropped))
    registry.table({"pure_callback": python_callback, "io_callback": python_callback})
    registry.table({"ffi_call": ffi_call, "pallas_call": pallas_call, "check": check})
    registry.table(dict.fromkeys(_COLLECTIVES, collective))
    registry.table(
        {"psum": _reduction(lax.reduce_sum), "pmax": _reduction(lax.reduce_max), "pmin": _reduction(lax.reduce_min)}
    )


def dropped(ctx: LoweringContext, *operands: ir.Value, **params: Any) -> Sequence[ir.Value]:
    """Lower a debugging aid to nothing, with a warning."""
    del operands, params
    ctx.warnings.append(DROPPED)
    return []


def python_callback(ctx: LoweringContext, *operands: ir.Value, callback: Any, **params: Any) -> Sequence[ir.Value]:
    """Refuse a call back to Python, by the name of the function."""
    del operands, params
    function = getattr(callback, "callback_func", callback)
    raise ctx.unsupported(
        f"the program calls back to the Python function {_name(function)}, which no model can hold",
        _remedy(ctx, "write it in jax.numpy"),
    )


def ffi_call(ctx: LoweringContext, *operands: ir.Value, target_name: str, **params: Any) -> Sequence[ir.Value]:
    """Refuse a foreign function, by the name of its target."""
    del operands, params
    raise ctx.unsupported(
        f"the program calls the foreign function {target_name!r}", _remedy(ctx, "export on a path that does not use it")
    )


def pallas_call(ctx: LoweringContext, *operands: ir.Value, jaxpr: Any, **params: Any) -> Sequence[ir.Value]:
    """Refuse a Pallas kernel, by its name."""
    del operands, params
    raise ctx.unsupported(
        f"the program runs the Pallas kernel {jaxpr.debug_info.func_src_info}",
        _remedy(ctx, "export the reference implementation in jax.numpy"),
    )


def check(ctx: LoweringContext, *operands: ir.Value, **params: Any) -> Sequence[ir.Value]:
    """Refuse a check that ``jax.experimental.checkify`` has not turned into values."""
    del operands, params
    raise ctx.unsupported("a model cannot raise errors", "export checkify.checkify(fn), or the function without checks")


def collective(ctx: LoweringContext, *operands: ir.Value, **params: Any) -> Sequence[ir.Value]:
    """Refuse communication between devices."""
    del operands, params
    raise _no_devices(ctx)


def _reduction(reduce: Callable[..., Any]) -> Callable[..., Any]:
    """Return the rule of a collective reduction; ``vmap`` with an axis name leaves it with positional axes."""

    def rule(
        ctx: LoweringContext, *operands: ir.Value, axes: Sequence[Any], axis_index_groups: Any = None
    ) -> Sequence[ir.Value]:
        if axis_index_groups is not None or not all(isinstance(a, int) for a in axes):
            raise _no_devices(ctx)
        values: list[ir.Value] = ctx.via_jax(lambda *xs: [reduce(x, tuple(axes)) for x in xs], *operands)
        return values

    return rule


def _no_devices(ctx: LoweringContext) -> UnsupportedCaseError:
    axis = next((ctx.eqn.params[p] for p in ("axis_name", "axes", "axis") if p in ctx.eqn.params), None)
    over = f" over the axis {axis!r}" if axis is not None else ""
    return ctx.unsupported(
        f"the program communicates between devices{over}; a model runs on one",
        "export the function of one device, or give its axis a name with jax.vmap(..., axis_name=...)",
    )


def _name(function: Any) -> str:
    return str(getattr(function, "__qualname__", None) or getattr(function, "__name__", None) or function)


def _remedy(ctx: LoweringContext, other: str) -> str:
    return f"{other}, or pass lowerings={{{ctx.eqn.primitive!r}: rule}}"
