"""Register whole functions and examples of ``jax.nn``: the hooks of the plugin ``nn``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jax2onnx.plugin import hookimpl

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundExamples, BoundFusions


@hookimpl
def jax2onnx_register_fusions(registry: BoundFusions) -> None:
    """Register activations, softmax and attention."""
    from jax2onnx_jnp import attention, nn

    registry.add(*nn.FUSIONS, *attention.FUSIONS)


@hookimpl
def jax2onnx_register_examples(registry: BoundExamples) -> None:
    """Register one example per function."""
    from jax2onnx_jnp.nn_examples import EXAMPLES

    registry.add(*EXAMPLES)
