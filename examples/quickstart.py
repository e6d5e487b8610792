"""The quick start: export a flax.nnx model, show what came out, compare it with JAX, leave jax_callable.onnx."""

from __future__ import annotations

import time

import jax
from flax import nnx

from jax2onnx import check, save_onnx
from jax2onnx.inspect.summary import format_operators, format_size, summarise

PATH = "jax_callable.onnx"


class MLP(nnx.Module):
    """A multi-layer perceptron with BatchNorm, Dropout and GELU."""

    def __init__(self, din: int, dmid: int, dout: int, *, rngs: nnx.Rngs) -> None:
        self.linear1 = nnx.Linear(din, dmid, rngs=rngs)
        self.dropout = nnx.Dropout(rate=0.1, rngs=rngs)
        self.bn = nnx.BatchNorm(dmid, rngs=rngs)
        self.linear2 = nnx.Linear(dmid, dout, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map ``x`` (batch, din) to (batch, dout)."""
        x = nnx.gelu(self.dropout(self.bn(self.linear1(x))))
        return self.linear2(x)


def main() -> None:
    """Export, summarise, check."""
    model = MLP(din=30, dmid=20, dout=10, rngs=nnx.Rngs(0))

    start = time.perf_counter()
    save_onnx(model, [("B", 30)], PATH)
    took = time.perf_counter() - start

    summary = summarise(PATH)
    print(f"wrote      {PATH}, opset {summary.opset}")
    print(f"nodes      {summary.nodes}")
    print(f"operators  {format_operators(summary.operators)}")
    print(f"weights    {', '.join(str(t) for t in summary.initializers)}")
    print(f"size       {format_size(summary.size)}")
    print(f"time       {took:.2f} s")
    print(check(PATH, model, [("B", 30)], sizes=(1, 3, 7)))


if __name__ == "__main__":
    main()
