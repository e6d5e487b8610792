"""A multi-layer perceptron with BatchNorm, Dropout and GELU."""

from __future__ import annotations

import jax
from flax import nnx

from jax2onnx_examples._describe import MODELS, model


class MLP(nnx.Module):
    """Two linear layers; between them batch normalisation, dropout and GELU."""

    def __init__(self, din: int, dmid: int, dout: int, *, rngs: nnx.Rngs) -> None:
        self.linear1 = nnx.Linear(din, dmid, rngs=rngs)
        self.dropout = nnx.Dropout(rate=0.1, rngs=rngs)
        self.bn = nnx.BatchNorm(dmid, rngs=rngs)
        self.linear2 = nnx.Linear(dmid, dout, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, din) to (batch, dout)."""
        x = nnx.gelu(self.dropout(self.bn(self.linear1(x))))
        return self.linear2(x)


EXAMPLES = [
    model(
        MODELS,
        "mlp",
        lambda rngs: MLP(30, 20, 10, rngs=rngs),
        [("B", 30)],
        component="MLP",
        operators={"Gemm": 2, "BatchNormalization": 1, "Gelu": 1},
    ),
]
