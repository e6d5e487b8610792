"""Open modules of equinox and register its layers and examples: the hooks of jax2onnx-equinox."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from jax2onnx.plugin import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax2onnx.plugin import BoundExamples, BoundFusions, BoundLowerings, Opened, Opening


@hookimpl
def jax2onnx_open(target: Callable[..., Any], opening: Opening) -> Opened | None:
    """Open a module, a method bound to one, or a ``functools.partial`` over modules."""
    if "equinox" not in sys.modules:
        return None
    from jax2onnx_equinox.opening import open_modules

    return open_modules(target, opening)


@hookimpl
def jax2onnx_register_lowerings(registry: BoundLowerings) -> None:
    """State what equinox's own primitives are."""
    from jax2onnx_equinox import primitives

    primitives.register(registry)


@hookimpl
def jax2onnx_register_fusions(registry: BoundFusions) -> None:
    """Register the normalisation layers."""
    from jax2onnx_equinox import fusions

    registry.add(*fusions.ALL)


@hookimpl
def jax2onnx_register_examples(registry: BoundExamples) -> None:
    """Register models and layers of equinox."""
    from jax2onnx_equinox import examples, internal_examples

    registry.add(*examples.ALL, *internal_examples.ALL)
