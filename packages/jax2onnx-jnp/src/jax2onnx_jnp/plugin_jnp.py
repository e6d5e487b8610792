"""Register whole functions and examples of ``jax.numpy``: the hooks of the plugin ``jnp``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jax2onnx.plugin import hookimpl

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundExamples, BoundFusions


@hookimpl
def jax2onnx_register_fusions(registry: BoundFusions) -> None:
    """Register random fractions, normalisation, rotary embeddings, padding, resizing, searches, slices with a step."""
    from jax2onnx_jnp import drawing, norms, padding, resize, rms_norms, rotary, rows, searching, slicing

    modules = (drawing, norms, rms_norms, rotary, padding, resize, rows, searching, slicing)
    registry.add(*(fusion for module in modules for fusion in module.FUSIONS))


@hookimpl
def jax2onnx_register_examples(registry: BoundExamples) -> None:
    """Register the examples of ``jax.numpy``."""
    from jax2onnx_jnp import examples

    registry.add(*examples.EXAMPLES)
