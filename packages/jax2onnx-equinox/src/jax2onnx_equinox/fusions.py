"""Emit the normalisation layers and the attention of equinox.

A layer of equinox takes one example; mapped over a batch (``jax.vmap``) it is an operator over the trailing axes.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jax2onnx.plugin import MIN_OPSET, Decline, Fusion
from jax2onnx_jnp.attention import attend
from jax2onnx_jnp.layers import NOT_DOUBLE, known_scalar, trailing_axes, variant_name

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import Candidate, LoweringContext

_SWITCHES = tuple(itertools.product((True, False), repeat=2))
_C = (6,)


def _count(candidate: Candidate) -> Sequence[Mapping[str, Any]]:
    """Read how many axes are normalised; a layer normalises trailing ones."""
    axes = trailing_axes(candidate)
    return [] if axes is None else [{"count": len(axes)}]


def _layer_norm(*, weight: bool, bias: bool) -> Fusion:
    def reference(x: Any, *arrays: Any, count: int = 1) -> Any:
        import equinox as eqx  # noqa: PLC0415 - slow, and not used by programs of other libraries

        *held, epsilon = arrays
        layer = eqx.nn.LayerNorm(x.shape[x.ndim - count :], use_weight=weight, use_bias=bias)
        for name, used in (("weight", weight), ("bias", bias)):
            if used:
                layer = eqx.tree_at(operator.attrgetter(name), layer, held.pop(0))
        object.__setattr__(layer, "eps", epsilon)  # static, and the constructor warns of arrays there
        mapped: Callable[[Any], Any] = layer
        for _ in range(x.ndim - count):
            mapped = jax.vmap(mapped)
        return mapped(x)

    def emit(ctx: LoweringContext, x: ir.Value, *arrays: ir.Value, count: int) -> ir.Value:
        epsilon = known_scalar(ctx, len(arrays))
        shape = ctx.avals_in[0].shape[-count:]
        if not all(isinstance(size, int) for size in shape):
            raise Decline("the normalised sizes are not known at conversion")
        held = list(arrays[:-1])
        scale = held.pop(0) if weight else ctx.constant(np.ones(shape, ctx.aval_out.dtype))
        return ctx.op.LayerNormalization(x, scale, *held, axis=-count, epsilon=epsilon)

    examples = [[(*batch, *_C), *[_C] * (weight + bias), ()] for batch in ((), (2,), (2, 5))]
    return Fusion(
        name=variant_name("equinox.nn.LayerNorm", {"use_weight": weight, "use_bias": bias}),
        reference=reference,
        examples=examples,
        kwargs=_count,
        emit={MIN_OPSET: emit},
        dtypes=NOT_DOUBLE,
        primitives=frozenset({"rsqrt"}),
        library="equinox",
    )


def _head(query: Any, key: Any, value: Any) -> Any:
    """Attend with one head: the queries, divided first, over (positions, depth)."""
    logits = jnp.einsum("sd,Sd->sS", query / math.sqrt(query.shape[-1]), key)
    return jnp.einsum("sS,Sd->sd", jax.nn.softmax(logits), value)


def _heads(query: Any, key: Any, value: Any) -> Any:
    """Attend with heads along the last dim but one, maybe mapped over a batch."""
    heads = jax.vmap(_head, in_axes=1, out_axes=1)
    return (heads if query.ndim == 3 else jax.vmap(heads))(query, key, value)


_QUERY, _KEY, _VALUE = (2, 5, 3, 4), (2, 7, 3, 4), (2, 7, 3, 6)

ATTENTION = Fusion(
    name="equinox.nn.MultiheadAttention",
    reference=_heads,
    examples=[[shape[rank:] for shape in (_QUERY, _KEY, _VALUE)] for rank in (0, 1)],
    emit={MIN_OPSET: attend, 23: attend},
    dtypes=frozenset({"float32"}),
    primitives=frozenset({"dot_general", "exp"}),
    library="equinox",
)

ALL: tuple[Fusion, ...] = (ATTENTION, *(_layer_norm(weight=w, bias=b) for w, b in _SWITCHES))
