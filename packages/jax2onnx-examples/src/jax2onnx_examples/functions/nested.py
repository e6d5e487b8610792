"""Two ONNX functions, one inside the other."""

from __future__ import annotations

import jax
from flax import nnx

from jax2onnx import onnx_function
from jax2onnx_examples._describe import FUNCTIONS, model
from jax2onnx_examples.functions.one_function import MLPFunction


@onnx_function
class SuperBlock(nnx.Module):
    """A function that calls another one."""

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.mlp = MLPFunction(width, 2 * width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, time, width) to the same shape."""
        return self.mlp(self.norm(x))


@onnx_function(name="Nested")
class NestedBlock(nnx.Module):
    """One linear layer, named for the file in its own way."""

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.linear = nnx.Linear(width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (..., width) to the same shape."""
        return nnx.relu(self.linear(x))


@onnx_function(name="Outer", namespace="examples")
class OuterBlock(nnx.Module):
    """Calls one function twice, with different weights: there is still one definition."""

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.first = NestedBlock(width, rngs=rngs)
        self.second = NestedBlock(width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (..., width) to the same shape."""
        return self.second(self.first(x))


EXAMPLES = [
    model(
        FUNCTIONS,
        "002_two_nested_functions",
        lambda rngs: SuperBlock(32, rngs=rngs),
        [("B", 10, 32)],
        component="two nested functions",
        operators={"SuperBlock": 1},
    ),
    model(
        FUNCTIONS,
        "003_two_simple_nested_functions",
        lambda rngs: OuterBlock(16, rngs=rngs),
        [("B", 10, 16)],
        component="two simple nested functions",
        operators={"Outer": 1},
    ),
]
