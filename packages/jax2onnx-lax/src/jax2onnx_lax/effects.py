"""Lower or refuse what reaches outside the program: callbacks and prints, foreign kernels, and other devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jax import lax

from jax2onnx.plugin import Facts, interpreted_kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir

    from jax2onnx.errors import UnsupportedCaseError
    from jax2onnx.plugin import BoundLowerings, LoweringContext

DROPPED = (
    "jax.debug prints and callbacks are left out of the model: ONNX has no side effects; "
    "remove them to silence this warning"
)
"""The warning that an export gives once, however many prints there were."""

_ALONE = (
    "all_gather", "all_gather_invariant", "all_gather_reduced", "all_to_all", "pbroadcast", "ppermute", "preduced",
    "psum_invariant", "reduce_scatter", "reduced_vary_cast_p", "unreduced_pmax", "unreduced_pmin",
    "unreduced_psum", "unreduced_reduce_scatter", "vary_unreduced_cast", "vary_unreduced_cast_p",
)  # fmt: skip
"""Communication that, with one device alone, gives each operand back, perhaps with or without an axis of size 1."""

_DEVICES = (
    "all_gather_done", "all_gather_reduced_start", "all_gather_start", "all_to_all_done", "all_to_all_start",
    "full_to_shard", "global_array_to_host_local_array", "host_local_array_to_global_array", "mpmd_map",
    "pbroadcast_done", "pbroadcast_dynamic", "pbroadcast_start", "pgather", "ppermute_done", "ppermute_start", "precv",
    "psend", "psum_done", "psum_invariant_start", "psum_start", "ragged_all_to_all", "reduce_scatter_done",
    "reduce_scatter_start", "relayout", "shard_map", "shard_to_full", "stage", "unreduced_psum_start",
    "unreduced_reduce_scatter_start", "xla_pmap",
)  # fmt: skip
"""Communication and placement that only has a meaning with several devices."""

_KERNELS = (
    "bitcast", "core_map", "create_linear", "max_contiguous", "multiple_of", "reciprocal", "remove_memory_space",
    "repeat", "roll", "run_scoped", "tpu_custom_call",
)  # fmt: skip
"""What only kernels consist of."""

_GPU = (
    "coo_spmm", "coo_spmv", "csr_spmm", "csr_spmv", "dot_product_attention_bwd", "dot_product_attention_bwd_wrapper",
    "dot_product_attention_fp8_bwd", "dot_product_attention_fp8_bwd_wrapper", "dot_product_attention_fp8_fwd",
    "dot_product_attention_fp8_fwd_wrapper", "dot_product_attention_fwd", "dot_product_attention_fwd_wrapper",
    "scaled_matmul_wrapper",
)  # fmt: skip

_REFUSALS = (
    (_KERNELS, "this belongs inside of a kernel", "export the reference implementation in jax.numpy"),
    (_GPU, "this calls a library for GPUs", "choose the implementation in XLA, or write it in jax.numpy"),
    (
        ("custom_lin", "unreachable"),
        "a derivative that JAX has not worked out",
        "export the function that calls jax.grad or jax.vjp",
    ),
    (("from_edtype", "to_edtype"), "an extended dtype has no ONNX form", "convert to a plain dtype before"),
    (("after_all", "create_token"), "ONNX has no order of effects", "leave tokens out of what is exported"),
    (["spsolve"], "JAX calls scipy here", "solve the dense system: jnp.linalg.solve(matrix.todense(), b)"),
    (["ffi_call"], "the program calls the foreign function {target_name!r}", "export on a path that does not use it"),
    (["call_exported"], "a jax.export-ed function is compiled, not a program", "export the function it was made from"),
    (["check"], "a model cannot raise errors", "export checkify.checkify(fn), or the function without checks"),
    (["rng_uniform"], "this draws from the backend's own state", "use jax.random with a key"),
    (["select_and_scatter"], "only the form that adds is known", "use the derivative of reduce_window with max or min"),
)
"""Primitives that cannot be in a model, why (a format string of the equation's params), and what to do instead."""

_REFUSED = {name: (why, remedy) for names, why, remedy in _REFUSALS for name in names}


FACTS = {
    **dict.fromkeys(("debug_callback", "debug_print", "io_callback", "infeed", "outfeed"), Facts(effect=True)),
    "pallas_call": Facts(bodies=lambda _params: ()),
}


def register(registry: BoundLowerings) -> None:
    """Register the family."""
    registry.facts(FACTS)
    registry.table(dict.fromkeys(("debug_callback", "debug_print", "inspect_sharding"), dropped))
    registry.table({"pallas_call": pallas_call})
    registry.table({"dce_sink": nothing, "shape_assertion": nothing, "tie": last, "xla_metadata_value": last})
    registry.table({"pure_callback": python_callback, "io_callback": python_callback})
    registry.table({name: refusal(*reason) for name, reason in _REFUSED.items()})
    registry.table(dict.fromkeys(_DEVICES, collective))
    registry.table(
        {
            **dict.fromkeys(_ALONE, alone),
            "axis_index": axis_index,
            "psum": _reduction(lax.reduce_sum),
            "pmax": _reduction(lax.reduce_max),
            "pmin": _reduction(lax.reduce_min),
        }
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
    name = getattr(function, "__qualname__", None) or getattr(function, "__name__", function)
    raise ctx.unsupported(
        f"the program calls back to the Python function {name}, which no model can hold",
        _remedy(ctx, "write it in jax.numpy"),
    )


def pallas_call(ctx: LoweringContext, *operands: ir.Value, **params: Any) -> Sequence[ir.Value]:
    """Lower a Pallas kernel that JAX interprets, as on a CPU; refuse one that is for a device."""
    function = interpreted_kernel(params)
    if function is None:
        kernel = params["jaxpr"].debug_info.func_src_info
        remedy = "pass interpret=True to pallas_call, or export the reference implementation in jax.numpy"
        raise ctx.unsupported(f"the program runs the Pallas kernel {kernel} on a device", _remedy(ctx, remedy))
    results: list[ir.Value] = ctx.via_jax(function, *operands)
    return results


def refusal(why: str, remedy: str) -> Callable[..., Any]:
    """Return the rule that refuses a primitive for a reason."""

    def rule(ctx: LoweringContext, *operands: ir.Value, **params: Any) -> Sequence[ir.Value]:
        del operands
        raise ctx.unsupported(why.format(**params), _remedy(ctx, remedy))

    return rule


def nothing(ctx: LoweringContext, *operands: ir.Value, **params: Any) -> Sequence[ir.Value]:
    """Lower what only keeps values alive, or asserts what the export has settled, to nothing."""
    del ctx, operands, params
    return []


def last(ctx: LoweringContext, *operands: ir.Value, **params: Any) -> ir.Value:
    """Lower what returns its last operand."""
    del ctx, params
    return operands[-1]


def alone(ctx: LoweringContext, *operands: ir.Value, **params: Any) -> Sequence[ir.Value]:
    """Lower communication over named axes: only a ``shard_map`` over one device leaves it in a program."""
    if (0, 0) not in params.get("perm", [(0, 0)]):
        raise _no_devices(ctx)
    shapes = zip(operands, ctx.avals_in, ctx.avals_out, strict=True)
    return [ctx.reshape(x, before.shape, after.shape) for x, before, after in shapes]


def axis_index(ctx: LoweringContext, **params: Any) -> ir.Value:
    """Lower ``axis_index`` on the only device."""
    del params
    return ctx.constant(0, ctx.aval_out.dtype)


def collective(ctx: LoweringContext, *operands: ir.Value, **params: Any) -> Sequence[ir.Value]:
    """Refuse communication between devices."""
    del operands, params
    raise _no_devices(ctx)


def _reduction(reduce: Callable[..., Any]) -> Callable[..., Any]:
    """Return the rule of a collective reduction; ``vmap`` with an axis name leaves it with positional axes."""

    def rule(
        ctx: LoweringContext, *operands: ir.Value, axes: Sequence[Any], axis_index_groups: Any = None
    ) -> Sequence[ir.Value]:
        positional = [axis for axis in axes if isinstance(axis, int)]
        if axis_index_groups is not None or 0 < len(positional) < len(axes):
            raise _no_devices(ctx)
        if len(positional) < len(axes):
            return alone(ctx, *operands)
        values: list[ir.Value] = ctx.via_jax(lambda *xs: [reduce(x, tuple(axes)) for x in xs], *operands)
        return values

    return rule


def _no_devices(ctx: LoweringContext) -> UnsupportedCaseError:
    over = ""
    for param in ("axis", "axes", "axis_name"):
        if ctx.eqn.params.get(param) is not None:
            over = f" over the axis {ctx.eqn.params[param]!r}"
    return ctx.unsupported(
        f"the program communicates between devices{over}; a model runs on one",
        "export the function of one device, or give its axis a name with jax.vmap(..., axis_name=...)",
    )


def _remedy(ctx: LoweringContext, other: str) -> str:
    return f"{other}, or pass lowerings={{{ctx.eqn.primitive!r}: rule}}"
