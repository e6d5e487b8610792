"""Kernels of onnxruntime of which only the absolute error is small: the relative error of a small result may be large.

docs/numerics.md describes them. Where such a result matters, a model has other operators: before a logarithm, or in a
denominator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import onnx

__all__ = ["Coarse", "coarse_primitives", "keeps_local"]

_COARSE = {
    "Celu": ("expm1",),
    "Elu": ("expm1",),
    "Erf": ("erf",),
    "Gelu": ("erf", "erfc", "tanh"),
    "Mish": ("tanh", "logistic", "log1p"),
    "Selu": ("expm1",),
    "Sigmoid": ("logistic",),
    "Softplus": ("log1p",),
    "Swish": ("logistic",),
    "Tanh": ("tanh",),
}
"""Operator -> the primitives that it stands for."""

_RECURRENT = {"GRU": ("logistic", "tanh"), "LSTM": ("logistic", "tanh"), "RNN": ("tanh",)}
"""Likewise, of operators whose own results these primitives are multiplied into."""

_MAGNIFYING = frozenset({"Div", "Log", "LogSoftmax", "Pow", "Reciprocal", "Sqrt"})


@dataclass(frozen=True, slots=True)
class Coarse:
    """Primitives that a model computes by such kernels.

    Attributes:
        results: a model has their results; where these matter, it has other operators.
        gates: they are gates inside a recurrent operator, which lets what they multiply through by as much.
        magnified: whether the model has an operator that makes a large number of a small one. Without one, results can
            only be factors, as the gates are.
    """

    results: frozenset[str] = frozenset()
    gates: frozenset[str] = frozenset()
    magnified: bool = False

    def under(self, *, loose: bool) -> frozenset[str]:
        """Return the primitives whose kernels explain a difference: a small one, if it is judged loosely."""
        return self.results | self.gates if loose or not self.magnified else self.gates


def coarse_primitives(model: onnx.ModelProto) -> Coarse:
    """Return the primitives that a model computes by such kernels."""
    results: set[str] = set()
    gates: set[str] = set()
    magnified = False
    for nodes in (model.graph.node, *(function.node for function in model.functions)):
        for operator in _operators(nodes):
            results.update(_COARSE.get(operator, ()))
            gates.update(_RECURRENT.get(operator, ()))
            magnified |= operator in _MAGNIFYING
    return Coarse(frozenset(results), frozenset(gates), magnified)


def keeps_local(model: onnx.ModelProto) -> bool:
    """Return whether a model interpolates by ``Resize``.

    What is not finite stays near its place there. JAX multiplies by a matrix of weights, most of them zero, and has NaN
    in the whole image; docs/numerics.md tells this.
    """
    nodes = [node for graph in (model.graph, *model.functions) for node in graph.node]
    return any(node.op_type == "Resize" and _mode(node) != "nearest" for node in nodes)


def _mode(node: onnx.NodeProto) -> str:
    return next(
        (attribute.s.decode(errors="replace") for attribute in node.attribute if attribute.name == "mode"), "nearest"
    )


def _operators(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    """Yield the operators of nodes, those of their subgraphs too."""
    for node in nodes:
        yield node.op_type
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _operators(graph.node)
