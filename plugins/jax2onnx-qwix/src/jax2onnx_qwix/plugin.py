"""The hooks of jax2onnx-qwix: the composite that marks fake quantisation, and examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jax2onnx.plugin import hookimpl

if TYPE_CHECKING:
    from jax2onnx.plugin import BoundExamples, BoundLowerings


@hookimpl
def jax2onnx_register_lowerings(registry: BoundLowerings) -> None:
    """State how the composite ``quant.fake_quant`` is written."""
    from jax2onnx_qwix import fake_quant

    fake_quant.register(registry)


@hookimpl
def jax2onnx_register_examples(registry: BoundExamples) -> None:
    """Register a model of each kind of quantisation."""
    from jax2onnx_qwix import examples

    registry.add(*examples.ALL)
