"""The MLP in a Transformer."""

from __future__ import annotations

import jax
from flax import nnx

from jax2onnx_examples._describe import MODELS, model


class MLPBlock(nnx.Module):
    """Widen, GELU, narrow, each followed by dropout."""

    def __init__(self, width: int, hidden: int, *, dropout: float = 0.1, rngs: nnx.Rngs) -> None:
        self.up = nnx.Linear(width, hidden, rngs=rngs)
        self.down = nnx.Linear(hidden, width, rngs=rngs)
        self.dropout = nnx.Dropout(dropout, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (..., width) to the same shape."""
        x = self.dropout(nnx.gelu(self.up(x)))
        return self.dropout(self.down(x))


EXAMPLES = [
    model(
        MODELS,
        "mlp_block",
        lambda rngs: MLPBlock(32, 64, rngs=rngs),
        [("B", 10, 32)],
        component="MLPBlock",
        operators={"MatMul": 2, "Gelu": 1},
    ),
]
