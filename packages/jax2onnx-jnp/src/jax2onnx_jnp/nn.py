"""Emit activations and softmax of ``jax.nn`` as ONNX's own operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jax2onnx.plugin import MIN_OPSET, Decline, Fusion, has_zero
from jax2onnx_jnp.layers import NOT_DOUBLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx_ir as ir

    from jax2onnx.plugin import Candidate, LoweringContext

ARRAY = (2, 3)
SCALAR = ()
_COARSE = frozenset({"Celu", "Elu", "Gelu", "HardSigmoid", "HardSwish", "Mish", "Selu", "Sigmoid", "Swish"})
"""Operators whose kernels in onnxruntime are right to 1e-7 of 1 (Mish: of 1e-37), so that small results lack digits."""


def _operator(ctx: LoweringContext, op_type: str, x: ir.Value, **attributes: Any) -> ir.Value:
    """Emit an operator, unless the target lacks it in float64, or for smaller dtypes in float32.

    ``Relu`` keeps -0, which a maximum with 0 does not.
    """
    if op_type == "Relu":
        _require_no_sign(ctx)
    if op_type in _COARSE and ctx.target is not None and ctx.small_results_matter():
        raise Decline(f"a small result is divided by, or more, and {op_type} is not exact there")
    dtype = np.promote_types(ctx.aval_out.dtype, np.float32)
    if not ctx.supports(op_type, dtype):
        raise Decline(f"the target has no {op_type} in {dtype}")
    value: ir.Value = ctx.op.emit(op_type, x, **attributes)
    return value


def _require_no_sign(ctx: LoweringContext) -> None:
    """Decline where a bound of 0 has to make 0 of -0."""
    if ctx.sign_of_zero_matters():
        raise Decline("the sign of a zero matters")


def _function(
    name: str,
    op_type: str,
    *,
    opset: int = MIN_OPSET,
    dtypes: frozenset[str] = frozenset(),
    kwargs: Sequence[Mapping[str, Any]] | Callable[[Any], Sequence[Mapping[str, Any]]] = ({},),
    **attributes: Any,
) -> Fusion:
    """Return the fusion of a function of one array that ONNX has as one operator, with the same keyword arguments."""

    def emit(ctx: LoweringContext, x: ir.Value, **kwargs: Any) -> ir.Value:
        return _operator(ctx, op_type, x, **attributes, **kwargs)

    return Fusion(
        name=f"jax.nn.{name}",
        reference=getattr(jax.nn, name),
        examples=[[ARRAY]],
        kwargs=kwargs,
        emit={opset: emit},
        dtypes=dtypes,
    )


def _with_slope(
    name: str,
    op_type: str,
    reference: Callable[..., Any],
    accept: Callable[[float], bool] = lambda _: True,
    dtypes: frozenset[str] = frozenset(),
) -> Fusion:
    """Return the fusion of a function of an array and a scalar that ONNX has as an operator with ``alpha``."""

    def emit(ctx: LoweringContext, x: ir.Value, _alpha: ir.Value) -> ir.Value:
        known = ctx.known(1)
        alpha = None if known is None or known.shape != () else float(known.astype(ctx.avals_in[1].dtype))
        if alpha is None or float(np.float32(alpha)) != alpha or not accept(alpha):
            raise Decline(f"{op_type} takes a constant alpha that is exact in float32")
        # Celu is defined for float32 alone until opset 28.
        single = ctx.cast(x, np.float32) if op_type == "Celu" else x
        return ctx.cast(_operator(ctx, op_type, single, alpha=alpha), ctx.aval_out.dtype)

    return Fusion(
        name=f"jax.nn.{name}",
        reference=reference,
        examples=[[ARRAY, SCALAR]],
        emit={MIN_OPSET: emit},
        dtypes=dtypes,
    )


def _gelu(ctx: LoweringContext, x: ir.Value, *, approximate: bool) -> ir.Value:
    return _operator(ctx, "Gelu", x, approximate="tanh" if approximate else "none")


def _relu6(ctx: LoweringContext, x: ir.Value) -> ir.Value:
    _require_no_sign(ctx)
    dtype = ctx.aval_out.dtype
    return ctx.op.Clip(x, ctx.constant(0, dtype), ctx.constant(6, dtype))


def _axis(candidate: Candidate) -> Sequence[Mapping[str, Any]]:
    """Read the axis off the reduction; the operators take one only."""
    (reduction, *_) = candidate.params("reduce_max")
    return [{"axis": int(reduction["axes"][0])}] if len(reduction["axes"]) == 1 else []


def _axes(candidate: Candidate) -> Sequence[Mapping[str, Any]]:
    """Read the axes off the reduction."""
    (reduction, *_) = candidate.params("reduce_max")
    return [{"axis": tuple(map(int, reduction["axes"]))}]


def _logsumexp(x: Any, *, axis: int | tuple[int, ...] = -1) -> Any:
    return jax.nn.logsumexp(x, axis=axis)


def _logsumexp_with_dims(x: Any, *, axis: int | tuple[int, ...] = -1) -> Any:
    return jax.nn.logsumexp(x, axis=axis, keepdims=True)


def _emit_logsumexp(ctx: LoweringContext, x: ir.Value, *, axis: tuple[int, ...]) -> ir.Value:
    """Emit JAX's equations with fewer tests of the maximum.

    JAX subtracts 0 for an infinite maximum. The nearest finite number gives the same. A maximum that lost its NaN does
    too, since the sum has it. ``ReduceLogSumExp`` is no help: ONNX defines it by ``exp`` of the numbers as they are,
    which overflows, and onnxruntime's kernel makes -inf of ``[-inf, -200]`` and loses NaN.
    """
    op, shape, dtype = ctx.op, ctx.avals_in[0].shape, ctx.aval_out.dtype
    if has_zero(*(shape[i] for i in axis)):
        raise Decline("there are no numbers to reduce")
    axes, limits = ctx.ints(*axis), np.finfo(dtype)
    with_dims = [1 if i in axis else size for i, size in enumerate(shape)]
    largest = op.Clip(op.ReduceMax(x, axes, keepdims=1), dtype.type(limits.min), dtype.type(limits.max))
    largest = ctx.stamp(largest, with_dims)
    terms = ctx.stamp(op.Exp(op.Sub(x, largest)), shape)
    total = ctx.stamp(op.ReduceSum(terms, axes, keepdims=1), with_dims)
    result = ctx.stamp(op.Add(op.Log(total), largest), with_dims)
    return result if len(ctx.aval_out.shape) == len(shape) else op.Squeeze(result, axes)


def _logsumexps() -> list[Fusion]:
    forms = {"jax.nn.logsumexp": _logsumexp, "jax.nn.logsumexp(keepdims=True)": _logsumexp_with_dims}
    emit = {MIN_OPSET: _emit_logsumexp}
    exact = frozenset({"float32", "float64"})
    return [
        Fusion(name=name, reference=form, examples=[[ARRAY]], kwargs=_axes, emit=emit, dtypes=exact)
        for name, form in forms.items()
    ]


FUSIONS: tuple[Fusion, ...] = (
    Fusion(
        name="jax.nn.gelu",
        reference=jax.nn.gelu,
        examples=[[ARRAY]],
        kwargs=[{"approximate": True}, {"approximate": False}],
        emit={20: _gelu},
    ),
    _function("softmax", "Softmax", kwargs=_axis),
    # onnxruntime's LogSoftmax gives numbers beside NaN and infinity in float64.
    _function("log_softmax", "LogSoftmax", dtypes=NOT_DOUBLE, kwargs=_axis),
    *_logsumexps(),
    _function("relu", "Relu"),
    Fusion(name="jax.nn.relu6", reference=jax.nn.relu6, examples=[[ARRAY]], emit={MIN_OPSET: _relu6}),
    _function("sigmoid", "Sigmoid"),
    _function("silu", "Swish", opset=24),
    # Elu, Selu and Celu compute exp(x) - 1, not expm1(x): below 1e-7 in magnitude, negative values come out as zero.
    _with_slope("elu", "Elu", jax.nn.elu),
    _with_slope("celu", "Celu", jax.nn.celu, accept=lambda alpha: alpha > 0, dtypes=NOT_DOUBLE),
    _function("selu", "Selu", dtypes=NOT_DOUBLE, alpha=1.6732632423543772, gamma=1.0507009873554805),
    _with_slope("leaky_relu", "LeakyRelu", jax.nn.leaky_relu),
    _function("softplus", "Softplus"),
    _function("mish", "Mish"),
    _function("hard_sigmoid", "HardSigmoid", dtypes=NOT_DOUBLE, alpha=1 / 6, beta=0.5),
    _function("hard_swish", "HardSwish"),
    _function("soft_sign", "Softsign"),
)
