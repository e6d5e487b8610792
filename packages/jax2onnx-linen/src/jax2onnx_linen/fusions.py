"""Emit the normalisation layers and the attention of flax.linen, by the rules of flax.nnx and jax.nn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flax import linen as nn

from jax2onnx.plugin import MIN_OPSET, Fusion
from jax2onnx_jnp.attention import attend
from jax2onnx_nnx.fusions import norm

if TYPE_CHECKING:
    from collections.abc import Mapping


def _norm(layer: norm.Layer) -> norm.Reference:
    def reference(x: Any, arrays: Mapping[str, Any], arguments: Mapping[str, Any]) -> Any:
        params, statistics = dict(arrays), {}
        for name in ("mean", "var"):
            if name in params:
                statistics[name] = params.pop(name)
        return getattr(nn, layer.name)(**arguments).apply({"params": params, "batch_stats": statistics}, x)

    return reference


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

ALL: tuple[Fusion, ...] = (ATTENTION, *norm.fusions("flax.linen", _norm))
