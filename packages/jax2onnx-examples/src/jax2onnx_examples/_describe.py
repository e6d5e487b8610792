"""How a model becomes an example."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from flax import nnx

from jax2onnx.plugin import Example

MODELS = "examples.nnx"
PROGRAMS = "examples.jax"
FUNCTIONS = "examples.onnx_functions"


def model(
    context: str,
    name: str,
    build: Callable[[nnx.Rngs], nnx.Module],
    inputs: Sequence[Any],
    *,
    component: str,
    operators: Mapping[str, int] | None = None,
    values: Callable[[], Sequence[Sequence[Any]]] | None = None,
) -> Example:
    """Return the example of a module, in eval mode.

    ``build`` gets the random numbers for its weights. It is compared on ``values``, or on drawn inputs without any.
    """

    def make() -> Any:
        module = build(nnx.Rngs(0))
        module.eval()
        return module

    return Example(
        name=name,
        context=context,
        component=component,
        make=make,
        inputs=inputs,
        operators=operators,
        values=values,
        draw=values is None,
    )


def normal(*shape: int) -> Callable[[], list[list[Any]]]:
    """Return values for one input: numbers of a normal distribution."""
    return lambda: [[np.random.default_rng(0).normal(size=shape).astype(np.float32)]]
