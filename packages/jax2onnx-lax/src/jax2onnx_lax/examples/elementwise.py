"""Examples of :mod:`jax2onnx_lax.elementwise`."""

from __future__ import annotations

from jax import lax

from jax2onnx.registry import Example

EXAMPLES: list[Example] = [
    Example(name="add", context="lax", component="jax.lax.add", make=lambda: lax.add, inputs=[("B", 3), ("B", 3)]),
]
