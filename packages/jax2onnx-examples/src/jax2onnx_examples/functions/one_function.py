"""One ONNX function: the outer layer, or the inner one."""

from __future__ import annotations

import jax
from flax import nnx

from jax2onnx import onnx_function
from jax2onnx_examples._describe import FUNCTIONS, model
from jax2onnx_examples.models.mlp_block import MLPBlock


@onnx_function
class SuperBlock(nnx.Module):
    """Normalisation and an MLP; the whole of it is one function."""

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.mlp = MLPBlock(width, 2 * width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, time, width) to the same shape."""
        return self.mlp(self.norm(x))


@onnx_function
class MLPFunction(MLPBlock):
    """The MLP of a Transformer as a function: a decorated subclass leaves the class itself as it is."""


class Residual(nnx.Module):
    """Normalisation and an MLP, of which the MLP is a function."""

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.mlp = MLPFunction(width, 2 * width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, time, width) to the same shape."""
        return x + self.mlp(self.norm(x))


EXAMPLES = [
    model(
        FUNCTIONS,
        "000_one_function_outer",
        lambda rngs: SuperBlock(32, rngs=rngs),
        [("B", 10, 32)],
        component="one function on an outer layer",
        operators={"SuperBlock": 1},
    ),
    model(
        FUNCTIONS,
        "001_one_function_inner",
        lambda rngs: Residual(32, rngs=rngs),
        [("B", 10, 32)],
        component="one function on an inner layer",
        operators={"MLPFunction": 1, "LayerNormalization": 1, "Add": 1},
    ),
]
