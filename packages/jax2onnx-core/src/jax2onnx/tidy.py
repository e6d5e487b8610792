"""Tidy: make the graph what an expert would have written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir
from onnx_ir.passes import Sequential
from onnx_ir.passes import common as passes

if TYPE_CHECKING:
    from collections.abc import Sequence


def tidy(model: ir.Model) -> None:
    """Simplify the model in place: dead code, common subexpressions, transposes, reshapes, Gemm."""
    _common(model)
    graphs = [model.graph, *(f.graph for f in model.functions.values())]
    for graph in graphs:
        for node in list(graph):
            _REWRITES.get(node.op_type, _keep)(node)
    passes.RemoveUnusedNodesPass()(model)


def _common(model: ir.Model) -> None:
    shapes = [v.shape for v in model.graph.outputs]
    Sequential(
        passes.RemoveUnusedNodesPass(),
        passes.CommonSubexpressionEliminationPass(),
    )(model)
    # The earlier of two equal values stays, which may be an intermediate one without a shape.
    for value, shape in zip(model.graph.outputs, shapes, strict=True):
        value.shape = value.shape or shape


def _keep(node: ir.Node) -> None:
    del node


def _replace(node: ir.Node, value: ir.Value) -> None:
    """Let every user of the node's single output use ``value``; a graph output stays, through the node."""
    node.outputs[0].replace_all_uses_with(value)


def _merge_transposes(node: ir.Node) -> None:
    perm = list(node.attributes["perm"].as_ints())
    inner = node.inputs[0].producer() if node.inputs[0] is not None else None
    source = node.inputs[0]
    if inner is not None and inner.op_type == "Transpose":
        first = inner.attributes["perm"].as_ints()
        perm = [first[i] for i in perm]
        source = inner.inputs[0]
        node.replace_input_with(0, source)
        node.attributes["perm"] = ir.AttrInt64s("perm", perm)
    if perm == list(range(len(perm))) and not node.outputs[0].is_graph_output() and source is not None:
        _replace(node, source)


def _merge_reshapes(node: ir.Node) -> None:
    """A reshape of a reshape is one, if the second one's target reads nothing off its input."""
    inner = node.inputs[0].producer() if node.inputs[0] is not None else None
    target = node.inputs[1].const_value if node.inputs[1] is not None else None
    if inner is None or inner.op_type != "Reshape" or target is None:
        return
    dims = target.numpy().tolist()
    if 0 not in dims and inner.inputs[0] is not None:
        node.replace_input_with(0, inner.inputs[0])


def _gemm(node: ir.Node) -> None:
    """A rank-2 float product plus a bias vector is one Gemm."""
    for product, bias in (node.inputs, node.inputs[::-1]):
        if product is None or bias is None or bias.shape is None:
            continue
        matmul = product.producer()
        if (
            matmul is None
            or matmul.op_type != "MatMul"
            or len(product.uses()) != 1
            or product.is_graph_output()
            or not _ranks(matmul.inputs, 2)
            or bias.shape.rank() != 1
            or node.outputs[0].shape is None
            or node.outputs[0].shape.rank() != 2
            or product.dtype not in _GEMM_DTYPES
        ):
            continue
        gemm = ir.Node(
            "",
            "Gemm",
            [*matmul.inputs, bias],
            outputs=None,
            metadata_props=dict(node.metadata_props),
        )
        out, old = gemm.outputs[0], node.outputs[0]
        out.type, out.shape = old.type, old.shape
        graph = node.graph
        if graph is None:
            return
        graph.insert_after(node, gemm)
        old.replace_all_uses_with(out, replace_graph_outputs=True)
        out.name, old.name = old.name, None
        graph.remove(node, safe=True)
        return


def _ranks(values: Sequence[ir.Value | None], rank: int) -> bool:
    return all(v is not None and v.shape is not None and v.shape.rank() == rank for v in values)


_GEMM_DTYPES = {ir.DataType.FLOAT, ir.DataType.DOUBLE, ir.DataType.FLOAT16}
_REWRITES = {"Transpose": _merge_transposes, "Reshape": _merge_reshapes, "Add": _gemm}
