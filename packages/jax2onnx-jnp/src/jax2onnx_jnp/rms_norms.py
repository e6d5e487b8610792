"""Emit RMS normalisation as it is written out in ``jax.numpy``: by any spelling of the mean, the root and the scale.

A scale that follows becomes an operand of the operator when the graph is tidied, ``1 + scale`` too.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from jax2onnx.plugin import Decline, Fusion
from jax2onnx_jnp.layers import NOT_DOUBLE, known_scalar, ones_per_feature

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import LoweringContext

_FEATURES = 6
_OPSET = 23
"""The first opset that has the operator."""

_SQUARES: Mapping[str, Callable[[Any], Any]] = {
    "square(x)": jnp.square,
    "x**2": lambda x: x**2,
    "x * x": lambda x: x * x,
}
_ROOTS: Mapping[str, Callable[[Any, Any, Callable[[Any], Any]], Any]] = {
    "* rsqrt": lambda x, mean, expanded: x * expanded(lax.rsqrt(mean)),
    "/ sqrt": lambda x, mean, expanded: x / expanded(jnp.sqrt(mean)),
    "* 1 / sqrt": lambda x, mean, expanded: x * expanded(1 / jnp.sqrt(mean)),
    "* reciprocal of sqrt": lambda x, mean, expanded: x * expanded(jnp.reciprocal(jnp.sqrt(mean))),
    "* power of -0.5": lambda x, mean, expanded: x * expanded(mean**-0.5),
}
_SCALED_ROOTS: Mapping[str, Callable[[Any, Any, Any], Any]] = {
    "x * (scale * rsqrt)": lambda x, mean, scale: x * (scale * lax.rsqrt(mean)),
    "(scale * x) * rsqrt": lambda x, mean, scale: (scale * x) * lax.rsqrt(mean),
    "(scale * x) / sqrt": lambda x, mean, scale: (scale * x) / jnp.sqrt(mean),
}
_EXPANDED = ("", "mean", "root")
"""What is expanded where the mean does not keep the axis. Under ``jax.vmap`` it is the root."""


def _same(x: Any) -> Any:
    return x


def _expanded(x: Any) -> Any:
    return x[..., None]


def _plain(root: Callable[..., Any]) -> Callable[..., Any]:
    def reference(x: Any, epsilon: Any, *, mean: str, expanded: str) -> Any:
        value = jnp.mean(_SQUARES[mean](x), -1, keepdims=not expanded)
        value = (_expanded if expanded == "mean" else _same)(value)
        return root(x, value + epsilon, _expanded if expanded == "root" else _same)

    return reference


def _scaled(root: Callable[..., Any]) -> Callable[..., Any]:
    def reference(x: Any, scale: Any, epsilon: Any, *, mean: str) -> Any:
        return root(x, jnp.mean(_SQUARES[mean](x), -1, keepdims=True) + epsilon, scale)

    return reference


def _haiku(x: Any, scale: Any, epsilon: Any) -> Any:
    mean_square = jnp.broadcast_to(jnp.mean(jnp.square(x), -1, keepdims=True), x.shape)
    return jnp.broadcast_to(scale, x.shape) * lax.rsqrt(mean_square + epsilon) * x


def _emit(ctx: LoweringContext, x: ir.Value, *operands: ir.Value, **_: str) -> ir.Value:
    if not ctx.supports("RMSNormalization", np.float32):
        raise Decline("the target has no RMSNormalization")
    scale = operands[0] if len(operands) > 1 else ones_per_feature(ctx)
    epsilon = known_scalar(ctx, len(ctx.avals_in) - 1)
    return ctx.op.RMSNormalization(x, scale, axis=-1, epsilon=epsilon)


def _fusion(
    how: str,
    reference: Callable[..., Any],
    kwargs: Sequence[Mapping[str, str]],
    *,
    params: int = 0,
) -> Fusion:
    root = {"rsqrt"} if "rsqrt" in how else {"pow"} if "power" in how else {"sqrt"}
    return Fusion(
        name=f"RMS norm ({how})",
        reference=reference,
        examples=[[(2, _FEATURES), *[(_FEATURES,)] * params, ()]],
        kwargs=kwargs,
        emit={_OPSET: _emit},
        dtypes=NOT_DOUBLE,
        primitives=frozenset({"reduce_sum", *root}),
    )


def _fusions() -> Iterator[Fusion]:
    forms = [{"mean": mean, "expanded": expanded} for mean, expanded in itertools.product(_SQUARES, _EXPANDED)]
    for how, root in _ROOTS.items():
        yield _fusion(how, _plain(root), forms)
    for how, scaled_root in _SCALED_ROOTS.items():
        yield _fusion(how, _scaled(scaled_root), [{"mean": mean} for mean in _SQUARES], params=1)
    yield _fusion("haiku: rsqrt", _haiku, [{}], params=1)


FUSIONS: tuple[Fusion, ...] = tuple(_fusions())
