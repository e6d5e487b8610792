"""Measure that fusing is linear: time per equation for transformers of growing depth, cold and warm.

python benchmarks/fuse_scaling.py
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import nnx

from jax2onnx.flatten import flatten
from jax2onnx.fuse import fuse
from jax2onnx.plugins import load

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH = 32
DEPTHS = (12, 48, 96, 480)


class Block(nnx.Module):
    """A pre-norm transformer block."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.norm1, self.norm2 = nnx.LayerNorm(WIDTH, rngs=rngs), nnx.LayerNorm(WIDTH, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(num_heads=4, in_features=WIDTH, decode=False, rngs=rngs)
        self.up, self.down = nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs), nnx.Linear(4 * WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Apply the block."""
        x = x + self.attention(self.norm1(x))
        return x + self.down(jax.nn.gelu(self.up(self.norm2(x))))


def stack(depth: int) -> Callable[[jax.Array], jax.Array]:
    """Return a network of ``depth`` applications of a few blocks (tracing does not share them)."""
    rngs = nnx.Rngs(0)
    blocks = [Block(rngs) for _ in range(12)]

    def network(x: jax.Array) -> jax.Array:
        for i in range(depth):
            x = blocks[i % len(blocks)](x)
        return x

    return network


def main() -> None:
    """Print one line per depth."""
    started = time.perf_counter()
    fusions = tuple(load().registry().fusions)
    print(f"jax {jax.__version__}, {len(fusions)} fusions, loaded in {time.perf_counter() - started:.2f} s")
    for depth in DEPTHS:
        network = stack(depth)
        started = time.perf_counter()
        jaxpr = jax.make_jaxpr(network)(jax.ShapeDtypeStruct((2, 16, WIDTH), jnp.float32))
        traced = time.perf_counter() - started
        program = flatten(jaxpr)
        started = time.perf_counter()
        fused = fuse(program, fusions, opset=23)
        first = time.perf_counter() - started
        started = time.perf_counter()
        fuse(program, fusions, opset=23)
        warm = time.perf_counter() - started
        names = Counter(e.primitive for e in fused.eqns if e.fused is not None)
        print(
            f"{depth:4d} blocks: {len(program.eqns):6d} equations -> {len(fused.eqns):5d}; make_jaxpr {traced:6.2f} s, "
            f"fuse first {first:5.2f} s, again {warm:5.2f} s = {1e6 * warm / len(program.eqns):4.1f} us/equation; "
            f"{dict(names)}"
        )


if __name__ == "__main__":
    main()
