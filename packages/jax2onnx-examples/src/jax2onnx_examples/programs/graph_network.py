"""A layer of a graph network: messages along edges are summed at the nodes that receive them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jax2onnx.plugin import Example
from jax2onnx_examples._describe import PROGRAMS

WIDTH = 4
_RNG = np.random.default_rng(0)
MESSAGE = _RNG.normal(size=(2 * WIDTH, WIDTH)).astype(np.float32)
UPDATE = _RNG.normal(size=(2 * WIDTH, WIDTH)).astype(np.float32)


def graph_layer(nodes: jax.Array, senders: jax.Array, receivers: jax.Array) -> jax.Array:
    """Map nodes (nodes, width), with edges from senders (edges,) to receivers (edges,), to the same shape."""
    ends = jnp.concatenate([nodes[senders], nodes[receivers]], -1)
    messages = jax.nn.relu(ends @ MESSAGE)
    received = jax.ops.segment_sum(messages, receivers, num_segments=nodes.shape[0])
    return nodes + jnp.tanh(jnp.concatenate([nodes, received], -1) @ UPDATE)


def _values() -> list[list[object]]:
    rng = np.random.default_rng(1)
    edges = rng.integers(0, 3, (2, 3), np.int32)
    return [[rng.normal(size=(3, WIDTH)).astype(np.float32), *edges]]


EXAMPLES = [
    Example(
        name="graph_network",
        context=PROGRAMS,
        component="jax.ops.segment_sum",
        make=lambda: graph_layer,
        inputs=[("N", WIDTH), "int32[E]", "int32[E]"],
        values=_values,
        draw=False,  # edges are between nodes
    )
]
