"""The plugin ``examples``: runnable models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jax2onnx.plugin import hookimpl

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundExamples


@hookimpl
def jax2onnx_register_examples(registry: BoundExamples) -> None:
    """Register the models, and the models that keep parts of themselves as ONNX functions."""
    from jax2onnx_examples import functions, models, programs

    registry.add(*models.ALL, *functions.ALL, *programs.ALL)
