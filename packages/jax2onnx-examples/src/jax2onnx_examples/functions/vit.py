"""A Vision Transformer that reads, in the file, like its own source: functions within functions."""

from __future__ import annotations

from flax import nnx

from jax2onnx import onnx_function
from jax2onnx_examples._describe import FUNCTIONS, model
from jax2onnx_examples.functions.transformer_stack import stack
from jax2onnx_examples.models import conv_embedding, vit


@onnx_function
class ConvEmbedding(conv_embedding.ConvEmbedding):
    """The embedding as a function."""


@onnx_function
class VisionTransformer(vit.VisionTransformer):
    """The whole model as a function."""


def with_convolutions(rngs: nnx.Rngs) -> VisionTransformer:
    """Return a model over the pixels of an image halved twice."""
    return VisionTransformer(ConvEmbedding((1, 16, 32), rngs=rngs), stack(rngs), rngs=rngs)


EXAMPLES = [
    model(
        FUNCTIONS,
        "011_vit_conv_embedding",
        with_convolutions,
        [("B", 28, 28, 1)],
        component="Vision Transformer, all of its parts functions",
        operators={"VisionTransformer": 1},
    ),
]
