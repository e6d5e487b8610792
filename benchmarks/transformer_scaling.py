"""Export time against tracing time for transformers of growing depth.

Prints, for each depth, the number of equations, the time ``jax.make_jaxpr`` takes and the time the whole export takes
in the same process, their ratio and the time per equation. Processor time, best of a few rounds, alternating the two.

Run: ``python benchmarks/transformer_scaling.py [--blocks 12 48 96] [--rounds 3]``
"""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable

import jax
from flax import nnx

from jax2onnx.api import export_ir
from jax2onnx.flatten import flatten


class Block(nnx.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int, heads: int, *, rngs: nnx.Rngs) -> None:
        self.norm1 = nnx.LayerNorm(width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(num_heads=heads, in_features=width, decode=False, rngs=rngs)
        self.norm2 = nnx.LayerNorm(width, rngs=rngs)
        self.up = nnx.Linear(width, 4 * width, rngs=rngs)
        self.down = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, time, width) to the same shape."""
        x = x + self.attention(self.norm1(x))
        return x + self.down(nnx.gelu(self.up(self.norm2(x))))


class Transformer(nnx.Module):
    """A stack of blocks."""

    def __init__(self, depth: int, width: int, heads: int, *, rngs: nnx.Rngs) -> None:
        self.blocks = nnx.List([Block(width, heads, rngs=rngs) for _ in range(depth)])

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map (batch, time, width) to the same shape."""
        for block in self.blocks:
            x = block(x)
        return x


def timed(work: Callable[[], object]) -> float:
    """Return the seconds of processor time one call takes, from a heap without garbage of earlier ones."""
    gc.collect()
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--blocks", type=int, nargs="+", default=[12, 48, 96])
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    spec = jax.ShapeDtypeStruct((2, 16, 32), "float32")
    print(f"jax {jax.__version__}")
    print(f"{'blocks':>6} {'equations':>9} {'trace s':>8} {'export s':>8} {'ratio':>6} {'us/eqn':>7} {'nodes':>6}")
    for depth in args.blocks:
        model = Transformer(depth, 32, 4, rngs=nnx.Rngs(0))
        model.eval()
        trace_s, export_s = [], []
        for _ in range(args.rounds):
            jax.clear_caches()
            trace_s.append(timed(lambda m=model: jax.make_jaxpr(m.__call__)(spec)))
            jax.clear_caches()
            export_s.append(timed(lambda m=model: export_ir(m, [spec])))
        equations = len(flatten(jax.make_jaxpr(model.__call__)(spec)).eqns)
        nodes = sum(1 for _ in export_ir(model, [spec]).graph)
        trace_best, export_best = min(trace_s), min(export_s)
        print(
            f"{depth:>6} {equations:>9} {trace_best:>8.2f} {export_best:>8.2f} {export_best / trace_best:>6.2f} "
            f"{1e6 * export_best / equations:>7.0f} {nodes:>6}"
        )


if __name__ == "__main__":
    main()
