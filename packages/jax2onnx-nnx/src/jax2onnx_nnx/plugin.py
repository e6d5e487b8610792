"""Open modules of flax.nnx and register its layers and examples: the hooks of jax2onnx-nnx."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from jax2onnx.plugin import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax2onnx.plugin import BoundExamples, BoundFusions, Carried, Opened, Opening


@hookimpl
def jax2onnx_open(target: Callable[..., Any], opening: Opening) -> Opened | None:
    """Open a module, a method bound to one, or a ``functools.partial`` over modules."""
    if "flax.nnx" not in sys.modules:
        return None
    from jax2onnx_nnx.opening import open_modules

    return open_modules(target, opening)


@hookimpl
def jax2onnx_carry(target: object) -> Carried | None:
    """Split a module that is an argument of an ``onnx_function`` into structure and arrays."""
    if "flax.nnx" not in sys.modules:
        return None
    from jax2onnx_nnx import carrying

    return carrying.carry(target)


@hookimpl
def jax2onnx_register_fusions(registry: BoundFusions) -> None:
    """Register the layers for which ONNX has an operator."""
    from jax2onnx_nnx import fusions

    registry.add(*fusions.ALL)


@hookimpl
def jax2onnx_register_examples(registry: BoundExamples) -> None:
    """Register an example or more for each layer and activation."""
    from jax2onnx_nnx import examples

    registry.add(*examples.ALL)
