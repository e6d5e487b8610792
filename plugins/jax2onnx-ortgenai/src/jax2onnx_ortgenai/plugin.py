"""The hooks of jax2onnx-ortgenai."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jax2onnx.plugin import hookimpl

if TYPE_CHECKING:
    import onnx_ir as ir

    from jax2onnx.plugin import BoundExamples, BoundFusions, BoundTargets, Target


@hookimpl
def jax2onnx_register_fusions(registry: BoundFusions) -> None:
    """Register what is written behind all that a cache holds."""
    from jax2onnx_ortgenai import caches

    registry.add(*caches.FUSIONS)


@hookimpl
def jax2onnx_register_examples(registry: BoundExamples) -> None:
    """Register a step of a decoder whose cache grows."""
    from jax2onnx_ortgenai import examples

    registry.add(*examples.ALL)


@hookimpl
def jax2onnx_register_targets(registry: BoundTargets) -> None:
    """Register onnxruntime-genai."""
    from jax2onnx_ortgenai import target

    registry.add(target.genai())


@hookimpl
def jax2onnx_finalize(model: ir.Model, target: Target | None) -> None:
    """Rewrite attention and norms to the operators of onnxruntime-genai's own models, if it is for that."""
    from jax2onnx_ortgenai.rewriting import rewrite

    rewrite(model, target)
