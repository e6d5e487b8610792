"""The normalisation layers and the attention of flax.linen, with the rules of their counterparts elsewhere."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flax import linen as nn

from jax2onnx.plugin import MIN_OPSET, Fusion
from jax2onnx_jnp.attention import attend
from jax2onnx_nnx.fusions import norm

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_COUNTERPARTS = {fusion.name: fusion for fusion in norm.FUSIONS}
_SWITCHES = tuple(itertools.product((True, False), repeat=2))


def _fusion(layer: str, reference: Callable[..., Any], **switches: bool) -> Fusion:
    """Return the counterpart's fusion with linen's reference, named by how it is switched from the default."""
    changed = ", ".join(f"{name}={value}" for name, value in switches.items() if not value)
    name = layer + (f"({changed})" if changed else "")
    return replace(_COUNTERPARTS[f"flax.nnx.{name}"], name=f"flax.linen.{name}", reference=reference)


def _params(arrays: Sequence[Any], *, scale: bool, bias: bool) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """Take ``[scale], [bias], epsilon`` apart: the parameters, and the arguments of a layer that takes them."""
    *held, epsilon = arrays
    names = [name for name, used in (("scale", scale), ("bias", bias)) if used]
    return dict(zip(names, held, strict=True)), {"epsilon": epsilon, "use_scale": scale, "use_bias": bias}


def _layer_norm(*, scale: bool, bias: bool, fast: bool) -> Fusion:
    def reference(x: Any, *arrays: Any, axes: Any = -1) -> Any:
        params, options = _params(arrays, scale=scale, bias=bias)
        layer = nn.LayerNorm(reduction_axes=axes, use_fast_variance=fast, **options)
        return layer.apply({"params": params}, x)

    return _fusion("LayerNorm", reference, use_scale=scale, use_bias=bias, use_fast_variance=fast)


def _rms_norm(*, scale: bool) -> Fusion:
    def reference(x: Any, *arrays: Any, axes: Any = -1) -> Any:
        params, options = _params(arrays, scale=scale, bias=False)
        del options["use_bias"]
        return nn.RMSNorm(reduction_axes=axes, **options).apply({"params": params}, x)

    return _fusion("RMSNorm", reference, use_scale=scale)


def _batch_norm(*, scale: bool, bias: bool) -> Fusion:
    def reference(x: Any, mean: Any, var: Any, *arrays: Any, axis: int = -1) -> Any:
        params, options = _params(arrays, scale=scale, bias=bias)
        variables = {"params": params, "batch_stats": {"mean": mean, "var": var}}
        return nn.BatchNorm(use_running_average=True, axis=axis, **options).apply(variables, x)

    return _fusion("BatchNorm", reference, use_scale=scale, use_bias=bias)


def _group_norm(*, scale: bool, bias: bool, fast: bool) -> Fusion:
    def reference(x: Any, *arrays: Any, groups: int = 2) -> Any:
        params, options = _params(arrays, scale=scale, bias=bias)
        return nn.GroupNorm(num_groups=groups, use_fast_variance=fast, **options).apply({"params": params}, x)

    return _fusion("GroupNorm", reference, use_scale=scale, use_bias=bias, use_fast_variance=fast)


_QUERY, _KEY = (2, 5, 3, 4), (2, 7, 3, 4)

ATTENTION = Fusion(
    name="flax.linen.dot_product_attention",
    reference=nn.dot_product_attention,
    examples=[[shape[rank:] for shape in (_QUERY, _KEY, _KEY)] for rank in (0, 1)],
    emit={MIN_OPSET: attend, 23: attend},
    dtypes=frozenset({"float32"}),
    primitives=frozenset({"dot_general", "exp"}),
    library="flax.linen",
)

ALL: tuple[Fusion, ...] = (
    ATTENTION,
    *(_layer_norm(scale=s, bias=b, fast=fast) for fast in (True, False) for s, b in _SWITCHES),
    *(_rms_norm(scale=s) for s in (True, False)),
    *(_batch_norm(scale=s, bias=b) for s, b in _SWITCHES),
    *(_group_norm(scale=s, bias=b, fast=fast) for fast in (True, False) for s, b in _SWITCHES),
)
