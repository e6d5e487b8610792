"""Linear layers and embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flax import nnx

from jax2onnx.registry import MIN_OPSET, Fusion
from jax2onnx_nnx.fusions._layers import NoRandom, given

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.lower import LoweringContext


def _linear(x: Any, kernel: Any, bias: Any) -> Any:
    layer = nnx.Linear(*kernel.shape, kernel_init=given(kernel), bias_init=given(bias), rngs=NoRandom())
    return layer(x)


def _emit_linear(ctx: LoweringContext, x: ir.Value, kernel: ir.Value, bias: ir.Value) -> ir.Value:
    product = ctx.stamp(ctx.op.MatMul(x, kernel), ctx.aval_out.shape)
    return ctx.op.Add(product, bias)


FUSIONS: tuple[Fusion, ...] = (
    Fusion(
        name="flax.nnx.Linear",
        reference=_linear,
        examples=[[(2, 3), (3, 5), (5,)], [(2, 2, 3), (3, 5), (5,)], [(3,), (3, 5), (5,)]],
        emit={MIN_OPSET: _emit_linear},
    ),
)
