"""Tidy: make the graph what an expert would have written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_ir.passes import common as passes

from jax2onnx._initializers import Home, fold, restore_names, share
from jax2onnx._layout import settle
from jax2onnx._simplify import merge_biases, simplify

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir


def tidy(model: ir.Model) -> None:
    """Simplify the model in place, its functions and subgraphs too; no result changes but by rounding.

    Dead and repeated nodes, nodes that do nothing, chains of reshapes and transposes of weights go; products with a
    bias become ``Gemm`` or ``Conv`` with a bias; regions between transposes run in the layout that needs fewest.
    """
    passes.RemoveUnusedNodesPass()(model)
    passes.CommonSubexpressionEliminationPass()(model)
    share(model.graph)
    functions = [Home(f.graph, is_function=True) for f in model.functions.values()]
    for home in (Home(model.graph, is_function=False), *functions):
        for graph in _graphs(home.graph):
            simplify(graph, home)
        fold(home)
        for graph in _graphs(home.graph):
            settle(graph, home)
        fold(home)
        for graph in _graphs(home.graph):
            merge_biases(graph, home)
    passes.RemoveUnusedNodesPass()(model)
    restore_names(model.graph)


def _graphs(graph: ir.Graph) -> Iterator[ir.Graph]:
    yield graph
    yield from graph.subgraphs()
