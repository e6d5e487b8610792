"""Register the lowerings and examples of ``jax.lax``: the hooks of jax2onnx-lax."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jax2onnx.plugin import hookimpl

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundExamples, BoundLowerings


@hookimpl
def jax2onnx_register_lowerings(registry: BoundLowerings) -> None:
    """Register a lowering for every lax primitive."""
    from jax2onnx_lax import families

    for family in families.ALL:
        family.register(registry)


@hookimpl
def jax2onnx_register_examples(registry: BoundExamples) -> None:
    """Register one example or more per primitive."""
    from jax2onnx_lax import examples

    registry.add(*examples.ALL)
