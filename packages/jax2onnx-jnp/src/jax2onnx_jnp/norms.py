"""Emit layer normalisation as it is written out in ``jax.numpy``.

What is normalised is found; a scale and an offset that follow become operands of the operator when the graph is tidied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
from jax import lax

from jax2onnx.plugin import MIN_OPSET, Fusion
from jax2onnx_jnp.layers import NOT_DOUBLE, known_scalar, ones_per_feature, trailing_axis

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import LoweringContext

_Axes = Sequence[int]
_FEATURES = 6


def _mean(x: Any, axes: _Axes) -> Any:
    return jnp.mean(x, axes, keepdims=True)


_VARIANCES: Mapping[str, Callable[[Any, Any, _Axes], Any]] = {
    "var": lambda x, _, axes: jnp.var(x, axes, keepdims=True),
    "mean of (x - mean)**2": lambda x, mean, axes: _mean((x - mean) ** 2, axes),
    "mean of square(x - mean)": lambda x, mean, axes: _mean(jnp.square(x - mean), axes),
    "mean of square(x), less square(mean)": lambda x, mean, axes: _mean(jnp.square(x), axes) - jnp.square(mean),
    "mean of x**2, less mean**2": lambda x, mean, axes: _mean(x**2, axes) - mean**2,
}
_QUOTIENTS: Mapping[str, Callable[[Any, Any], Any]] = {
    "/ sqrt": lambda x, variance: x / jnp.sqrt(variance),
    "* rsqrt": lambda x, variance: x * lax.rsqrt(variance),
}


def _epsilon(ctx: LoweringContext) -> float:
    """Return the number that is added to the variance, the last operand."""
    return known_scalar(ctx, len(ctx.avals_in) - 1)


def _layer_norm(ctx: LoweringContext, x: ir.Value, *operands: ir.Value, axes: _Axes) -> ir.Value:
    *params, _ = operands  # a scale, or a scale and an offset
    return ctx.op.LayerNormalization(x, *(params or [ones_per_feature(ctx)]), axis=-len(axes), epsilon=_epsilon(ctx))


def _fusion(
    name: str,
    reference: Callable[..., Any],
    *,
    params: int = 0,
) -> Fusion:
    return Fusion(
        name=name,
        reference=reference,
        examples=[[(2, _FEATURES), *[(_FEATURES,)] * params, ()]],
        kwargs=trailing_axis,
        emit={MIN_OPSET: _layer_norm},
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


def _layer_norms() -> Iterator[Fusion]:
    for name, variance in _VARIANCES.items():
        for how, quotient in _QUOTIENTS.items():
            yield _fusion(f"layer norm ({name}, {how})", _plain_layer_norm(variance, quotient))
            label = f"layer norm ({name}, scale * x {how})"
            yield _fusion(label, _scaled_layer_norm(variance, quotient), params=1)
    for name in ("var", "mean of square(x), less square(mean)"):
        variance = _VARIANCES[name]
        yield _fusion(f"layer norm ({name}, haiku)", _haiku_layer_norm(variance), params=1)
        yield _fusion(f"layer norm ({name}, keras)", _keras_layer_norm(variance), params=2)


FUSIONS: tuple[Fusion, ...] = tuple(_layer_norms())
