"""Models whose parts stay visible in the file, as ONNX functions."""

from __future__ import annotations

from jax2onnx.plugin import Example
from jax2onnx_examples.functions import components, nested, one_function, transformer_block, transformer_stack, vit

ALL: tuple[Example, ...] = (
    *one_function.EXAMPLES,
    *nested.EXAMPLES,
    *components.EXAMPLES,
    *transformer_block.EXAMPLES,
    *transformer_stack.EXAMPLES,
    *vit.EXAMPLES,
)
