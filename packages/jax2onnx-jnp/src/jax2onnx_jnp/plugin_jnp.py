"""Register whole functions and examples of ``jax.numpy``: the hooks of the plugin ``jnp``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jax2onnx.plugin import hookimpl

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundExamples, BoundFusions


@hookimpl
def jax2onnx_register_fusions(registry: BoundFusions) -> None:
    """Register normalisation, padding, resizing and slices with a step."""
    from jax2onnx_jnp import norms, padding, resize, rms_norms, slicing

    registry.add(*norms.FUSIONS, *rms_norms.FUSIONS, *padding.FUSIONS, *resize.FUSIONS, *slicing.FUSIONS)


@hookimpl
def jax2onnx_register_examples(registry: BoundExamples) -> None:
    """Register the examples of ``jax.numpy``."""
    from jax2onnx_jnp import examples

    registry.add(*examples.EXAMPLES)
