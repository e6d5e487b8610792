"""Programs of libraries for graphs and equivariance."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from kit import Case, normal, program

SENDERS = jnp.array([0, 1, 2, 3, 0, 2, 4])
RECEIVERS = jnp.array([1, 2, 3, 0, 2, 0, 1])


@program("jraph")
def jraph_graph_net():
    """A graph network that updates edges, nodes and globals."""
    import jraph

    rng = np.random.default_rng(0)
    edge, node, whole = (jnp.asarray(0.3 * normal(rng, n, 4)) for n in (2 + 3 + 3 + 2, 3 + 4 + 4 + 2, 4 + 4 + 2))

    def apply(weights):
        return lambda *parts: jnp.tanh(jnp.concatenate(parts, -1) @ weights)

    net = jraph.GraphNetwork(apply(edge), apply(node), apply(whole))

    def run(nodes, edges, senders, receivers):
        graph = jraph.GraphsTuple(
            nodes=nodes,
            edges=edges,
            senders=senders,
            receivers=receivers,
            globals=jnp.ones((1, 2)),
            n_node=jnp.array([nodes.shape[0]]),
            n_edge=jnp.array([edges.shape[0]]),
        )
        out = net(graph)
        return out.nodes, out.edges, out.globals

    ends = "int32[7]"
    values = [(normal(rng, 5, 3), normal(rng, 7, 2), *rng.integers(0, 5, (2, 7)).astype(np.int32)) for _ in range(4)]
    return Case(fn=run, inputs=[(5, 3), (7, 2), ends, ends], values=values)


@program("jraph")
def jraph_attention():
    """Graph attention and graph convolution."""
    import jraph

    rng = np.random.default_rng(0)
    query = jnp.asarray(normal(rng, 3, 4))
    logit = jnp.asarray(normal(rng, 8, 1))

    attention = jraph.GAT(
        attention_query_fn=lambda n: n @ query,
        attention_logit_fn=lambda s, r, e: jnp.concatenate([s, r], -1) @ logit,
    )
    convolution = jraph.GraphConvolution(update_node_fn=jnp.tanh, add_self_edges=True)

    def run(nodes):
        graph = jraph.GraphsTuple(
            nodes=nodes,
            edges=None,
            senders=SENDERS,
            receivers=RECEIVERS,
            globals=None,
            n_node=jnp.array([5]),
            n_edge=jnp.array([7]),
        )
        return convolution(attention(graph)).nodes

    return Case(fn=run, inputs=[(5, 3)])


@program("e3nn-jax")
def e3nn_tensor_product():
    """Spherical harmonics, a tensor product and a gate, for any number of vectors."""
    import e3nn_jax as e3nn

    def run(vectors):
        harmonics = e3nn.spherical_harmonics("0e + 1o + 2e", vectors, normalize=True)
        product = e3nn.tensor_product(harmonics, harmonics, filter_ir_out=["0e", "1o", "1e"])
        return product.array

    rng = np.random.default_rng(0)
    values = [(normal(rng, n, 3),) for n in (1, 3, 7)] + [(1e3 * normal(rng, 2, 3),), (np.eye(3, dtype=np.float32),)]
    return Case(fn=run, inputs=[("N", 3)], values=values)


@program("e3nn-jax")
def e3nn_message_passing():
    """An equivariant layer of messages, with its linear maps, and the forces that follow from its energy."""
    import e3nn_jax as e3nn

    rng = np.random.default_rng(0)
    linear = e3nn.FunctionalLinear("0e + 1o + 2e", "4x0e + 2x1o")
    weights = [jnp.asarray(normal(rng, *i.path_shape)) for i in linear.instructions]

    def energy(positions):
        vectors = positions[RECEIVERS] - positions[SENDERS]
        harmonics = e3nn.spherical_harmonics("0e + 1o + 2e", vectors, normalize=False)
        messages = jax.vmap(linear, in_axes=(None, 0))(weights, harmonics)
        nodes = e3nn.scatter_sum(messages, dst=RECEIVERS, output_size=5)
        return jnp.sum(e3nn.norm(nodes, squared=True).array * 0.1)

    def run(positions):
        value, gradient = jax.value_and_grad(energy)(positions)
        return value, -gradient

    values = [(normal(rng, 5, 3),) for _ in range(5)]
    return Case(fn=run, inputs=[(5, 3)], values=values)
