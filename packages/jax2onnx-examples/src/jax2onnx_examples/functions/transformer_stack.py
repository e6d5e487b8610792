"""A stack of transformer blocks: however deep, one ONNX function for all of its blocks."""

from __future__ import annotations

from flax import nnx

from jax2onnx import onnx_function
from jax2onnx_examples._describe import FUNCTIONS, model
from jax2onnx_examples.functions.transformer_block import TransformerBlock
from jax2onnx_examples.models import transformer


@onnx_function
class TransformerStack(transformer.TransformerStack):
    """The stack as a function; its blocks differ in their weights only, and so share theirs."""


def stack(rngs: nnx.Rngs) -> TransformerStack:
    """Return three blocks of four heads."""
    return TransformerStack(TransformerBlock(32, 4, rngs=rngs) for _ in range(3))


EXAMPLES = [
    model(
        FUNCTIONS,
        "010_transformer_block",
        stack,
        [("B", 10, 32)],
        component="transformer stack",
        operators={"TransformerStack": 1},
    ),
]
