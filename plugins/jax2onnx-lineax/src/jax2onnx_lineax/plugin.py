"""The hooks of jax2onnx-lineax: how linear solves are computed in a model, and examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jax2onnx.plugin import hookimpl

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundExamples, BoundLowerings


@hookimpl
def jax2onnx_register_lowerings(registry: BoundLowerings) -> None:
    """State what lineax's primitive is, under ``vmap`` too."""
    from jax2onnx_lineax import solve

    solve.register(registry)


@hookimpl
def jax2onnx_register_examples(registry: BoundExamples) -> None:
    """Register a solve by each solver of lineax."""
    from jax2onnx_lineax import examples

    registry.add(*examples.ALL)
