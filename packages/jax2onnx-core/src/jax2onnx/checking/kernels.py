"""Kernels of onnxruntime of which only the absolute error is small: the relative error of a small result may be large.

docs/numerics.md describes them. Where such a result matters, a model has other operators: before a logarithm, or in a
denominator.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

__all__ = ["coarse_primitives"]

_COARSE = {
    "Celu": ("expm1",),
    "Elu": ("expm1",),
    "Erf": ("erf",),
    "Gelu": ("erf", "erfc", "tanh"),
    "GRU": ("logistic", "tanh"),
    "LSTM": ("logistic", "tanh"),
    "Mish": ("tanh", "logistic", "log1p"),
    "RNN": ("tanh",),
    "Selu": ("expm1",),
    "Sigmoid": ("logistic",),
    "Softplus": ("log1p",),
    "Swish": ("logistic",),
    "Tanh": ("tanh",),
}
"""Operator -> the primitives that it stands for."""


def coarse_primitives(model: onnx.ModelProto | str | os.PathLike[str]) -> frozenset[str]:
    """Return the primitives that a model, or the one of a path, computes by such kernels."""
    proto = model if isinstance(model, onnx.ModelProto) else onnx.load(model, load_external_data=False)
    found: set[str] = set()
    for nodes in (proto.graph.node, *(function.node for function in proto.functions)):
        for operator in _operators(nodes):
            found.update(_COARSE.get(operator, ()))
    return frozenset(found)


def _operators(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    """Yield the operators of nodes, those of their subgraphs too."""
    for node in nodes:
        yield node.op_type
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _operators(graph.node)
