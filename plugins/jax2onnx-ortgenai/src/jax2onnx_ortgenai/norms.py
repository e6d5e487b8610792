"""Norms: a sum and the norm of it become the contrib operator that computes both."""

from __future__ import annotations

import onnx_ir as ir

from jax2onnx_ortgenai.graphs import NotFound, constant, inputs_of, made_by

__all__ = ["norm_sums"]

_DOMAIN = "com.microsoft"


def norm_sums(graph: ir.Graph) -> None:
    """Rewrite ``RMSNormalization(Add(x[B, T, 8], y[B, T, 8]), scale[8])`` to ``SkipSimplifiedLayerNormalization``.

    The sum is its fourth result, for what else needs it: the ``Add`` after the next layer.
    """
    for node in list(graph):
        if node.op_type == "RMSNormalization" and not node.domain:
            try:
                _rewrite(node, graph)
            except NotFound:
                continue


def _rewrite(node: ir.Node, graph: ir.Graph) -> None:
    total, scale = inputs_of(node, 2)
    addition = made_by(total, "Add")
    first, second = inputs_of(addition, 2)
    shapes = [first.shape, second.shape, total.shape]
    rank = 0 if total.shape is None else total.shape.rank()
    # Of operands that broadcast, or of other ranks, the operator makes something else.
    if rank != 3 or any(shape is None or list(shape) != list(total.shape or ()) for shape in shapes):
        raise NotFound("the operands have different shapes")
    dtypes = {value.dtype for value in (first, second, scale, total)}
    axis = node.attributes.get_int("axis", -1)
    array = constant(scale)
    if dtypes != {ir.DataType.FLOAT} or axis not in {-1, rank - 1} or array is None or array.ndim != 1:
        raise NotFound("the norm is of another kind")
    if total.is_graph_output():
        raise NotFound("the sum is a result of the model")
    results = [
        ir.Value(type=node.outputs[0].type, shape=node.outputs[0].shape),
        ir.Value(name=""),  # the mean and the variance, which nothing uses
        ir.Value(name=""),
        ir.Value(type=total.type, shape=total.shape),
    ]
    made = ir.Node(
        _DOMAIN,
        "SkipSimplifiedLayerNormalization",
        [first, second, scale],
        [ir.AttrFloat32("epsilon", node.attributes.get_float("epsilon", 1e-5))],
        outputs=results,
        metadata_props=dict(node.metadata_props),
    )
    # Where the sum is computed: all that the norm reads is known there, and its users come later.
    addition.append(made)
    name = node.outputs[0].name
    node.outputs[0].replace_all_uses_with(results[0], replace_graph_outputs=True)
    node.outputs[0].name, results[0].name = None, name
    total.replace_all_uses_with(results[3])
    graph.remove([node, addition], safe=True)
    graph.opset_imports.setdefault(_DOMAIN, 1)
