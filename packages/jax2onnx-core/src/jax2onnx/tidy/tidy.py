"""Tidy: make the graph what an expert would have written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_ir.passes.common import CommonSubexpressionEliminationPass

from jax2onnx.tidy.batch_norm import fold_batch_norms
from jax2onnx.tidy.biases import merge_biases, place_biases
from jax2onnx.tidy.dense_rows import reorder_rows
from jax2onnx.tidy.idioms import shorten
from jax2onnx.tidy.initializers import Home, fold, restore_names, share
from jax2onnx.tidy.layout import settle
from jax2onnx.tidy.reshapes import remove_dead, simplify, turn_vector_products
from jax2onnx.tidy.subgraphs import graphs

if TYPE_CHECKING:
    import onnx_ir as ir


def tidy(model: ir.Model, *, fold_batch_norm: bool = False) -> None:
    """Simplify the model in place, its functions and subgraphs too; no result changes but by rounding.

    Dead and repeated nodes, nodes that do nothing, chains of reshapes and transposes of weights go; products with a
    bias become ``Gemm`` or ``Conv`` with a bias; regions between transposes run in the layout that needs fewest, and
    what is flattened after a transpose is flattened before it.
    """
    functions = [Home(f.graph, is_function=True) for f in model.functions.values()]
    homes = [Home(model.graph, is_function=False), *functions]
    share(model.graph)
    declared = [output.shape for home in homes for output in home.graph.outputs]
    CommonSubexpressionEliminationPass()(model)
    _keep_shapes(homes, declared)
    for home in homes:
        inner = graphs(home.graph)
        for graph in inner:
            simplify(graph, home)
        remove_dead(home.graph)
        fold(inner, home)
        for graph in inner:
            shorten(graph, home)
        settled = [settle(graph, home) for graph in inner]
        if any(settled):
            fold(inner, home)
        for graph in inner:
            reorder_rows(graph, home)
            turn_vector_products(graph)
            place_biases(graph, home)
            merge_biases(graph, home)
            if fold_batch_norm:
                fold_batch_norms(graph, home)
        remove_dead(home.graph)
    restore_names(model.graph)


def _keep_shapes(homes: list[Home], declared: list[ir.Shape | None]) -> None:
    """Give outputs that are now an equal value of earlier on, which may have none, the shapes declared before."""
    outputs = [output for home in homes for output in home.graph.outputs]
    for output, shape in zip(outputs, declared, strict=True):
        if output.shape is None:
            output.shape = shape
