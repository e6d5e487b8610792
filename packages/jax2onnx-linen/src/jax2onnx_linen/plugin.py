"""Open modules of flax.linen and register its layers and examples: the hooks of jax2onnx-linen."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from jax2onnx.plugin import hookimpl

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax2onnx.plugin import BoundExamples, BoundFusions, Opened, Opening


@hookimpl
def jax2onnx_open(target: Callable[..., Any], opening: Opening) -> Opened | None:
    """Open ``(module, variables)``, a bound module, a method of one, or a partial of ``module.apply``."""
    if "flax.linen" not in sys.modules:
        return None
    from jax2onnx_linen.opening import open_module

    return open_module(target, opening)


@hookimpl
def jax2onnx_register_fusions(registry: BoundFusions) -> None:
    """Register the normalisation and the recurrent layers."""
    from jax2onnx_linen import fusions, recurrent

    registry.add(*fusions.ALL, *recurrent.FUSIONS)


@hookimpl
def jax2onnx_register_examples(registry: BoundExamples) -> None:
    """Register models and layers of flax.linen."""
    from jax2onnx_linen import examples

    registry.add(*examples.ALL)
