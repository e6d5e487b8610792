"""How a model becomes an example."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flax import nnx

from jax2onnx.plugin import Example

MODELS = "examples.nnx"
FUNCTIONS = "examples.onnx_functions"


def model(
    context: str,
    name: str,
    build: Callable[[nnx.Rngs], nnx.Module],
    inputs: Sequence[Any],
    *,
    component: str,
    operators: Mapping[str, int] | None = None,
) -> Example:
    """Return the example of a module, in eval mode; ``build`` gets the random numbers for its weights."""

    def make() -> Any:
        module = build(nnx.Rngs(0))
        module.eval()
        return module

    return Example(name=name, context=context, component=component, make=make, inputs=inputs, operators=operators)
