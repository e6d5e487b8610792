"""Emit layer normalisation and RMS normalisation as they are written out in ``jax.numpy``.

What is normalised is found; a scale and an offset that follow become operands of the operator when the graph is tidied.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import MIN_OPSET, Decline, Fusion
from jax2onnx_jnp.layers import NOT_DOUBLE, known_scalar, trailing_axes

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import Candidate, LoweringContext

_Axes = Sequence[int]
_FEATURES = 6
_RMS_OPSET = 23


def _mean(x: Any, axes: _Axes) -> Any:
    return jnp.mean(x, axes, keepdims=True)


_VARIANCES: Mapping[str, Callable[[Any, Any, _Axes], Any]] = {
    "var": lambda x, _, axes: jnp.var(x, axes, keepdims=True),
    "mean of (x - mean)**2": lambda x, mean, axes: _mean((x - mean) ** 2, axes),
    "mean of square(x - mean)": lambda x, mean, axes: _mean(jnp.square(x - mean), axes),
    "mean of square(x), less square(mean)": lambda x, mean, axes: _mean(jnp.square(x), axes) - jnp.square(mean),
    "mean of x**2, less mean**2": lambda x, mean, axes: _mean(x**2, axes) - mean**2,
}
_MEAN_SQUARES: Mapping[str, Callable[[Any, _Axes], Any]] = {
    "mean of square(x)": lambda x, axes: _mean(jnp.square(x), axes),
    "mean of x**2": lambda x, axes: _mean(x**2, axes),
    "mean of x * x": lambda x, axes: _mean(x * x, axes),
}
_QUOTIENTS: Mapping[str, Callable[[Any, Any], Any]] = {
    "/ sqrt": lambda x, variance: x / jnp.sqrt(variance),
    "* rsqrt": lambda x, variance: x * lax.rsqrt(variance),
}


def _axes(candidate: Candidate) -> Sequence[Mapping[str, Any]]:
    axes = trailing_axes(candidate)
    return [] if axes is None or len(axes) != 1 else [{"axes": axes}]


def _ones(ctx: LoweringContext) -> ir.Value:
    size = ctx.avals_in[0].shape[-1]
    if not isinstance(size, int):
        raise Decline("the number of features is not known at conversion")
    return ctx.constant(np.ones(size, ctx.aval_out.dtype))


def _epsilon(ctx: LoweringContext) -> float:
    """Return the number that is added to the variance, the last operand."""
    return known_scalar(ctx, len(ctx.avals_in) - 1)


def _layer_norm(ctx: LoweringContext, x: ir.Value, *operands: ir.Value, axes: _Axes) -> ir.Value:
    *params, _ = operands  # a scale, or a scale and an offset
    return ctx.op.LayerNormalization(x, *(params or [_ones(ctx)]), axis=-len(axes), epsilon=_epsilon(ctx))


def _rms_norm(ctx: LoweringContext, x: ir.Value, *operands: ir.Value, axes: _Axes) -> ir.Value:
    if not ctx.supports("RMSNormalization", np.float32):
        raise Decline("the target has no RMSNormalization")
    scale = operands[0] if len(operands) > 1 else _ones(ctx)
    return ctx.op.RMSNormalization(x, scale, axis=-len(axes), epsilon=_epsilon(ctx))


def _fusion(
    name: str,
    reference: Callable[..., Any],
    emit: Callable[..., ir.Value],
    *,
    params: int = 0,
    opset: int = MIN_OPSET,
) -> Fusion:
    return Fusion(
        name=name,
        reference=reference,
        examples=[[(2, _FEATURES), *[(_FEATURES,)] * params, ()]],
        kwargs=_axes,
        emit={opset: emit},
        dtypes=NOT_DOUBLE,
        primitives=frozenset({"sqrt" if "/ sqrt" in name else "rsqrt", "reduce_sum"}),
    )


def _plain_layer_norm(variance: Callable[..., Any], quotient: Callable[..., Any]) -> Callable[..., Any]:
    def reference(x: Any, epsilon: Any, *, axes: _Axes = (-1,)) -> Any:
        mean = _mean(x, axes)
        return quotient(x - mean, variance(x, mean, axes) + epsilon)

    return reference


def _scaled_layer_norm(variance: Callable[..., Any], quotient: Callable[..., Any]) -> Callable[..., Any]:
    """Return the normalisation by ``scale * (x - mean)``, over the root."""

    def reference(x: Any, scale: Any, epsilon: Any, *, axes: _Axes = (-1,)) -> Any:
        mean = _mean(x, axes)
        return quotient(scale * (x - mean), variance(x, mean, axes) + epsilon)

    return reference


def _haiku_layer_norm(variance: Callable[..., Any]) -> Callable[..., Any]:
    """Return the normalisation by ``inv = scale * rsqrt(variance + epsilon)``."""

    def reference(x: Any, scale: Any, epsilon: Any, *, axes: _Axes = (-1,)) -> Any:
        mean = _mean(x, axes)
        inverse = jnp.broadcast_to(scale, x.shape) * lax.rsqrt(variance(x, mean, axes) + epsilon)
        return inverse * (x - mean)

    return reference


def _keras_layer_norm(variance: Callable[..., Any]) -> Callable[..., Any]:
    """Return the normalisation by ``x * inv + (offset - mean * inv)``."""

    def reference(x: Any, scale: Any, offset: Any, epsilon: Any, *, axes: _Axes = (-1,)) -> Any:
        mean = _mean(x, axes)
        inverse = lax.rsqrt(variance(x, mean, axes) + epsilon) * scale
        return x * inverse + (-mean * inverse + offset)

    return reference


def _plain_rms_norm(mean_square: Callable[..., Any], quotient: Callable[..., Any]) -> Callable[..., Any]:
    def reference(x: Any, epsilon: Any, *, axes: _Axes = (-1,)) -> Any:
        return quotient(x, mean_square(x, axes) + epsilon)

    return reference


def _scaled_rms_norm(x: Any, scale: Any, epsilon: Any, *, axes: _Axes = (-1,)) -> Any:
    return x * (scale * lax.rsqrt(_mean(jnp.square(x), axes) + epsilon))


def _haiku_rms_norm(x: Any, scale: Any, epsilon: Any, *, axes: _Axes = (-1,)) -> Any:
    mean_square = jnp.broadcast_to(_mean(jnp.square(x), axes), x.shape)
    return jnp.broadcast_to(scale, x.shape) * lax.rsqrt(mean_square + epsilon) * x


def _layer_norms() -> Iterator[Fusion]:
    for name, variance in _VARIANCES.items():
        for how, quotient in _QUOTIENTS.items():
            yield _fusion(f"layer norm ({name}, {how})", _plain_layer_norm(variance, quotient), _layer_norm)
            label = f"layer norm ({name}, scale * x {how})"
            yield _fusion(label, _scaled_layer_norm(variance, quotient), _layer_norm, params=1)
    for name in ("var", "mean of square(x), less square(mean)"):
        variance = _VARIANCES[name]
        yield _fusion(f"layer norm ({name}, haiku)", _haiku_layer_norm(variance), _layer_norm, params=1)
        yield _fusion(f"layer norm ({name}, keras)", _keras_layer_norm(variance), _layer_norm, params=2)


def _rms_norms() -> Iterator[Fusion]:
    for (name, mean_square), (how, quotient) in itertools.product(_MEAN_SQUARES.items(), _QUOTIENTS.items()):
        label = f"RMS norm ({name}, {how})"
        yield _fusion(label, _plain_rms_norm(mean_square, quotient), _rms_norm, opset=_RMS_OPSET)
    for label, reference in (("scale * rsqrt", _scaled_rms_norm), ("haiku", _haiku_rms_norm)):
        yield _fusion(f"RMS norm ({label})", reference, _rms_norm, params=1, opset=_RMS_OPSET)


FUSIONS: tuple[Fusion, ...] = (*_layer_norms(), *_rms_norms())
